"""Attribution from Python: any method that needs no retraining, on models that are trained already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from proponent.attribution.scoring import Scorer, accepted
from proponent.attribution.stored_values import check_values, clear_unresolved_rows
from proponent.chunking import chunks
from proponent.config.recipe_schema import Precision
from proponent.errors import UserError
from proponent.features.variants import copy_module
from proponent.features.views import CheckpointTimes
from proponent.progress import progress
from proponent.rows import Rows
from proponent.settings.floating_types import converted_model
from proponent.settings.model_preparation import prepare_model
from proponent.settings.split import Arrays, check_tokens
from proponent.trained.factorisation_cache import FactorisationCache
from proponent.trained.feature_cache import FeatureCache
from proponent.trained.given_arguments import check_arguments, history_of, refuse_missing, usable_device
from proponent.trained.given_data import check_like_train, given_rows
from proponent.trained.given_models import Given, State, state_of
from proponent.trained.given_task import given_task
from proponent.trained.live_member import LiveMember, Problem
from proponent.trained.method_choice import OF_MODELS, choose_method
from proponent.trained.model_checks import checked_model
from proponent.trained.needed_memory import ModelSize, kept_members, largest_block

History = tuple[list[State], CheckpointTimes]
"""States of a model along its training, the final one last, and their times."""


class Top(NamedTuple):
    """The strongest proponents (or opponents) of each query."""

    indices: Tensor
    """(n_query, k) int64, indices of training examples, the strongest first."""
    values: Tensor
    """(n_query, k) float32, their scores."""


class Attributor:
    """A method, applied to models that are trained already; no file is written, unless there is a ``cache``.

    What depends on the training examples alone (their gradients, factorisations of the curvature) is computed in the first
    call and serves all later ones.

    Args:
        method: name of a method, such as ``trak``; ``trak-10`` needs ten models, and ``trak`` uses all that are given.
            :func:`proponent.methods` lists them.
        model: the trained model in the state to be attributed; it is copied and not changed, and parameters in
            bfloat16 or float16 are converted to float32. With ``models`` or ``checkpoints``, the architecture that they
            are loaded into.
        train: training examples in the order in which scores are wanted: a pair (inputs, labels) of arrays, a dataset of
            such pairs, or an unshuffled ``DataLoader``. Inputs are a tensor, a tuple or a dictionary of tensors.
        task: name of a task, a mapping of its name and arguments, or a class with methods ``loss`` and ``target`` (see
            ``docs/tasks.md``).
        models: independently trained models, over which scores are averaged: modules, state dicts or paths.
        checkpoints: checkpoints of one training, the final one last: pairs (state, learning rate) or triples (state,
            learning rate, number of optimiser steps until then). Without steps they are taken to be equally far apart.
        weight_decay: weight decay of the training.
        momentum: momentum of the training, by which steps are longer than their learning rate.
        device: device to work on; by default that of the model.
        dtype: floating point numbers to work in, ``torch.float64`` or ``torch.float32``; by default those of the model.
        memory_mib: memory of features and methods, in MiB; a method that needs more is refused.
        cache: folder in which the features of the training set are kept for later processes.
        **params: hyper-parameters of the method's function. They are the defaults otherwise: nothing is tuned here.

    Raises:
        UserError: the method does not exist or needs something that was not given, a hyper-parameter is unknown, the data
            cannot be used, names of tensors do not match, or the model cannot be differentiated exactly.

    Examples:
        GradDot on a linear model with weights 0: the second example is a proponent of the query, the third an opponent.

        >>> import proponent, torch
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = torch.nn.init.zeros_(model.weight)
        >>> train = torch.tensor([[1.0, 0.0], [2.0, 1.0], [1.0, 1.0]]), torch.tensor([0, 0, 1])
        >>> query = torch.tensor([[1.0, 0.0]]), torch.tensor([0])
        >>> attributor = proponent.Attributor("graddot", model, train, task="classification")
        >>> attributor.attribute(query)
        tensor([[ 1.,  2., -1.]])
        >>> attributor.top(query, k=2)
        Top(indices=tensor([[1, 0]]), values=tensor([[2., 1.]]))
        >>> attributor.top(query, k=1, opponents=True).indices
        tensor([[2]])
        >>> attributor.self_influence()
        tensor([0.5000, 2.5000, 1.0000])
    """

    def __init__(
        self,
        method: str,
        model: nn.Module,
        train: Any,
        *,
        task: Any = "classification",
        models: Sequence[Given] | None = None,
        checkpoints: Sequence[Sequence[Any]] | None = None,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        memory_mib: int = 4000,
        cache: str | PathLike[str] | None = None,
        **params: Any,
    ) -> None:
        training = {"weight_decay": weight_decay, "momentum": momentum}
        check_arguments(model, models, checkpoints, dtype, **training, memory_mib=memory_mib, cache=cache)
        self._choice = choose_method(method, params, final_only=checkpoints is None)
        self._task, configured = given_task(task)
        count = len(models) if models is not None else 1
        if count > 1 and self._choice.config.members == 1 and self._uses_models:
            # all models that are given are used, as under the name with their number
            self._choice = choose_method(f"{method}-{count}", params, final_only=True)
        refuse_missing(self._choice, configured, count, checkpoints)
        self._configured = self._choice.params
        self._device = usable_device(device) if device is not None else next(model.parameters()).device
        module = converted_model(prepare_model(copy_module(model)), Precision.float32).to(self._device).eval()
        if dtype is not None:
            module = module.to(dtype)
        self._dtype = next(module.parameters()).dtype
        x, self._y, weight = given_rows(train, self._task, self._dtype, "train")
        data = Arrays(x, self._y, x[:1], self._y[:1], weight).to(self._device)
        self._y = data.y_train
        weighted, data = data.weighted(self._task)
        own = (weighted, data.x_train, data.y_train)
        kept = FeatureCache.of(Path(cache), module, *own) if cache is not None else None
        self._problem = Problem(*own, weight_decay, memory_mib, kept)
        if checkpoints is not None:
            histories: list[History] = [history_of(checkpoints, module, momentum)]
        else:
            once = CheckpointTimes([1], [1.0], [1.0])
            histories = [([state_of(given, module)], once) for given in models or [model]]
        self._begin(module, histories)

    def _begin(
        self, module: nn.Module, histories: Sequence[History], member: Callable[..., LiveMember] = LiveMember
    ) -> None:
        """Check the first model, and make the members; the choice, the task and the problem are set before.

        Args:
            module: module that is loaded with each state in turn.
            histories: states of each model along its training, the final one last, and their times.
            member: class of the members, or a function with its arguments.
        """
        histories = histories[: self._choice.config.members]
        first = histories[0][0]
        self._outputs: Tensor | None = None
        self._size: ModelSize | None = None
        if self._uses_models:
            self._outputs, self._size = checked_model(module, first[-1], self._problem)
        self._keeps, along = kept_members(
            self._choice, self._size, self._problem.memory_mib, len(first), self._source
        )
        self._members = [
            member(
                *(index, module, states, times, self._problem),
                along=along,
                factorisations=self._factorisations(times),
            )
            for index, (states, times) in enumerate(histories)
        ]

    def attribute(self, queries: Any) -> Tensor:
        """Return the scores of every training example for every query.

        Args:
            queries: queries with labels, in one of the forms of ``train``.

        Returns:
            (n_query, n_train) float32 on the CPU, in units of the method; compare the scores of one query with each other,
            and not those of different methods. A positive score says that having the example in the training set raises
            the target of the query (a proponent), a negative one that it lowers it (an opponent).

        Raises:
            UserError: the queries do not fit the training examples, or the method fails on this model.
        """
        x, y = self._rows(queries, "queries")
        block = len(x)
        if self._size is not None and self._may_take_blocks:
            block = largest_block(self._choice, self._size, block, self._problem.memory_mib, self._source)
        scores = torch.cat([self._attribute(x[rows], y[rows]) for rows in chunks(len(x), block)])
        check_values(scores.numpy(), (len(x), len(self._problem.x)), "scores", self._source)
        return torch.from_numpy(clear_unresolved_rows(scores.numpy()))

    def _attribute(self, x: Rows, y: Tensor) -> Tensor:
        data = Arrays(self._problem.x, self._y, x, y)
        if self._choice.takes_tokens:
            check_tokens(data, self._source)
        finish = {need: data for need in ("data",) if hasattr(self._choice.module, "finish")}
        (outcome,) = self._scorer.score([self._choice.params], self._needs(data), finish or None)
        return torch.as_tensor(accepted(outcome)["scores"]).detach().to("cpu", torch.float32)

    def top(self, queries: Any, k: int = 10, *, opponents: bool = False) -> Top:
        """Return the ``k`` strongest proponents of each query, or its strongest opponents.

        Args:
            queries: queries with labels.
            k: number of examples per query, at most the number of training examples.
            opponents: the most negative scores instead of the most positive ones.

        Returns:
            Indices of training examples and their scores, both (n_query, k), the strongest first. The examples are the
            k with the largest scores, also where fewer than k scores are positive.

        Raises:
            UserError: ``k`` is out of range, or :meth:`attribute` fails.
        """
        n_train = len(self._problem.x)
        if not isinstance(k, Integral) or not 1 <= k <= n_train:
            raise UserError(f"k must be between 1 and the number of training examples, {n_train}, not {k!r}")
        values, indices = self.attribute(queries).topk(k, largest=not opponents)
        return Top(indices, values)

    def self_influence(self) -> Tensor:
        """Return the score of every training example for its own ``-loss``.

        Returns:
            (n_train,) float32 on the CPU. Large values are suspicious: such an example is memorised, as wrong labels often
            are (Koh & Liang, 2017, section 5.4).

        Raises:
            UserError: the method does not define self-influence, or fails on this model.
        """
        if not hasattr(self._choice.module, "self_influence"):
            raise UserError(f"{self._source} does not define self-influence; trak, graddot and if-cg do")
        x, y = self._problem.x, self._y
        data = Arrays(x, y, x[:1], y[:1])
        values = self._scorer.self_influence(self._configured, self._needs(data))
        own = torch.as_tensor(values).detach().to("cpu", torch.float32)
        check_values(own.numpy(), (len(x),), "self_influence", self._source)
        return own

    @property
    def _source(self) -> str:
        return f"method '{self._choice.name}'"

    @property
    def _scorer(self) -> Scorer:
        choice = self._choice
        return Scorer(
            choice.module,
            attribute=choice.function,
            source=self._source,
            checkpoints=choice.config.checkpoints,
            normalised=choice.normalised,
            groups=hasattr(choice.module, "group_scores"),
        )

    def _needs(self, data: Arrays) -> Iterator[Mapping[str, Any]]:
        """Yield the arguments of the method for each model."""
        own = [need for need in self._choice.needs if need in OF_MODELS]
        shared: dict[str, Any] = (
            {"data": self._choice.as_arrays(data)} if "data" in self._choice.needs else {}
        )
        if not own:
            yield shared
            return
        for member in progress(self._members, "attributing, by model", len(self._members)):
            needs = {need: member.need(need, data.x_query, data.y_query) for need in own}
            yield {**shared, **needs, "workspace": member.workspace}
            member.store_factorisations()
            if member.index >= self._keeps:
                member.release()

    def _factorisations(self, times: CheckpointTimes) -> FactorisationCache | None:
        """Return the folder for what the method keeps for the training set of a model; None without a cache."""
        problem, choice = self._problem, self._choice
        if problem.cache is None:
            return None
        numbers = [problem.weight_decay, problem.memory_mib, *times.learning_rates, *times.durations]
        method = {"module": choice.module.__name__, "params": choice.params, "numbers": numbers}
        return FactorisationCache(problem.cache, method, problem.x)

    def _rows(self, data: Any, where: str) -> tuple[Rows, Tensor]:
        x, y, _ = given_rows(data, self._task, self._dtype, where)
        check_like_train(x, self._problem.x)
        self._task.check_queries(y, where)
        if self._outputs is not None:
            self._task.check_outputs(self._outputs, y, where)
        return x.to(self._device), y.to(self._device)

    @property
    def _uses_models(self) -> bool:
        return any(need in OF_MODELS for need in self._choice.needs)

    @property
    def _may_take_blocks(self) -> bool:
        """Whether the scores of a query are independent of the other queries, and the method does not form blocks itself."""
        return not {"data", "network"} & set(self._choice.needs) and not self._choice.normalised
