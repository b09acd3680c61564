"""docs/dag.svg has every edge between the rules that it shows."""

from __future__ import annotations

import html
import re
import sys

import pytest

from planner import ROOT, snakemake

sys.path.insert(0, str(ROOT / "docs"))

from draw_dag import HOUSEKEEPING, draw, kind, read, without


def test_the_drawing_is_of_the_rules_as_they_are() -> None:
    """After a change of the rules: make dag."""
    plan = snakemake("--nolock", "--forceall", "--rulegraph")
    needs = without(read(plan.stdout), HOUSEKEEPING)
    titles = [
        html.unescape(title)
        for title in re.findall(
            r"<title>([^<]*)</title>", (ROOT / "docs/dag.svg").read_text(encoding="utf-8")
        )
    ]
    drawn = {title for title in titles if "->" in title}
    assert drawn == {f"{before}->{name}" for name, found in needs.items() for before in found}
    assert {title for title in titles if "->" not in title} == {*needs, "key", "rules"}
    assert {"check_leakage", "train_mt_grpo"} <= needs.keys()


GRAPH = """digraph snakemake_dag {
    0[label = "all", color = "0.5 0.6 0.85", style="rounded"];
    1[label = "train_x", color = "0.1 0.6 0.85", style="rounded"];
    2[label = "render_mt_sft", color = "0.2 0.6 0.85", style="rounded"];
    3[label = "make_toy_world", color = "0.3 0.6 0.85", style="rounded"];
    1 -> 0
    2 -> 1
    3 -> 2
    3 -> 1
}"""


def test_what_housekeeping_connects_stays_connected() -> None:
    assert without(read(GRAPH), HOUSEKEEPING) == {"train_x": {"make_toy_world"}, "make_toy_world": set()}
    assert "make_toy_world -> train_x;" in draw(without(read(GRAPH), HOUSEKEEPING))


@pytest.mark.parametrize(
    ("rule", "does"),
    [
        ("check_leakage", "gate"),
        ("train_mt_sft", "model"),
        ("rank_candidates", "answers"),
        ("summarize", "scores and report"),
    ],
)
def test_colours_say_what_a_rule_does(rule: str, does: str) -> None:
    assert kind(rule) == does
