"""The page about a teacher's data in a browser: its groups are found, and no text of theirs does anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from grrm.annotation.quality import quality_of
from grrm.report.annotation_page import SHOWN, annotation_page
from report_example import HOSTILE

Visit = Callable[..., WebDriver]


def group(number: int, dropped: str | None) -> dict[str, Any]:
    answers = [
        {
            "order": order,
            "scores": None if dropped == "refused" else [9, 2],
            "failure": "refused" if dropped == "refused" else None,
            "detail": HOSTILE if dropped == "refused" else None,
            "answer": f"{HOSTILE} analysis {number}",
            "attempts": 1,
        }
        for order in ([0, 1], [1, 0])
    ]
    return {
        "src_text": f"source {number} {HOSTILE}",
        "trg_text": "reference",
        "src_lang": "de",
        "trg_lang": "en",
        "candidates": [
            {"text": f"good {HOSTILE}", "systems": ["reference"]},
            {"text": "bad", "systems": ["one", "reference-dropped"]},
        ],
        "answers": answers,
        "dropped": dropped,
        "agreement": None if dropped == "refused" else 1.0,
        "scores": None if dropped == "refused" else [9, 2],
        "chosen": None if dropped == "refused" else 0,
    }


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """450 groups, of which more are kept than the page shows."""
    groups = [group(i, "refused" if i % 9 == 0 else None) for i in range(450)]
    figures = [
        {
            "systems": [one["systems"] for one in found["candidates"]],
            "answers": [(one["order"], one["scores"]) for one in found["answers"]],
            **{name: found[name] for name in ("dropped", "agreement", "scores")},
        }
        for found in groups
    ]
    made_by = {"model": HOSTILE, "weights": "w", "decoding": {"temperature": 0.4, "top_p": 0.9, "seed": 0}}
    outcome = {
        "teacher": made_by,
        "total": 450,
        "kept": 400,
        "dropped": {"refused": 50},
        "ended_by_budget": True,
        "spent": {"calls": 900, "tokens": 99_000, "cost": 1.5},
    }
    systems = {
        name: {"candidates": 450, "chosen": 450, "missing": {HOSTILE: 1}}
        for name in ("reference", "one", "reference-dropped")
    }
    path = tmp_path_factory.mktemp("annotation") / "annotation.html"
    candidates = {"pairs": 500, "sources": 450, "groups": 450, "systems": systems}
    rankings = {**outcome, **quality_of(figures, 0.8)}
    path.write_text(annotation_page("toy", candidates, rankings, groups, outcome), encoding="utf-8")
    return path


def shown(browser: WebDriver) -> list[str]:
    return [node.text for node in browser.find_elements(By.CSS_SELECTOR, ".sample")]


def test_groups_are_searched_and_filtered(visit: Visit, page: Path) -> None:
    browser = visit(page)
    status = browser.find_element(By.ID, "group-status")
    assert status.text == f"{SHOWN + 50} of {SHOWN + 50} groups"
    assert len(shown(browser)) == 20
    browser.find_element(By.ID, "group-more").click()
    assert len(shown(browser)) == 40
    Select(browser.find_element(By.ID, "group-which")).select_by_value("refused")
    assert status.text == f"50 of {SHOWN + 50} groups"
    assert all("dropped: refused" in text for text in shown(browser))
    browser.find_element(By.ID, "group-search").send_keys("source 441")
    assert status.text == f"1 of {SHOWN + 50} groups"
    Select(browser.find_element(By.ID, "group-system")).select_by_value("one")
    assert len(shown(browser)) == 1
    browser.find_element(By.CSS_SELECTOR, ".sample summary").click()
    assert "Shown as A is 2, B is 1. refused:" in shown(browser)[0]


def test_hostile_texts_are_shown_as_they_are(visit: Visit, page: Path) -> None:
    browser = visit(page)
    assert HOSTILE in browser.execute_script("return document.querySelector('.sample').textContent")
    assert HOSTILE in browser.execute_script("return document.querySelector('header .lead').textContent")
    assert (
        browser.execute_script("return [...document.querySelectorAll('main img, main iframe')].length") == 0
    )
    assert browser.title == "toy: data made by a teacher · GRRM"


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_the_screen(visit: Visit, page: Path, width: int) -> None:
    browser = visit(page, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert "The budget ended it" in browser.find_element(By.ID, "groups").text


def test_tables_are_sorted(visit: Visit, page: Path) -> None:
    browser = visit(page)
    table = browser.find_element(By.CSS_SELECTOR, "#systems table")
    table.find_elements(By.CSS_SELECTOR, "button.sort")[4].click()
    means = [
        row.find_elements(By.TAG_NAME, "td")[3].text
        for row in table.find_elements(By.CSS_SELECTOR, "tbody tr")
    ]
    assert means == sorted(means, key=float)
