"""Lines about code and files that a run depends on and that no key covers; every start of a run prints them."""

from __future__ import annotations

from collections.abc import Iterable

from proponent.config.benchmark import Benchmark
from proponent.config.digests.unseen import unseen
from proponent.config.task_names import task_code


def unseen_code(benchmark: Benchmark) -> list[str]:
    """Return what factories and methods read that is in no key, one line each with the way out."""
    lines: list[str] = []

    def add(code: Iterable[str], listed: list[str], where: str) -> None:
        found = unseen(benchmark.tree.definitions, code, benchmark.root, listed)
        lines.extend(f"{line}, which is in no key; list the file under {where}" for line in found)

    for name, setting in benchmark.settings.items():
        model = setting.model
        weights = [model.pretrained.file] if model and model.pretrained else []
        for key, factory in setting.factories.items():
            listed = [*factory.files, *(weights if key == "model" else [])]
            add([factory.factory], listed, f"{key}.files of configs/settings/{name}.yaml")
        listed = model.files if model else []
        add([task_code(setting.task)], listed, f"model.files of configs/settings/{name}.yaml")
    for name, method in benchmark.methods.items():
        add(method.code, method.config.sources, f"'sources' of configs/methods/{name}.yaml")
    return lines
