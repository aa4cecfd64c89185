"""The report in a headless Chromium: charts, filters, sorting, galleries, keyboard, accessibility; and its pictures.

The page is that of a finished run of three small settings, which the tests share. To make the pictures of the documentation
again, run the tests with ``PICTURES=docs/images`` in the environment, and with ``PAGE=results/report/index.html`` to show
results of your own.
"""

from __future__ import annotations

import base64
import json
import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from proponent.settings.sources import Package, Registry, fetch_package, read_member
from publish.browser import chromium
from registry_data import need_package
from reported_run import METHODS, SETTINGS, make_reported_run

pytestmark = pytest.mark.slow

AXE = Package(
    Registry.npm, "axe-core", "4.14.1", "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_reported_run(tmp_path_factory.mktemp("reported") / "checkout")


@pytest.fixture(scope="module")
def window() -> Iterator[Chrome]:
    with chromium(1280, 900) as browser:
        yield browser


@pytest.fixture
def browser(window: Chrome, page: Path) -> Chrome:
    """The page as a reader opens it, with all visible charts drawn."""
    window.get(page.as_uri())
    wait_for_charts(window)
    return window


def wait_for_charts(browser: Chrome) -> None:
    undrawn = "return [...document.querySelectorAll('.chart')].filter(f => f.offsetParent && !f.dataset.drawn).length"
    WebDriverWait(browser, 60).until(lambda _: browser.execute_script(undrawn) == 0)


def choose(browser: Chrome, element: str, text: str) -> None:
    Select(browser.find_element(By.ID, element)).select_by_visible_text(text)


def shown(browser: Chrome, selector: str) -> list[str]:
    found = browser.find_elements(By.CSS_SELECTOR, selector)
    return [element.text for element in found if element.is_displayed()]


def saved_by(browser: Chrome, button: str) -> str:
    """Press a button that saves a file, and return the content of the file."""
    keep = """
        window.kept = null;
        URL.createObjectURL = blob => { blob.text().then(text => { window.kept = text; }); return 'about:blank#'; };
        HTMLAnchorElement.prototype.click = function () {};
    """
    browser.execute_script(keep)
    browser.execute_script("document.querySelector(arguments[0]).click()", button)
    return WebDriverWait(browser, 30).until(lambda _: browser.execute_script("return window.kept"))


def test_every_setting_is_drawn_without_errors_or_the_network(browser):
    browser.get_log("browser")
    for setting in SETTINGS:
        choose(browser, "setting", setting)
        wait_for_charts(browser)
        assert shown(browser, "section.setting h2") == [setting]
        assert len(shown(browser, "section.setting .drawing svg")) == 4
    asked = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in asked if not name.startswith(("data:", "blob:"))] == []
    assert browser.get_log("browser") == []


def test_the_first_screen_answers_three_questions(browser, page):
    questions = shown(browser, "section.setting .answers dt")
    assert questions == ["Which method predicts best?", "How sure is that?", "What does it cost?"]
    answers = browser.find_elements(By.CSS_SELECTOR, "section.setting .answers dd")
    answers = [element for element in answers if element.is_displayed()]
    assert all(element.rect["y"] + element.rect["height"] < 600 for element in answers)
    ranking = json.loads((page.parents[1] / "small_digits/leaderboard/ranking.json").read_text())
    values = {d["method"]: d["metrics"]["lds"]["value"] for d in ranking["documents"] if d["metrics"]}
    assert answers[0].text.startswith(max(values, key=values.__getitem__))


def leaderboard(browser: Chrome, column: int) -> list[str]:
    return shown(browser, f"#leaderboard-table tbody tr > :nth-child({column})")


