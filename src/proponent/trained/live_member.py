"""Features of one trained model, computed when a method asks for them; those of the training set are kept."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any, cast

from torch import Tensor, nn

from proponent.config.digests.keys import digest
from proponent.features.curvature.member_curvature import Curvature
from proponent.features.gradient_forms import choose_form, gradients_in_form, note_projected
from proponent.features.gradients.block import Block
from proponent.features.gradients.capture import Capture, base_cotangents, target_cotangents
from proponent.features.member_network import NetworkReader, pass_memory_mib
from proponent.features.representations import outputs, representations
from proponent.features.storage_choice import StorageChoice
from proponent.features.views import (
    CheckpointTimes,
    GradientPair,
    History,
    Network,
    OutputPair,
    RepresentationPair,
)
from proponent.methods.shared.workspace import Workspace
from proponent.rows import Rows
from proponent.settings.split import Arrays
from proponent.settings.tasks import Task
from proponent.trained.factorisation_cache import FactorisationCache
from proponent.trained.feature_cache import FeatureCache
from proponent.trained.given_models import State
from proponent.trained.method_choice import Choice, signature_of
from proponent.trained.tensors_digest import tensors_digest


@dataclass(frozen=True, eq=False)
class Problem:
    """What all models share.

    Attributes:
        task: task that gives loss and target.
        x: (n_train, ...) training inputs, on the device to work on.
        y: (n_train, ...) training labels, with the weights of the examples if the task weighs them.
        weight_decay: weight decay of the training.
        memory_mib: memory of features, passes and methods together, in MiB.
        cache: folder with features of the training set; None to compute them in each process.
    """

    task: Task
    x: Rows
    y: Tensor
    weight_decay: float
    memory_mib: int
    cache: FeatureCache | None = None


class LiveMember:
    """One trained model at one or more checkpoints.

    Args:
        index: index among the models.
        module: module that is loaded with each checkpoint in turn.
        states: state dicts, the final one last.
        times: times of the checkpoints.
        problem: training examples, task and memory.
        along: whether values of the training set are kept for all checkpoints, and not for the last one only.
        factorisations: folder for what a method keeps for the training set; None to compute it in each process.
    """

    def __init__(
        self,
        index: int,
        module: nn.Module,
        states: Sequence[State],
        times: CheckpointTimes,
        problem: Problem,
        *,
        along: bool = True,
        factorisations: FactorisationCache | None = None,
    ) -> None:
        self.index, self.times, self.problem = index, times, problem
        self._module, self._states, self._along = module, states, along
        self._factorisations = factorisations
        self.workspace = self._new_workspace()
        self._kept: dict[Any, Any] = {}
        self._form: StorageChoice | None = None
        self._seed = index
        self._pass_mib = pass_memory_mib(problem.memory_mib)

    @property
    def module(self) -> nn.Module:
        """Module of the architecture, with the parameters of the checkpoint that was used last."""
        return self._module

    def state(self, index: int) -> State:
        """Return parameters and buffers at a checkpoint."""
        return self._states[index]

    def call(self, choice: Choice, data: Arrays, **params: Any) -> Any:
        """Return what the function of a method returns for this model alone.

        Args:
            choice: method with hyper-parameters.
            data: training examples and queries.
            params: hyper-parameters in place of those of ``choice``.
        """
        shared = {"data": data, "workspace": self.workspace}
        needs = {
            name: shared[name] if name in shared else self.need(name, data.x_query, data.y_query)
            for name in signature_of(choice.function).positional
        }
        return choice.function(**needs, **{**choice.params, **params})

    def predictions(self, x: Rows) -> Tensor:
        """Return the outputs of the final model for inputs (n, ...)."""
        return outputs(self._capture(len(self._states) - 1), x, self._pass_mib)

    def final_gradients(self, rows: Tensor) -> Block:
        """Return the gradients of the base of some training examples at the final model.

        Args:
            rows: indices of training examples.
        """
        capture, problem = self._capture(len(self._states) - 1), self.problem
        form = self._form or choose_form(capture, len(rows), problem.memory_mib // 2)
        x, y = problem.x[rows], problem.y[rows]
        return gradients_in_form(
            capture, base_cotangents(problem.task), x, y, form, self._seed, self._pass_mib
        )[0]

    def release(self) -> None:
        """Release what is kept of the training set; the next call computes it again."""
        self.workspace = self._new_workspace()
        self._kept.clear()

    def store_factorisations(self) -> None:
        """Write what the method keeps for the training set to the cache, if there is one.

        Raises:
            UserError: the folder cannot be written.
        """
        if self._factorisations is None:
            return
        for owner, key, value in self.workspace.items():
            place = self._place(owner)
            if place is not None:
                self._factorisations.keep(*place, cast(Any, owner), key, value)

    def _new_workspace(self) -> Workspace:
        return Workspace(find=None if self._factorisations is None else self._find)

    def _find(self, owner: object, key: Hashable) -> Any:
        place = self._place(owner)
        if place is None or self._factorisations is None:
            return None
        return self._factorisations.find(*place, cast(Any, owner), key)

    @cached_property
    def _digest(self) -> str:
        """The digest of the model at all checkpoints."""
        return digest([tensors_digest(state) for state in self._states])

    def _place(self, owner: object) -> tuple[Any, str] | None:
        """Return the kind and checkpoint of features of the training set, and the digest of their model."""
        for (kind, index), kept in self._kept.items():
            values = kept.values() if isinstance(kept, dict) else [kept.train]
            if any(value is owner for value in values):
                return (kind, index, self.index), self._digest
        return None

    def need(self, name: str, x: Rows, y: Tensor) -> Any:
        """Return what a method is handed under the name of a need of one model.

        Args:
            name: ``gradients``, ``outputs``, ``representations`` or ``network``.
            x: (n_query, ...) inputs of the queries.
            y: (n_query, ...) labels of the queries.
        """
        if name == "network":
            return self._network(x, y)
        load = {"gradients": self._gradients, "outputs": self._outputs}.get(name, self._representations)
        return History(self.index, self.times, partial(load, x, y))

    def _gradients(self, x: Rows, y: Tensor, index: int) -> GradientPair:
        capture, problem = self._capture(index), self.problem
        if self._form is None:
            rows = len(problem.x) * len(self._states)
            self._form = choose_form(capture, rows, problem.memory_mib // 2)
            note_projected(self._form.dim, bool(capture.last) and not self._form.last_dim, "memory_mib")
        form = (self._form, self._seed, self._pass_mib)

        def features(rows: slice) -> dict[str, Any]:
            task, x, y = problem.task, problem.x[rows], problem.y[rows]
            gradients, out = gradients_in_form(capture, base_cotangents(task), x, y, *form)
            weight, curvature = task.loss_weight(out, y), task.loss_curvature(out, y)
            return {"gradients": gradients, "loss_weight": weight, "loss_curvature": curvature}

        described = {**asdict(self._form), "seed": self._seed} if self._form.dim else {}
        train = self._stored("gradients", index, features, described)
        query, _ = gradients_in_form(capture, target_cotangents(problem.task), x, y, *form)
        rate, duration = self.times.learning_rates[index], self.times.durations[index]
        kept = (train["gradients"], query, train["loss_weight"], train["loss_curvature"])
        return GradientPair(*kept, rate, duration)

    def _outputs(self, x: Rows, y: Tensor, index: int) -> OutputPair:
        capture, problem = self._capture(index), self.problem

        def features(rows: slice) -> dict[str, Tensor]:
            found = outputs(capture, problem.x[rows], self._pass_mib)
            return {"outputs": found, "loss_weight": problem.task.loss_weight(found, problem.y[rows])}

        train = self._stored("outputs", index, features)
        return OutputPair(train["outputs"], outputs(capture, x, self._pass_mib), train["loss_weight"])

    def _representations(self, x: Rows, y: Tensor, index: int) -> RepresentationPair:
        capture = self._capture(index)

        def features(rows: slice) -> dict[str, Tensor]:
            return {"representations": representations(capture, self.problem.x[rows], self._pass_mib)}

        train = self._stored("representations", index, features)["representations"]
        return RepresentationPair(train, representations(capture, x, self._pass_mib))

    def _network(self, x: Rows, y: Tensor) -> Network:
        problem = self.problem
        # The first training example stands in for queries, which each call replaces.
        data = Arrays(problem.x, problem.y, problem.x[:1], problem.y[:1])
        reader = NetworkReader(
            self._module,
            lambda index: self._states[index],
            problem.task,
            data,
            self.index,
            self.times,
            weight_decay=problem.weight_decay,
            memory_mib=problem.memory_mib,
        )
        whole = reader.network()

        def load(index: int) -> Curvature:
            return self._keep(("network", index), lambda: whole.checkpoint(index)).with_queries(x, y)

        def blend(weights: Sequence[float]) -> Curvature:
            kept: Curvature = self._keep(("blend", tuple(weights)), lambda: whole.blend(weights))
            return kept.with_queries(x, y)

        return Network(self.index, self.times, load, blend)

    def _capture(self, index: int) -> Capture:
        self._module.load_state_dict(self._states[index])
        return Capture(self._module, self.problem.x[:1])

    def _stored(
        self,
        kind: str,
        index: int,
        features: Callable[[slice], dict[str, Any]],
        form: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return features of the training set at one checkpoint: kept in memory, from the cache, or computed."""
        cache, x = self.problem.cache, self.problem.x

        def make() -> dict[str, Any]:
            if cache is None:
                return features(slice(None))
            return cache.keep(kind, self._states[index], form or {}, x, features)

        kept: dict[str, Any] = self._keep((kind, index), make)
        return kept

    def _keep(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return a value of the training set, which is kept: at every checkpoint, or at the last one that was used."""
        if key not in self._kept:
            others = [name for name in self._kept if name[0] == key[0]]
            if others and (key[0] == "network" or not self._along):
                del self._kept[others[0]]
            self._kept[key] = make()
        return self._kept[key]
