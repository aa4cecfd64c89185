"""MLflow's UI in a real browser, operated by its visible texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    StaleElementReferenceException,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from publish.services import program

_PATIENCE_SECONDS = 60
_NOT_YET = (ElementClickInterceptedException, ElementNotInteractableException, StaleElementReferenceException)
_ONLY_THIS_MACHINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


@contextmanager
def chromium(width: int = 1280, height: int = 1560) -> Iterator[webdriver.Chrome]:
    """Yield a headless Chromium that can reach this machine only."""
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium", "chromium chromium-driver fonts-liberation")
    driver = program("chromedriver", "chromium chromium-driver fonts-liberation")
    flags = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", _ONLY_THIS_MACHINE)
    for flag in (*flags, f"--window-size={width},{height}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def compare(browser: webdriver.Chrome, url: str, setting: str, methods: Sequence[str], picture: Path) -> None:
    """Open the runs of ``setting``, tick ``methods``, press Compare, and take a screenshot when the plots are drawn."""
    _without_assistant(browser, url)
    browser.get(f"{url}/#/experiments?workflowType=machine_learning")
    _click(browser, f"//a[.='{setting}']")
    for method in methods:
        # The checkbox itself is transparent and covers a picture of a checkbox.
        row = f"//div[@role='row'][.//a[.='{method}']]"
        _click(browser, f"{row}//div[contains(@class, 'ag-selection-checkbox')]")
    _click(browser, "//button[normalize-space(.)='Compare']")
    _click(
        browser, "//*[@role='button' or self::button][normalize-space(.)='Parameters']"
    )  # folds the section; the plot shows the parameters
    _click(browser, "//label[normalize-space(.)='Show diff only'] | //*[@role='switch']")
    _wait(browser, lambda: texts_right_of(browser, "lds"))
    _wait(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".parcoords"))
    browser.execute_script("document.querySelectorAll('*').forEach(element => { element.scrollTop = 0; })")
    _save(browser, picture)


def list_runs(browser: webdriver.Chrome, link: str, picture: Path) -> list[list[str]]:
    """Open the view of a setting's runs, and return the names of its columns and the texts of each row, from the top."""
    _without_assistant(browser, link.partition("/#")[0])
    browser.get(link)
    _wait(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".ag-center-cols-container [role=row]"))
    rows = """
        const texts = row => [...row.querySelectorAll("[role=gridcell]")].map(cell => cell.textContent.trim());
        const heads = [...document.querySelectorAll(".ag-header [role=columnheader]")].map(e => e.textContent.trim());
        const parts = {};
        for (const row of document.querySelectorAll(".ag-body-viewport [role=row]")) {
            const index = Number(row.getAttribute("row-index"));
            parts[index] = [...new Set([...(parts[index] || []), ...texts(row)])];
        }
        return [heads, ...Object.keys(parts).map(Number).sort((a, b) => a - b).map(index => parts[index])];
    """
    found = _wait(browser, lambda: (table := browser.execute_script(rows)) and len(table) > 1 and table)
    _save(browser, picture)
    return found


def charts(browser: webdriver.Chrome, link: str, picture: Path) -> list[str]:
    """Open the charts of a setting's runs, and return the texts of the page, with the titles of the charts."""
    _without_assistant(browser, link.partition("/#")[0])
    browser.get(f"{link}&compareRunsMode=CHART")
    bars = "//*[contains(@class, 'bars')]//*[name()='path']"
    _wait(browser, lambda: browser.find_elements(By.XPATH, bars))
    _save(browser, picture)
    return browser.find_element(By.TAG_NAME, "body").text.splitlines()


def run_page(browser: webdriver.Chrome, link: str, method: str, picture: Path) -> dict[str, str]:
    """Open the page of a method's run from the list of runs, and return the values of its metrics, as shown, by name."""
    _without_assistant(browser, link.partition("/#")[0])
    browser.get(link)
    _click(browser, f"//a[.='{method}']")
    _wait(browser, lambda: browser.find_elements(By.XPATH, "//*[starts-with(., 'Metrics (')]"))
    rows = """
        return [...document.querySelectorAll('[role=row]')].map(row =>
            [...row.querySelectorAll('[role=cell]')].map(cell => cell.textContent.trim()));
    """
    found = _wait(
        browser, lambda: [row for row in browser.execute_script(rows) if len(row) == 2 and all(row)]
    )
    _save(browser, picture)
    return dict(found)


def open_artifact(browser: webdriver.Chrome, name: str, picture: Path) -> str:
    """Open an HTML file of the run whose page is open, and return the text of its heading."""
    _click(browser, "//*[@role='tab' or self::a or self::button][normalize-space(.)='Artifacts']")
    _click(browser, f"//*[.='{name}']")
    frame = _wait(browser, lambda: browser.find_elements(By.TAG_NAME, "iframe"))[0]
    browser.switch_to.frame(frame)
    heading = _wait(browser, lambda: browser.find_element(By.CSS_SELECTOR, "h1, h2").text)
    browser.switch_to.default_content()
    _save(browser, picture)
    return heading


def _save(browser: webdriver.Chrome, picture: Path) -> None:
    picture.parent.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(picture))


def _without_assistant(browser: webdriver.Chrome, url: str) -> None:
    """Keep MLflow's chat assistant closed, which otherwise opens on the first visit and covers a third of the window."""
    browser.get(f"{url}/health")
    browser.execute_script(
        "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');"
        "localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');"
        "localStorage.setItem('mlflow.workflowType_v1', '\"machine_learning\"');"
    )


def texts_right_of(browser: webdriver.Chrome, name: str) -> list[str]:
    """Return the texts to the right of ``name`` in a table, one per run. The page draws its columns one by one.

    A floating button of MLflow may be at the same height.
    """
    script = """
        const leaves = [...document.querySelectorAll('main *, #root *')].filter(
            e => [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim())
                && e.closest('svg, button, [role=button]') === null);
        const box = e => e.getBoundingClientRect(), middle = e => box(e).top + box(e).height / 2;
        const after = head => leaves.filter(
            e => Math.abs(middle(e) - middle(head)) < 4 && box(e).left > box(head).right);
        const rows = leaves.filter(e => e.textContent.trim() === arguments[0]).map(after).filter(row => row.length);
        return (rows[0] || []).sort((a, b) => box(a).left - box(b).left).map(e => e.textContent.trim());
    """
    return browser.execute_script(script, name)


def hosts(browser: webdriver.Chrome) -> set[str]:
    """Return the hosts from which the page loaded a resource."""
    script = "return performance.getEntriesByType('resource').map(entry => new URL(entry.name).hostname)"
    return {host for host in browser.execute_script(script) if host}


def _click(browser: webdriver.Chrome, path: str) -> None:
    """Click on the element at ``path`` as soon as it is visible, at rest and not covered."""

    def clicked() -> bool:
        shown = [element for element in browser.find_elements(By.XPATH, path) if element.is_displayed()]
        if shown:
            browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", shown[0])
            shown[0].click()
        return bool(shown)

    _wait(browser, clicked)


def _wait(browser: webdriver.Chrome, condition):
    waiting = WebDriverWait(browser, _PATIENCE_SECONDS, ignored_exceptions=_NOT_YET)
    return waiting.until(lambda _: condition())
