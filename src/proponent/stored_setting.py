"""Data of a setting that was run: training examples, queries, names of classes, and new inputs in the same form."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from proponent.config.specifications.training_specs import DataSpec
from proponent.errors import UserError
from proponent.rows import NamedRows, Rows, rows_of
from proponent.settings.split import Arrays
from proponent.sharded_tensor import ShardedTensor
from proponent.steps.io.recorded_spec import recorded_spec
from proponent.store.files import read_json
from proponent.store.manifest import find_manifest
from proponent.store.sharded_arrays import read_shards
from proponent.store.tensors import load_tensors
from proponent.trained import new_inputs
from proponent.trained.named_words import words_tokenizer
from proponent.trained.new_inputs import Query


class StoredSetting:
    """The data of a setting in ``results/SETTING/data``.

    Args:
        folder: ``results/SETTING`` in a checkout.

    Raises:
        UserError: there are no results in the folder.

    Attributes:
        setting: name of the setting.
        class_names: names of the labels; None where the dataset has none.
        image_shape: shape of an image; None for other inputs.
        n_tune: number of queries at the beginning that tune hyper-parameters; the others are for results.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder = Path(folder).absolute()
        self.setting = self.folder.name
        described = self.folder / "data/description.json"
        if not described.is_file():
            raise UserError(
                f"{folder}: there are no results of a setting; give results/SETTING after a run of snakemake"
            )
        self.root = self.folder.parent.parent
        if self.folder.parent.name != "results":
            raise UserError(f"{folder}: must be results/SETTING in a checkout, whose paths manifests name")
        content = read_json(described)
        self.class_names: list[str] | None = content["class_names"]
        self.image_shape: tuple[int, ...] | None = content["image_shape"] and tuple(content["image_shape"])
        self.n_tune: int = content["n_tune"]

    @cached_property
    def _arrays(self) -> Arrays:
        train = self.folder / "data/train.safetensors"
        first = read_shards(train, load_tensors, ShardedTensor)
        second = load_tensors(train.with_name("query.safetensors"))
        y_train, y_query = first.pop("y"), second.pop("y")
        weight = first.pop("weight", None)
        return Arrays(rows_of(first), y_train, rows_of(second), y_query, weight)

    def rows(self) -> tuple[Rows, Tensor]:
        """Return inputs and labels of the training examples as the engines take them."""
        return self._arrays.x_train, self._arrays.y_train

    @property
    def train(self) -> tuple[Any, Any]:
        """Inputs and labels of the training examples: tensors, or a dictionary or tuple of them for the inputs."""
        return given(self._arrays.x_train), self._arrays.y_train

    def queries(self, rows: int | slice | Sequence[int] = slice(None)) -> tuple[Any, Any]:
        """Return inputs and labels of some queries of the run, which :meth:`Attributor.attribute` takes.

        Args:
            rows: number of a query, a slice, or numbers; all queries by default.

        Raises:
            UserError: there is no such query.
        """
        y = self._arrays.y_query
        chosen = [rows] if isinstance(rows, int) else rows
        if not isinstance(chosen, slice):
            wrong = [row for row in chosen if not 0 <= row < len(y)]
            if wrong:
                raise UserError(
                    f"setting {self.setting}: there is no query {wrong[0]}; its queries are 0 to {len(y) - 1}"
                )
            chosen = list(chosen)
        return given(self._arrays.x_query[chosen]), y[chosen]

    def query_rows(self) -> Rows:
        """Return the inputs of all queries as the engines take them."""
        return self._arrays.x_query

    def inputs(
        self,
        *,
        image: str | PathLike[str] | None = None,
        text: str | None = None,
        file: str | PathLike[str] | None = None,
        tensor: str | PathLike[str] | None = None,
    ) -> Query:
        """Return new inputs as the models of the setting take them, and their labels, or None without labels.

        Args:
            image: file with an image, which is resized.
            text: a text. The tokens of the setting have the names of words, or the module of the dataset factory has a
                function ``tokenizer`` with the arguments of the factory, which returns a function from a text to
                ``{"input_ids": …}``.
            file: CSV file with one column per feature, in the units of the training set, and labels in a column ``y``.
            tensor: safetensors file with the inputs by name, and labels as ``y``.

        Raises:
            UserError: not exactly one argument is given, or it does not fit the setting.
        """
        given = [value for value in (image, text, file, tensor) if value is not None]
        if len(given) != 1:
            raise UserError("give exactly one of image, text, file and tensor")
        x = self._arrays.x_train
        if image is not None:
            return new_inputs.image_query(Path(image), x, self.image_shape)
        if file is not None:
            return new_inputs.table_query(Path(file), x)
        if tensor is not None:
            return new_inputs.tensor_query(Path(tensor), x)
        tokenizer = self.tokenizer()
        if tokenizer is None:
            raise UserError(
                f"setting {self.setting}: its tokens are not named words, and the module of its dataset factory has no "
                "function 'tokenizer', which turns a text into tokens; add one (docs/explaining.md), or give tensor"
            )
        return new_inputs.text_query(str(text), x, tokenizer)

    @cached_property
    def token_names(self) -> list[str] | None:
        """Names of the tokens 0, 1, …; None where rows are not tokens, or their names are unknown."""
        path = self.folder / "data/token_names.json"
        return [str(name) for name in read_json(path)] if path.is_file() else None

    def tokenizer(self) -> Any | None:
        """Return the tokenizer of the setting's texts; None if there is none.

        It is that of the dataset factory, or one of words if the tokens of the setting have the names of words.
        """
        own = self._tokenizer_of_factory()
        return own if own is not None or self.token_names is None else words_tokenizer(self.token_names)

    def _tokenizer_of_factory(self) -> Any | None:
        manifest = find_manifest(self.folder / "data/train.safetensors")
        if manifest is None or manifest.step != DataSpec.step:
            return None
        dataset = recorded_spec(manifest, DataSpec).dataset
        with importable(self.root):
            module = importlib.import_module(dataset.factory.partition(":")[0])
            make = getattr(module, "tokenizer", None)
            return None if make is None else make(**dataset.args)


def given(x: Rows) -> Any:
    """Return inputs in a form that :class:`proponent.Attributor` takes: a tensor, or a tuple or dictionary of tensors."""
    if not isinstance(x, NamedRows):
        return x
    return tuple(x.tensors.values()) if x.positional else dict(x.tensors)


@contextlib.contextmanager
def importable(root: Path) -> Iterator[None]:
    """Let factories of the checkout be imported within the block, as the command line does."""
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        sys.path.remove(str(root))
