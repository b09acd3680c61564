"""Headless Chromium, and pages of the report to look at with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver

from grrm.files import write_text
from grrm.report.page import render_page
from grrm.report.samples import split
from report_example import BENCHMARK, SAMPLES, make_experiment, run_render_page, run_summarize, write_answers

# No first-run pages, no background traffic: the page is a file and needs no network.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("chromium and chromedriver are not installed: tests/install_browser.sh installs them")
    options = Options()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("profile")
    for flag in (*FLAGS, f"--user-data-dir={profile}", "--window-size=1280,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    os.environ["SE_OFFLINE"] = "true"
    started = webdriver.Chrome(options=options, service=Service(driver))
    yield started
    started.quit()


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with three samples, one of them hostile."""
    folder = make_experiment(tmp_path_factory.mktemp("small"))
    for job, seconds in (("train_mt_sft", "1234.5"), ("train_mt_grpo", "99.5")):
        (folder / "benchmarks" / f"{job}.tsv").write_text(BENCHMARK.replace("12.5", seconds))
    run_summarize(folder)
    segments = [{k: row[k] for k in ("src_text", "trg_text", "src_lang", "trg_lang")} for row in SAMPLES]
    answers = {name: [row["translations"][name] for row in SAMPLES] for name in ("before", "after")}
    write_answers(folder, segments, answers)
    return run_render_page(folder)


@pytest.fixture(scope="session")
def errors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page whose changes are counted in MetricX: two segments of three have more errors after."""
    folder = make_experiment(tmp_path_factory.mktemp("errors"))
    run_summarize(folder)
    segments = [{k: row[k] for k in ("src_text", "trg_text", "src_lang", "trg_lang")} for row in SAMPLES]
    answers = {name: [row["translations"][name] for row in SAMPLES] for name in ("before", "after")}
    write_answers(folder, segments, answers, "metricx")
    return run_render_page(folder, metric="metricx")


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with 10,000 samples of the length of news sentences, all of them judged."""
    folder = make_experiment(tmp_path_factory.mktemp("large"))
    words = [f"word{i}" for i in range(25)]

    def text(kind: str, i: int) -> str:
        return f"{kind} {i} " + " ".join(words[i % 25 :] + words[: i % 25])

    rows = [
        {
            "row": i,
            "set": None,
            "pair": "en-de",
            "src": text("source", i),
            "ref": text("reference", i),
            "out": [text("before", i), text("after", i)],
            "raw": [None, None],
            "scores": {"comet": [50.0, 50.0 + change], "chrf++": [40.0, 41.0]},
            "change": change,
            "gain": change,
            "judge": [4, 9],
            "labels": ["A", "B"],
            "failure": None,
            "said": " ".join(["B keeps the idiom where A renders it word by word."] * 8),
        }
        for i, change in ((i, round(40 - i / 250, 1)) for i in range(10_000))
    ]
    shown, parts = split(rows)
    for name, script in parts.items():
        write_text(folder / "samples" / name, script)
    page = folder / "index.html"
    beside = [f"samples/{name}" for name in parts]
    write_text(page, render_page(run_summarize(folder), shown, len(rows), ["en-de"], beside))
    return page


@pytest.fixture
def visit(browser: WebDriver) -> Iterator[Callable[..., WebDriver]]:
    """Open a page, as on a screen of some width; afterwards the console must be silent."""

    def visit(page: Path, width: int = 1280, dark: bool = False) -> WebDriver:
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        browser.get(page.as_uri())
        return browser

    browser.get_log("browser")
    yield visit
    messages = browser.get_log("browser")
    assert not messages, messages
