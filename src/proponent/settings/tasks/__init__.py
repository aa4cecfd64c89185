"""Tasks: the loss that a model is trained with, and the target f that is attributed.

A task takes outputs and labels of a batch and uses only differentiable torch operations, so that ``torch.func`` can
transform it. The mean over the examples is left to the trainer.
"""

from proponent.config.task_names import TASKS
from proponent.settings.tasks.binary import Binary
from proponent.settings.tasks.classification import Classification
from proponent.settings.tasks.language_model import IGNORED, LanguageModel, TokenMargins
from proponent.settings.tasks.multi_label import MultiLabel
from proponent.settings.tasks.regression import Huber, Regression
from proponent.settings.tasks.task import Task
from proponent.settings.tasks.task_choice import get_task

__all__ = [
    "IGNORED",
    "TASKS",
    "Binary",
    "Classification",
    "Huber",
    "LanguageModel",
    "MultiLabel",
    "Regression",
    "Task",
    "TokenMargins",
    "get_task",
]
