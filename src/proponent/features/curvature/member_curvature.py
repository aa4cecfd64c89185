"""Curvature of the mean training loss at one checkpoint: matrices for small models, products for any.

With J_i the derivative of the outputs of example i by the parameters and H_i the Hessian of its loss by its
outputs, the generalised Gauss-Newton matrix is ``G = (1/n) sum_i J_iᵀ H_i J_i`` (Schraudolph 2002; Martens
2020), positive semi-definite where the loss is convex in the outputs. Weight decay is never included.

Products with many vectors at once are Jacobian-vector and vector-Jacobian products of ``torch.func``,
vectorised over the vectors, so that most of the time is spent in matrix products. Measured on one core for a
784-128-64-10 network and 4,500 examples: 500 vectors take 9 to 12 s with the GGN, 11 to 13 s with the
Hessian.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vjp, vmap

from proponent.errors import UserError
from proponent.features import variants
from proponent.features.curvature.kronecker import KroneckerBasis
from proponent.features.gradients.block import FactoredGradients, mirror, parameter_spans
from proponent.features.gradients.capture import Capture, Cotangents, target_cotangents
from proponent.features.gradients.per_parameter import WeightPart, ranges
from proponent.features.gradients.tracing import deterministic_eval
from proponent.features.variants import VariantPair
from proponent.settings.tasks import Task

PRODUCT_MIB = 64
"""Activations of the vectors and examples that are worked on at a time; more is no faster."""
PRODUCT_EXAMPLES = 512
HESSIAN_ROWS = 512


class Curvature:
    """One member at one checkpoint; see :class:`proponent.methods.shared.needs.Curvature`.

    Args:
        module: with the checkpoint's parameters; they are copied.
        task: gives the loss and the Hessian by the outputs.
        x: (n_train, ...) training inputs.
        y: (n_train, ...) their labels.
        x_query: (n_query, ...).
        y_query: (n_query, ...).
        weight_decay: of the recipe.
        duration: sum of the learning rates so far, divided by 1 - momentum.
        memory_mib: for forward and backward passes, beside what is returned.
    """

    def __init__(
        self,
        module: nn.Module,
        task: Task,
        x: Tensor,
        y: Tensor,
        x_query: Tensor,
        y_query: Tensor,
        *,
        weight_decay: float,
        duration: float,
        memory_mib: int = 1000,
    ) -> None:
        self.weight_decay = weight_decay
        self.duration = duration
        self._module, self._task, self._x, self._y = module, task, x, y
        self._query_data = (x_query, y_query)
        self._memory_mib = memory_mib
        self._capture = Capture(module, x[:1])
        cotangents = target_cotangents(task)
        self.train, outputs = self._capture.all_gradients(x, y, cotangents, memory_mib)
        self.query, _ = self._capture.all_gradients(x_query, y_query, cotangents, memory_mib)
        self.loss_weight = task.loss_weight(outputs, y)
        self.n_train = len(x)
        self.n_parameters = self.train.n_parameters
        self.n_outputs = outputs[0].numel()

    def dropped(self, drop: float, seed: int) -> VariantPair:
        """Return the gradients of the network without a share ``drop`` of its hidden units; see :mod:`.variants`."""
        return self._variant(lambda module: variants.dropped(module, self._x[:1], drop, seed))

    def adapted(self, rank: int, epochs: int, learning_rate: float, seed: int) -> VariantPair:
        """Return the gradients by adapters of low rank, trained for ``epochs``; see :mod:`.variants`."""
        return self._variant(
            lambda module: variants.adapted(
                *(module, self._task, self._x, self._y),
                rank=rank,
                epochs=epochs,
                learning_rate=learning_rate,
                seed=seed,
            ),
        )

    def _variant(self, make: Callable[[nn.Module], nn.Module]) -> VariantPair:
        """Return the gradients of a variant of the network at this checkpoint."""
        module = copy.deepcopy(self._module)
        module.load_state_dict(self._capture.parameters, strict=False)
        data = ((self._x, self._y), self._query_data)
        return variants.gradients_of(make(module), self._task, *data, self._memory_mib)

    def ggn(self) -> Tensor:
        """Return the GGN of the mean loss, (n_parameters, n_parameters).

        Where all parameters belong to linear layers with one position per example, pairs of output units
        share one product of inputs, and input columns that are zero on all examples (the rim of an image) are
        left out; else the rows of :meth:`ggn_root` are written out, some examples at a time.
        """
        if self._plain_layers():
            return self._ggn_of_layers()
        total = torch.zeros(
            self.n_parameters, self.n_parameters, dtype=self.train.dtype, device=self.train.device
        )
        for _, root in self._root_chunks(2 * self.n_parameters):
            written = root.dense()
            total.addmm_(written.T, written)
        return total / self.n_train

    def ggn_root(self) -> FactoredGradients:
        """Return n_train * n_outputs rows B with GGN = Bᵀ B / n, those of one example side by side."""
        root, _ = self._capture.all_gradients(self._x, self._y, self._root_cotangents, self._memory_mib)
        return root

    def ggn_product(self, vectors: Tensor, examples: Tensor | None = None) -> Tensor:
        """Return GGN @ v for each row of ``vectors``, (k, n_parameters), its mean over all or some examples."""

        def product(tangents: dict[str, Tensor], x: Tensor, y: Tensor) -> dict[str, Tensor]:
            def forward(parameters: dict[str, Tensor]) -> Tensor:
                return functional_call(self._module, parameters, (x,))

            parameters = self._capture.parameters
            outputs, pull = _pair(vjp(forward, parameters))
            moved = vmap(lambda tangent: jvp(forward, (parameters,), (tangent,))[1])(tangents)
            slope = grad(lambda outputs: self._task.loss(outputs, y).sum())
            bent = vmap(lambda move: jvp(slope, (outputs,), (move,))[1])(moved)
            return vmap(pull)(bent)[0]

        return self._product(vectors, product, examples)

    def hessian_product(self, vectors: Tensor, examples: Tensor | None = None) -> Tensor:
        """Return Hessian @ v for each row of ``vectors``, (k, n_parameters), over all or some examples."""

        def product(tangents: dict[str, Tensor], x: Tensor, y: Tensor) -> dict[str, Tensor]:
            def loss(parameters: dict[str, Tensor]) -> Tensor:
                return self._task.loss(functional_call(self._module, parameters, (x,)), y).sum()

            parameters = self._capture.parameters
            return vmap(lambda tangent: jvp(grad(loss), (parameters,), (tangent,))[1])(tangents)

        return self._product(vectors, product, examples)

    def hessian(self) -> Tensor:
        """Return the Hessian of the mean loss, (n_parameters, n_parameters): products with unit vectors."""
        size, dtype, device = self.n_parameters, self.train.dtype, self.train.device
        found = torch.zeros(size, size, dtype=dtype, device=device)
        for rows in ranges(size, HESSIAN_ROWS):
            units = torch.zeros(rows.stop - rows.start, size, dtype=dtype, device=device)
            units[:, rows].fill_diagonal_(1.0)
            found[rows] = self.hessian_product(units)
        mirror(found)
        return found

    def kronecker(self, samples: int, seed: int) -> KroneckerBasis:
        """Return the eigenbasis of the Kronecker-factored GGN, with its eigenvalues.

        Args:
            samples: 0 for the exact expectation over labels, a pass backward for each output; else so many
                random combinations of them an example, with signs for weights. Their second moments are
                those of labels drawn from the model, whatever the task.
            seed: of the signs.
        """
        return kronecker_of(lambda: iter([(self, 1.0)]), samples, seed)

    def sides(self) -> dict[str, tuple[str, ...]]:
        """Return for each weight, in the order of its uses, which side of its outer products is the input."""
        kinds: dict[str, list[str]] = {}
        for use in self._capture.uses:
            # of an embedding and of input @ weight the weight's rows belong to the input
            side = "right" if use.kind in ("linear", "conv") else "left"
            kinds.setdefault(use.weight, []).append(side)
        return {name: tuple(found) for name, found in kinds.items()}

    def roots(self, samples: int, seed: int) -> Iterator[FactoredGradients]:
        """Yield the rows of a root of the GGN, as many examples at a time as fit; arguments as of :meth:`kronecker`."""
        cotangents = self._sampled_cotangents(samples, seed) if samples else self._root_cotangents
        step = self._capture.chunk_size(self._x, self._memory_mib, samples or self.n_outputs)
        for rows in ranges(self.n_train, step):
            yield self._capture.gradients(self._x[rows], self._y[rows], cotangents)[0]

    def _sampled_cotangents(self, samples: int, seed: int) -> Cotangents:
        generator = torch.Generator().manual_seed(seed)

        def cotangents(outputs: Tensor, y: Tensor) -> Tensor:
            """Combine the rows of each position's root with random signs, (n, samples, *outputs)."""
            root = self._task.output_hessian_root(outputs, y)
            root = root.reshape(len(outputs), -1, *root.shape[-2:])
            signs = torch.randint(0, 2, (len(outputs), samples, *root.shape[1:3]), generator=generator)
            signs = (2 * signs - 1).to(root)
            drawn = torch.einsum("nspi,npij->nspj", signs, root) / samples**0.5
            return drawn.reshape(len(outputs), samples, *outputs.shape[1:])

        return cotangents

    def _product(
        self, vectors: Tensor, product: Callable[..., dict[str, Tensor]], chosen: Tensor | None
    ) -> Tensor:
        """Return the mean over examples of a product, in blocks of vectors and of examples."""
        x, y = (self._x, self._y) if chosen is None else (self._x[chosen], self._y[chosen])
        pairs = max(1, PRODUCT_MIB * 2**20 // (4 * self._capture.activations * vectors.element_size()))
        examples = min(len(x), PRODUCT_EXAMPLES, pairs)
        out = torch.zeros_like(vectors)
        where = parameter_spans(self.train.parameters)
        try:
            with deterministic_eval(self._module), torch.no_grad():
                for some in ranges(len(vectors), pairs // examples):
                    block = vectors[some]
                    tangents = {
                        name: block[:, where[name]].reshape(-1, *shape)
                        for name, shape in self.train.parameters.items()
                    }
                    for rows in ranges(len(x), examples):
                        for name, part in product(tangents, x[rows], y[rows]).items():
                            out[some, where[name]] += part.reshape(len(block), -1)
        except (RuntimeError, NotImplementedError) as error:
            raise UserError(
                f"{type(self._module).__name__} has no curvature products, its forward pass cannot be "
                f"differentiated twice: {str(error).strip().splitlines()[0]}"
            ) from error
        return out.div_(len(x))

    @property
    def _root_cotangents(self) -> Cotangents:
        def cotangents(outputs: Tensor, y: Tensor) -> Tensor:
            """Spread the blocks R of each position over the outputs, (n, positions * C, *outputs)."""
            root = self._task.output_hessian_root(outputs, y)
            n, size, classes = len(outputs), outputs[0].numel(), root.shape[-1]
            positions = torch.arange(size // classes, device=outputs.device)
            spread = outputs.new_zeros(n, len(positions), classes, len(positions), classes)
            spread[:, positions, :, positions] = root.reshape(n, -1, classes, classes).transpose(0, 1)
            return spread.reshape(n, size, *outputs.shape[1:])

        return cotangents

    def _root_chunks(self, numbers: int) -> Iterator[tuple[slice, FactoredGradients]]:
        """Yield rows and root of as many examples as fit, at ``numbers`` an output of each."""
        fit = self._memory_mib * 2**20 // (numbers * self.n_outputs * self._x.element_size())
        step = min(max(1, fit), self._capture.chunk_size(self._x, self._memory_mib, self.n_outputs))
        for rows in ranges(self.n_train, step):
            root, _ = self._capture.gradients(self._x[rows], self._y[rows], self._root_cotangents)
            yield rows, root

    def _plain_layers(self) -> bool:
        """Say whether all parameters are of linear layers with one position per example."""
        parts = self.train.parts
        factored = all(
            isinstance(part, WeightPart) and len(part.terms) == 1 and part.terms[0].positions == 1
            for part in parts
        )
        named = {name for part in parts for name in part.names}
        return (
            factored
            and named == set(self.train.parameters)
            and {u.kind for u in self._capture.uses} == {"linear"}
        )

    def _ggn_of_layers(self) -> Tensor:
        """Return ``(1/n) sum_i M_i[(l, o), (l', o')] a_i^l a_i^l'ᵀ`` with M_i the GGN of the layers' outputs.

        a^l is the input of layer l with a 1 for its bias, and (l, o) runs over output units of all layers.
        """
        parts = [part for part in self.train.parts if isinstance(part, WeightPart)]
        inputs = [_input_columns(part) for part in parts]
        places = [_places(part, kept, self.train) for part, (_, kept) in zip(parts, inputs, strict=True)]
        units = [(layer, unit) for layer, part in enumerate(parts) for unit in range(part.rows)]
        first = [0]
        for layer, _ in units:
            first.append(first[-1] + len(inputs[layer][1]))
        packed = torch.zeros(first[-1], first[-1], dtype=self.train.dtype, device=self.train.device)
        width = len(units)
        for rows, root in self._root_chunks(2 * width + (width**2 + 2 * self.n_parameters) // self.n_outputs):
            lefts = [part.terms[0].left.values[:, 0] for part in root.parts if isinstance(part, WeightPart)]
            back = torch.cat(lefts, 1).reshape(rows.stop - rows.start, self.n_outputs, -1)
            middle = back.mT @ back
            for at, (layer, _) in enumerate(units):
                right = _weighted_inputs(
                    middle[:, at, at:], units[at:], [columns[rows] for columns, _ in inputs]
                )
                packed[first[at] : first[at + 1], first[at] :].addmm_(inputs[layer][0][rows].T, right)
        mirror(packed.T)
        order = torch.cat([places[layer][unit] for layer, unit in units])
        total = torch.zeros(self.n_parameters, self.n_parameters, dtype=packed.dtype, device=packed.device)
        total[order[:, None], order] = packed.div_(self.n_train)
        return total


def kronecker_of(
    networks: Callable[[], Iterator[tuple[Curvature, float]]],
    samples: int,
    seed: int,
    scale: Tensor | None = None,
) -> KroneckerBasis:
    """Return the eigenbasis of the weighted mean of several networks' Kronecker factors, with the eigenvalues' mean.

    Args:
        networks: yields them with their weights, which add up to 1; asked three times.
        samples: as of :meth:`Curvature.kronecker`.
        seed: of the signs.
        scale: (n_parameters,) with which gradients are multiplied first; None for as they are.
    """
    first, _ = next(networks())
    repeats = samples or first.n_outputs

    def chunks() -> Iterator[tuple[FactoredGradients, float]]:
        for network, weight in networks():
            for root in network.roots(samples, seed):
                yield root, weight

    return KroneckerBasis(chunks, first.sides(), repeats, first.n_train, scale)


def _pair(found: Any) -> tuple[Tensor, Callable[..., Any]]:
    """Return what ``vjp`` gives without aux, typed."""
    outputs, pull = found
    return outputs, pull


def _input_columns(part: WeightPart) -> tuple[Tensor, Tensor]:
    """Return the inputs (n, kept) of a linear layer that are not zero on all examples, and their columns.

    The bias, if there is one, is the last column, of ones.
    """
    values = part.terms[0].right.values[:, 0]
    kept = values.any(0).nonzero()[:, 0]
    columns = values[:, kept]
    if part.bias is None:
        return columns, kept
    ones = columns.new_ones(len(columns), 1)
    return torch.cat([columns, ones], 1), torch.cat([kept, kept.new_tensor([part.columns])])


def _places(part: WeightPart, kept: Tensor, block: FactoredGradients) -> list[Tensor]:
    """Return, for each output unit, where its kept inputs lie in a flattened gradient."""
    where = parameter_spans(block.parameters)
    weights = [where[part.name].start + unit * part.columns + kept for unit in range(part.rows)]
    if part.bias is None:
        return weights
    start = where[part.bias].start
    return [torch.cat([row[:-1], row.new_tensor([start + unit])]) for unit, row in enumerate(weights)]


def _weighted_inputs(weights: Tensor, units: list[tuple[int, int]], inputs: list[Tensor]) -> Tensor:
    """Return each unit's inputs times its weight, side by side: (n, sum of inputs)."""
    return torch.cat([inputs[layer] * weights[:, [at]] for at, (layer, _) in enumerate(units)], 1)
