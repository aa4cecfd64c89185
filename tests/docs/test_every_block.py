"""Every block of code on every page is run by a test.

Most pages are followed by :class:`docs.guides.Reader`, which types the ``bash`` blocks and writes the files that blocks
name. ``FOLLOWED`` says by which test. Other blocks are run by the tests in ``RUN``, or here: fragments of settings are
read into a setting, functions are called, and commands that need hours or other machines are planned only.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from archive_writers import write_deb
from docs.guides import REPOSITORY, Block, Reader, blocks_of
from proponent.config.benchmark_schema import BenchmarkConfig
from proponent.config.config_files import ConfigFiles
from proponent.config.digests.source_digest import SourceTree
from proponent.config.load import merge
from proponent.config.model_schema import FactoryConfig
from proponent.config.setting_schema import SettingConfig
from proponent.settings.batch_augmentation import build_augment
from proponent.settings.tasks.task_choice import get_task
from workflow.this_process import forked_snakemake

FOLLOWED = {
    "README.md": "docs/test_readme.py",
    "docs/adding-a-method.md": "docs/test_adding_a_method.py",
    "docs/adding-a-metric.md": "docs/test_adding_a_metric.py",
    "docs/adding-a-setting.md": "docs/test_adding_a_setting.py",
    "docs/cleaning.md": "docs/test_cleaning_page.py",
    "docs/how-it-works.md": "docs/test_how_it_works.py",
    "docs/metrics-that-retrain.md": "docs/test_metrics_that_retrain_page.py",
    "docs/planning.md": "docs/test_planning.py",
    "docs/report.md": "docs/test_report_guide.py",
    "docs/reproducing.md": "versioning/test_guide.py",
    "docs/scaling.md": "docs/test_scaling.py",
    "docs/tracking.md": "docs/test_tracking.py",
    "docs/versioning.md": "versioning/test_guide.py",
    "docs/your-own-model.md": "docs/test_your_own_model.py",
    "docs/your-own-training.md": "docs/test_your_own_training.py",
}
"""Test of each page that is followed from the first block to the last."""
RUN = {
    ("docs/metrics.md", "python"): "docs/test_metrics_page.py",
    ("docs/metrics.md", "text"): "docs/test_metrics_page.py",
    ("docs/explaining.md", "bash"): "docs/test_explaining.py",
    ("docs/explaining.md", "python"): "docs/test_explaining.py",
    ("docs/text-and-music.md", "python"): "docs/test_text_and_music.py",
    ("docs/tracking.md", "sh"): "docs/test_tracking.py",
    ("docs/trained-model.md", "python"): "docs/test_trained_model.py",
}
"""Tests of the other blocks of a language, all of which they run, by page and language."""
SETTING = yaml.safe_load((REPOSITORY / "configs/settings/digits-lr.yaml").read_text(encoding="utf-8"))


def pages() -> list[str]:
    found = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")]
    return sorted(str(page.relative_to(REPOSITORY)) for page in found)


def others(language: str | None = None) -> list[Any]:
    """Return the blocks that neither ``FOLLOWED`` nor ``RUN`` covers, of one language or of all."""
    found = []
    for page in pages():
        for block in blocks_of(REPOSITORY / page):
            typed = page in FOLLOWED and (block.file is not None or block.language in ("bash", "text"))
            if not typed and (page, block.language) not in RUN and language in (None, block.language):
                found.append(pytest.param(page, block, id=block.where))
    return found


def defined(block: Block, **given: Any) -> SimpleNamespace:
    """Run a block of Python and return its names."""
    names = dict(given)
    exec(compile(block.text, block.where, "exec"), names)  # noqa: S102 -- a page of this repository
    return SimpleNamespace(**names)


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A checkout with the factories that fragments of settings name."""
    shutil.copytree(REPOSITORY / "configs/designs", tmp_path / "configs/designs")
    (tmp_path / "configs/settings").mkdir()
    blocks = [block.text for _, block in values(others("python")) if block.text.startswith("def scale")]
    model = "def resnet(weights):\n    return weights\n"
    for name, content in (
        ("lab/factories.py", "\n".join([*blocks, model])),
        ("weights/resnet18.safetensors", ""),
    ):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path


