"""docs/report.md, followed by a reader; the page itself is tested in tests/browser."""

from __future__ import annotations

import re

import pytest

from docs.guides import REPOSITORY, Done, Reader
from proponent.publish.report import gallery
from proponent.steps import explain_gallery as explain
from proponent.steps.io import section_examples
from proponent.trained.pair_score_builder import EXPLAINED

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def followed(reader: Reader) -> list[Done]:
    return reader.follow("docs/report.md")


def test_the_page_is_one_file_with_the_setting_of_the_guide(followed, reader):
    page = (reader.root / "results/report/index.html").read_text(encoding="utf-8")
    assert "digits-lr" in page
    assert "trak" in page
    assert len(page) < 5_000_000


def test_a_second_report_makes_nothing(followed, reader):
    ((command, *_),) = [done.block.text.splitlines() for done in followed]
    printed = reader.shell(command.replace("make report", "make -n report"), "this test")
    options = re.search(r"index\.html (--config .*)", printed)[1]
    assert "Nothing to be done" in reader.shell(
        f"snakemake -n results/report/index.html {options}", "this test"
    )


def test_the_guide_names_the_numbers_of_this_version():
    guide = (REPOSITORY / "docs/report.md").read_text(encoding="utf-8")
    words = {3: "three", 6: "six", 10: "ten", 12: "a dozen"}
    assert f"{words[gallery.QUERIES]} test queries" in guide
    assert f"each of the {words[gallery.METHODS]} best methods" in guide
    assert f"the {words[gallery.SHOWN]} strongest proponents" in guide
    assert f"among the {words[section_examples.COUNTED]} strongest proponents" in guide
    assert f"the {gallery.SUSPICIOUS} training examples" in guide
    assert f"more than {section_examples.GALLERY_BYTES / 1e6:.2f} MB" in guide
    assert f"end at {section_examples.HEAT_BYTES / 1e6:.2f} MB" in guide
    assert f"the {words[explain.PAIRS]} strongest proponents and opponents of each query" in guide
    assert f"more than {explain.DIVIDED:,} examples" in guide
    assert all(f"`{name}`" in guide for name in EXPLAINED.replace(" and ", ", ").split(", "))
