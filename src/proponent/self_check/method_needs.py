"""Trials of what methods need on a few examples: a method that cannot run is left out before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from proponent.errors import UserError
from proponent.features.gradients.capture import Capture
from proponent.features.member_features import Kind, featurize
from proponent.features.member_network import NetworkReader
from proponent.features.views import CheckpointTimes
from proponent.self_check.batch_sizes import short_recipe
from proponent.self_check.subject import Subject
from proponent.settings.split import Arrays
from proponent.torch_failures import explained
from proponent.training.designs import member_run
from proponent.training.replay import Replay

_TRAIN, _QUERIES = 6, 3
"""Numbers of examples that are tried."""
_LARGEST_MATRIX = 2000
"""Largest number of parameters for which a matrix is tried; above it, products with it are."""
_LARGEST_ROOT_MIB = 500
"""Largest root of the GGN that is tried; above it (a sequence model has an output per position and token), a product is."""
FEATURES: tuple[Kind, ...] = ("gradients", "outputs", "representations")


class Trial:
    """Needs of methods on the model of a setting.

    Args:
        subject: setting whose model passed the other checks.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        data, device = subject.data, torch.device(subject.device)
        rows = subject.some(_TRAIN)
        some = (data.x_train[rows], data.y_train[rows], data.x_query[:_QUERIES], data.y_query[:_QUERIES])
        self._data = Arrays(*some).to(device)
        self._device = device
        self._reasons: dict[str, str | None] = {}

    def reason(self, use: str) -> str | None:
        """Return why a need or an operation (``network.kronecker``) cannot be used on this model; None if it can.

        Args:
            use: name as in :mod:`proponent.config.specifications.method_uses`; unknown ones can be used.
        """
        if use not in self._reasons:
            self._reasons[use] = self._try(use)
        return self._reasons[use]

    def _try(self, use: str) -> str | None:
        need, _, operation = use.partition(".")
        attempts: dict[str, Callable[[], object]] = {
            **{kind: partial(self._featurize, kind) for kind in FEATURES},
            "gradients.last": self._last_layer,
            "network": lambda: self._curvature.train,
        }
        if self._subject.recipe is not None:
            attempts["replay"] = lambda: self._replay.end().query_gradients()
            attempts["replay.gradient_and_hessian_products"] = self._walk_back
        if need == "network" and operation:
            attempts[use] = lambda: self._operate(operation)
        if use not in attempts:
            return None
        try:
            with explained(self._model, f"cannot be used for '{use}'"):
                found = attempts[use]()
        except UserError as error:
            return str(error)
        except (MemoryError, RuntimeError):
            return None  # too little memory for this trial; the method itself has a budget
        if isinstance(found, Tensor) and not bool(found.isfinite().all()):
            return f"its derivatives are not finite for '{use}' {self._subject.when}"
        return None

    @cached_property
    def _model(self) -> nn.Module:
        return self._subject.model().to(self._device)

    def _state(self, _: int) -> dict[str, Tensor]:
        return self._model.state_dict()

    def _featurize(self, kind: Kind) -> None:
        featurize(kind, self._model, self._state, 1, self._subject.task, self._data, memory_mib=1000)

    def _last_layer(self) -> None:
        if not Capture(self._model, self._data.x_train[:1]).last:
            raise UserError(
                "the model has no last linear layer with parameters of its own; end it with nn.Linear, or leave this method "
                "out"
            )

    @cached_property
    def _curvature(self) -> Any:
        reader = NetworkReader(
            self._model,
            self._state,
            self._subject.task,
            self._data,
            0,
            CheckpointTimes([1], [1.0], [1.0]),
            weight_decay=self._subject.recipe.weight_decay if self._subject.recipe else 0.0,
            memory_mib=1000,
        )
        return reader.network().at(1.0)

    def _operate(self, operation: str) -> object:
        curvature = self._curvature
        small = curvature.n_parameters <= _LARGEST_MATRIX
        has_small_root = _TRAIN * curvature.root_mib <= _LARGEST_ROOT_MIB
        vector = torch.ones(1, curvature.n_parameters).to(curvature.loss_weight)
        products: dict[str, Callable[[], object]] = {
            "ggn": curvature.ggn if small else lambda: curvature.ggn_product(vector),
            "ggn_root": curvature.ggn_root if has_small_root else lambda: curvature.ggn_product(vector),
            "ggn_product": lambda: curvature.ggn_product(vector),
            "hessian": curvature.hessian if small else lambda: curvature.hessian_product(vector),
            "hessian_product": lambda: curvature.hessian_product(vector),
            "kronecker": lambda: curvature.kronecker(1, 0).eigenvalues,
            "dropped": lambda: curvature.dropped(0.1, 0),
            "adapted": lambda: curvature.adapted(1, 1, 1e-3, 0),
        }
        return products[operation]() if operation in products else None

    @cached_property
    def _replay(self) -> Replay:
        assert self._subject.recipe is not None  # noqa: S101 - replays are tried with a recipe only
        recipe = short_recipe(self._subject.recipe, _TRAIN)
        run = member_run(self._subject.seed, 0)
        return Replay(
            self._subject.build, self._subject.task, recipe, run, self._data, augment=self._subject.augment
        )

    def _walk_back(self) -> Tensor:
        step = next(iter(self._replay.backward()))
        vectors = torch.ones(1, self._replay.n_parameters).to(step.slots)
        return torch.cat([product.flatten() for product in step.gradient_and_hessian_products(vectors)])
