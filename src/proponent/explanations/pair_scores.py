"""Scores of one pair of query and training example, as differentiable functions of the features of one of the two.

The other example and everything that the method computed from the training set (dual variables, the inverse of TRAK's
kernel) are fixed. Two kinds cover the methods whose scores have a closed form:

- kernels of representations, ``coefficient * k(h(x), h')``: DualDA, representer points, similarities;
- kernels of gradients, ``w(x) <grad f(x), v>`` with a fixed direction ``v`` in parameter space: GradDot, TRAK. The inner
  product is the derivative of f along ``v``, one forward-mode pass for any number of inputs, and no gradient is formed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jvp

Score = Callable[[Tensor], Tensor]
"""Function from features (m, ...) to one number per row, (m,)."""
Parameters = Mapping[str, Tensor]
"""Tensors by the name of the parameter."""


@dataclass(frozen=True)
class RepresentationKernel:
    """``coefficient * k(h(x), h')``, where k is the inner product or the cosine.

    Attributes:
        represent: function from features (m, ...) to representations (m, d).
        other: (d,) representation of the other example.
        coefficient: factor, such as a dual variable.
        cosine: whether both representations are divided by their lengths.
        bias: whether a 1 is appended to both representations.
    """

    represent: Callable[[Tensor], Tensor]
    other: Tensor
    coefficient: float
    cosine: bool = False
    bias: bool = False

    def __call__(self, features: Tensor) -> Tensor:
        """Return the score of each row, (m,)."""
        return self.coefficient * self.kernel(self.represent(features))

    def kernel(self, representations: Tensor) -> Tensor:
        """Return k of each row of ``representations`` (m, d) and the other example, (m,)."""
        if self.cosine:
            return torch.nn.functional.cosine_similarity(representations, self.other[None])
        return representations @ self.other + float(self.bias)


@dataclass(frozen=True)
class TangentKernel:
    """``<grad value(x), direction>``: the derivative of ``value`` along a direction in parameter space.

    Attributes:
        value: function from parameters and features (m, ...) to values (m,), such as the target of a task.
        parameters: parameters of the model.
        direction: direction, with the names and shapes of ``parameters``.
    """

    value: Callable[[Parameters, Tensor], Tensor]
    parameters: Parameters
    direction: Parameters

    def __call__(self, features: Tensor) -> Tensor:
        """Return the score of each row, (m,)."""
        slope: Tensor = jvp(
            lambda parameters: self.value(parameters, features),
            (dict(self.parameters),),
            (dict(self.direction),),
        )[1]
        return slope


@dataclass(frozen=True)
class MeanScore:
    """The mean over models and checkpoints of products ``weight * kernel``.

    Attributes:
        kernels: kernel of each model and checkpoint.
        weights: weight of each model and checkpoint, which may depend on the features.
        product_of_means: whether both factors are averaged separately, as in TRAK.
    """

    kernels: Sequence[Score]
    weights: Sequence[Score]
    product_of_means: bool = False

    def __call__(self, features: Tensor) -> Tensor:
        """Return the score of each row, (m,)."""
        kernels = torch.stack([kernel(features) for kernel in self.kernels])
        weights = torch.stack([weight(features) for weight in self.weights])
        if self.product_of_means:
            return kernels.mean(0) * weights.mean(0)
        return (kernels * weights).mean(0)


def constant(value: float) -> Score:
    """Return the score that is ``value`` for all features."""
    return lambda features: features.new_full((len(features),), value)
