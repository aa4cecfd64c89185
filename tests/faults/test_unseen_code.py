"""Code and files that no key covers are digested, or named at every start (fault ``unseen_code``)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from proponent.config.digests.distributions import index_of
from proponent.config.digests.source_digest import SourceTree
from proponent.config.digests.unseen import unseen

INDEX = cache(index_of)


@pytest.fixture(autouse=True)
def one_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Index the installed distributions, which do not change here, once rather than in every test."""
    monkeypatch.setattr("proponent.config.digests.distributions.index_of", INDEX)


READS = {
    "open": "def build():\n    return open('lab/table.json').read()\n",
    "a path next to the module": (
        "from pathlib import Path\n\ndef build():\n    return Path(__file__).with_name('table.json').read_text()\n"
    ),
    "a constant": (
        "import json\nfrom pathlib import Path\nTABLE = Path(__file__).parent / 'table.json'\n\n"
        "def build():\n    return json.loads(TABLE.read_bytes())\n"
    ),
    "at import": "import json\nfrom pathlib import Path\nTABLE = json.load(open(Path(__file__).with_name('table.json')))\n"
    "def build():\n    return TABLE\n",
    "pandas": "import pandas as pd\n\ndef build():\n    return pd.read_json('lab/table.json')\n",
    "an import inside the function": "def build():\n    from numpy import load\n    return load('lab/table.json')\n",
}
COMPUTED = {
    "import_module": "import importlib\n\ndef build(name):\n    return importlib.import_module(f'lab.{name}').f()\n",
    "an alias": "from importlib import import_module as get\n\ndef build(name):\n    return get('lab.' + name).f()\n",
    "a function passed on": "import importlib\n\ndef build(names):\n    return map(importlib.import_module, names)\n",
    "inside the function": "def build(name):\n    from importlib import import_module\n    return import_module(name)\n",
    "__import__": "def build(name):\n    return __import__(name)\n",
    "a file": (
        "import importlib.util\n\ndef build():\n    return importlib.util.spec_from_file_location('x', 'lab/other.py')\n"
    ),
    "hydra": "from hydra.utils import instantiate\n\ndef build(config):\n    return instantiate(config)\n",
}


def lines(root: Path, text: str, listed: tuple[str, ...] = ()) -> list[str]:
    (root / "lab").mkdir(exist_ok=True)
    (root / "lab/table.json").write_text("{}")
    (root / "lab/factory.py").write_text(f"def other():\n    return open('lab/other.json')\n\n\n{text}")
    return unseen(SourceTree((root,)).definitions, ["lab.factory:build"], root, listed)


@pytest.mark.parametrize("how", READS)
def test_unseen_code_names_a_file_that_is_read_until_it_is_listed(tmp_path, how) -> None:
    (line,) = lines(tmp_path, READS[how])
    assert line.startswith("lab/factory.py:")
    assert line.endswith(": reads lab/table.json")
    assert lines(tmp_path, READS[how], ("lab/table.json",)) == []
    assert lines(tmp_path, READS[how], ("lab",)) == []
    assert lines(tmp_path, READS[how], ("lab/factory.py",)) == [line]


def test_unseen_code_does_not_name_files_whose_digest_is_in_the_source(tmp_path) -> None:
    text = (
        "import numpy as np\nfrom proponent.settings import fetch\n\n"
        "def build():\n    path = fetch('https://host/images.npz', '{digest}')\n    return np.load(path)\n"
    )
    assert lines(tmp_path, text) == []
    assert lines(tmp_path, text.replace("fetch(", "str(")) == ["lab/factory.py:8: reads files"]


def test_unseen_code_names_the_definition_that_reads_files_by_computed_names(tmp_path) -> None:
    text = "def build(path):\n    return open(path).read()\n"
    assert lines(tmp_path, text) == ["lab/factory.py:5: reads files"]
    assert lines(tmp_path, text, ("lab/table.json",)) == []


@pytest.mark.parametrize("how", COMPUTED)
def test_unseen_code_names_a_module_with_a_computed_name(tmp_path, how) -> None:
    named = [line for line in lines(tmp_path, COMPUTED[how]) if "computed name" in line]
    assert len(named) == 1
    assert named[0].endswith(": imports a module by a computed name")
    assert lines(tmp_path, COMPUTED[how], ("lab/other.py",)) == []


@pytest.mark.parametrize(
    "text",
    [
        "import importlib\n\ndef build():\n    return importlib.import_module('lab.helpers')\n",
        "def build(path):\n    with open(path, 'w') as file:\n        file.write('x')\n",
        "import torch\n\ndef build(width):\n    return torch.nn.Linear(width, 'table.json')\n",
    ],
    ids=["a literal", "writing", "a literal that is not read"],
)
def test_unseen_code_is_not_named_where_there_is_none(tmp_path, text) -> None:
    assert lines(tmp_path, text) == []
