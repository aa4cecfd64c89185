"""A setting's data as NumPy arrays, for steps and methods that do not need torch."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

from proponent.config.specifications.step_inputs import DataInputs
from proponent.config.specifications.step_spec import StepSpec
from proponent.steps.io.job import Job
from proponent.store.arrays import map_arrays, open_arrays
from proponent.store.sharded_arrays import map_sharded


class NumpyData(NamedTuple):
    """A setting's data; see :class:`proponent.settings.split.Arrays`."""

    x_train: NDArray[Any] | dict[str, NDArray[Any]]
    y_train: NDArray[Any]
    x_query: NDArray[Any] | dict[str, NDArray[Any]]
    y_query: NDArray[Any]

    def with_queries(self, rows: slice) -> NumpyData:
        """Return the data with some of the queries."""
        x = self.x_query
        some = {name: value[rows] for name, value in x.items()} if isinstance(x, dict) else x[rows]
        return self._replace(x_query=some, y_query=self.y_query[rows])


def load_numpy_data(job: Job[StepSpec, DataInputs]) -> NumpyData:
    """Return the train and query arrays of a job's setting, whose rows are read when they are used."""
    train = job.read(job.inputs.data)
    first, second = map_sharded(train), map_arrays(train.with_name("query.safetensors"))
    y_train, y_query = first.pop("y"), second.pop("y")
    first.pop("weight", None)
    return NumpyData(first.get("x", first), y_train, second.get("x", second), y_query)


def count_examples(job: Job[StepSpec, DataInputs]) -> int:
    """Return the number of training examples of a job's setting."""
    with open_arrays(job.read(job.inputs.data)) as (get, _, _):
        return len(get("y"))
