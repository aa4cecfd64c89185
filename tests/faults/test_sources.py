"""Faults of source digests: what an artefact depends on is in its key, and nothing else is."""

from __future__ import annotations

import textwrap
from functools import cache
from pathlib import Path

import pytest

from proponent.config.digests.distributions import index_of
from proponent.config.digests.source_digest import SourceTree

INDEX = cache(index_of)


@pytest.fixture(autouse=True)
def one_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Index the installed distributions, which do not change here, once rather than in every test."""
    monkeypatch.setattr("proponent.config.digests.distributions.index_of", INDEX)


BUILD = "\ndef build():\n    return"
"""What ``{build}`` stands for in the modules of this file."""
FACTORY = """
    from lab.helpers import double, unused
    from lab import constants
    import numpy as np

    WIDTH = 3

    def build(width=WIDTH):
        return double(width) + constants.OFFSET

    def other():
        return np.zeros(unused())
"""
FILES = {
    "lab/__init__.py": "VERSION = 1\n",
    "lab/factory.py": FACTORY,
    "lab/helpers.py": """
        SCALE = 2

        def double(x):
            return SCALE * x

        def unused():
            return 5
    """,
    "lab/constants.py": "OFFSET = 1\nOTHER = 2\n",
}


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).replace("{build}", BUILD))


def digest(root: Path, files: dict[str, str], entry: str = "lab.factory:build") -> tuple[dict, dict]:
    write(root, {**FILES, **files})
    return SourceTree((root,)).digest([entry])


def is_seen(root: Path, files: dict[str, str], name: str, before: str, after: str, entry="lab.factory:build"):
    """Return whether replacing ``before`` in one file changes the digest, and check that jobs and the plan agree."""
    first = digest(root, files, entry)
    text = textwrap.dedent({**FILES, **files}[name])
    assert before in text
    write(root, {name: text.replace(before, after)})
    second = SourceTree((root,)).digest([entry])
    assert bool(SourceTree((root,)).changes([entry], first[0])) == (first[0] != second[0])
    assert SourceTree((root,)).changes([entry], second[0]) == []
    return first != second


ADDED = {
    "a function": "def added(x):\n    return x\n",
    "a class": "class Added(dict):\n    y: int = 3\n",
    "a table with its import": "import pandas\nTABLE = {'a': np.zeros(3)}\ndef added():\n    return pandas, TABLE\n",
    "a decorated function": "from functools import cache\n@cache\ndef added():\n    return 1\n",
    "a script": "if __name__ == '__main__':\n    print(build())\n",
    "an optional import": (
        "try:\n    import nothing_here\nexcept ImportError:\n    nothing_here = None\n"
        "def added():\n    return nothing_here\n"
    ),
    "an import for type checkers": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import lab.helpers\n",
}


@pytest.mark.parametrize("what", ADDED)
def test_one_line_in_factories_that_is_added_next_to_one_changes_no_key(tmp_path, what) -> None:
    assert not is_seen(tmp_path, {}, "lab/factory.py", "def other", f"{ADDED[what]}\ndef other")


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("lab/factory.py", "unused()", "7"),
        ("lab/helpers.py", "return 5", "return 6"),
        ("lab/helpers.py", "return 5", "import nothing_here\n    return nothing_here"),
        ("lab/constants.py", "OTHER = 2", "OTHER = 3"),
        ("lab/__init__.py", "VERSION = 1", "VERSION = 2"),
    ],
)
def test_one_line_in_factories_that_nothing_reaches_changes_no_key(tmp_path, name, before, after) -> None:
    assert not is_seen(tmp_path, {}, name, before, after)


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("lab/factory.py", "double(width)", "double(2 * width)"),
        ("lab/factory.py", "WIDTH = 3", "WIDTH = 4"),
        ("lab/helpers.py", "SCALE * x", "SCALE + x"),
        ("lab/helpers.py", "SCALE = 2", "SCALE = 3"),
        ("lab/helpers.py", "SCALE = 2", "SCALE = 2\nSCALE = 3"),
        ("lab/helpers.py", "SCALE = 2", "SCALE = 2\nSCALE += 1"),
        ("lab/constants.py", "OFFSET = 1", "OFFSET = 3"),
        ("lab/factory.py", "import double, unused", "import unused as double, double as unused"),
        (
            "lab/factory.py",
            "from lab import constants",
            "from lab import helpers as constants\nimport lab.constants",
        ),
    ],
)
def test_one_line_in_factories_that_is_reached_changes_the_key(tmp_path, name, before, after) -> None:
    assert is_seen(tmp_path, {}, name, before, after)


USES = {
    "a default of a class attribute": "class Net:\n    width = helpers.SCALE\n{build} Net()\n",
    "a base class": "class Net(helpers.Base):\n    pass\n{build} Net()\n",
    "a default argument": "def build(width=helpers.SCALE):\n    return width\n",
    "a decorator": "@helpers.wrap\ndef build():\n    return 1\n",
    "an annotation": "import dataclasses\n\n@dataclasses.dataclass\nclass A:\n    x: helpers.SCALE\n{build} A\n",
    "a text annotation": "class A:\n    x: 'list[helpers.SCALE]'\n{build} A\n",
    "a closure": "def build():\n    def inner():\n        return helpers.SCALE\n    return inner()\n",
    "a lambda": "build = lambda x=None: helpers.SCALE\n",
    "a comprehension": "def build():\n    return [SCALE for SCALE in [helpers.SCALE]]\n",
    "the iterable of a comprehension": "from lab.helpers import SCALE\n{build} [SCALE for SCALE in SCALE]\n",
    "a tuple of assignments": "A, (B, *C) = 1, (helpers.SCALE, 2)\n{build} C\n",
    "an import inside the function": "def build():\n    from lab.helpers import SCALE\n    return SCALE\n",
    "an import inside a class": "class A:\n    from lab.helpers import SCALE\n{build} A.SCALE\n",
    "a global import": "def load():\n    global other\n    from lab import helpers as other\nload()\n{build} other.SCALE\n",
    "a match": "def build(x=2):\n    match x:\n        case helpers.SCALE:\n            return 1\n",
    "a default factory": (
        "import dataclasses as d\n\n@d.dataclass\nclass A:\n    x: int = d.field(default_factory=helpers.double)\n"
        "{build} A\n"
    ),
    "a replaced method": "class A:\n    pass\n\nA.f = lambda self: helpers.SCALE\n{build} A()\n",
    "an import inside an inner function that hides a variable": (
        "def build():\n    SCALE = None\n    def inner():\n        from lab.helpers import SCALE\n        return SCALE\n"
        "    return inner(), SCALE\n"
    ),
    "a global variable": (
        "MODE = None\n\ndef set_mode():\n    global MODE\n    MODE = helpers.SCALE\n\nset_mode()\n\n"
        "def build():\n    return MODE\n"
    ),
    "an alias of a module": "import lab.helpers as other\n{build} other.SCALE\n",
    "a dotted module": "import lab.helpers\n{build} lab.helpers.SCALE\n",
    "a module that is passed on": "def build():\n    return vars(helpers)['SCALE']\n",
    "a computed attribute": "def build(name='SCALE'):\n    return getattr(helpers, name)\n",
    "a module in a table": "TABLE = {'a': helpers}\n{build} TABLE['a'].SCALE\n",
    "a definition in a branch": "if True:\n    def build():\n        return helpers.SCALE\nelse:\n    build = None\n",
    "a definition in a try": "try:\n    X = helpers.SCALE\nexcept ValueError:\n    X = 1\n{build} X\n",
    "a loop": "X = []\nfor one in [helpers.SCALE]:\n    X.append(one)\n{build} X\n",
    "a registering call": "def build():\n    return TABLE['a']\n\nTABLE = {}\nTABLE.setdefault('a', helpers.SCALE)\n",
    "an assignment to an item": "def build():\n    return TABLE['a']\n\nTABLE = {}\nTABLE['a'] = helpers.SCALE\n",
    "an assignment to an attribute of another module": (
        "import numpy\nnumpy.of_lab = helpers.SCALE\n{build} numpy.of_lab\n"
    ),
    "an alias that is changed in place": "A = []\nB = A\nB += [helpers.SCALE]\n{build} A\n",
    "a name that is deleted": "SCALE = helpers.SCALE\nX = SCALE\ndel SCALE\n{build} X\n",
    "a star import": "from lab.helpers import *\n{build} SCALE\n",
    "a star import over a definition": "def wrap(f):\n    return 1\n\nfrom lab.helpers import *\n{build} wrap(SCALE)\n",
    "globals()": "X = helpers.SCALE\n\ndef build(name='X'):\n    return globals()[name]\n",
    "vars()": "X = helpers.SCALE\nTABLE = vars()\n\ndef build(name='X'):\n    return TABLE[name]\n",
    "import_module of itself": (
        "from importlib import import_module\nX = helpers.SCALE\n\ndef build(name='X'):\n"
        "    return getattr(import_module(__name__), name)\n"
    ),
    "eval": "X = helpers.SCALE\n\ndef build(name='X'):\n    return eval(name)\n",
    "sys.modules": "import sys\n\ndef build(name='lab.helpers'):\n    return sys.modules[name].SCALE\n",
    "import_module of a literal": (
        "from importlib import import_module\n{build} import_module('lab.helpers').SCALE\n"
    ),
    "import_module of a constant": (
        "import importlib\nNAME = '.helpers'\n{build} importlib.import_module(NAME, __package__).SCALE\n"
    ),
    "import_module of a package by keyword": (
        "import importlib\n{build} importlib.import_module(name='.helpers', package='lab').SCALE\n"
    ),
    "__import__": "def build():\n    return __import__('lab.helpers').helpers.SCALE\n",
    "a registering decorator": (
        "TABLE = {}\ndef register(f):\n    TABLE[f.__name__] = f\n    return f\n\n"
        "@register\ndef mlp():\n    return helpers.SCALE\n\ndef build(name='mlp'):\n    return TABLE[name]()\n"
    ),
    "a subclass that registers itself": (
        "class Base:\n    table = {}\n    def __init_subclass__(cls):\n        Base.table[cls.__name__] = cls\n\n"
        "class A(Base):\n    x = helpers.SCALE\n\ndef build(name='A'):\n    return Base.table[name]()\n"
    ),
    "a subclass of a subclass that registers itself": (
        "class Root:\n    table = {}\n    def __init_subclass__(cls):\n        Root.table[cls.__name__] = cls\n\n"
        "class Base(Root):\n    pass\n\nclass A(Base):\n    x = helpers.SCALE\n\n"
        "def build(name='A'):\n    return Root.table[name]()\n"
    ),
    "a metaclass": (
        "class Meta(type):\n    table = {}\n    def __init__(cls, *given):\n        Meta.table[cls.__name__] = cls\n\n"
        "class A(metaclass=Meta):\n    x = helpers.SCALE\n\ndef build(name='A'):\n    return Meta.table[name]()\n"
    ),
    "subclasses of a class": (
        "class Base:\n    pass\n\nclass A(Base):\n    x = helpers.SCALE\n\n"
        "def build():\n    return Base.__subclasses__()[0]\n"
    ),
    "a walrus": "X = [Y := helpers.SCALE]\n{build} Y\n",
    "a conditional import": "try:\n    from lab.helpers import SCALE\nexcept ImportError:\n    SCALE = 1\n{build} SCALE\n",
    "the other branch of TYPE_CHECKING": (
        "from typing import TYPE_CHECKING\nif not TYPE_CHECKING:\n    from lab.helpers import SCALE\n\n"
        "def build():\n    return SCALE\n"
    ),
    "a random draw at import": "import numpy\nX = numpy.random.rand(helpers.SCALE)\n{build} numpy.random.rand()\n",
}


@pytest.mark.parametrize("how", USES)
def test_one_line_in_factories_is_seen_through(tmp_path, how) -> None:
    """Members of the kind: ways in which a factory reaches a constant of another module."""
    helpers = (
        FILES["lab/helpers.py"]
        + "\n        class Base:\n            x = SCALE\n\n        def wrap(f):\n            return SCALE\n"
    )
    files = {
        "lab/factory.py": f"from lab import helpers\n{USES[how]}",
        "lab/helpers.py": helpers,
    }
    assert is_seen(tmp_path, files, "lab/helpers.py", "SCALE = 2", "SCALE = 3")


@pytest.mark.parametrize(
    ("files", "name", "before", "after"),
    [
        (
            {"lab/__init__.py": "from lab.helpers import double as twice\n"},
            "lab/helpers.py",
            "SCALE = 2",
            "SCALE = 3",
        ),
        (
            {"lab/__init__.py": "from .helpers import *\ntwice = double\n"},
            "lab/helpers.py",
            "SCALE = 2",
            "SCALE = 3",
        ),
        (
            {
                "lab/__init__.py": "def __getattr__(name):\n    return getattr(helpers, name)\nfrom . import helpers\n"
            },
            "lab/helpers.py",
            "SCALE = 2",
            "SCALE = 3",
        ),
    ],
    ids=["by name", "by a star", "by __getattr__"],
)
def test_one_line_in_factories_is_seen_through_a_package_that_exports_it(
    tmp_path, files, name, before, after
) -> None:
    factory = "from lab import twice\n{build} twice(1)\n"
    assert is_seen(tmp_path, {**files, "lab/factory.py": factory}, name, before, after)


@pytest.mark.parametrize("place", ["lab/__init__.py", "lab/patches.py", "lab/helpers.py"])
def test_statements_with_an_effect_count_in_every_module_that_is_imported(tmp_path, place) -> None:
    """A package, a module that only an unused function uses, and a module that is imported for its effect."""
    files = {
        "lab/patches.py": "",
        "lab/factory.py": "import lab.patches\nfrom lab.helpers import double\n{build} 1\n",
    }
    text = (
        textwrap.dedent({**FILES, **files}[place])
        + "\nimport torch\ntorch.set_default_dtype(torch.float64)\n"
    )
    assert is_seen(tmp_path, {**files, place: text}, place, "float64", "float32")


def test_one_line_in_factories_whose_entry_is_an_attribute(tmp_path) -> None:
    files = {
        "lab/factory.py": "from lab.helpers import Net\nOTHER = 1\n",
        "lab/helpers.py": "SCALE = 2\nUNUSED = 2\nclass Net:\n    @classmethod\n    def build(cls):\n        return SCALE\n",
    }
    entry = "lab.factory:Net.build"
    assert is_seen(tmp_path, files, "lab/helpers.py", "SCALE = 2", "SCALE = 3", entry)
    assert not is_seen(tmp_path, files, "lab/helpers.py", "UNUSED = 2", "UNUSED = 3", entry)
    assert not is_seen(tmp_path, files, "lab/factory.py", "OTHER = 1", "OTHER = 3", entry)


def test_a_local_variable_reaches_no_definition_of_the_same_name(tmp_path) -> None:
    build = "def build(width):\n    model = [width for width in range(3)]\n    return model\n"
    files = {"lab/factory.py": f"{build}\ndef width():\n    return 1\n\nmodel = 1\n"}
    assert not is_seen(tmp_path, files, "lab/factory.py", "return 1", "return 2")
    assert not is_seen(tmp_path, files, "lab/factory.py", "model = 1", "model = 2")


def test_a_folder_of_the_checkout_hides_no_installed_package(tmp_path) -> None:
    """Python prefers a package with ``__init__.py`` to a folder without one, wherever it is on the path."""
    (tmp_path / "numpy").mkdir()
    _, versions = digest(tmp_path, {"lab/factory.py": "import numpy\n{build} numpy.zeros(3)\n"})
    assert "numpy" in versions


def test_a_circle_of_imports_ends(tmp_path) -> None:
    files = {
        "lab/factory.py": "from lab.helpers import f\nfrom lab import x\n{build} f, x\n",
        "lab/helpers.py": "from lab.factory import f, build\n",
        "lab/__init__.py": "from lab import x\n",
    }
    assert digest(tmp_path, files)[0]
