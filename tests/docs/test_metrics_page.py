"""docs/metrics.md lists every metric and every value of the leaderboard, and its example prints what it shows."""

from __future__ import annotations

import contextlib
import io

import pytest
import yaml

from docs.guides import REPOSITORY, blocks_of, check_printed

PAGE = "docs/metrics.md"
FILES = sorted((REPOSITORY / "configs/metrics").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_metric_is_described_with_all_its_values(path):
    pages = [page.read_text(encoding="utf-8") for page in (REPOSITORY / "docs").glob("metrics*.md")]
    text, content = "\n".join(pages), yaml.safe_load(path.read_text(encoding="utf-8"))
    variant = path.stem.rpartition("-")[2]  # `group-influence-classes`, `-clusters`
    assert f"`{path.stem}`" in text or f"`-{variant}`" in text
    for name, sentence in content.get("meaning", {}).items():
        assert f"`{name}`" in text, name
        assert sentence.endswith(".") and len(sentence.splitlines()) == 1


def test_the_default_run_is_that_of_params_yaml():
    rows = (REPOSITORY / PAGE).read_text(encoding="utf-8").splitlines()
    table = [row for row in rows if row.startswith("| `")]
    listed = [row.split("`")[1] for row in table if row.endswith("| yes |")]
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    assert listed == [name for name in params["metrics"] if name in listed]
    assert set(params["metrics"]) == set(listed)


def test_the_example_prints_what_the_page_shows():
    code, shown = (block for block in blocks_of(REPOSITORY / PAGE) if block.language in ("python", "text"))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code.text, code.where, "exec"), {})  # noqa: S102 -- a page of this repository
    check_printed(printed.getvalue(), shown)
