"""The public names: each has a docstring with its arguments, results and errors, and an example that runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

from proponent import settings
from proponent.attributor import Attributor
from proponent.explainer import Explainer
from proponent.finished_results import open_results
from proponent.metrics.cardinality import cardinality_of_arrays
from proponent.metrics.cleaning_gain import cleaning_gain_of_arrays
from proponent.metrics.coreset import coreset_of_arrays
from proponent.metrics.counterfactual import counterfactual_of_arrays
from proponent.metrics.data_support import data_support_of_arrays
from proponent.metrics.duplicates import duplicates_of_arrays
from proponent.metrics.estimate import Estimate
from proponent.metrics.group_influence import group_influence_of_arrays
from proponent.metrics.lds import lds_of_arrays
from proponent.metrics.loo import loo_of_arrays
from proponent.metrics.method_agreement import agreement_of_arrays
from proponent.metrics.mislabel import mislabel_of_arrays
from proponent.metrics.mixed_domain import mixed_domain_of_arrays
from proponent.metrics.randomisation import randomisation_of_arrays
from proponent.metrics.retrieval import retrieval_of_arrays
from proponent.metrics.same_class import same_class_of_arrays
from proponent.metrics.shortcut import shortcut_of_arrays
from proponent.metrics.sparsity import sparsity_of_arrays
from proponent.metrics.stability import stability_of_arrays
from proponent.metrics.subclass import subclass_of_arrays
from proponent.metrics.tail_patch import tail_patch_of_arrays
from proponent.trained.method_table import method_table

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "proponent.methods": method_table,
    "proponent.open": open_results,
    "proponent.metrics.cardinality": cardinality_of_arrays,
    "proponent.metrics.tail_patch": tail_patch_of_arrays,
    "proponent.metrics.group_influence": group_influence_of_arrays,
    "proponent.metrics.data_support": data_support_of_arrays,
    "proponent.metrics.counterfactual": counterfactual_of_arrays,
    "proponent.metrics.coreset": coreset_of_arrays,
    "proponent.metrics.cleaning_gain": cleaning_gain_of_arrays,
    "proponent.metrics.duplicates": duplicates_of_arrays,
    "proponent.metrics.label_randomisation": randomisation_of_arrays,
    "proponent.metrics.lds": lds_of_arrays,
    "proponent.metrics.lds_fixed_seed": lds_of_arrays,
    "proponent.metrics.loo": loo_of_arrays,
    "proponent.metrics.method_agreement": agreement_of_arrays,
    "proponent.metrics.mislabel": mislabel_of_arrays,
    "proponent.metrics.mixed_domain": mixed_domain_of_arrays,
    "proponent.metrics.randomisation": randomisation_of_arrays,
    "proponent.metrics.retrieval": retrieval_of_arrays,
    "proponent.metrics.same_class": same_class_of_arrays,
    "proponent.metrics.shortcut": shortcut_of_arrays,
    "proponent.metrics.sparsity": sparsity_of_arrays,
    "proponent.metrics.stability": stability_of_arrays,
    "proponent.metrics.subclass": subclass_of_arrays,
    "proponent.settings.fetch": settings.fetch,
}
CLASSES: dict[str, type] = {
    "proponent.Attributor": Attributor,
    "proponent.Explainer": Explainer,
    "proponent.metrics.estimate.Estimate": Estimate,
    "proponent.settings.Split": settings.Split,
}
MODULES = (
    "proponent.attributor",
    "proponent.explainer",
    "proponent.finished_results",
    "proponent.errors",
    *(
        f"proponent.metrics.{name}"
        for name in (
            "cardinality",
            "tail_patch",
            "group_influence",
            "data_support",
            "counterfactual",
            "coreset",
            "cleaning_gain",
            "duplicates",
            "estimate",
            "lds",
            "loo",
            "method_agreement",
            "mislabel",
            "mixed_domain",
            "randomisation",
            "retrieval",
            "same_class",
            "shortcut",
            "sparsity",
            "stability",
            "subclass",
        )
    ),
    *(f"proponent.settings.{name}" for name in ("augmentation", "fetched_files", "split", "targets")),
    "proponent.trained.method_table",
)
WITH_EXAMPLES_PER_FUNCTION = ("proponent.settings.augmentation", "proponent.settings.targets")


def functions_of(module: str) -> dict[str, Callable[..., Any]]:
    found = vars(importlib.import_module(module))
    own = {
        name: value
        for name, value in found.items()
        if inspect.isfunction(value) and value.__module__ == module
    }
    return {f"{module}.{name}": value for name, value in own.items() if not name.startswith("_")}


def test_every_public_name_is_in_a_table_of_this_module():
    names = {
        f"{module}.{name}"
        for module in ("proponent", "proponent.metrics", "proponent.settings")
        for name in importlib.import_module(module).__all__
    }
    assert names - {"proponent.metrics", "proponent.UserError"} <= {*FUNCTIONS, *CLASSES}


@pytest.mark.parametrize("name", [*FUNCTIONS, *CLASSES])
def test_a_public_name_describes_every_argument_and_shows_an_example(name):
    value = FUNCTIONS.get(name) or CLASSES[name]
    described = inspect.getdoc(value)
    parameters = inspect.signature(value).parameters
    assert [one for one in parameters if not re.search(rf"^ +\**{one}: ", described, re.MULTILINE)] == []
    assert ">>> " in described


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_describes_its_result_and_its_errors(name):
    assert re.search(r"^Returns:$", inspect.getdoc(FUNCTIONS[name]), re.MULTILINE)
    assert re.search(r"^Raises:$", inspect.getdoc(FUNCTIONS[name]), re.MULTILINE)


@pytest.mark.parametrize("module", WITH_EXAMPLES_PER_FUNCTION)
def test_every_function_that_a_setting_may_name_shows_an_example(module):
    assert [name for name, value in functions_of(module).items() if ">>> " not in inspect.getdoc(value)] == []


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_print_what_they_show(module):
    """``proponent.metrics.lds`` and the like are modules that can be called, which doctest would not enter by itself."""
    found = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 0
    assert found.failed == 0
