"""Capture of per-example gradients in factored form, for any module that ``torch.func`` can express.

A *trace* of one example finds the operations that use a weight (:mod:`.operations`), and the parameters that have a
derivative in addition to these uses: positional embeddings, norms, scales, grouped kernels. Then the forward pass,
vectorised over examples (``torch.func.vmap``), is run with a zero probe added to the output of each operation. Its
backward pass gives the derivatives with respect to the probes, which are the output gradients of the weights, and the
written-out gradients of all other parameters. Each example is alone in its forward pass, so that nothing depends on
how a model lays out its batch.

No parameter is skipped: it is factored, written out, or has no influence on the outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import vjp, vmap
from torch.utils._pytree import tree_map

from proponent.chunking import chunks
from proponent.errors import UserError
from proponent.features.gradients.agreement import compare_with_autograd
from proponent.features.gradients.block_assembly import assemble_block
from proponent.features.gradients.factored_gradients import FactoredGradients
from proponent.features.gradients.joined_blocks import JoinedBlocks, JoinedRows
from proponent.features.gradients.operations import Use
from proponent.features.gradients.tracing import ProbedPass, Trace, deterministic_eval, eval_mode
from proponent.rows import Rows, named_tensors, numbers_per_row, outputs_of
from proponent.settings.model_diagnosis import CHANGES_INPUT, diagnose
from proponent.settings.model_preparation import prepare_model
from proponent.settings.parameter_references import refuse_hidden_references
from proponent.settings.tasks import Task
from proponent.torch_compat import unfused_attention
from proponent.torch_failures import explained, layer_name
from proponent.torch_imports import without_compiler

ALONE = "cannot be run one example at a time by torch.func.vmap"

Cotangents = Callable[[Tensor, Tensor], Tensor]
"""Function from outputs (n, ...) and labels to the vectors propagated back, (n, K, ...), for K gradients per example."""


def target_cotangents(task: Task) -> Cotangents:
    """Return cotangents with K = 1: the derivative of the target with respect to the outputs."""
    return _slopes(task.target)


def base_cotangents(task: Task) -> Cotangents:
    """Return cotangents with K = 1: the derivative of the base, which stands for the loss of a training example."""
    return _slopes(task.base)


def _slopes(value: Callable[[Tensor, Tensor], Tensor]) -> Cotangents:
    def cotangents(outputs: Tensor, y: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = outputs.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(value(leaf, y).sum(), leaf)
        return gradient[:, None]

    return cotangents


class Capture:
    """A traced module, with the parameters that it had at construction.

    Args:
        module: module with outputs (n, ...) for inputs (n, ...), put into eval mode while it runs; gradients are
            those of its trainable parameters (``requires_grad``).
        example: (1, ...) input to trace with.

    Raises:
        UserError: no parameter is trainable, or the model cannot be expressed, or its captured gradients are not those
            of autograd.
    """

    def __init__(self, module: nn.Module, example: Rows) -> None:
        self.module = module = prepare_model(module)
        self.parameters = {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise UserError(
                "the model has no trainable parameter, so that it has no gradients; set requires_grad=True"
            )
        self.shapes = {name: tuple(parameter.shape) for name, parameter in self.parameters.items()}
        self._compared = False
        self._compared_together = 0
        self.uses, self.dense = self._trace(example[:1])
        last = [use for use in self.uses if use.call == self.last_linear]
        self.last = tuple(n for use in last for n in (use.weight, use.bias) if n is not None)

    def _trace(self, example: Rows) -> tuple[list[Use], tuple[str, ...]]:
        """Return the traced uses, and the parameters whose gradients have to be written out."""
        leaves = {name: parameter.clone().requires_grad_() for name, parameter in self.parameters.items()}
        trace = Trace({id(leaf): name for name, leaf in leaves.items()})
        x = example.clone()
        with (
            explained(self.module, "cannot be run on one example"),
            deterministic_eval(self.module),
            torch.enable_grad(),
            trace,
        ):
            outputs = outputs_of(self.module, x, leaves)
        _check_outputs(outputs, 1)
        with (
            explained(self.module, "cannot be run on one example"),
            eval_mode(self.module),
            unfused_attention(),
        ):
            refuse_hidden_references(self.module, example)
        self.last_linear = trace.last_linear
        self.activations = max(1, trace.activations)  # views of hidden tensors are not counted
        dense = set()
        if outputs.requires_grad:
            found = torch.autograd.grad(outputs.sum(), list(leaves.values()), allow_unused=True)
            dense = {name for name, gradient in zip(leaves, found, strict=True) if gradient is not None}
        weights = {use.weight for use in trace.uses}
        dense |= weights & {use.bias for use in trace.uses if use.bias is not None}
        dense |= {use.bias for use in trace.uses if use.weight in dense and use.bias is not None}
        if any(value._version for value in named_tensors(x).values()):
            raise UserError(f"{layer_name(self.module, '')} {CHANGES_INPUT}")
        uses = [
            replace(use, from_x=_name_of(taken, x))
            for use, taken in zip(trace.uses, trace.inputs, strict=True)
            if use.weight not in dense
        ]
        return [use if use.bias not in dense else replace(use, bias=None) for use in uses], tuple(
            name for name in self.parameters if name in dense
        )

    def numbers_per_example(self, names: tuple[str, ...] | None = None) -> int:
        """Return the number of elements of one example's factors; the data x itself is not counted.

        Args:
            names: names of the parameters to count; None for all.
        """
        wanted = set(self.shapes if names is None else names)
        uses = [use for use in self.uses if use.weight in wanted]
        factored = sum(
            math.prod(use.output) + (math.prod(use.input) if use.from_x is None else 0) for use in uses
        )
        return factored + sum(math.prod(self.shapes[name]) for name in self.dense if name in wanted)

    def numbers_per_root_row(self, x: Rows) -> int:
        """Return the number of elements of one of an example's K > 1 gradients: each of them has a copy of the data x."""
        return self.numbers_per_example() + numbers_per_row(x)

    def multiplications(self) -> int:
        """Return the multiply-adds of one example's forward pass, in operations with weights that are not written out."""
        found = 0
        for use in self.uses:
            rows, *others = self.shapes[use.weight]
            if use.kind == "conv_transpose":
                found += math.prod(use.input) * math.prod(others)
            elif use.kind != "embedding":
                found += math.prod(use.output) * (rows if use.kind == "matmul" else math.prod(others))
        return found

    def outputs(self, x: Rows) -> Tensor:
        """Return the outputs, (n, ...)."""
        with explained(self.module, "fails"), deterministic_eval(self.module), torch.no_grad():
            outputs = outputs_of(self.module, x, self.parameters)
        _check_outputs(outputs, len(x))
        return outputs

    def representations(self, x: Rows) -> Tensor:
        """Return the input of the last linear layer, averaged over positions, (n, width).

        Raises:
            UserError: the model has no linear layer.
        """
        if self.last_linear is None:
            raise UserError(f"{type(self.module).__name__} has no linear layer, so it has no representations")

        def one_at_a_time(one: Rows) -> Any:
            with ProbedPass([], [], self.last_linear) as probed:
                outputs_of(self.module, one[None], self.parameters)
            return probed.seen

        with explained(self.module, ALONE), deterministic_eval(self.module), torch.no_grad():
            seen = vmap(one_at_a_time)(x)
        return seen.reshape(len(x), -1, seen.shape[-1]).mean(1)

    def gradients(self, x: Rows, y: Tensor, cotangents: Cotangents) -> tuple[FactoredGradients, Tensor]:
        """Return the gradients of n examples in one pass, and their outputs (n, ...).

        Args:
            x: (n, ...) inputs.
            y: (n, ...) labels.
            cotangents: function that gives K vectors per example; the block has n * K rows, those of one example
                next to each other.
        """
        claimed = {name: tensor for name, tensor in self.parameters.items() if name not in self.dense}
        like = next(iter(self.parameters.values()))
        probes = [like.new_zeros(use.output).expand(len(x), *use.output) for use in self.uses]
        dense = {name: self.parameters[name].expand(len(x), *self.shapes[name]) for name in self.dense}
        kept = [index for index, use in enumerate(self.uses) if use.from_x is None]

        def one_at_a_time(
            probes: list[Tensor], dense: dict[str, Tensor], one: Rows
        ) -> tuple[Tensor, list[Tensor]]:
            with ProbedPass(self.uses, probes) as probed:
                outputs = outputs_of(self.module, one[None], {**claimed, **dense})
            return outputs[0], [probed.inputs[index] for index in kept]

        with self._vectorised():
            passed: Any = vjp(lambda p, d: vmap(one_at_a_time)(p, d, x), probes, dense, has_aux=True)
        outputs, pull, taken = passed
        self._check_alone(x, outputs)
        seeds = cotangents(outputs, y)
        with self._vectorised():
            pulled = vmap(pull)(seeds.movedim(1, 0))
        output_gradients, rows = tree_map(lambda gradients: gradients.movedim(0, 1), pulled)
        self._check_rows(rows)
        inputs = dict(zip(kept, taken, strict=True))
        block = assemble_block(
            self.shapes,
            self.last,
            self.uses,
            named_tensors(x),
            inputs,
            output_gradients,
            rows,
            seeds.shape[1],
        )
        return block, outputs

    def ordinary_gradient(self, x: Rows, seeds: Tensor) -> dict[str, Tensor]:
        """Return the gradients of one example by plain autograd, by the name of the parameter.

        Args:
            x: (1, ...) input.
            seeds: (1, ...) vector propagated back from the outputs.
        """
        leaves = {name: value.clone().requires_grad_() for name, value in self.parameters.items()}
        with (
            explained(self.module, "fails on one example"),
            eval_mode(self.module),
            unfused_attention(),
            torch.enable_grad(),
        ):
            outputs = outputs_of(self.module, x.clone(), leaves)
            found = torch.autograd.grad(outputs, list(leaves.values()), seeds, allow_unused=True)
        return {
            name: torch.zeros_like(leaf) if gradient is None else gradient.to_dense()
            for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
        }

    @contextmanager
    def _vectorised(self) -> Iterator[None]:
        """Run derivatives of the module, vectorised over examples, within the block."""
        with (
            explained(self.module, ALONE),
            deterministic_eval(self.module),
            torch.no_grad(),
            without_compiler(),
        ):
            yield

    def _check_alone(self, x: Rows, alone: Tensor) -> None:
        """Refuse outputs that differ between an example alone and in its batch, or are not finite.

        Batches no larger than one that was compared before are only checked to be finite.
        """
        if len(x) <= self._compared_together and bool(alone.isfinite().all()):
            return
        together = self.outputs(x)
        scale = together.abs().max().clamp_min(1e-6)
        if not bool(((alone - together).abs().max() <= 1e-3 * scale).item()):
            raise UserError(
                diagnose(self.module, self.outputs, x)
                or f"{type(self.module).__name__} returns other outputs for an example alone than in a batch; gradients "
                "of single examples need a model whose examples do not affect each other"
            )
        self._compared_together = len(x)

    def _check_rows(self, rows: dict[str, Tensor]) -> None:
        """Refuse written-out gradients (n, K, ...) of another shape than their parameter."""
        for name, values in rows.items():
            if tuple(values.shape[2:]) != self.shapes[name]:
                raise UserError(
                    f"torch.func.vmap gives the gradient of the model's '{name}' the shape {tuple(values.shape[2:])}, not "
                    f"{self.shapes[name]}; compute this parameter's layer with other operations"
                )

    def chunks(
        self, x: Rows, y: Tensor, cotangents: Cotangents, memory_mib: int
    ) -> Iterator[tuple[slice, FactoredGradients, Tensor]]:
        """Yield rows, gradients and outputs of as many examples at a time as ``memory_mib`` allows.

        The gradients of some examples are compared with plain autograd first, once per capture.
        """
        if not self._compared:
            compare_with_autograd(self, x, y, cotangents)
            self._compared = True
        per_example = cotangents(self.outputs(x[:1]), y[:1]).shape[1]
        step = self.chunk_size(x, memory_mib, per_example)
        for rows in chunks(len(x), step):
            block, outputs = self.gradients(x[rows], y[rows], cotangents)
            yield rows, block, outputs

    def chunk_size(self, x: Rows, memory_mib: int, repeats: int = 1) -> int:
        """Return the number of examples that fit in one pass, with ``repeats`` gradients per example.

        The count includes activations, forward and backward, and the gradients, factored and written out.
        """
        numbers = (1 + repeats) * self.activations + 2 * repeats * self.numbers_per_example()
        numbers += repeats * numbers_per_row(x)
        itemsize = next(iter(self.parameters.values())).element_size()
        return max(1, memory_mib * 2**20 // (numbers * itemsize))

    def all_gradients(
        self, x: Rows, y: Tensor, cotangents: Cotangents, memory_mib: int = 1000
    ) -> tuple[FactoredGradients, Tensor]:
        """Return the gradients of all examples as one block, and their outputs.

        Args:
            x: (n, ...) inputs.
            y: (n, ...) labels.
            cotangents: function that gives K vectors per example.
            memory_mib: memory for the forward and backward passes in MiB, in addition to the result.
        """
        joined, outputs = JoinedBlocks(x), JoinedRows(len(x))
        for rows, block, out in self.chunks(x, y, cotangents, memory_mib):
            if len(out) == len(x):
                return block, out
            joined.put(rows, block)
            outputs.put(rows, out)
        return cast(FactoredGradients, joined.get()), outputs.get()


def _name_of(taken: Tensor, x: Rows) -> str | None:
    """Return the name of the input that an operation's input is, possibly reshaped; None for a hidden tensor."""
    return next((name for name, value in named_tensors(x).items() if _is_same(taken, value)), None)


def _is_same(taken: Tensor, x: Tensor) -> bool:
    """Return whether two tensors are the same memory, possibly reshaped."""
    return (
        taken.data_ptr() == x.data_ptr()
        and taken.numel() == x.numel()
        and taken.is_contiguous()
        and x.is_contiguous()
        and taken.dtype == x.dtype
    )


def _check_outputs(outputs: object, n: int) -> None:
    if not isinstance(outputs, Tensor):
        raise UserError(
            f"the model returns {type(outputs).__name__}; it must return one tensor of outputs (n, ...)"
        )
    if outputs.ndim == 0 or len(outputs) != n:
        raise UserError(
            f"the model returns outputs of shape {tuple(outputs.shape)} for {n} examples; expected ({n}, ...)"
        )
