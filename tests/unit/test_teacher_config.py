"""The section `teacher`: what contradicts itself, what is asked, and what that will take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from grrm.cluster import load_resources, request
from grrm.config import load_experiment, models_here, stage_environments
from grrm.config.teacher import systems_of
from grrm.files import UserError, read_yaml
from grrm.preflight.annotated_work import annotation_questions, format_questions
from grrm.preflight.forecast import Table, load_assumptions
from grrm.preflight.rules import planned_rules
from grrm.preflight.speeds import Range

ROOT = Path(__file__).parents[2]
SERVER = {"url": "http://127.0.0.1:8000/v1", "model": "big"}
ONE = {"name": "one", "model": "small", "url": "http://127.0.0.1:8001/v1"}


def configured(*overlays: str, **teacher: Any) -> dict[str, Any]:
    candidates = {"models": [ONE], **teacher.pop("candidates", {})}
    changes = {"teacher": {**SERVER, "candidates": candidates, **teacher}}
    return load_experiment(ROOT, [ROOT / f"config/{name}.yaml" for name in overlays], changes)


def test_without_the_section_nothing_of_it_is_in_the_configuration() -> None:
    config = load_experiment(ROOT)
    assert "teacher" not in config
    assert models_here(config) == {}
    table = read_yaml(ROOT / "config/resources.yaml")
    assert not {rule for rule in planned_rules(config, table) if "annotat" in rule or "propose" in rule}


def test_keys_of_list_items_have_their_defaults() -> None:
    teacher = configured()["teacher"]
    assert teacher["candidates"]["models"][0]["samples"] == 1
    assert (teacher["temperature"], teacher["top_p"]) == (0.4, 0.9)  # of the published annotation
    assert systems_of(teacher["candidates"]) == ["reference", "one"]


@pytest.mark.parametrize(
    ("teacher", "words"),
    [
        ({"url": "http://me:hush@x/v1"}, "teacher.url holds a password, expected none; put the key into"),
        ({"budget": {"cost": 3}}, "teacher.budget.cost is 3 and nothing has a price, expected prompt_price"),
        ({"url": None, "budget": {"calls": 9}}, "teacher.budget.calls is 9, expected null for a model that"),
        ({"gpus": 1}, "teacher.gpus is 1, expected 0 with hardware.device 'cpu'"),
        ({"orders": 0}, "key 'teacher.orders' is 0, expected a number of at least 1"),
        ({"agreement": 1.5}, "key 'teacher.agreement' is 1.5, expected a number of at most 1"),
        ({"url": "x/v1"}, "key 'teacher.url' is 'x/v1', expected an address such as"),
        ({"url": "http://x:80o/v1"}, "key 'teacher.url' is 'http://x:80o/v1', expected an address such as"),
        ({"url": "http://x:99999"}, "teacher.url is 'http://x:99999', expected an address such as"),
        ({"translations": {"length": [3, 1]}}, "teacher.translations.length is [3, 1], expected the smaller"),
        ({"translations": {"comet": 0.8}}, "teacher.translations.comet is 0.8, expected 'comet' in evaluate"),
        (
            {"translations": {"budget": {"cost": 1}}},
            "teacher.translations.budget.cost is 1 and nothing has a price",
        ),
        (
            {"candidates": {"models": [], "reference": True}},
            "teacher.candidates has one system, expected two",
        ),
        (
            {"candidates": {"models": [{**ONE, "name": "reference"}]}},
            "teacher.candidates has 2 systems of the name 'reference'",
        ),
        (
            {"candidates": {"degraded": [{"how": "dropped", "of": "two"}]}},
            "teacher.candidates.degraded.0.of is 'two', expected one, reference",
        ),
        (
            {"candidates": {"degraded": [{"how": "lost"}]}},
            "key 'teacher.candidates.degraded.0.how' is 'lost', expected one of 'dropped', 'doubled'",
        ),
        (
            {"candidates": {"models": [{**ONE, "samples": 2, "temperature": 0}]}},
            "teacher.candidates.models.0.samples is 2, expected 1 with temperature 0",
        ),
        (
            {"candidates": {"models": [{"name": "one"}]}},
            "key 'teacher.candidates.models.0': 'model' is missing",
        ),
        ({"candidates": {"sizes": [1]}}, "expected a number of at least 2"),
    ],
)
def test_what_does_not_go_together_is_told(teacher: dict[str, Any], words: str) -> None:
    candidates = {"models": [ONE], **teacher.get("candidates", {})}
    section = {**SERVER, **teacher, "candidates": candidates}
    with pytest.raises(UserError) as found:
        load_experiment(ROOT, [], {"teacher": section, "evaluate": {"metrics": []}})
    assert words in str(found.value)


def test_a_model_that_vllm_runs_on_gpus_needs_some() -> None:
    with pytest.raises(UserError, match=r"teacher\.gpus is 0, expected 1 or more for a model that vLLM runs"):
        configured("paper", url=None)
    config = configured("paper", url=None, gpus=4)
    assert models_here(config) == {"teacher.model": "big"}
    resources = load_resources(
        ROOT / "config/resources.yaml", ROOT / "config/schemas/resources.schema.yaml", changes={}
    )
    gpus = {
        rule: request(rule, resources, config).gpus for rule in ("annotate_rankings", "propose_candidates")
    }
    assert gpus == {"annotate_rankings": 4, "propose_candidates": 0}
    with pytest.raises(UserError, match=r"teacher\.gpus is 4, expected 0 where no model runs here"):
        configured("paper", gpus=4)


def test_the_documented_section_can_be_used() -> None:
    page = (ROOT / "docs/teacher.md").read_text(encoding="utf-8")
    example = re.search(r"```yaml\n(.*?)```", page, re.S)
    assert example is not None
    overlays = [ROOT / f"config/{name}.yaml" for name in ("paper", "small")]
    config = load_experiment(ROOT, overlays, yaml.safe_load(example[1]))
    assert systems_of(config["teacher"]["candidates"]) == [
        *("reference", "small", "served", "elsewhere"),
        *("reference-dropped", "served-untranslated"),
    ]


def test_a_teacher_on_vllm_takes_its_environment_on_a_cpu() -> None:
    assert stage_environments(configured()) == ("train", "train")
    assert stage_environments(configured(url=None, backend="vllm")) == ("train", "vllm_cpu")


def test_rules_are_planned_with_the_section() -> None:
    table = read_yaml(ROOT / "config/resources.yaml")
    with_it = set(planned_rules(configured(translations={}), table))
    without = set(planned_rules(load_experiment(ROOT), table))
    assert with_it - without == {"propose_candidates", "annotate_rankings", "annotate_translations"}
    assert "annotate_translations" not in planned_rules(configured(), table)
    assert "screen_translations" in planned_rules(configured(translations={"comet": 0.5}), table)


# ---------------------------------------------------------------- forecast

ASSUMPTIONS = load_assumptions(ROOT / "config/forecast.yaml")
PAIRS = Table(Range(1000, 2000), {}, "test")


def test_calls_tokens_and_money_are_counted_before_anything_is_asked() -> None:
    config = configured(
        prompt_price=2,
        completion_price=10,
        orders=3,
        budget={"calls": 2500, "cost": 1e6},
        translations={"rows": 100},
        candidates={"models": [{**ONE, "samples": 4}], "groups": 1500, "sizes": [2, 3, 4, 4]},
    )
    systems, rankings, translations = annotation_questions(config, PAIRS, ASSUMPTIONS)
    assert systems.calls == Range(4000, 6000) and systems.cost is None
    # Two candidates have two orders only.
    assert rankings.calls == Range(2750, 4125)
    assert rankings.prompt == Range(2750 * 400, 4125 * 900)
    expected = 2750 * (400 * 2 + 500 * 10) / 1e6, 4125 * (900 * 2 + 1200 * 10) / 1e6
    assert rankings.cost is not None and tuple(rankings.cost) == pytest.approx(expected)
    assert rankings.limit == "calls 2500"
    assert translations.calls == Range(100, 100) and translations.limit == ""
    text = format_questions([systems, rankings, translations], PAIRS)
    assert "candidates of one" in text and "2,750-4,125" in text
    assert "The budget of rankings may end it: calls 2500" in text and "All of it: cost" in text


def test_without_a_teacher_nobody_is_asked() -> None:
    assert annotation_questions(load_experiment(ROOT), PAIRS, ASSUMPTIONS) == []
    assert format_questions([], PAIRS) == ""
