"""README.md, command by command, and its statements about files, targets and methods.

Three commands cannot run in a test unchanged: `make benchmark` and `make report` take ten minutes with the four
default settings, and `make test` would run this test again. They are run with ``ARGS`` in the environment, which the
Makefile passes on: one setting and four methods, and collecting the tests of this folder instead of running all tests.
Installing is left out (see the `reader` fixture); `make -n` shows that it is part of each command.
"""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest
import yaml

from docs.guides import REPOSITORY, Done, Reader, configured_methods, method_module, without_averages

REDUCED = {"ARGS": "--config 'settings=[digits-lr]' 'methods=[random,same-label,graddot,trak]'"}
STAND_INS = {
    "make benchmark": REDUCED,
    "make report": REDUCED,
    "make test": {"ARGS": "--collect-only tests/docs"},
}
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def methods_by_folder() -> list[tuple[str, str]]:
    """Return the rows of the table of methods: the folder of the kind, and the cell with the names of methods."""
    table = README.partition("## The methods")[2].partition("\n## ")[0]
    rows = [row.split(" | ") for row in table.splitlines() if re.match(r"\| (.* )?\| [`*]", row)]
    folders: list[str] = []
    for kind, *_ in rows:
        named = re.search(r"`(\w+)/`", kind)
        folders.append(named[1] if named else folders[-1])
    return [(folder, row[1]) for folder, row in zip(folders, rows, strict=True)]


@pytest.fixture(scope="module")
def followed(reader: Reader) -> list[Done]:
    return reader.follow("README.md", STAND_INS)


@pytest.mark.slow
def test_make_benchmark_prints_the_leaderboard(followed):
    printed = followed[0].printed
    for name in ("digits-lr", "ceiling", "random", "same-label", "graddot", "trak"):
        assert name in printed


@pytest.mark.slow
def test_make_report_writes_one_page_with_answers_and_data(followed, reader):
    report = (reader.root / "results/report/index.html").read_text(encoding="utf-8")
    for name in (
        "digits-lr",
        "graddot",
        "Which method predicts best?",
        "Optical recognition of handwritten digits",
    ):
        assert name in report


@pytest.mark.slow
def test_the_files_to_open_exist(followed, reader):
    for name in ("leaderboard.md", "leaderboard.csv", "comparisons.csv", "figures/overview.svg"):
        assert (reader.root / "results" / name).stat().st_size > 0
    for figure in ("lds", "frontier", "loss", "proponents"):
        assert (reader.root / f"results/figures/{figure}-digits-lr.svg").stat().st_size > 0


@pytest.mark.slow
def test_the_shown_part_of_the_leaderboard_is_that_of_this_version(followed, reader):
    """Values agree to 0.01, because another processor rounds differently."""
    table = pd.read_csv(reader.root / "results/leaderboard.csv").query("metric == 'lds'").set_index("method")
    shown = re.findall(r"^\| (\d+) \| ([\w-]+) \| ([\d.]+) \[([−\d.]+), ([\d.]+)\]", README, re.MULTILINE)
    assert [method for _, method, *_ in shown] == list(table["value"].sort_values(ascending=False).index)
    for _, method, *figures in shown:
        value, low, high = (float(figure.replace("−", "-")) for figure in figures)
        row = table.loc[method]
        assert [row["value"], row["ci_low"], row["ci_high"]] == pytest.approx([value, low, high], abs=0.01)
    ceiling = float(re.search(r"ceiling ([\d.]+) \[", README)[1])
    assert table["ceiling"].iloc[0] == pytest.approx(ceiling, abs=0.01)


@pytest.mark.slow
def test_the_tuning_record_lists_candidates_and_choice(followed, reader):
    budget = yaml.safe_load((reader.root / "configs/methods/trak.yaml").read_text())["tune"]["budget"]
    record = json.loads((reader.root / "results/digits-lr/tuning/trak.json").read_text())
    assert 1 < len(record["candidates"]) <= budget
    assert record["chosen"] in [candidate["params"] for candidate in record["candidates"]]


@pytest.mark.slow
def test_any_result_can_be_a_target(followed, reader):
    assert (reader.root / "results/digits-lr/scores/gradcos.safetensors").exists()


@pytest.mark.slow
def test_make_docs_writes_a_site_that_begins_with_this_page(followed, reader):
    assert "you trust to find them?" in (reader.root / "site/index.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_picture_of_the_chain_is_that_of_this_version(followed, reader):
    drawn = (REPOSITORY / "docs/images/rulegraph.svg").read_text(encoding="utf-8")
    command = re.search(r"<!-- (snakemake --rulegraph .*) \| dot", README)[1]
    graph = reader.shell(f"{command} 2> /dev/null", "README.md, the comment above the chain")
    labels = dict(re.findall(r'(\d+)\[label = "(\w+)"', graph))
    arrows = {f"{labels[a]}->{labels[b]}" for a, b in re.findall(r"(\d+) -> (\d+)", graph)}
    titles = re.findall(r"<title>(\d+)&#45;&gt;(\d+)</title>", drawn)
    names = dict(re.findall(r"<title>(\d+)</title>.*?<text[^>]*>(\w+)</text>", drawn, re.DOTALL))
    assert {f"{names[a]}->{names[b]}" for a, b in titles} == arrows


@pytest.mark.slow
def test_installing_is_part_of_each_make_target(reader):
    """The plan of `make` if nothing is installed: ``-W`` makes the stamp files of the fixture count as out of date."""
    commands = {
        "quickstart": "snakemake quickstart",
        "benchmark": "snakemake",
        "docs": "python -m mkdocs",
        "test": "python -m pytest",
    }
    for target, command in commands.items():
        planned = reader.shell(f"make -n -W requirements.lock {target}", "this test")
        assert "pip install" in planned
        assert planned.index("pip install") < planned.index(f".venv/bin/{command}")


def test_every_named_make_target_exists():
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md"):
        named = set(
            re.findall(
                r"(?:`|^)make ([a-z-]+)", (REPOSITORY / page).read_text(encoding="utf-8"), re.MULTILINE
            )
        )
        assert named
        assert named <= targets, page


def test_the_table_of_methods_lists_all_and_those_of_the_default_run_in_bold():
    cells = " ".join(cell for _, cell in methods_by_folder())
    names = re.findall(r"`([\w-]+)`", cells)
    assert sorted(without_averages(names)) == sorted(configured_methods())
    default = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["methods"]
    assert sorted(re.findall(r"\*\*`([\w-]+)`\*\*", cells)) == sorted(default)


def test_the_table_of_methods_names_the_folder_of_each_method():
    families = configured_methods()
    for folder, cell in methods_by_folder():
        for name in without_averages(re.findall(r"`([\w-]+)`", cell)):
            assert method_module(families[name]).parent.name == folder, name


def test_the_folders_in_the_table_exist():
    cells = re.findall(
        r"^\| (`.*?) \|", README.partition("## Where things are")[2].partition("\n## ")[0], re.MULTILINE
    )
    paths = [path for cell in cells for path in re.findall(r"`([^`]+)`", cell)]
    assert len(paths) > 10
    roots = (REPOSITORY, REPOSITORY / "src/proponent")
    made = {"results/", "logs/"}
    assert [
        path for path in paths if path not in made and not any((root / path).exists() for root in roots)
    ] == []


def test_the_changelog_counts_methods_and_modules():
    changelog = " ".join((REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8").split())
    methods = configured_methods()
    counted = f"{len(methods)} configured attribution methods in {len(set(methods.values()))} modules"
    assert counted in changelog
