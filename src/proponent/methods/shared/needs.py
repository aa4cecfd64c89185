"""What a method may be handed: the vocabulary of its arguments.

A method is a function ``attribute(<needs>, *, <hyper-parameters>) -> Tensor`` (n_query, n_train). Its
positional arguments are its needs, chosen by name from :data:`NEEDS`; the rule's inputs follow from them, and
the step calls it once a member. Its keyword-only arguments, annotated and with defaults, are its
hyper-parameters. Both are read from the source at parse time, so that no torch is imported to plan a run.

A method that returns a tuple of tensors has each of them averaged over the members *separately*, and their
product is the score (TRAK). A function ``finish(scores, <needs>)`` in its module turns the combined scores
into the final ones; it may ask for data and retrainings, but for nothing of a member. A method that returns
a mapping stores more than its ``scores``: a tensor of no dimension is a figure for the manifest, averaged over
the members, and others are kept where there is one member. Where the effect of a group is no sum of scores, a
function ``group_scores(stored, masks)`` (n_subsets, n_query) says from such a mapping what groups count for; such a
method has one member. A function ``self_influence``, with the same keywords, gives (n_train,) where it is defined.

A *checkpoint* is named by the fraction of training at which it was saved: ``1.0`` is the final model, and
``0.0625`` is the saved checkpoint nearest (in ratio) to one sixteenth of all steps.

Every gradient here is that of the *target* f (higher = better). The gradient of an example's loss is
``-loss_weight * grad f`` (classification: f = log(p / (1 - p)) and loss_weight = 1 - p; otherwise f = -loss
and the weight is 1), so that one set of gradients serves every method.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from torch import Tensor

NEEDS = (
    "data",
    "gradients",
    "outputs",
    "representations",
    "network",
    "replay",
    "retrainings",
    "permutations",
    "scores",
    "workspace",
)


class Data(Protocol):
    """The data, without any model. Never holds which labels were corrupted."""

    x_train: Tensor
    y_train: Tensor
    x_query: Tensor
    y_query: Tensor


class Retrainings(Protocol):
    """What the queries' targets became in retrainings on subsets, of the ``fit`` design: never those that evaluate."""

    masks: Tensor
    """(m, n_train) bool, True = kept; subsets of which every seed diverged are left out."""
    targets: Tensor
    """(m, n_query), averaged over the seeds that did not diverge."""


class Permutations(Protocol):
    """What the queries' targets became while examples joined in random orders, of the ``permutations`` design."""

    masks: Tensor
    """(n_orders, n_prefixes, n_train) bool: nested subsets of sizes that all orders share, the last keeping everything."""
    targets: Tensor
    """(n_orders, n_prefixes, n_query), averaged over seeds; orders in which a retraining diverged are left out."""


Scores = Mapping[str, Tensor]
"""What other methods made of the same queries, (n_query, n_train) each, by the names that the YAML lists as ``scores``."""


class GradientBlock(Protocol):
    """Per-example gradients of n examples, factored, dense or projected: linear algebra that hides which."""

    @property
    def n_parameters(self) -> int:
        """Number of columns."""
        ...

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def inner(self, other: GradientBlock) -> Tensor:
        """Return all inner products with ``other``, (len(self), len(other))."""
        ...

    def inner_dense(self, vectors: Tensor) -> Tensor:
        """Return the inner products with each row of ``vectors``, (k, n_parameters) -> (len(self), k).

        The rows are laid out as those of :meth:`dense`, which is not formed.
        """
        ...

    def norms_squared(self) -> Tensor:
        """Return the squared norms, (len(self),)."""
        ...

    def last_layer(self) -> GradientBlock:
        """Return the same gradients restricted to the parameters of the last linear layer."""
        ...

    def by_layer(self) -> Sequence[GradientBlock]:
        """Return the same gradients, those of each weight (with its bias) or other parameter by themselves.

        A projection mixes the layers, and is one.
        """
        ...

    def project_sides(
        self, side: int, kind: str, seed: int, scale: Tensor | None = None
    ) -> Sequence[GradientBlock]:
        """Return the gradients of each layer projected from both sides, to at most ``side`` x ``side`` dimensions.

        Kinds: gaussian, mask. ``scale`` (n_parameters,) multiplies the entries first. Only where gradients are
        factored, as those of a :class:`Network` are.
        """
        ...

    def embeddings(self) -> GradientBlock:
        """Return the same gradients restricted to the tables of token embeddings."""
        ...

    def mask(self, count: int, seed: int) -> GradientBlock:
        """Return ``count`` random coordinates, scaled so that inner products are unbiased."""
        ...

    def mean_squares(self, weights: Tensor) -> Tensor:
        """Return the mean over examples of ``(weights_i g_i)^2``, (n_parameters,)."""
        ...

    def project(self, dim: int, kind: str, seed: int) -> GradientBlock:
        """Return a seeded random projection to ``dim`` dimensions; kinds: rademacher, gaussian, sparse."""
        ...

    def dense(self) -> Tensor:
        """Return the gradients as a matrix, (len(self), n_parameters)."""
        ...


