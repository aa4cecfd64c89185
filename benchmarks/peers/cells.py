"""What is compared: methods, libraries, the reference of each pair, and why results differ."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Library:
    """A library with an environment of its own.

    Attributes:
        distribution: name and version on PyPI, as in its file of requirements.
        url: its repository.
    """

    distribution: str
    url: str


OURS = "proponent"
LIBRARIES = {
    "dattri": Library("dattri 0.3.0", "https://github.com/TRAIS-Lab/dattri"),
    "captum": Library("captum 0.9.0", "https://captum.ai"),
    "kronfluence": Library("kronfluence 1.0.1", "https://github.com/pomonam/kronfluence"),
    "traker": Library("traker 0.3.2", "https://github.com/MadryLab/trak"),
    "dualxda": Library("dualxda 0.1.0", "https://github.com/gumityolcu/DualXDA"),
    "pydvl": Library("pyDVL 0.10.0", "https://github.com/aai-institute/pyDVL"),
}
METHODS: dict[str, tuple[str, ...]] = {
    "graddot": ("dattri", "captum", "kronfluence"),
    "tracin": ("dattri", "captum"),
    "if-cg": ("dattri", "pydvl"),
    "if-lissa": ("dattri", "pydvl"),
    "if-arnoldi": ("dattri", "captum", "pydvl"),
    "datainf": ("dattri", "pydvl"),
    "ekfac": ("dattri", "kronfluence", "pydvl"),
    "trak": ("dattri", "traker"),
    "trak-10": ("dattri", "traker"),
    "rps": ("dattri",),
    "dualda": ("dualxda",),
    "knn-shapley": ("pydvl",),
    "lds": ("dattri",),
}
"""Libraries that have each method."""
GOALS = {"graddot": 100, "tracin": 100, "trak": 50, "trak-10": 50, "if-cg": 20, "dualda": 5, "ekfac": 10}
"""How many times faster than every other library this one should be."""
NETWORKS = ("mlp", "conv")
SIZES = {"small": (500, 50), "large": (4500, 500)}
"""Numbers of training examples and of queries."""
ABSENT = {("conv", "lds", OURS), ("conv", "lds", "dattri")}
"""Cells that are left out: the LDS depends on no network."""

_REFERENCES = {"if-cg": "influence-ggn", "if-lissa": "influence-ggn", "if-arnoldi": "influence-ggn"}
_OTHER_DEFINITIONS = {
    ("dattri", "if-cg"): "influence-hessian",
    ("dattri", "if-lissa"): "influence-hessian",
    ("dattri", "if-arnoldi"): "influence-hessian",
    ("pydvl", "if-cg"): "influence-hessian",
    ("pydvl", "if-lissa"): "influence-hessian",
    ("pydvl", "if-arnoldi"): "influence-hessian",
    ("captum", "if-arnoldi"): "influence-hessian",
    ("dattri", "datainf"): "datainf-absolute",
    ("pydvl", "datainf"): "datainf-absolute",
    ("dattri", "rps"): "rps-soft",
}
UNREFERENCED = ("dualda", "lds")
"""Methods without a dense reference."""


def reference_of(method: str, library: str) -> str | None:
    """Return the name of the dense scores that a library's own definition of a method leads to; None without one."""
    if method in UNREFERENCED:
        return None
    return _OTHER_DEFINITIONS.get((library, method), _REFERENCES.get(method, method))


def cells(
    networks: tuple[str, ...], sizes: tuple[str, ...], methods: tuple[str, ...], libraries: tuple[str, ...]
) -> list[tuple[str, str, str, str]]:
    """Return (network, size, method, library) of everything that runs, this library before the others of a method."""
    return [
        (network, size, method, library)
        for size in sizes
        for network in networks
        for method in methods
        for library in (OURS, *METHODS[method])
        if library in (OURS, *libraries) and (network, method, library) not in ABSENT
    ]