def test_the_leaderboard_is_sorted_by_a_click_and_by_the_keyboard(browser):
    values = [float(text.split(" ")[0].replace("−", "-")) for text in leaderboard(browser, 6)]
    assert values == sorted(values, reverse=True)
    button = browser.find_element(By.CSS_SELECTOR, "#leaderboard-table th:nth-child(6) button")
    heading = browser.find_element(By.CSS_SELECTOR, "#leaderboard-table th:nth-child(6)")
    for press, direction in (
        (button.click, "descending"),
        (lambda: button.send_keys(Keys.ENTER), "ascending"),
    ):
        press()
        assert heading.get_attribute("aria-sort") == direction
        found = [float(text.split(" ")[0].replace("−", "-")) for text in leaderboard(browser, 6)]
        assert found == sorted(values, reverse=direction == "descending")
    browser.find_element(By.CSS_SELECTOR, "#leaderboard-table th:nth-child(3) button").send_keys(Keys.SPACE)
    assert leaderboard(browser, 3) == sorted(leaderboard(browser, 3))


def test_the_leaderboard_is_filtered_by_setting_kind_and_metric(browser):
    choose(browser, "filter-setting", "all")
    assert set(leaderboard(browser, 2)) == set(SETTINGS)
    choose(browser, "filter-kind", "baselines")
    assert set(leaderboard(browser, 4)) == {"baselines"}
    assert set(leaderboard(browser, 3)) == {"random", "same-label", "bm25"}
    choose(browser, "filter-metric", "Mislabel AUC")
    assert set(leaderboard(browser, 2)) == {"small_noisy"}
    assert shown(browser, "#leaderboard-count") == [f"{len(leaderboard(browser, 3))} rows"]


def test_the_gallery_changes_its_method_and_its_query(browser, page):
    section = json.loads((page.parents[1] / "small_digits/report/section.json").read_text())
    gallery = section["gallery"]

    def rows() -> list[int]:
        texts = shown(browser, "section.setting .shown .example .row")
        return [int(text.removeprefix("example ")) for text in texts]

    def expected(method: str, query: int) -> list[int]:
        case = gallery["strongest"][method][query]
        return [entry["row"] for entry in (*case["proponents"], *case["opponents"])]

    first, second = gallery["methods"][:2]
    assert rows() == expected(first, 0)
    labels = browser.find_elements(By.CSS_SELECTOR, "section.setting:not([hidden]) .methods input")
    labels[1].click()
    assert rows() == expected(second, 0)
    assert f"▲ Proponents by {second}" in shown(browser, ".proponents h4")
    browser.find_elements(By.CSS_SELECTOR, "section.setting:not([hidden]) .queries input")[3].click()
    assert rows() == expected(second, 3)
    labels[1].send_keys(Keys.ARROW_LEFT)
    assert rows() == expected(first, 3)
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('section.setting:not([hidden]) .shown img')].map(i => i.naturalWidth)"
    )
    assert sizes == [8] * (1 + len(expected(first, 3)))


def test_names_that_look_like_html_are_texts(browser):
    choose(browser, "setting", "small_texts")
    assert "</script><b>" in shown(browser, "section.setting .shown .about b")


def tick_heat_maps(browser: Chrome) -> None:
    browser.find_element(
        By.CSS_SELECTOR, "section.setting:not([hidden]) .gallery input[type=checkbox]"
    ).click()


def press_method(browser: Chrome, method: str) -> None:
    labels = browser.find_elements(By.CSS_SELECTOR, "section.setting:not([hidden]) .methods label")
    next(label for label in labels if label.text == method).click()


def test_heat_maps_lie_over_both_pictures_of_a_pair(browser, page):
    section = json.loads((page.parents[1] / "small_digits/report/section.json").read_text())
    tick_heat_maps(browser)
    for method in ("graddot", "trak"):
        press_method(browser, method)
        case = section["gallery"]["strongest"][method][0]
        entries = [*case["proponents"], *case["opponents"]]
        assert sum(entry["heat"] is not None for entry in entries) == 6
        expected = [address for entry in entries if entry["heat"] for address in entry["heat"][::-1]]
        maps = "document.querySelectorAll('section:not([hidden]) .shown img.heat')"
        drawn = f"return [...{maps}].map(image => [image.src, image.naturalWidth])"
        assert [tuple(found) for found in browser.execute_script(drawn)] == [
            (address, 8) for address in expected
        ]
    press_method(browser, "random")
    assert browser.execute_script(drawn) == []
    assert set(section["without_heat"]) == set()