class TargetPair(Protocol):
    """Gradients of the target for the training examples and the queries, of one network as it is."""

    @property
    def train(self) -> GradientBlock:
        """Of the training examples."""
        ...

    @property
    def query(self) -> GradientBlock:
        """Of the queries."""
        ...

    @property
    def loss_weight(self) -> Tensor:
        """Return (n_train,) in [0, 1]: 1 - p for classification, 1 otherwise."""
        ...

    def gram(self) -> Tensor:
        """Return the inner products of the training gradients, (n_train, n_train)."""
        ...


class GradientPair(Protocol):
    """Gradients of the target at one checkpoint for the training examples and the queries."""

    train: GradientBlock
    query: GradientBlock
    loss_weight: Tensor
    """(n_train,) in [0, 1]: 1 - p for classification, 1 otherwise."""
    learning_rate: float
    """Learning rate in force at the checkpoint."""
    duration: float
    """Sum of the learning rates up to the checkpoint, divided by 1 - momentum: how far training went."""

    def gram(self) -> Tensor:
        """Return the inner products of the training gradients, (n_train, n_train); kept with the pair."""
        ...


class Gradients(Protocol):
    """Gradients along the training of one member."""

    member: int
    """Index of the member: seeds the draws, such as projections, that must differ between members."""
    durations: list[float]
    """Of all saved checkpoints, the final one last; as in :class:`GradientPair`."""

    def at(self, checkpoint: float) -> GradientPair:
        """Return the pair at a checkpoint; the most recent one is kept, so ask in order."""
        ...

    def along(self) -> Iterator[GradientPair]:
        """Yield the pairs of all checkpoints, the final one last."""
        ...


class OutputPair(Protocol):
    """Outputs of one member at one checkpoint."""

    train: Tensor
    """(n_train, n_outputs) logits, or predictions."""
    query: Tensor
    loss_weight: Tensor
    """(n_train,)"""


class Outputs(Protocol):
    """Outputs along the training of one member."""

    def at(self, checkpoint: float) -> OutputPair:
        """Return the outputs at a checkpoint."""
        ...


class RepresentationPair(Protocol):
    """Inputs of the last linear layer."""

    train: Tensor
    """(n_train, d)"""
    query: Tensor
    """(n_query, d)"""


class Representations(Protocol):
    """Representations of one member."""

    def at(self, checkpoint: float) -> RepresentationPair:
        """Return the representations at a checkpoint."""
        ...


class RotatedGradients(Protocol):
    """Gradients of n examples in the coordinates of a Kronecker eigenbasis."""

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def dense(self) -> Tensor:
        """Return the coordinates, (n, number of coordinates)."""
        ...

    def inner_dense(self, vectors: Tensor) -> Tensor:
        """Return the inner products with each row of ``vectors``, (n, k)."""
        ...

    def squares_inner(self, vectors: Tensor) -> Tensor:
        """Return ``sum_p c_p^2 v_p`` of the coordinates c for each row v of ``vectors``, (n, k)."""
        ...


class KroneckerBasis(Protocol):
    """Eigenbasis of the Kronecker-factored Gauss-Newton matrix, block by block (K-FAC, EK-FAC)."""

    eigenvalues: Tensor
    """(number of coordinates,) exact diagonal of the Gauss-Newton matrix of the mean loss in the basis (EK-FAC)."""
    factored: Tensor
    """(number of coordinates,) products of the eigenvalues of the two factors (K-FAC)."""
    spans: tuple[slice, ...]
    """Coordinates of each layer."""
    approximated: tuple[str, ...]
    """Layers of which one side was too wide to diagonalise and keeps its own axes."""

    def rotate(self, block: GradientBlock) -> RotatedGradients:
        """Return the gradients of a block (of :class:`Curvature`) in the basis."""
        ...

    def to_eigenbasis(self, vectors: Tensor) -> Tensor:
        """Return the coordinates (k, n) of vectors (k, n_parameters) laid out as those of :meth:`GradientBlock.dense`."""
        ...

    def from_eigenbasis(self, coordinates: Tensor) -> Tensor:
        """Return the vectors with these coordinates: the inverse of :meth:`to_eigenbasis`."""
        ...

    def layer_means(self, vector: Tensor) -> Tensor:
        """Return for every coordinate the mean of ``vector`` (n_parameters,) over its layer."""
        ...


