"""A trained model as a differentiable function of an example's features: numbers, or embeddings of its tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.functional import embedding

from proponent.errors import UserError
from proponent.features.gradients.capture import Capture
from proponent.features.gradients.tracing import ProbedPass, deterministic_eval
from proponent.features.variants import copy_module
from proponent.rows import TOKENS, NamedRows, Rows, named_tensors, outputs_of
from proponent.trained.given_models import State
from proponent.trained.twice_differentiable import TwiceDifferentiable


class DifferentiableModel:
    """One model at one checkpoint, for examples that differ from one example in the features of one input.

    Floating point inputs are features themselves, bytes of images are converted, and tokens become the embeddings that the
    model looks up first. The weight of the embedding keeps its derivative where embeddings are replaced.

    Args:
        module: module of the architecture, in eval mode.
        state: parameters and buffers.
        x: (1, ...) example.
        name: name of the input with the features; None for the only one, or for tokens.

    Raises:
        UserError: there are several inputs and none is named, or the model embeds no tokens.
    """

    def __init__(self, module: nn.Module, state: State, x: Rows, name: str | None = None) -> None:
        module.load_state_dict(state)
        capture = Capture(module, x[:1])
        self.module, self._last = capture.module, capture.last_linear
        self.parameters = capture.parameters
        own = {n: value.detach().clone() for n, value in self.module.state_dict(keep_vars=True).items()}
        self._constants = {n: value for n, value in own.items() if n not in self.parameters}
        self.x, self.name = x, _input_name(x, name)
        value = named_tensors(x)[self.name]
        self.dtype = next(iter(self.parameters.values())).dtype
        self.embedding = None if value.is_floating_point() else self._find_embedding(value)
        if self.embedding is not None:
            table = dict(self.module.named_modules())[self.embedding].weight.detach().clone()
            self._looked_up: Tensor = embedding(value, table)

    @property
    def embedded(self) -> bool:
        """Whether features are embeddings of tokens, (1, length, width)."""
        return self.embedding is not None

    def features(self) -> Tensor:
        """Return the features of the example, (1, ...)."""
        if self.embedded:
            return self._looked_up.clone()
        return named_tensors(self.x)[self.name].to(self.dtype).clone()

    def outputs(self, parameters: Mapping[str, Tensor], features: Tensor) -> Tensor:
        """Return the outputs for features (m, ...) under other parameters, (m, ...)."""
        with deterministic_eval(self.module), TwiceDifferentiable():
            return self._run(features, lambda x: outputs_of(self.module, x, self._tensors(parameters)))

    def representations(self, features: Tensor) -> Tensor:
        """Return the input of the last linear layer for features (m, ...), averaged over positions, (m, width).

        Raises:
            UserError: the model has no linear layer.
        """
        if self._last is None:
            raise UserError(f"{type(self.module).__name__} has no linear layer, so it has no representations")

        def one_at_a_time(one: Tensor) -> Tensor:
            with ProbedPass([], [], self._last) as probed:
                self._run(one[None], lambda x: outputs_of(self.module, x, self._tensors(self.parameters)))
            assert probed.seen is not None  # noqa: S101 -- the trace has seen this call
            return probed.seen

        with deterministic_eval(self.module):
            seen: Tensor = vmap(one_at_a_time)(features)
        return seen.reshape(len(features), -1, seen.shape[-1]).mean(1)

    def gradient(
        self, value: Callable[[Tensor, slice], Tensor], x: Rows, chunk: int = 256
    ) -> dict[str, Tensor]:
        """Return the gradient of the sum of a function of the outputs of examples, by the name of the parameter.

        Args:
            value: function from outputs (m, ...) and the slice of their rows to one number.
            x: (n, ...) examples.
            chunk: examples per pass.
        """
        total = {name: torch.zeros_like(parameter) for name, parameter in self.parameters.items()}
        for start in range(0, len(x), chunk):
            rows = slice(start, min(start + chunk, len(x)))
            leaves = {name: parameter.clone().requires_grad_() for name, parameter in self.parameters.items()}
            with deterministic_eval(self.module), torch.enable_grad():
                outputs = outputs_of(self.module, x[rows], self._tensors(leaves))
                found = torch.autograd.grad(value(outputs, rows), list(leaves.values()), allow_unused=True)
            for name, gradient in zip(leaves, found, strict=True):
                if gradient is not None:
                    total[name] += gradient
        return total

    def copy(self) -> nn.Module:
        """Return the module with the parameters and buffers of the checkpoint."""
        module = copy_module(self.module)
        module.load_state_dict(self._tensors(self.parameters))
        return module.eval()

    def _tensors(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {**self._constants, **parameters}

    def _run(self, features: Tensor, call: Callable[[Rows], Tensor]) -> Tensor:
        """Return the result of a call with inputs (m, ...) that have these features."""
        if self.embedding is None:
            return call(self._with(features))
        tokens = named_tensors(self.x)[self.name].expand(len(features), *self._looked_up.shape[1:-1])
        layer = self.module.get_submodule(self.embedding)
        calls = 0

        def replace(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            # the difference is 0, and carries the derivative with respect to the table of embeddings
            return features + (output - self._looked_up.expand(output.shape)) if calls == 1 else output

        hook = layer.register_forward_hook(replace)
        try:
            return call(self._with(tokens))
        finally:
            hook.remove()

    def _with(self, values: Tensor) -> Rows:
        """Return inputs with these values in place of one of them, and the others repeated."""
        if not isinstance(self.x, NamedRows):
            return values
        others = {name: value.expand(len(values), *value.shape[1:]) for name, value in self.x.tensors.items()}
        return NamedRows({**others, self.name: values}, positional=self.x.positional)

    def _find_embedding(self, tokens: Tensor) -> str | None:
        """Return the name of the layer that embeds the tokens; None where the input is numbers that the model converts."""
        found: list[str] = []
        hooks = [
            part.register_forward_hook(
                lambda _, inputs, __, name=name: (
                    found.append(name)
                    if inputs and torch.is_tensor(inputs[0]) and torch.equal(inputs[0], tokens)
                    else None
                )
            )
            for name, part in self.module.named_modules()
            if isinstance(part, nn.Embedding)
        ]
        with deterministic_eval(self.module), torch.no_grad():
            outputs_of(self.module, self.x)
        for hook in hooks:
            hook.remove()
        if not found and any(isinstance(part, nn.Embedding) for part in self.module.modules()):
            raise UserError(
                f"{type(self.module).__name__} embeds other numbers than its tokens, so that their features are unknown"
            )
        return found[0] if found else None


def _input_name(x: Rows, name: str | None) -> str:
    """Return the name of the input whose features are attributed."""
    named = named_tensors(x)
    if name is not None:
        if name not in named:
            raise UserError(f"there is no input '{name}'; the inputs are {', '.join(named)}")
        return name
    if len(named) == 1:
        return next(iter(named))
    if TOKENS in named:
        return TOKENS
    floats = [key for key, value in named.items() if value.is_floating_point()]
    if len(floats) == 1:
        return floats[0]
    raise UserError(f"there are several inputs; name the one to explain, one of {', '.join(named)}")
