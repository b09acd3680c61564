"""The report's page in a browser: search, sort and filter work, 10,000 samples stay usable."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from report_example import HOSTILE

Visit = Callable[..., WebDriver]


def all_text(browser: WebDriver, selector: str) -> list[str]:
    found: list[str] = browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((node) => node.textContent)", selector
    )
    return found


def status(browser: WebDriver) -> str:
    return browser.find_element(By.ID, "sample-status").text


def choose(browser: WebDriver, name: str, value: str) -> None:
    Select(browser.find_element(By.ID, f"sample-{name}")).select_by_value(value)


def search(browser: WebDriver, words: str) -> None:
    field = browser.find_element(By.ID, "sample-search")
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(Keys.BACKSPACE, words)
    time.sleep(0.4)


def until(browser: WebDriver, condition: Callable[[WebDriver], Any], seconds: float = 20) -> Any:
    return WebDriverWait(browser, seconds, poll_frequency=0.05).until(condition)


# ---------------------------------------------------------------- samples


def test_samples_show_every_text_with_scores_and_the_judges_words(visit: Visit, small: Path) -> None:
    browser = visit(small)
    assert status(browser) == "3 of 3 samples, 3 shown."
    shown = "\n".join(all_text(browser, ".sample"))
    for text in (
        "source",
        "the reference",
        "ba du",
        "ba gi",
        "judge 9",
        "A keeps the idiom.",
        "A = after, B = before",
    ):
        assert text in shown
    assert "The judge’s answer cannot be used (incomplete)" in shown
    assert "No translation found in the answer:nothing of use" in shown


def test_hostile_texts_are_shown_as_they_are(visit: Visit, small: Path) -> None:
    browser = visit(small)
    assert browser.title == "demo · GRRM"
    assert HOSTILE in all_text(browser, ".sample .text pre")
    assert not browser.find_elements(By.CSS_SELECTOR, ".sample script, .sample .text b")


def test_what_has_changed_is_marked(visit: Visit, small: Path) -> None:
    browser = visit(small)
    search(browser, "idiom")
    assert status(browser).startswith("1 of 3")
    assert all_text(browser, ".sample mark") == ["idiom"]
    search(browser, "")
    assert {"du"} <= set(all_text(browser, ".sample del"))
    assert {"gi"} <= set(all_text(browser, ".sample ins"))


def test_samples_are_found_by_words_in_any_text(visit: Visit, small: Path) -> None:
    browser = visit(small)
    for words, found in [
        ("second", 1),
        ("SECOND source", 1),
        ("ba gi", 3),
        ("nowhere", 0),
        ("</script><b>", 0),
        ("</script>", 2),
    ]:
        search(browser, words)
        assert status(browser).startswith(f"{found} of 3"), words


def test_samples_are_filtered(visit: Visit, small: Path) -> None:
    browser = visit(small)
    for kind, found in [("failed", 2), ("judged", 2), ("changed", 3), ("all", 3)]:
        choose(browser, "which", kind)
        assert status(browser).startswith(f"{found} of 3"), kind
    choose(browser, "set", "xx-yy")
    assert status(browser).startswith("3 of 3")


def test_samples_are_ordered(visit: Visit, small: Path) -> None:
    browser = visit(small)
    choose(browser, "order", "row")
    assert all_text(browser, ".sample h3 b") == ["Segment 0", "Segment 1", "Segment 2"]
    changes = {"gain": [], "loss": []}  # type: dict[str, list[str]]
    for order in changes:
        choose(browser, "order", order)
        changes[order] = all_text(browser, ".sample h3 b")
    assert changes["gain"] == changes["loss"][::-1]


def test_more_errors_are_worse(visit: Visit, errors: Path) -> None:
    browser = visit(errors)
    for kind, found in [("better", 0), ("worse", 2)]:
        choose(browser, "which", kind)
        assert status(browser).startswith(f"{found} of 3"), kind
    for order in ("loss", "worst"):
        choose(browser, "order", order)
        assert all_text(browser, ".sample h3 b") == ["Segment 2", "Segment 1"]
    assert "MetricX +2" in all_text(browser, ".sample h3 span")[0]


# ---------------------------------------------------------------- tables and charts


def test_tables_are_sorted_by_their_numbers(visit: Visit, small: Path) -> None:
    browser = visit(small)
    browser.execute_script("document.querySelectorAll('details').forEach((node) => { node.open = true })")
    table = browser.find_element(By.ID, "paper-cells")
    published = table.find_elements(By.CSS_SELECTOR, "thead button")[3]
    column = "#paper-cells tbody tr td:nth-child(4)"
    for rising in (True, False):
        published.click()
        numbers = [float(text) for text in all_text(browser, column)]
        assert numbers == sorted(numbers, reverse=not rising)
        assert len(numbers) == 137
    assert table.find_element(By.CSS_SELECTOR, "th[aria-sort]").get_attribute("aria-sort") == "descending"


def test_seconds_are_sorted_from_a_thousand_on_too(visit: Visit, small: Path) -> None:
    browser = visit(small)
    browser.execute_script("document.querySelectorAll('details').forEach((node) => { node.open = true })")
    (table,) = [
        table
        for table in browser.find_elements(By.CSS_SELECTOR, "#run table.sortable")
        if table.text.startswith("Job")
    ]
    seconds = table.find_elements(By.CSS_SELECTOR, "thead button")[1]
    for rising in (True, False):
        seconds.click()
        cells = table.find_elements(By.CSS_SELECTOR, "tbody td:nth-child(2)")
        shown = list(dict.fromkeys(cell.text for cell in cells))
        assert shown == (["12", "100", "1,234"] if rising else ["1,234", "100", "12"])


def test_published_numbers_are_filtered_by_verdict(visit: Visit, small: Path) -> None:
    browser = visit(small)
    browser.execute_script("document.querySelectorAll('details').forEach((node) => { node.open = true })")
    select = Select(browser.find_element(By.CSS_SELECTOR, "select[data-filters]"))
    for verdict, left in [("reproduced", 0), ("not_run", 137), ("", 137)]:
        select.select_by_value(verdict)
        shown = browser.find_elements(By.CSS_SELECTOR, "#paper-cells tbody tr:not([hidden])")
        assert len(shown) == left


def test_a_chart_tells_its_values_under_the_pointer(visit: Visit, small: Path) -> None:
    browser = visit(small)
    text = browser.execute_script(
        """
        const chart = document.querySelector("svg[data-points]");
        const box = chart.getBoundingClientRect();
        const at = { clientX: box.left + box.width / 2, clientY: box.top + 20, bubbles: true };
        chart.dispatchEvent(new PointerEvent("pointermove", at));
        return document.querySelector(".readout").textContent;
        """
    )
    step, value = text.removeprefix("step ").split(": ")
    assert float(value) == pytest.approx(1 / int(step), rel=1e-3)


# ---------------------------------------------------------------- screens


@pytest.mark.parametrize("width", [320, 390, 820, 1280, 2000])
def test_nothing_is_wider_than_the_screen(visit: Visit, small: Path, width: int) -> None:
    browser = visit(small, width)
    browser.execute_script("document.querySelectorAll('details').forEach((node) => { node.open = true })")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_in_light_and_dark(visit: Visit, small: Path, dark: bool) -> None:
    browser = visit(small, dark=dark)
    ratios = browser.execute_script(
        """
        const luminance = (colour) => {
          const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((x) => x / 255)
            .map((x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const ground = (node) => {
          for (; node; node = node.parentElement) {
            const colour = getComputedStyle(node).backgroundColor;
            if (colour !== "rgba(0, 0, 0, 0)") return colour;
          }
        };
        const texts = "p, th, td, dd, dt, h1, h2, h3, h4, a, .verdict, ins, del, .tick";
        return [...document.querySelectorAll(texts)]
          .filter((node) => node.textContent.trim())
          .map((node) => {
            const style = getComputedStyle(node);
            const [a, b] = [node.matches("text") ? style.fill : style.color, ground(node)].map(luminance);
            return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.outerHTML.slice(0, 120)];
          })
          .sort((a, b) => a[0] - b[0]);
        """
    )
    assert len(ratios) > 300
    # WCAG 2.2, level AA, for text of any size.
    assert ratios[0][0] >= 4.5, ratios[:3]
    grounds = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (int(grounds.split("(")[1].split(",")[0]) < 64) is dark


def test_the_reader_may_turn_the_light_on_and_off(visit: Visit, small: Path) -> None:
    browser = visit(small)
    scheme = "return getComputedStyle(document.documentElement).colorScheme"
    browser.find_element(By.ID, "theme").click()
    assert browser.execute_script(scheme) == "dark"
    browser.find_element(By.ID, "theme").click()
    assert browser.execute_script(scheme) == "light"


# ---------------------------------------------------------------- ten thousand


def test_ten_thousand_samples_stay_usable(visit: Visit, large: Path) -> None:
    assert large.stat().st_size < 15e6
    parts = sorted((large.parent / "samples").iterdir())
    assert len(parts) == 20
    assert max(part.stat().st_size for part in parts) < 2e6
    browser = visit(large)
    paint = until(
        browser,
        lambda driver: driver.execute_script(
            "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
        ),
    )
    assert paint < 2000, f"first paint after {paint:.0f} ms"
    # The largest changes are there before the rest is read.
    first = all_text(browser, ".sample h3 b")
    assert len(first) == 20
    until(browser, lambda driver: "Reading" not in status(driver), 60)
    assert status(browser) == "10000 of 10000 samples, 20 shown."
    assert all_text(browser, ".sample h3 b") == first

    search(browser, "source 9876")
    until(browser, lambda driver: status(driver).startswith("1 of 10000"))
    assert all_text(browser, ".sample h3 b") == ["Segment 9876"]
    search(browser, "")
    started = time.monotonic()
    choose(browser, "order", "row")
    until(browser, lambda driver: all_text(driver, ".sample h3 b")[:2] == ["Segment 0", "Segment 1"])
    assert time.monotonic() - started < 2
    browser.find_element(By.ID, "sample-more").click()
    assert status(browser) == "10000 of 10000 samples, 40 shown."


def test_a_page_without_its_parts_says_what_is_missing(
    browser: WebDriver, large: Path, tmp_path: Path
) -> None:
    shutil.copy(large, tmp_path / "index.html")
    browser.get((tmp_path / "index.html").as_uri())
    until(browser, lambda driver: "not found" in status(driver))
    assert status(browser).startswith("300 of 10000 samples, 20 shown.")
    assert "9700 samples lie in files beside this page that were not found." in status(browser)
    browser.get_log("browser")  # the browser itself says so too