def test_the_words_that_make_a_score_are_highlighted(browser, page):
    choose(browser, "setting", "small_texts")
    tick_heat_maps(browser)
    press_method(browser, "graddot")
    section = json.loads((page.parents[1] / "small_texts/report/section.json").read_text())
    first = section["gallery"]["strongest"]["graddot"][0]["proponents"][0]
    pieces = section["gallery"]["examples"][str(first["row"])]["pieces"]
    assert len(pieces) == len(first["weights"][1])
    marks = browser.find_elements(By.CSS_SELECTOR, ".shown .proponents .example:first-child > .words mark")
    found = [(mark.text.strip(), mark.get_attribute("title")) for mark in marks]
    assert found == [
        (piece.strip(), f"{weight:+d} %".replace("-", "−"))
        for piece, weight in zip(pieces, first["weights"][1], strict=True)
        if weight
    ]
    assert {mark.get_attribute("class") for mark in marks} <= {"raises", "lowers"}


def test_clusters_are_shown_by_gradient_and_by_representation(browser, page):
    section = json.loads((page.parents[1] / "small_digits/report/section.json").read_text())
    names = shown(browser, ".clusters h4")
    assert names == [group["name"] for group in section["clusters"]]
    assert [name.rpartition(" ")[2] for name in names] == ["gradients", "representations"] * 2
    rows = [row for group in section["clusters"] for cluster in group["clusters"] for row in cluster["rows"]]
    assert shown(browser, ".clusters .row") == [f"example {row}" for row in rows]


def test_proponents_everywhere_are_counted_over_the_test_queries(browser, page):
    root = page.parents[1] / "small_digits"
    method = json.loads((root / "report/section.json").read_text())["everywhere"]["method"]
    scores = load_file(root / f"scores/{method}.safetensors")["scores"][6:]
    counts: dict[int, int] = {}
    for row in scores:
        for example in sorted(range(len(row)), key=lambda i: (-row[i], i))[:10]:
            if row[example] > 0:
                counts[example] = counts.get(example, 0) + 1
    found = [text.split("\n") for text in shown(browser, ".everywhere .about")]
    numbers = [(int(text.rpartition(" ")[2]), int(text.split(" ")[0])) for _, text in found]
    assert all(counts[row] == count for row, count in numbers)
    assert [count for _, count in numbers] == sorted(counts.values(), reverse=True)[:12]


@pytest.mark.parametrize(("setting", "what"), [("small_music", "notes"), ("small_speech", "levels")])
def test_sounds_are_played(browser, page, setting, what):
    choose(browser, "setting", setting)
    section = json.loads((page.parents[1] / setting / "report/section.json").read_text())
    assert all(item["sound"][what] and item["picture"] for item in section["gallery"]["examples"].values())
    browser.get_log("browser")
    play = next(
        button for button in browser.find_elements(By.CSS_SELECTOR, ".shown .play") if button.is_displayed()
    )
    assert play.get_attribute("aria-label").startswith("play query ")
    play.send_keys(Keys.ENTER)
    assert play.text == "■ stop"
    WebDriverWait(browser, 20).until(lambda _: play.text == "▶ play")
    play.click()
    play.click()
    assert play.text == "▶ play"
    assert browser.get_log("browser") == []


def test_the_sentence_of_a_metric_says_what_a_good_value_means(browser):
    assert shown(browser, "#leaderboard-meaning")[0].startswith(
        "Near its ceiling, summed scores rank random halves"
    )
    choose(browser, "filter-setting", "all")
    choose(browser, "filter-metric", "Mislabel AUC")
    meaning = shown(browser, "#leaderboard-meaning")[0]
    assert "flipped" in meaning or "wrong" in meaning
    titles = (
        "return [...document.querySelectorAll('#leaderboard-table tbody tr')].map(row => row.cells[4].title)"
    )
    assert set(browser.execute_script(titles)) == {meaning}


def test_flipped_labels_are_marked_where_they_are_known(browser, page):
    choose(browser, "setting", "small_noisy")
    known = json.loads((page.parents[1] / "small_noisy/report/section.json").read_text())["suspicious"][
        "known"
    ]
    marked = [text for text in shown(browser, ".suspicious .about") if "flipped" in text]
    assert len(marked) == sum(known.values())


