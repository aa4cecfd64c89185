"""Capture of per-example gradients in factored form, for any module that ``torch.func`` can express.

A *trace* of one example finds the operations that use a weight (:mod:`proponent.features.gradients.operations`) and the
parameters that have a derivative beside them: positional embeddings, norms, scales, grouped kernels. Then,
vectorised over examples (``torch.func.vmap``), the forward pass is run with a zero probe added to each
operation's output; one backward pass gives the probes' derivatives, which are the output gradients of the
weights, and the written-out gradients of all other parameters. Each example is alone in its forward pass, so
that nothing depends on how a model lays out its batch.

Nothing is skipped: a parameter is factored, written out, or has no influence on the outputs at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from proponent.errors import UserError
from proponent.features.gradients.block import FactoredGradients
from proponent.features.gradients.factors import Factor, Term
from proponent.features.gradients.operations import Use
from proponent.features.gradients.per_parameter import Part, RowsPart, WeightPart, ranges
from proponent.features.gradients.tracing import Replay, Trace, deterministic_eval
from proponent.settings.tasks import Task

Cotangents = Callable[[Tensor, Tensor], Tensor]
"""From outputs (n, ...) and labels to what is propagated back, (n, K, ...): K gradients an example."""


def target_cotangents(task: Task) -> Cotangents:
    """Return the derivative of the target with respect to the outputs, one an example."""

    def cotangents(outputs: Tensor, y: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = outputs.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(task.target(leaf, y).sum(), leaf)
        return gradient[:, None]

    return cotangents


class Capture:
    """A module made ready for capture; keeps the parameters as they are at construction.

    Args:
        module: returns (n, ...) outputs for (n, ...) inputs; put into eval mode while it runs. Trainable
            parameters (``requires_grad``) are those whose gradients are taken.
        example: (1, ...) one input, to trace with.

    Raises:
        UserError: nothing is trainable, or the model cannot be expressed.
    """

    def __init__(self, module: nn.Module, example: Tensor) -> None:
        self.module = module
        self.parameters = {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise UserError(
                "the model has no trainable parameter (requires_grad=True), so there is no gradient to take"
            )
        self.shapes = {name: tuple(parameter.shape) for name, parameter in self.parameters.items()}
        self.uses, self.dense = self._trace(example[:1])
        last = [use for use in self.uses if use.call == self.last_linear]
        self.last = tuple(n for use in last for n in (use.weight, use.bias) if n is not None)

    def _trace(self, example: Tensor) -> tuple[list[Use], tuple[str, ...]]:
        """Return the claimed uses, and the parameters whose gradients have to be written out."""
        leaves = {name: parameter.clone().requires_grad_() for name, parameter in self.parameters.items()}
        trace = Trace({id(leaf): name for name, leaf in leaves.items()})
        x = example.clone()
        with deterministic_eval(self.module), torch.enable_grad(), trace:
            outputs = functional_call(self.module, leaves, (x,))
        _check_outputs(outputs, 1)
        self.last_linear = trace.last_linear
        self.activations = trace.activations
        dense = set()
        if outputs.requires_grad:
            found = torch.autograd.grad(outputs.sum(), list(leaves.values()), allow_unused=True)
            dense = {name for name, gradient in zip(leaves, found, strict=True) if gradient is not None}
        weights = {use.weight for use in trace.uses}
        dense |= weights & {use.bias for use in trace.uses if use.bias is not None}
        dense |= {use.bias for use in trace.uses if use.weight in dense and use.bias is not None}
        if x._version:
            raise UserError(
                f"{type(self.module).__name__} changes its input in place; make it work on a copy"
            )
        uses = [
            replace(use, from_x=_is_same(taken, x))
            for use, taken in zip(trace.uses, trace.inputs, strict=True)
            if use.weight not in dense
        ]
        return [use if use.bias not in dense else replace(use, bias=None) for use in uses], tuple(
            name for name in self.parameters if name in dense
        )

    def numbers_per_example(self, names: tuple[str, ...] | None = None) -> int:
        """Return how many numbers the factors of one example take, the data x itself not counted.

        Args:
            names: parameters to count; None for all.
        """
        wanted = set(self.shapes if names is None else names)
        uses = [use for use in self.uses if use.weight in wanted]
        factored = sum(math.prod(use.output) + (0 if use.from_x else math.prod(use.input)) for use in uses)
        return factored + sum(math.prod(self.shapes[name]) for name in self.dense if name in wanted)

    def outputs(self, x: Tensor) -> Tensor:
        """Return the outputs, (n, ...)."""
        with deterministic_eval(self.module), torch.no_grad():
            outputs = functional_call(self.module, self.parameters, (x,))
        _check_outputs(outputs, len(x))
        return outputs

    def representations(self, x: Tensor) -> Tensor:
        """Return the input of the last linear layer, averaged over positions, (n, width).

        Raises:
            UserError: the model has no linear layer.
        """
        if self.last_linear is None:
            raise UserError(f"{type(self.module).__name__} has no linear layer, so it has no representations")

        def one_at_a_time(one: Tensor) -> Any:
            with Replay([], [], self.last_linear) as replay:
                functional_call(self.module, self.parameters, (one[None],))
            return replay.seen

        with deterministic_eval(self.module), torch.no_grad():
            seen = vmap(one_at_a_time)(x)
        return seen.reshape(len(x), -1, seen.shape[-1]).mean(1)

    def gradients(self, x: Tensor, y: Tensor, cotangents: Cotangents) -> tuple[FactoredGradients, Tensor]:
        """Return the gradients of one run of examples, and their outputs.

        Args:
            x: (n, ...).
            y: (n, ...).
            cotangents: K of them an example; the block has n * K rows, those of one example side by side.
        """
        outputs = self.outputs(x)
        seeds = cotangents(outputs, y)
        claimed = {name: tensor for name, tensor in self.parameters.items() if name not in self.dense}
        like = next(iter(self.parameters.values()))
        probes = [torch.zeros(use.output, dtype=like.dtype, device=like.device) for use in self.uses]
        dense = {name: self.parameters[name] for name in self.dense}
        kept = [index for index, use in enumerate(self.uses) if not use.from_x]

        def forward(
            probes: list[Tensor], dense: dict[str, Tensor], one: Tensor
        ) -> tuple[Tensor, list[Tensor]]:
            with Replay(self.uses, probes) as replay:
                outputs = functional_call(self.module, {**claimed, **dense}, (one[None],))
            return outputs, [replay.inputs[index] for index in kept]

        def per_example(
            one: Tensor, seed: Tensor
        ) -> tuple[list[Tensor], list[Tensor], dict[str, Tensor], Tensor]:
            pulled: Any = vjp(lambda p, d: forward(p, d, one), probes, dense, has_aux=True)
            result, pull, taken = pulled
            back, rows = vmap(pull)(seed[:, None])
            return taken, back, rows, result[0]

        try:
            with deterministic_eval(self.module), torch.no_grad():
                found = vmap(per_example)(x, seeds)
        except (RuntimeError, NotImplementedError) as error:
            raise UserError(
                f"{type(self.module).__name__} cannot be run one example at a time by torch.func.vmap: "
                f"{str(error).strip().splitlines()[0]}"
            ) from error
        taken, backs, rows, alone = found
        _check_alone(self.module, alone, outputs)
        inputs = dict(zip(kept, taken, strict=True))
        return self._assemble(x, inputs, backs, rows, seeds.shape[1]), outputs

    def _assemble(
        self, x: Tensor, inputs: dict[int, Tensor], backs: list[Tensor], rows: dict[str, Tensor], repeats: int
    ) -> FactoredGradients:
        size = len(x) * repeats
        terms: dict[str, list[Term]] = {}
        biases: dict[str, list[tuple[int, Tensor]]] = {}
        for index, use in enumerate(self.uses):
            taken = _inputs(use, inputs.get(index, x), repeats)
            back = _output_gradients(use, backs[index].flatten(0, 1))
            if use.padding >= 0:
                back = back.masked_fill((taken.values == use.padding)[..., None], 0.0)
            plain = Factor(back)
            if use.bias is not None:
                biases.setdefault(use.bias, []).append((use.bias_start, back))
            if use.kind == "embedding":
                taken = replace(taken, tokens=self.shapes[use.weight][0])
            left, right = (plain, taken) if use.kind in ("linear", "conv") else (taken, plain)
            terms.setdefault(use.weight, []).append(Term(left, right, use.start))
        parts: list[Part] = []
        owned = self._owned_biases()
        for name, shape in self.shapes.items():
            if name in rows:
                parts.append(RowsPart(name, rows[name].reshape(size, -1)))
            elif name in terms:
                columns = math.prod(shape[1:])
                parts.append(WeightPart(name, shape[0], columns, tuple(terms[name]), owned.get(name)))
            elif name in biases and name not in owned.values():
                values = torch.zeros(size, shape[0], dtype=biases[name][0][1].dtype, device=x.device)
                for start, back in biases[name]:
                    values[:, start : start + back.shape[2]] += back.sum(1)
                parts.append(RowsPart(name, values))
        return FactoredGradients(self.shapes, tuple(parts), self.last, size)

    def _owned_biases(self) -> dict[str, str]:
        """Return the biases that serve one weight, once: their input is the constant 1."""
        owned = {}
        for use in self.uses:
            alone = sum(use.weight == other.weight or use.bias == other.bias for other in self.uses) == 1
            if use.bias is not None and alone and use.kind in ("linear", "conv") and self._covers(use):
                owned[use.weight] = use.bias
        return owned

    def _covers(self, use: Use) -> bool:
        channels = use.output[-1] if use.kind == "linear" else self.shapes[use.weight][0]
        return use.start == 0 and self.shapes[use.weight][0] == channels

    def chunks(
        self, x: Tensor, y: Tensor, cotangents: Cotangents, memory_mib: int
    ) -> Iterator[tuple[slice, FactoredGradients, Tensor]]:
        """Yield rows, gradients and outputs of as many examples at a time as ``memory_mib`` allows."""
        step = self.chunk_size(x, memory_mib)
        for rows in ranges(len(x), step):
            block, outputs = self.gradients(x[rows], y[rows], cotangents)
            yield rows, block, outputs

    def chunk_size(self, x: Tensor, memory_mib: int, repeats: int = 1) -> int:
        """Return how many examples can be run at once, with ``repeats`` gradients of each.

        Counted are activations, forward and backward, and the gradients: factors, and what is written out.
        """
        numbers = (1 + repeats) * self.activations + 2 * repeats * self.numbers_per_example()
        numbers += repeats * math.prod(x.shape[1:])
        itemsize = next(iter(self.parameters.values())).element_size()
        return max(1, memory_mib * 2**20 // (numbers * itemsize))

    def all_gradients(
        self, x: Tensor, y: Tensor, cotangents: Cotangents, memory_mib: int = 1000
    ) -> tuple[FactoredGradients, Tensor]:
        """Return the gradients of all examples as one block, and their outputs.

        Args:
            x: (n, ...).
            y: (n, ...).
            cotangents: K of them an example.
            memory_mib: for the forward and backward passes, beside what is returned.
        """
        blocks, outputs = [], []
        for _, block, out in self.chunks(x, y, cotangents, memory_mib):
            blocks.append(block)
            outputs.append(out)
        return (blocks[0] if len(blocks) == 1 else FactoredGradients.concatenate(blocks)), torch.cat(outputs)


def target_gradients(
    module: nn.Module, task: Task, x: Tensor, y: Tensor, memory_mib: int = 1000
) -> tuple[FactoredGradients, Tensor]:
    """Return the gradients of the target f of each example as a block, and the outputs (n, ...)."""
    return Capture(module, x[:1]).all_gradients(x, y, target_cotangents(task), memory_mib)


def _is_same(taken: Tensor, x: Tensor) -> bool:
    """Say whether an operation's input is the data x itself, only reshaped."""
    return (
        taken.data_ptr() == x.data_ptr()
        and taken.numel() == x.numel()
        and taken.is_contiguous()
        and x.is_contiguous()
        and taken.dtype == x.dtype
    )


