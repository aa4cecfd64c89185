"""Check of a trained model before its first scores: its gradients are those of autograd, and its outputs fit the labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from proponent.features.gradients.agreement import compare_with_autograd
from proponent.features.gradients.capture import Capture, target_cotangents
from proponent.trained.given_models import State
from proponent.trained.given_task import note_probabilities
from proponent.trained.live_member import Problem
from proponent.trained.needed_memory import ModelSize


def checked_model(module: nn.Module, state: State, problem: Problem) -> tuple[Tensor, ModelSize]:
    """Return the outputs of two training examples, and the sizes of a model.

    Args:
        module: module of the architecture, which is loaded with ``state``.
        state: parameters and buffers of the model.
        problem: training examples and task.

    Raises:
        UserError: the gradients are not those of autograd, or the outputs do not fit the labels.
    """
    module.load_state_dict(state)
    capture = Capture(module, problem.x[:1])
    with torch.no_grad():
        outputs = capture.outputs(problem.x[:2])
    problem.task.check_outputs(outputs, problem.y, "train")
    note_probabilities(outputs, problem.task)
    compare_with_autograd(capture, problem.x, problem.y, target_cotangents(problem.task))
    return outputs, ModelSize.of(capture, problem.x)
