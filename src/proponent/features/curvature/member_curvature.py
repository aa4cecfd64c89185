"""Curvature of the mean training loss at one checkpoint: matrices for small models, products for any.

With J_i the derivative of the outputs of example i with respect to the parameters, and H_i the Hessian of its loss with
respect to its outputs, the generalised Gauss-Newton matrix is ``G = (1/n) sum_i J_iᵀ H_i J_i`` (Schraudolph 2002;
Martens 2020), which is positive semi-definite if the loss is convex in the outputs. Weight decay is never included.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from proponent.chunking import chunks
from proponent.errors import UserError
from proponent.features import variants
from proponent.features.curvature.curvature_products import CurvatureProducts
from proponent.features.curvature.gauss_newton import PlainLayers, root_cotangents, sampled_cotangents
from proponent.features.curvature.kronecker import KroneckerBasis
from proponent.features.curvature.kronecker_factors import factors_mib
from proponent.features.curvature.product_choice import is_formed
from proponent.features.gradients.block_assembly import input_side, merged_uses
from proponent.features.gradients.capture import Capture, base_cotangents, target_cotangents
from proponent.features.gradients.factored_gradients import FactoredGradients
from proponent.features.gradients.per_parameter import symmetrize
from proponent.features.variants import VariantPair
from proponent.memory_budget import MIB, MemoryBudget
from proponent.rows import Rows
from proponent.settings.tasks import Task
from proponent.settings.tasks.sample_weights import with_sample_weights

HESSIAN_ROWS = 512
UNLIMITED = MemoryBudget(math.inf)


class Curvature:
    """One member at one checkpoint; see :class:`proponent.methods.shared.needs.Curvature`.

    Args:
        module: module with the parameters of the checkpoint, which are copied.
        task: task that gives the loss and its Hessian with respect to the outputs.
        x: (n_train, ...) training inputs.
        y: (n_train, ...) training labels.
        x_query: (n_query, ...) inputs of the queries.
        y_query: (n_query, ...) labels of the queries.
        weight: (n_train,) weights of the training examples, if ``y`` does not hold them already.
        weight_decay: weight decay of the recipe.
        duration: sum of the learning rates up to the checkpoint, divided by 1 - momentum.
        memory_mib: memory for forward and backward passes in MiB, in addition to the results.
        budget: memory of passes, gradients and methods together.

    Raises:
        UserError: the gradients do not fit.
    """

    def __init__(
        self,
        module: nn.Module,
        task: Task,
        x: Rows,
        y: Tensor,
        x_query: Rows,
        y_query: Tensor,
        weight: Tensor | None = None,
        *,
        weight_decay: float,
        duration: float,
        memory_mib: int = 1000,
        budget: MemoryBudget = UNLIMITED,
    ) -> None:
        if weight is not None:
            task, y = with_sample_weights(task, y, weight)
        self.weight_decay = weight_decay
        self.duration = duration
        self._capture = Capture(module, x[:1])
        self._module, self._task, self._x, self._y = self._capture.module, task, x, y
        self._query_data = (x_query, y_query)
        self._memory_mib = memory_mib
        self.shapes = tuple(self._capture.shapes.values())
        self.pass_mib = float(memory_mib)
        itemsize = self._itemsize = next(iter(self._capture.parameters.values())).element_size()
        self.kronecker_mib = factors_mib(self.shapes, itemsize)
        self.root_row = self._capture.numbers_per_root_row(x)
        examples = len(x) + len(x_query)
        held = examples * self._capture.numbers_per_example() * itemsize / MIB
        budget.require(held, f"the gradients of {examples} examples and queries")
        self.budget = budget.holding(held)
        self.train, outputs = self._capture.all_gradients(x, y, base_cotangents(task), memory_mib)
        self.query, _ = self._capture.all_gradients(x_query, y_query, target_cotangents(task), memory_mib)
        self.loss_weight = task.loss_weight(outputs, y)
        self._formed: Tensor | None = None
        self.n_train = len(x)
        self.n_parameters = self.train.n_parameters
        self.n_outputs = outputs[0].numel()
        self._products = CurvatureProducts(
            self._module, self._capture.parameters, self._capture.shapes, task, self._capture.activations
        )

    def with_queries(self, x: Rows, y: Tensor) -> Curvature:
        """Return the curvature for other queries; what depends on the training examples alone is shared.

        Args:
            x: (n_query, ...) inputs of the queries.
            y: (n_query, ...) labels of the queries.

        Raises:
            UserError: the gradients of the queries do not fit into what the training examples leave of the memory.
        """
        other = copy.copy(self)
        held = len(x) * self._capture.numbers_per_example() * self._itemsize / MIB
        other.budget = self.budget.holding(held)
        if other.budget.held_mib > other.budget.total_mib:
            raise UserError(
                f"the gradients of {len(x)} queries do not fit into memory_mib ({other.budget.total_mib:.0f}): raise it to "
                f"{math.ceil(other.budget.held_mib)} or more, or give fewer queries per call"
            )
        other._query_data = (x, y)
        cotangents = target_cotangents(self._task)
        other.query, _ = self._capture.all_gradients(x, y, cotangents, self._memory_mib)
        return other

    def dropped(self, drop: float, seed: int) -> VariantPair:
        """Return the gradients of the network without a share ``drop`` of its hidden units; see :mod:`.variants`."""
        return self._variant(lambda module: variants.dropped(module, self._x[:1], drop, seed))

    def adapted(self, rank: int, epochs: int, learning_rate: float, seed: int) -> VariantPair:
        """Return the gradients with respect to adapters of low rank, trained for ``epochs``; see :mod:`.variants`."""
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
        module = variants.copy_module(self._module)
        module.load_state_dict(self._capture.parameters, strict=False)
        data = ((self._x, self._y), self._query_data)
        return variants.gradients_of(
            make(module), self._task, *data, self._memory_mib, self.budget.left_mib / 2
        )

    def ggn(self) -> Tensor:
        """Return the GGN of the mean loss, (n_parameters, n_parameters).

        Models of plain linear layers have a faster way (:class:`.PlainLayers`); for others the rows of
        :meth:`ggn_root` are written out, some examples at a time.
        """
        only_linear = {use.kind for use in self._capture.uses} == {"linear"}
        if only_linear and PlainLayers.are_all_of(self.train):
            layers = PlainLayers(self.train)
            roots = self._root_chunks(layers.numbers_per_output(self.n_outputs))
            return layers.ggn(roots, self.n_outputs)
        total = torch.zeros(
            self.n_parameters, self.n_parameters, dtype=self.train.dtype, device=self.train.device
        )
        for _, root in self._root_chunks(2 * self.n_parameters):
            written = root.dense()
            total.addmm_(written.T, written)
        return total.div_(self.n_train)

    @property
    def root_mib(self) -> float:
        """Memory of one example's part of :meth:`ggn_root` while it is computed, in MiB: a backward pass for each output."""
        numbers = self._capture.activations + 2 * self.root_row
        return self.n_outputs * numbers * self._itemsize / MIB

    def ggn_root(self) -> FactoredGradients:
        """Return n_train * n_outputs rows B with GGN = Bᵀ B / n, those of one example next to each other."""
        cotangents = root_cotangents(self._task)
        root, _ = self._capture.all_gradients(self._x, self._y, cotangents, self._memory_mib)
        return root

    def ggn_product(self, vectors: Tensor, examples: Tensor | None = None, *, count: int = 0) -> Tensor:
        """Return GGN @ v for each row v of ``vectors``, (k, n_parameters), as the mean over all or some examples.

        With a ``count`` of vectors that will be multiplied in all, the matrix is formed where that is cheaper.
        """
        if examples is None and count:
            sizes = (self.n_parameters, self.n_outputs, self._capture.multiplications(), self._itemsize)
            if is_formed(*sizes, count):
                self._products.refuse_one_sided(self._x)
                if self._formed is None:
                    self._formed = self.ggn()
                return vectors @ self._formed
        return self._products.ggn(vectors, *self._rows(examples))

    def hessian_product(self, vectors: Tensor, examples: Tensor | None = None) -> Tensor:
        """Return Hessian @ v for each row v of ``vectors``, (k, n_parameters), over all or some examples."""
        return self._products.hessian(vectors, *self._rows(examples))

    def hessian(self) -> Tensor:
        """Return the Hessian of the mean loss, (n_parameters, n_parameters), from products with unit vectors."""
        size, dtype, device = self.n_parameters, self.train.dtype, self.train.device
        found = torch.zeros(size, size, dtype=dtype, device=device)
        for rows in chunks(size, HESSIAN_ROWS):
            units = torch.zeros(rows.stop - rows.start, size, dtype=dtype, device=device)
            units[:, rows].fill_diagonal_(1.0)
            found[rows] = self.hessian_product(units)
        symmetrize(found)
        return found

    def kronecker(self, samples: int, seed: int) -> KroneckerBasis:
        """Return the eigenbasis of the Kronecker-factored GGN, with its eigenvalues.

        Args:
            samples: random combinations of the outputs per example (:func:`.sampled_cotangents`); 0 for the exact
                expectation over labels, with one backward pass per output.
            seed: seed of the random combinations.
        """
        return kronecker_of(lambda: iter([(self, 1.0)]), samples, seed)

    def sides(self) -> dict[str, tuple[str, ...]]:
        """Return the side of the outer products that is the input, ``left`` or ``right``, per weight and term."""
        kinds: dict[str, list[str]] = {}
        uses = self._capture.uses
        for first, *_ in merged_uses(uses):
            kinds.setdefault(uses[first].weight, []).append(input_side(uses[first]))
        return {name: tuple(found) for name, found in kinds.items()}

    def roots(self, samples: int, seed: int) -> Iterator[FactoredGradients]:
        """Yield the rows of a root of the GGN, for as many examples at a time as fit; arguments as in :meth:`kronecker`."""
        task = self._task
        cotangents = sampled_cotangents(task, samples, seed) if samples else root_cotangents(task)
        step = self._capture.chunk_size(self._x, self._memory_mib, samples or self.n_outputs)
        for rows in chunks(self.n_train, step):
            yield self._capture.gradients(self._x[rows], self._y[rows], cotangents)[0]

    def _rows(self, examples: Tensor | None) -> tuple[Rows, Tensor]:
        """Return inputs and labels of some training examples; None for all."""
        return (self._x, self._y) if examples is None else (self._x[examples], self._y[examples])

    def _root_chunks(self, numbers: int) -> Iterator[tuple[slice, FactoredGradients]]:
        """Yield ranges of examples and their root, as many at a time as fit with ``numbers`` elements per output."""
        fit = self._memory_mib * 2**20 // (numbers * self.n_outputs * self._itemsize)
        step = min(max(1, fit), self._capture.chunk_size(self._x, self._memory_mib, self.n_outputs))
        cotangents = root_cotangents(self._task)
        for rows in chunks(self.n_train, step):
            yield rows, self._capture.gradients(self._x[rows], self._y[rows], cotangents)[0]


def kronecker_of(
    networks: Callable[[], Iterator[tuple[Curvature, float]]],
    samples: int,
    seed: int,
    scale: Tensor | None = None,
) -> KroneckerBasis:
    """Return the eigenbasis of the weighted mean of several networks' Kronecker factors, with the mean of the eigenvalues.

    Args:
        networks: function that yields the networks with their weights, which add up to 1; called three times.
        samples: random combinations of the outputs per example, as in :meth:`Curvature.kronecker`.
        seed: seed of the random combinations.
        scale: (n_parameters,) factors that multiply gradients first; None for no factors.
    """
    first, _ = next(networks())
    repeats = samples or first.n_outputs

    def roots() -> Iterator[tuple[FactoredGradients, float]]:
        for network, weight in networks():
            for root in network.roots(samples, seed):
                yield root, weight

    return KroneckerBasis(roots, first.sides(), repeats, first.n_train, scale)