def setting_of(lab: Path, block: Block) -> SettingConfig:
    """Return the configuration of a setting with a fragment of YAML in it."""
    fragment = yaml.safe_load(block.text)
    staged = "stages" in fragment.get("recipe", {})
    own = {"model": "model" in fragment, "recipe": staged}  # parts that the fragment replaces as a whole
    base = {key: value for key, value in SETTING.items() if not own.get(key)}
    content = merge(base, fragment)
    if staged:
        content["recipe"]["optimizer"] = "sgd"
    (lab / "configs/settings/mine.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    config = BenchmarkConfig(settings=["mine"], methods=[])
    return ConfigFiles(lab, config, SourceTree((REPOSITORY / "src", lab))).setting("mine")


def check_scale(block: Block) -> None:
    images = torch.full((2, 3), 255, dtype=torch.uint8)
    assert defined(block).scale(images, mean=0.25).tolist() == [[0.75] * 3] * 2


def check_noise(block: Block) -> None:
    """The function is called as a setting with ``augment`` calls it."""
    module = ModuleType("page_of_augmentation")
    module.noise = defined(block).noise
    sys.modules[module.__name__] = module
    try:
        augment = build_augment(FactoryConfig(f"{module.__name__}:noise", {"size": 0.5}))
        x = torch.zeros(1000)
        assert float(augment(x, 0, 1).std()) == pytest.approx(0.5, rel=0.1)
        assert torch.equal(augment(x, 0, 1), augment(x, 0, 1))
    finally:
        del sys.modules[module.__name__]


@pytest.fixture
def npz(tmp_path):
    """A file in place of the download, and its digest."""
    path = tmp_path / "images.npz"
    np.savez(path, images=np.arange(3))
    return path.as_uri(), hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_example_of_a_download(npz):
    (block,) = [block for _, block in values(others("python")) if "example.org" in block.text]
    address, digest = npz
    text = block.text.replace("https://example.org/images.npz", address).replace("9f86d081…", digest)
    text += "    return archive['images']\n"
    assert defined(Block(block.where, "python", None, text), np=np).dataset().tolist() == [0, 1, 2]


def test_the_example_of_a_file_in_a_package(tmp_path, monkeypatch):
    """The archive of the cache stands for the download of the registry's client."""
    (block,) = [block for _, block in values(others("python")) if "fetch_package(" in block.text]
    member = re.search(r'"(usr/[^"]+)"', block.text)[1]
    monkeypatch.setenv("PROPONENT_CACHE", str(tmp_path))
    write_deb(tmp_path / "package", {member: b"pictures"})
    digest = hashlib.sha256((tmp_path / "package").read_bytes()).hexdigest()
    text = block.text.replace("39e172fe…", digest) + "    return images\n"
    names = defined(Block(block.where, "python", None, text))
    (tmp_path / "package").rename(names.FASHION_MNIST.cached)
    assert names.dataset() == b"pictures"


def check_target(block: Block) -> None:
    values = defined(block).entropy(torch.zeros(2, 4), torch.zeros(2, dtype=torch.long))
    assert values.tolist() == pytest.approx([np.log(4)] * 2)


def check_adapters(block: Block) -> None:
    """The model factory with LoRA, on a tiny BERT that stands for the pretrained one."""
    peft = pytest.importorskip("peft", reason="needs the extra [text]")
    from transformers import BertConfig, BertForSequenceClassification

    size = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}

    def from_pretrained(path: str, num_labels: int) -> nn.Module:
        return BertForSequenceClassification(BertConfig(vocab_size=9, num_labels=num_labels, **size))

    model = defined(
        block,
        torch=torch,
        CLASSES=["a", "b", "c"],
        BertForSequenceClassification=SimpleNamespace(from_pretrained=from_pretrained),
        get_peft_model=peft.get_peft_model,
        LoraConfig=peft.LoraConfig,
    ).model()
    trained = [name for name, value in model.named_parameters() if value.requires_grad]
    assert {re.sub(r".*\b(lora|classifier).*", r"\1", name) for name in trained} == {"lora", "classifier"}


def check_next_tokens(block: Block) -> None:
    input_ids, mask = torch.tensor([[5, 6, 7, 0]]), torch.tensor([[1, 1, 1, 0]])
    found = defined(block, torch=torch, input_ids=input_ids, attention_mask=mask)
    assert found.labels.tolist() == [[6, 7, -100, -100]]