def _inputs(use: Use, values: Tensor, repeats: int) -> Factor:
    """Return an operation's input (n, ...) as a factor of n * repeats rows."""
    n = len(values)
    if use.kind == "embedding":
        values = values.reshape(n, -1)
    elif use.geometry is not None:
        image = use.input[-1 - len(use.geometry.kernel) :]
        values = values.reshape(n, -1, *image)
    else:
        values = values.reshape(n, -1, use.input[-1])
    if repeats > 1:
        values = values.repeat_interleave(repeats, 0)
    return Factor(values, geometry=use.geometry, from_x=use.from_x and repeats == 1)


def _output_gradients(use: Use, back: Tensor) -> Tensor:
    """Return the gradients of an operation's output as (n, positions, channels)."""
    if use.geometry is None:
        return back.reshape(len(back), -1, use.output[-1])
    dimensions = len(use.geometry.kernel)
    channels = use.output[-1 - dimensions]
    images = back.reshape(len(back), -1, channels, math.prod(use.output[-dimensions:]))
    return images.transpose(2, 3).flatten(1, 2).contiguous()


def _check_outputs(outputs: object, n: int) -> None:
    if not isinstance(outputs, Tensor):
        raise UserError(
            f"the model returns {type(outputs).__name__}; it must return one tensor of outputs (n, ...)"
        )
    if outputs.ndim == 0 or len(outputs) != n:
        raise UserError(
            f"the model returns outputs of shape {tuple(outputs.shape)} for {n} examples; expected ({n}, ...)"
        )


def _check_alone(module: nn.Module, alone: Tensor, together: Tensor) -> None:
    scale = together.abs().max().clamp_min(1e-6)
    if not bool(((alone - together).abs().max() <= 1e-3 * scale).item()):
        raise UserError(
            f"{type(module).__name__} gives an example other outputs alone than in a batch, or outputs that"
            " are not finite; gradients of single examples need a model whose examples do not see each other"
        )
