"""README.md, command by command, and what it claims about files, targets and methods.

Two commands cannot run in a test as they stand: `make benchmark` and `make report` take a quarter of an hour with the five
default settings, and `make test` would run this test again. They are typed as they stand, with ``ARGS`` (which the Makefile
passes on) in the environment: one setting and four methods, and collecting the tests of this folder instead of running
all. Installing is left out (see the `reader` fixture); `make -n` shows that it is part of each.
"""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest
import yaml

from docs.guides import REPOSITORY, Done, Reader

REDUCED = {"ARGS": "--config 'settings=[digits-lr]' 'methods=[random,same-label,graddot,trak]'"}
STAND_INS = {
    "make benchmark": REDUCED,
    "make report": REDUCED,
    "make test": {"ARGS": "--collect-only tests/docs"},
}
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def followed(reader: Reader) -> list[Done]:
    return reader.follow("README.md", STAND_INS)


@pytest.mark.slow
def test_make_benchmark_prints_the_leaderboard_of_the_reference_settings(followed):
    printed = followed[0].printed
    for name in ("digits-lr", "ceiling", "random", "same-label", "graddot", "trak"):
        assert name in printed


@pytest.mark.slow
def test_make_report_writes_one_file_with_figures_and_tables(followed, reader):
    report = (reader.root / "report.html").read_text(encoding="utf-8")
    for name in ("lds-digits-lr.svg", "proponents-digits-lr.svg", "overview.svg", "leaderboard.csv"):
        assert name in report


@pytest.mark.slow
def test_the_files_to_open_are_there(followed, reader):
    for name in ("leaderboard.md", "leaderboard.csv", "comparisons.csv", "figures/overview.svg"):
        assert (reader.root / "results" / name).stat().st_size > 0
    for figure in ("lds", "frontier", "loss", "proponents"):
        assert (reader.root / f"results/figures/{figure}-digits-lr.svg").stat().st_size > 0


@pytest.mark.slow
def test_the_part_of_the_leaderboard_that_is_shown_is_what_this_version_gives(followed, reader):
    """To one in the second decimal: another processor rounds otherwise."""
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
def test_tuning_is_recorded_where_the_readme_says(followed, reader):
    budget = yaml.safe_load((reader.root / "configs/methods/trak.yaml").read_text())["tune"]["budget"]
    record = json.loads((reader.root / "results/digits-lr/tuning/trak.json").read_text())
    assert 1 < len(record["candidates"]) <= budget
    assert record["chosen"] in [candidate["params"] for candidate in record["candidates"]]


@pytest.mark.slow
def test_a_target_can_be_any_result(followed, reader):
    assert (reader.root / "results/digits-lr/scores/gradcos.safetensors").exists()


@pytest.mark.slow
def test_the_drawn_chain_is_that_of_this_version(followed, reader):
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
    """What `make` would do where nothing is installed yet: the stamps of the fixture are new, so they are told to be old."""
    for target, command in (("benchmark", ".venv/bin/snakemake"), ("test", ".venv/bin/python -m pytest")):
        planned = reader.shell(f"make -n -W requirements.lock {target}", "this test")
        assert "pip install" in planned
        assert planned.index("pip install") < planned.index(command)


def test_every_make_target_that_is_named_exists():
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
    cells = re.findall(
        r"^\| ([`*][^|]+) \| ", README.partition("## The methods")[2].partition("\n## ")[0], re.MULTILINE
    )
    names = re.findall(r"`([\w-]+)`", " ".join(cells))
    assert sorted(names) == sorted(path.stem for path in (REPOSITORY / "configs/methods").glob("*.yaml"))
    default = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["methods"]
    assert sorted(re.findall(r"\*\*`([\w-]+)`\*\*", " ".join(cells))) == sorted(default)


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