def test_every_gap_has_its_reason(browser):
    states = browser.execute_script(
        "return [...document.querySelectorAll('.coverage tbody tr')].map(row => [...row.cells].map(c => c.textContent))"
    )
    assert sorted(row[0] for row in states) == sorted(METHODS)
    (bm25,) = [row for row in states if row[0] == "bm25"]
    assert [cell.lstrip("●○") for cell in bm25[2:]] == ["left out", "left out", "ran", "ran", "left out"]
    reasons = shown(browser, ".gaps > div")
    for setting in ("small_digits", "small_noisy", "small_speech"):
        start, why = (
            f"left out {setting}: bm25",
            f"needs 'inputs: tokens', and configs/settings/{setting}.yaml",
        )
        assert any(text.startswith(start) and why in text for text in reasons)


def test_charts_are_saved_as_svg_and_csv(browser, page):
    place = ".chart[data-of='small_digits'][data-chart='quality']"
    svg = saved_by(browser, f"{place} [data-save=svg]")
    assert "var(--" not in svg
    assert ElementTree.fromstring(svg).tag.endswith("svg")  # noqa: S314 - written here
    of_file = (page.parents[1] / "small_digits/report/quality.csv").read_text()
    of_page = saved_by(browser, f"{place} [data-save=csv]")
    assert of_page.splitlines()[0] == of_file.splitlines()[0]
    assert [row.split(",")[0] for row in of_page.splitlines()] == [
        row.split(",")[0] for row in of_file.splitlines()
    ]


def test_everything_is_reached_by_the_keyboard(browser):
    browser.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
    reached = set()
    describe = """
        const e = document.activeElement;
        return [e.tagName, e.id, e.name || '', e.textContent.trim().slice(0, 30)].join('|');
    """
    for _ in range(120):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.add(browser.execute_script(describe))
        if any(text.endswith("|CSV of LDS against the ceiling") for text in reached):
            break
    for wanted in ("A|||Skip to the results", "SELECT|setting|", "INPUT||small_digits-method", "INPUT||small_digits-query",
                   "SELECT|filter-kind", "BUTTON|||Value", "SUMMARY|||About this setting"):  # fmt: skip
        assert any(text.startswith(wanted) for text in reached), wanted


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("setting", ["small_digits", "small_texts", "small_music"])
def test_an_accessibility_checker_finds_nothing(browser, theme, setting):
    need_package(AXE)
    choose(browser, "theme", theme)
    choose(browser, "setting", setting)
    wait_for_charts(browser)
    browser.execute_script(
        "document.querySelectorAll('details').forEach(element => { element.open = true; })"
    )
    browser.execute_script(read_member(fetch_package(AXE), "package/axe.min.js").decode())
    found = browser.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found["violations"]] == []
    assert len(found["passes"]) > 30


def picture(browser: Chrome, width: int, height: int) -> bytes:
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    return base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip})["data"])


@pytest.mark.parametrize(("name", "width", "height"), [("desktop", 1280, 1400), ("phone", 390, 844)])
def test_the_page_fits_a_phone_and_a_desktop(window, page, tmp_path, name, width, height):
    folder = Path(os.environ.get("PICTURES", tmp_path))
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": name == "phone"}
    window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        window.get(Path(os.environ.get("PAGE", page)).resolve().as_uri())
        wait_for_charts(window)
        assert window.execute_script("return document.documentElement.scrollWidth") <= width
        (folder / f"report-{name}.png").write_bytes(picture(window, width, height))
    finally:
        window.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_printed_page_has_no_controls_and_light_colours(browser):
    choose(browser, "theme", "dark")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not browser.find_element(By.TAG_NAME, "header").is_displayed()
        colour = "return getComputedStyle(document.documentElement).getPropertyValue('--surface').trim()"
        assert browser.execute_script(colour) == "#ffffff"
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_the_page_is_one_file_of_a_few_megabytes(page):
    text = page.read_text(encoding="utf-8")
    assert len(text) < 3_000_000
    markup = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert re.findall(r"<(?:script|img|link|iframe)[^>]+(?:src|href)=\"(?!data:)[^\"]*", markup) == []