class Curvature(Protocol):
    """One member at one checkpoint, trained on J = mean loss + weight_decay / 2 ||theta||^2."""

    n_train: int
    n_parameters: int
    n_outputs: int
    weight_decay: float
    duration: float
    """As in :class:`GradientPair`."""
    train: GradientBlock
    """Gradients of the target f."""
    query: GradientBlock
    loss_weight: Tensor

    def ggn(self) -> Tensor:
        """Return the Gauss-Newton matrix of the mean loss, (n_parameters, n_parameters), no weight decay."""
        ...

    def hessian(self) -> Tensor:
        """Return the Hessian of the mean loss, of the same shape, no weight decay; for small models."""
        ...

    def ggn_root(self) -> GradientBlock:
        """Return n_train * n_outputs rows B with GGN = B^T B / n_train, as a gradient block."""
        ...

    def ggn_product(self, vectors: Tensor, examples: Tensor | None = None) -> Tensor:
        """Return GGN @ v for each row v of ``vectors``, (k, n_parameters), its mean over all or some examples."""
        ...

    def hessian_product(self, vectors: Tensor, examples: Tensor | None = None) -> Tensor:
        """Return Hessian @ v for each row v of ``vectors``, (k, n_parameters), its mean over all or some examples."""
        ...

    def dropped(self, drop: float, seed: int) -> TargetPair:
        """Return the gradients of the network without a share ``drop`` of its hidden units, the same for all examples."""
        ...

    def adapted(self, rank: int, epochs: int, learning_rate: float, seed: int) -> TargetPair:
        """Return the gradients by low-rank adapters of the linear layers alone, which are trained for ``epochs``."""
        ...

    def kronecker(self, samples: int, seed: int) -> KroneckerBasis:
        """Return the Kronecker eigenbasis; ``samples`` draws of labels an example, 0 for the exact expectation."""
        ...


class Stage(Protocol):
    """A part of training, on examples of its own."""

    examples: slice
    """Of the training set."""
    checkpoint: int
    """The index of the one saved at its end."""
    network: Network
    """With these examples alone, and all checkpoints: means over examples are over the stage's."""


class Network(Protocol):
    """One member along training, for methods that need curvature."""

    member: int
    """As in :class:`Gradients`."""
    durations: list[float]
    """Of all saved checkpoints, the final one last; as in :class:`GradientPair`."""
    fractions: list[float]
    """Of all steps, at these checkpoints."""
    stages: Sequence[Stage]
    """In order; most trainings are one stage of all examples."""

    def at(self, checkpoint: float) -> Curvature:
        """Return the curvature at a checkpoint; the most recent one is kept."""
        ...

    def checkpoint(self, index: int) -> Curvature:
        """Return the curvature at a saved checkpoint, by its index among the durations."""
        ...

    def along(self) -> Iterator[Curvature]:
        """Yield the curvature at all checkpoints, the final one last."""
        ...

    def kronecker(
        self, weights: list[float], samples: int, seed: int, scale: Tensor | None = None
    ) -> KroneckerBasis:
        """Return the basis of factors and eigenvalues averaged over the checkpoints with these weights, one each.

        With ``scale`` (n_parameters,) they are those of the gradients times it.
        """
        ...

    def blend(self, weights: list[float]) -> Curvature:
        """Return the curvature at the weighted mean of the checkpoints' parameters, one weight each."""
        ...


class ReplayPoint(Protocol):
    """A member's training after some number of steps."""

    steps: int
    slots: Tensor
    """(n_slots, p): the parameters, then the optimiser's moments (SGD's velocity; Adam's two)."""

    def query_gradients(self) -> Tensor:
        """Return the gradients of the queries' targets, (n_query, p)."""
        ...

    def loss_gradients(self, examples: Tensor) -> Tensor:
        """Return the gradients of the *losses* of training examples without dropout, (len(examples), p)."""
        ...

    def preconditioner(self) -> Tensor:
        """Return the factors (p,) beside the learning rate with which the optimiser multiplies gradients now."""
        ...

    def directions(self, examples: Tensor) -> Tensor:
        """Return the steps against which each of the examples alone would move the parameters next, (len(examples), p).

        For SGD they are the gradients of the losses, for Adam with its moments; weight decay is left out.
        """
        ...


class ReplayStep(ReplayPoint, Protocol):
    """One step of training, and its state before. Weight decay is part of the optimiser's update."""

    examples: Tensor
    """(b,) indices of the batch's examples."""

    @property
    def transition(self) -> Tensor:
        """Derivatives of each slot after by each slot before at a fixed gradient, (n_slots, n_slots, p or 1)."""
        ...

    @property
    def gain(self) -> Tensor:
        """Derivatives of each slot after by the gradient of the batch's mean loss, (n_slots, p or 1)."""
        ...

    def gradients(self) -> Tensor:
        """Return the gradients of the losses of the batch's examples, dropout and all, (b, p)."""
        ...

    def gradient_and_hessian_products(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return inner products with those gradients, (k, b), and with the batch's Hessian, (k, p)."""
        ...


class Replay(Protocol):
    """One member's training, that can be walked through again from its end."""

    member: int
    n_train: int
    n_slots: int
    n_steps: int
    rates: Sequence[float]
    """Learning rate of every step."""
    decay_is_decoupled: bool
    """Whether weight decay acts on the parameters themselves (AdamW), not through the gradient."""
    queries_at_a_time: int
    """How many vectors of n_slots x p fit, to be carried back together."""

    def end(self) -> ReplayPoint:
        """Return the end of training."""
        ...

    def at(self, fraction: float) -> ReplayPoint:
        """Return training after a fraction of its steps."""
        ...

    def backward(self) -> Iterator[ReplayStep]:
        """Yield all steps, the last first."""
        ...
