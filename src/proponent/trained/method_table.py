"""Table of all methods with what they need and cost, for people and for pandas."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, overload

from tabulate import tabulate
from torch import nn

from proponent.errors import UserError
from proponent.features.gradients.capture import Capture
from proponent.features.variants import copy_module
from proponent.settings.model_preparation import prepare_model
from proponent.settings.tasks import Task
from proponent.trained.given_arguments import check_model
from proponent.trained.given_data import given_rows
from proponent.trained.given_task import given_task
from proponent.trained.method_choice import OF_MODELS, Choice, choose_method, method_names
from proponent.trained.needed_memory import ModelSize

if TYPE_CHECKING:
    import pandas

_UNLIMITED = 2**40
"""Memory in MiB with which gradients are stored exactly."""
_WIDTH = 48
"""Width of the column of costs."""


@dataclass(frozen=True)
class MethodRow:
    """A method.

    Attributes:
        name: name, as :class:`proponent.Attributor` takes it.
        kind: branch of the field, the folder of its module.
        needs: models, checkpoints or data that have to be given, in words.
        tasks: tasks that it can run on.
        cost: the operations that take most of its time, for one model.
        memory_mib: memory for one query at a time with the model and the data that were given, in MiB; None without them,
            and for a method that they are not enough for.
    """

    name: str
    kind: str
    needs: str
    tasks: str
    cost: str
    memory_mib: float | None = None


class MethodTable(Sequence[MethodRow]):
    """Rows of methods, printed as a table.

    Args:
        rows: the rows.
    """

    def __init__(self, rows: Sequence[MethodRow]) -> None:
        self._rows = tuple(rows)

    @overload
    def __getitem__(self, index: int) -> MethodRow: ...
    @overload
    def __getitem__(self, index: slice) -> MethodTable: ...
    def __getitem__(self, index: int | slice) -> MethodRow | MethodTable:
        """Return a row, or a table of some rows."""
        return MethodTable(self._rows[index]) if isinstance(index, slice) else self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[MethodRow]:
        return iter(self._rows)

    def __repr__(self) -> str:
        return self._printed("simple")

    def _repr_html_(self) -> str:
        """Return the table for notebooks."""
        return self._printed("html")

    def to_frame(self) -> pandas.DataFrame:
        """Return the rows as a frame of pandas, which must be installed."""
        import pandas

        return pandas.DataFrame([asdict(row) for row in self._rows], columns=self._columns)

    @property
    def _columns(self) -> list[str]:
        names = [field.name for field in fields(MethodRow)]
        return names if any(row.memory_mib is not None for row in self._rows) else names[:-1]

    def _printed(self, style: str) -> str:
        columns = self._columns
        rows = [[_cell(getattr(row, name)) for name in columns] for row in self._rows]
        headers = [name.replace("_mib", " in MiB") for name in columns]
        return str(tabulate(rows, headers, tablefmt=style, disable_numparse=True))


def method_table(model: nn.Module | None = None, train: Any = None, *, task: Any = None) -> MethodTable:
    """Return a table of all methods.

    Args:
        model: a model, for which the memory of each method is computed.
        train: its training examples, in one of the forms that :class:`proponent.Attributor` takes.
        task: a task as :class:`proponent.Attributor` takes it, to list only the methods that can run on it.

    Returns:
        A sequence of :class:`MethodRow`, which prints as a table; ``to_frame()`` returns it as a frame of pandas.

    Examples:
        >>> import proponent
        >>> table = proponent.methods(task="regression")
        >>> [row.name for row in table if row.kind == "baselines"]
        ['bm25', 'random', 'similarity-cosine', 'similarity-dot', 'tfidf']
        >>> table[1].name, table[1].needs, table[1].cost
        ('random', 'data', 'a random number per score')

    Raises:
        UserError: there is no such task, only one of ``model`` and ``train`` is given, or they do not fit each other.
    """
    chosen, config = given_task("classification" if task is None else task)
    if (model is None) != (train is None):
        raise UserError(
            "the memory of methods depends on the model and the training examples; give both, or neither"
        )
    choices = [choose_method(name, {}) for name in method_names()]
    if task is not None:
        choices = [choice for choice in choices if choice.tasks is None or config.is_among(choice.tasks)]
    memory = {} if model is None else _memory(choices, model, train, chosen)
    rows = [_row(choice, memory.get(choice.name)) for choice in choices]
    return MethodTable(sorted(rows, key=lambda row: (row.kind, row.name)))


def needs_in_words(choice: Choice) -> str:
    """Return what a method needs to be given."""
    needs, members = set(choice.needs), choice.config.members
    found = []
    if needs & set(OF_MODELS):
        found.append("one model" if members == 1 else f"{members} models")
    if choice.checkpoints:
        found.append("checkpoints with learning rates")
    for need, words in (("replay", "the recipe of the training"), ("scores", "scores of other methods")):
        found += [words] if need in needs else []
    if needs & {"retrainings", "permutations"}:
        found.append("retrainings on subsets")
    if choice.takes_tokens:
        found.append("data of tokens")
    return ", ".join(found) or "data"


def _row(choice: Choice, memory_mib: float | None) -> MethodRow:
    kind = choice.module.__name__.split(".")[-2].replace("_", " ")
    tasks = ", ".join(choice.tasks) if choice.tasks else "all"
    return MethodRow(choice.name, kind, needs_in_words(choice), tasks, _cost(choice), memory_mib)


def _cost(choice: Choice) -> str:
    """Return the first clause of what the module says about its cost."""
    text = " ".join((choice.module.__doc__ or "").split()).partition("Cost: ")[2]
    plain = re.sub(r":\w+:`[~.\w]*?(\w+)`|``", lambda found: found[1] or "", text)
    clause = re.split(r"; |\. |\.$", re.sub(r" \((?!n_)[^)]*\)", "", plain), maxsplit=1)[0]
    return clause.strip()


def _memory(choices: Sequence[Choice], model: nn.Module, train: Any, task: Task) -> dict[str, float]:
    """Return the memory of each method that a model is enough for, in MiB."""
    check_model(model)
    module = prepare_model(copy_module(model)).eval()
    x, *_ = given_rows(train, task, next(module.parameters()).dtype, "train")
    size = ModelSize.of(Capture(module, x[:1]), x)
    enough = {*OF_MODELS, "data", "workspace"}
    return {
        choice.name: size.needed_mib(choice, 1, _UNLIMITED)
        for choice in choices
        if set(choice.needs) <= enough
    }


def _cell(value: str | float | None) -> str:
    if value is None:
        return "–"
    return textwrap.fill(value, _WIDTH) if isinstance(value, str) else f"{value:,.0f}"
