"""Diagnosis of a model whose outputs or gradients disagree with themselves: the cause in one line, with the layer."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from proponent.rows import Rows, rows_equal
from proponent.torch_failures import layer_name

Pass = Callable[[Rows], Tensor]
"""Ordinary forward pass of the model, from inputs (n, ...) to outputs (n, ...)."""

CHANGES_INPUT = "changes its input in place; let it work on a copy"
"""Predicate of a message."""
LOW_PRECISION = (torch.bfloat16, torch.float16)
TOLERANCE = 1e-3
"""Largest difference of outputs or gradients, relative to the largest of their elements."""
OF_ALL = 1e-4
"""Difference allowed in addition, relative to the largest gradient of all parameters: gradients that cancel are rounding."""
SMALLEST = 1e-30
"""Difference allowed in addition: smaller numbers of float32 have lost their digits."""


def diagnose(module: nn.Module, run: Pass, x: Rows) -> str | None:
    """Return the cause of a disagreement, the most specific first; None for no known cause.

    Args:
        module: model that ``run`` calls.
        run: ordinary forward pass, in the mode and with the parameters of the disagreement.
        x: (n, ...) some inputs, at least two for finding that examples are mixed.

    Returns:
        A line without its subject's sentence end: layer, cause and way out.
    """
    with torch.no_grad():
        return (
            _changes_its_input(module, run, x)
            or _not_finite(run, x)
            or _random(module, run, x)
            or _rounds(module, run, x)
            or _mixes(module, run, x)
        )


def gradients_agree(one: Tensor, other: Tensor, largest: float) -> bool:
    """Return whether two gradients of one parameter are the same up to rounding.

    Args:
        one: gradient by one of the engines.
        other: gradient by plain autograd, of the same shape.
        largest: largest absolute value of the gradients of all parameters.
    """
    allowed = TOLERANCE * other.abs().max() + OF_ALL * largest + SMALLEST
    return bool((one - other).abs().max() <= allowed)


def _changes_its_input(module: nn.Module, run: Pass, x: Rows) -> str | None:
    given = x.clone()
    run(given)
    if rows_equal(given, x):
        return None
    return f"{layer_name(module, '')} {CHANGES_INPUT}"


def _not_finite(run: Pass, x: Rows) -> str | None:
    outputs = run(x.clone())
    if bool(outputs.isfinite().all()):
        return None
    row = int((~outputs.isfinite()).flatten(1).any(1).nonzero()[0]) if outputs.ndim > 1 else 0
    return f"the outputs of an example (row {row} of those tried) are NaN or infinite; check its values and the model"


def _random(module: nn.Module, run: Pass, x: Rows) -> str | None:
    drawn = random_generators_used(lambda: run(x.clone()))
    first = _layer_passes(module, run, x)
    for _ in range(3):
        where = _first_difference(module, first, _layer_passes(module, run, x), exact=True)
        if where or drawn:
            used = f" and draw numbers from {drawn[0]}" if drawn else ""
            return (
                f"{where or layer_name(module, '')} is random: two passes over the same examples differ{used}; draw the "
                "numbers in the dataset factory, or use nn.Dropout"
            )
    return None


def _rounds(module: nn.Module, run: Pass, x: Rows) -> str | None:
    for name, _, outputs in _layer_passes(module, run, x):
        part = module.get_submodule(name)
        dtypes = [outputs.dtype, *(value.dtype for value in part.parameters(recurse=False))]
        low = next((dtype for dtype in dtypes if dtype in LOW_PRECISION), None)
        if low is not None:
            kind = str(low).removeprefix("torch.")
            return (
                f"{layer_name(part, name)} computes in {kind}, whose rounding ({torch.finfo(low).eps:.1%}) hides the "
                "gradients of single examples; build the model in float32, and leave autocast to recipe.precision: bf16"
            )
    return None


def _mixes(module: nn.Module, run: Pass, x: Rows) -> str | None:
    if len(x) < 2:
        return None
    together = [
        (name, None if given is None else given[:1], outputs[:1])
        for name, given, outputs in _layer_passes(module, run, x)
    ]
    where = _first_difference(module, together, _layer_passes(module, run, x[:1]), exact=False)
    if where is None:
        return None
    return (
        f"{where} mixes the examples of a batch: an example has other outputs alone than with others; let each row "
        "depend on its own example only"
    )


LayerPass = tuple[str, Tensor | None, Tensor]
"""Name of a layer, its first input if that is a tensor, and its outputs."""


def _layer_passes(module: nn.Module, run: Pass, x: Rows) -> list[LayerPass]:
    """Return the passes of all layers that return one tensor, in the order in which they finish."""
    found: list[LayerPass] = []

    def note(name: str) -> Callable[..., None]:
        def hook(part: nn.Module, inputs: tuple[object, ...], outputs: object) -> None:
            if isinstance(outputs, Tensor):
                given = inputs[0] if inputs and isinstance(inputs[0], Tensor) else None
                found.append(
                    (name, None if given is None else given.detach().clone(), outputs.detach().clone())
                )

        return hook

    hooks = [part.register_forward_hook(note(name)) for name, part in module.named_modules()]
    try:
        run(x.clone())
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _first_difference(
    module: nn.Module, one: list[LayerPass], other: list[LayerPass], *, exact: bool
) -> str | None:
    """Return the layer where two passes begin to differ, as the subject of a message.

    A layer whose input differs already is not to blame, but the operations of the module around it.
    """
    for (name, given, mine), (named, also, theirs) in zip(one, other, strict=False):
        if name != named or not _close(mine, theirs, exact=exact):
            if name != named or not _close(given, also, exact=exact):
                name = name.rpartition(".")[0]
            return layer_name(module.get_submodule(name), name)
    return layer_name(module, "") if len(one) != len(other) else None


def _close(mine: Tensor | None, theirs: Tensor | None, *, exact: bool) -> bool:
    if mine is None or theirs is None:
        return mine is theirs
    if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
        return False
    if exact or not mine.is_floating_point():
        return torch.equal(mine, theirs)
    scale = max(float(mine.abs().max()), 1e-6) if mine.numel() else 1.0
    return bool(((mine - theirs).abs() <= TOLERANCE * scale).all())


def random_generators_used(run: Callable[[], object]) -> list[str]:
    """Return the global generators from which ``run()`` draws; their states are restored."""
    numpy_state = np.random.mtrand._rand  # the generator behind numpy.random.rand and the like
    python, array, tensor = random.getstate(), numpy_state.get_state(), torch.get_rng_state()
    try:
        run()
        used = {
            "random": random.getstate() != python,
            "numpy.random": pickle.dumps(numpy_state.get_state()) != pickle.dumps(array),
            "torch": not torch.equal(torch.get_rng_state(), tensor),
        }
    finally:
        random.setstate(python)
        numpy_state.set_state(array)
        torch.set_rng_state(tensor)
    return [name for name, drawn in used.items() if drawn]
