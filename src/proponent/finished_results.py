"""Finished results of one setting from Python: ``proponent.open("results/mnist-mlp")``."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from proponent.config.load import nearest
from proponent.errors import UserError
from proponent.explanations.explained_scores import explain_scores
from proponent.explanations.explanation_tables import Explanation
from proponent.store.arrays import load_arrays
from proponent.store.files import read_json
from proponent.store.manifest import find_manifest, is_whole
from proponent.stored_setting import StoredSetting, importable

if TYPE_CHECKING:
    import pandas

    from proponent.attributor import Attributor

CACHE = ".proponent"
"""Folder of the checkout for what attributors compute from training sets."""


class Results(StoredSetting):
    """Files of a setting that was run: data, scores, metrics, and attributors for new queries.

    Args:
        folder: ``results/SETTING`` in a checkout.

    Raises:
        UserError: there are no results in the folder.

    Attributes:
        setting: name of the setting.
        class_names: names of the labels; None where the dataset has none.
        image_shape: shape of an image; None if a row is not an image.
        n_tune: number of queries at the beginning that tune hyper-parameters; the others are for results.
    """

    def __repr__(self) -> str:
        return f"Results({self.setting!r}, methods: {', '.join(self.methods)})"

    @property
    def methods(self) -> list[str]:
        """Names of the methods with whole scores, in alphabetical order."""
        found = []
        for path in sorted((self.folder / "scores").glob("*.safetensors")):
            manifest = find_manifest(path)
            if manifest and "left_out" not in manifest.details and is_whole(self.root, manifest):
                found.append(path.stem)
        return found

    def scores(self, method: str) -> NDArray[np.float32]:
        """Return the scores of a method for the queries of the run, (n_query, n_train); positive = proponent.

        Raises:
            UserError: the method has no scores.
        """
        return self._stored(method)["scores"]

    def self_influence(self, method: str) -> NDArray[np.float32]:
        """Return the self-influence of every training example, (n_train,).

        Raises:
            UserError: the method has no scores, or no self-influence.
        """
        stored = self._stored(method)
        if "self_influence" not in stored:
            raise UserError(f"method '{method}' has no self-influence; trak, graddot and if-cg have one")
        return stored["self_influence"]

    def metrics(self) -> pandas.DataFrame:
        """Return one row per method and metric with value and 95 % interval, as a frame of pandas."""
        import pandas

        names = ("value", "ci_low", "ci_high", "ceiling")
        rows = [
            {"method": path.stem, "metric": metric} | {name: entry.get(name) for name in names}
            for path in sorted((self.folder / "metrics").glob("*.json"))
            if not path.name.endswith(".manifest.json")
            for metric, entry in read_json(path)["metrics"].items()
        ]
        return pandas.DataFrame(rows, columns=["method", "metric", *names])

    def attributor(
        self,
        method: str,
        *,
        device: str = "cpu",
        memory_mib: int | None = None,
        cache: bool | str | PathLike[str] = True,
    ) -> Attributor:
        """Return a method with the interface of :class:`proponent.Attributor`, for new queries.

        It has the members, checkpoints and tuned hyper-parameters of the run, so that its scores for :meth:`queries` are
        those of :meth:`scores` up to rounding. Features that the run stored are read instead of computed.

        Args:
            method: name of a method with scores that needs nothing but trained models and data.
            device: device to work on.
            memory_mib: memory of features and methods, in MiB; by default that of the run.
            cache: whether, or in which folder, later processes find what the method computes from the training set (such as
                the Cholesky factor of TRAK); by default ``.proponent`` in the checkout.

        Raises:
            UserError: there are no such scores, or the method cannot score new queries.
        """
        from proponent.stored_attributor import StoredAttributor

        self._path(method)
        folder = self.root / CACHE / self.setting if cache is True else Path(cache) if cache else None
        with importable(self.root):
            return StoredAttributor(
                self.root,
                self.setting,
                method,
                self._arrays,
                device=device,
                memory_mib=memory_mib,
                cache=folder,
            )

    def explain(self, method: str, query: int, k: int = 10) -> Explanation:
        """Return the explanation of a query of the run from the stored scores, without a model.

        Args:
            method: name of a method with scores, also one of your own or one that needs retrainings.
            query: number of the query.
            k: largest number of examples per list.

        Raises:
            UserError: there are no such scores, or no such query.
        """
        _, y = self.queries(query)
        labels = self._arrays.y_train
        has_classes = labels.ndim == 1 and not labels.is_floating_point()
        (found,) = explain_scores(
            self.scores(method)[query : query + 1],
            k,
            classes=labels.numpy() if has_classes else None,
            labels=y.numpy() if has_classes else None,
        )
        return found

    def _stored(self, method: str) -> dict[str, NDArray[Any]]:
        found: dict[str, NDArray[Any]] = load_arrays(self._path(method))
        return found

    def _path(self, method: str) -> Path:
        if method not in self.methods:
            raise UserError(
                f"results/{self.setting}: no scores of a method '{method}'{nearest(method, self.methods)}"
            )
        return self.folder / f"scores/{method}.safetensors"


def open_results(folder: str | PathLike[str]) -> Results:
    """Return the finished results of a setting.

    Args:
        folder: ``results/SETTING`` in a checkout.

    Returns:
        Data, scores and metrics as arrays and frames, and attributors for new queries.

    Raises:
        UserError: there are no results in the folder.

    Examples:
        >>> import proponent
        >>> results = proponent.open("results/digits-lr")  # doctest: +SKIP
        >>> results.scores("trak").shape  # doctest: +SKIP
        (300, 1497)
        >>> results.attributor("trak").top(results.queries(17), k=3).indices  # doctest: +SKIP
        tensor([[1115, 1216,  404]])
    """
    return Results(folder)
