"""Memory that a method needs for a model in memory, from the sizes of both, before anything is computed."""

from __future__ import annotations

import math

from proponent.errors import UserError
from proponent.features.curvature.kronecker_factors import factors_mib
from proponent.features.gradients.capture import Capture
from proponent.features.member_features import choose_form
from proponent.features.member_network import pass_memory_mib
from proponent.methods.shared.problem_size import ProblemSize
from proponent.methods.shared.stated_memory import stated_mib
from proponent.rows import Rows
from proponent.trained.method_choice import Choice


def problem_size(capture: Capture, x: Rows, n_query: int, memory_mib: int) -> ProblemSize:
    """Return the numbers on which the memory of methods depends.

    Args:
        capture: the traced model.
        x: (n_train, ...) training inputs.
        n_query: number of queries.
        memory_mib: memory of features, passes and methods together, in MiB.
    """
    shapes = tuple(capture.shapes.values())
    itemsize = next(iter(capture.parameters.values())).element_size()
    return ProblemSize(
        n_train=len(x),
        n_query=n_query,
        shapes=shapes,
        n_outputs=capture.outputs(x[:1])[0].numel(),
        itemsize=itemsize,
        pass_mib=pass_memory_mib(memory_mib),
        kronecker_mib=factors_mib(shapes, itemsize),
    )


def needed_mib(choice: Choice, capture: Capture, size: ProblemSize, queries: int, memory_mib: int) -> float:
    """Return the memory of a method with the features of one model, in MiB.

    Args:
        choice: method with hyper-parameters.
        capture: the traced model.
        size: size of the problem.
        queries: number of queries at a time.
        memory_mib: memory of features, passes and methods together, in MiB, half of which stored gradients may take.
    """
    rows, held = size.n_train + queries, 0.0
    if "network" in choice.needs:
        held = size.numbers(capture.numbers_per_example() * rows)
    elif "gradients" in choice.needs:
        held = choose_form(capture, rows, memory_mib // 2).bytes / 2**20
    return held + stated_mib(choice.module, choice.function, size, queries, choice.params)


def largest_block(
    choice: Choice, capture: Capture, x: Rows, n_query: int, memory_mib: int, source: str
) -> int:
    """Return how many queries fit into memory together, at most ``n_query``.

    Args:
        choice: method with hyper-parameters.
        capture: the traced model.
        x: (n_train, ...) training inputs.
        n_query: number of queries, at least 1.
        memory_mib: memory of features, passes and methods together, in MiB.
        source: beginning of the message.

    Raises:
        UserError: not even one query fits.
    """

    def mib(queries: int, budget: int) -> float:
        return needed_mib(choice, capture, problem_size(capture, x, queries, budget), queries, budget)

    if mib(1, memory_mib) > memory_mib:
        enough = memory_mib
        while mib(1, enough) > enough:  # passes and stored gradients take a share of the memory
            enough = math.ceil(max(mib(1, enough), 1.1 * enough))
        raise UserError(
            f"{source} needs {enough} MiB of memory and memory_mib is {memory_mib}: raise it to {enough}, or choose another "
            "method; proponent.methods(model, train) lists their memory"
        )
    fits, too_many = 1, n_query + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        fits, too_many = (middle, too_many) if mib(middle, memory_mib) <= memory_mib else (fits, middle)
    return fits
