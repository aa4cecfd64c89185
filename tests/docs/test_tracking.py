"""docs/tracking.md, followed in a checkout whose params.yaml names one setting and four methods; and its pictures.

To make the pictures again, run the tests with ``PICTURES=docs/images`` in the environment.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from docs.guides import REPOSITORY, Done, Reader, blocks_of
from publish.browser import (
    charts,
    chromium,
    compare,
    hosts,
    list_runs,
    open_artifact,
    run_page,
    texts_right_of,
)
from publish.services import free_port, listening, postgresql, serving

pytestmark = pytest.mark.slow

GUIDE = "docs/tracking.md"
METHODS = ["random", "same-label", "graddot", "trak"]


@pytest.fixture(scope="module")
def own(reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """A copy of the checkout and results of the other guides, because this guide changes the configuration."""
    root = shutil.copytree(reader.root, tmp_path_factory.mktemp("tracking") / "proponent", symlinks=True)
    params = root / "params.yaml"
    content = params.read_text()
    content = re.sub(r"^settings: .*$", "settings: [digits-lr]", content, flags=re.MULTILINE)
    listed = "methods:\n" + "".join(f"  - {method}\n" for method in METHODS)
    content, replaced = re.subn(r"^methods:\n(?:  - .*\n)+", listed, content, flags=re.MULTILINE)
    assert replaced
    params.write_text(content)
    return Reader(root)


@pytest.fixture(scope="module")
def followed(own: Reader) -> list[Done]:
    return own.follow(GUIDE)


def servers() -> list[str]:
    """Return the commands of the guide that start a server."""
    return [block.text.strip() for block in blocks_of(REPOSITORY / GUIDE) if block.language == "sh"]


@pytest.fixture(scope="module")
def ui(followed: list[Done], own: Reader) -> Iterator[str]:
    """The address of the server that `make ui` starts."""
    port = free_port()
    with serving(f"{servers()[0]} PORT={port}", port, own.root, own.environment()) as url:
        yield url


def test_the_view_has_one_run_per_method_with_the_values_of_the_results(followed, own):
    client = MlflowClient(f"sqlite:///{own.root / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("digits-lr").experiment_id])
    assert sorted(run.info.run_name for run in runs) == sorted(METHODS)
    table = pd.read_csv(own.root / "results/leaderboard.csv").query("metric == 'lds'").set_index("method")
    for run in runs:
        row = table.loc[run.info.run_name]
        for column, metric in (("value", "lds"), ("ci_low", "lds_ci_low"), ("ceiling", "lds_ceiling")):
            assert run.data.metrics[metric] == pytest.approx(row[column], rel=1e-5)
        assert run.data.metrics["total_seconds"] == pytest.approx(row["total_seconds"], rel=1e-5)
        files = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert files == {"configuration.json", "figures", "gallery.html", "metrics.json"}
        figures = {file.path for file in client.list_artifacts(run.info.run_id, "figures")}
        assert figures == {
            f"figures/{name}-digits-lr.svg" for name in ("lds", "frontier", "loss", "proponents")
        }


def picture(name: str, folder: Path) -> Path:
    return Path(os.environ.get("PICTURES", folder)) / f"mlflow-{name}.png"


@pytest.fixture
def link(ui: str, own: Reader) -> str:
    """The link to the runs of the setting that `make ui` prints."""
    (found,) = re.findall(r"digits-lr: (http\S+)", (own.root / "server.log").read_text())
    return found


def test_the_ui_only_listens_on_this_machine(ui):
    assert listening(int(ui.rpartition(":")[2])) == {"0100007F"}  # 127.0.0.1


def test_three_methods_are_compared_in_a_browser(ui, own, tmp_path):
    compared = picture("compare", tmp_path)
    methods = ["trak", "graddot", "same-label"]
    with chromium() as browser:
        compare(browser, ui, "digits-lr", methods, compared)
        shown = dict(zip(texts_right_of(browser, "Run Name:"), texts_right_of(browser, "lds"), strict=True))
        asked = hosts(browser)
    table = pd.read_csv(own.root / "results/leaderboard.csv").query("metric == 'lds'").set_index("method")
    assert {name: float(value) for name, value in shown.items()} == pytest.approx(
        {name: table.loc[name, "value"] for name in methods}, abs=5e-4
    )
    assert compared.stat().st_size > 10_000
    assert asked == {"127.0.0.1"}


def test_the_printed_link_shows_the_leaderboard_of_a_setting(link, own, tmp_path):
    with chromium(1280, 560) as browser:
        columns, *rows = list_runs(browser, link, picture("runs", tmp_path))
    assert {"lds", "lds_ci_low", "lds_over_ceiling", "total_seconds"} <= set(columns)
    table = pd.read_csv(own.root / "results/leaderboard.csv").query("metric == 'lds'")
    best = list(table.sort_values("value", ascending=False)["method"])
    # A name follows the code of its colour.
    shown = [[name for name in METHODS if any(text.endswith(name) for text in row)] for row in rows]
    assert shown == [[name] for name in best]


def test_the_chart_view_draws_the_metrics_of_all_methods(link, tmp_path):
    with chromium(1280, 1000) as browser:
        shown = charts(browser, link, picture("charts", tmp_path))
    assert {"lds", "attribution_seconds", *METHODS} <= set(shown)


def test_the_page_of_a_run_has_its_metrics_and_its_gallery(link, own, tmp_path):
    table = pd.read_csv(own.root / "results/leaderboard.csv").query("metric == 'lds'").set_index("method")
    with chromium(1280, 900) as browser:
        shown = run_page(browser, link, "trak", picture("run", tmp_path))
        heading = open_artifact(browser, "gallery.html", picture("gallery", tmp_path))
    assert float(shown["lds"]) == pytest.approx(table.loc["trak", "value"], rel=1e-5)
    assert heading == "digits-lr: the strongest training examples by trak"


def test_telemetry_of_the_ui_is_switched_off(ui):
    import requests

    told = requests.get(f"{ui}/ajax-api/3.0/mlflow/ui-telemetry", timeout=30).json()
    assert told["disable_ui_telemetry"]


def test_the_server_of_the_guide_over_postgresql(followed, own, tmp_path):
    port = free_port()
    with postgresql() as database:
        command = (
            servers()[1]
            .replace("postgresql://user@host/database", f"'{database}'")
            .replace("5001", str(port))
        )
        assert database in command
        with serving(command, port, tmp_path, own.environment()) as url:
            publish = f"MLFLOW_TRACKING_URI={url} proponent publish"
            assert own.shell(publish, "this test").strip() == "4 written"
            assert own.shell(publish, "this test").strip() == "4 kept"