def check_signature(block: Block) -> None:
    from proponent.methods.shared.needs import Data, Gradients

    found = inspect.signature(defined(block, Data=Data, Gradients=Gradients, Tensor=torch.Tensor).attribute)
    kinds = {name: parameter.kind.name for name, parameter in found.parameters.items()}
    expected = {
        "data": "POSITIONAL_OR_KEYWORD",
        "gradients": "POSITIONAL_OR_KEYWORD",
        "power": "KEYWORD_ONLY",
    }
    assert kinds == expected


def check_attributor(block: Block) -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    x, y = torch.randn(30, 4), torch.arange(30) % 3
    found = defined(block, model=model, train=(x, y), queries=(x[:2], y[:2]))
    assert found.index.shape == found.value.shape == (2, 10)


PYTHON: dict[str, Callable[[Block], None] | None] = {
    "def scale": check_scale,
    "import fetch\n": None,  # test_the_example_of_a_download
    "fetch_package(": None,  # test_the_example_of_a_file_in_a_package
    "def noise": check_noise,
    "def entropy": check_target,
    "get_peft_model(": check_adapters,
    "labels[:, :-1]": check_next_tokens,
    "def attribute": check_signature,
    "proponent.Attributor(": check_attributor,
}
"""What runs a block of Python, by a text that is in this block alone."""


def values(parameters: list[Any]) -> list[tuple[str, Block]]:
    return [parameter.values for parameter in parameters]


@pytest.mark.parametrize(("page", "block"), others())
def test_a_block_that_no_other_test_runs_is_run_here(page, block):
    assert block.language in ("bash", "python", "sh", "yaml"), f"no test runs {page}, {block.where}"
    if block.language == "python":
        assert sum(text in block.text for text in PYTHON) == 1, f"no test runs {page}, {block.where}"


@pytest.mark.parametrize(("table", "keys"), [(FOLLOWED, list(FOLLOWED)), (RUN, [page for page, _ in RUN])])
def test_the_named_tests_read_the_pages(table, keys):
    for page, test in zip(keys, table.values(), strict=True):
        assert f'"{page}"' in (REPOSITORY / "tests" / test).read_text(encoding="utf-8"), f"{test}, {page}"


@pytest.mark.slow
@pytest.mark.parametrize(("page", "block"), others("python"))
def test_blocks_of_python_work(page, block):
    for text, check in PYTHON.items():
        if text in block.text and check is not None:
            check(block)


@pytest.mark.parametrize(("page", "block"), others("yaml"))
def test_fragments_of_settings_are_valid_and_their_factories_take_the_arguments(page, block, lab):
    setting = setting_of(lab, block)
    fragment = yaml.safe_load(block.text)
    if "task" in fragment or "target" in fragment:
        task = get_task(setting.task, setting.target)
        task.target(torch.zeros(2, 10), torch.zeros(2, dtype=torch.long))
    if setting.augment and setting.augment.factory.startswith("proponent."):
        images = torch.rand(3, 8, 8)
        assert build_augment(setting.augment)(images, 0, 0).shape == images.shape


def dry_run(reader: Reader, command: str, block: Block) -> str:
    """Return what a dry run prints; Snakemake runs in a fork of this process, which has imported it."""
    program, *arguments = shlex.split(f"{command} -n")
    if program != "snakemake":
        return reader.shell(f"{command} -n", block.where)
    done = forked_snakemake(reader.root, reader.environment(), *arguments)
    assert not done.returncode, f"{block.where} failed:\n{command}\n{done.stdout}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("page", "block"), [*others("sh"), *others("bash")])
def test_long_commands_can_be_planned(page, block, reader: Reader):
    """Runs of hours are planned only (`-n`); a remote is added to a repository of its own, and nothing is pushed."""
    if block.text.startswith(("snakemake ", "make ")):
        commands = block.text.strip().replace("\\\n", "").splitlines()
        planned = [command for command in commands if command.startswith(("snakemake ", "make "))]
        for script in (command.split()[1] for command in commands if command.startswith("python ")):
            assert (REPOSITORY / script).is_file(), f"{block.where}: no {script}"
        for command in planned:
            assert re.search("attribute|python", dry_run(reader, command, block))
    else:
        lines = [line for line in block.text.splitlines() if not line.startswith("dvc push")]
        assert all(line.startswith("dvc remote ") for line in lines)
        folder = reader.root / "remote"
        folder.mkdir()
        printed = Reader(folder).shell(
            "\n".join(["dvc init --no-scm -q", *lines, "dvc remote list"]), block.where
        )
        assert "ssh://" in printed
