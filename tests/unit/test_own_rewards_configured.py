"""Functions and mixtures in the configuration: what contradicts, is rendered, and is tried beforehand."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configurations import ROOT, experiment
from grrm.config import compared_runs, grpo_runs, pieces_of, resolve_experiment
from grrm.engines import checkpoints, verl, verl_launch, verl_rewards
from grrm.engines.verl_rewards import PartFiles
from grrm.files import UserError
from grrm.judges.configured_prompts import check_prompts
from grrm.rewards.group import GroupOptions
from grrm.rewards.try_functions import main as try_functions

SCHEMA = ROOT / "config/schemas/config.schema.yaml"
ENDPOINT = {"url": "http://127.0.0.1:9/v1", "model": "judge"}
MIXED = {
    "kind": "mixture",
    "parts": [
        {"kind": "grrm", "weight": 0.7},
        {"kind": "comet", "normalise": "group"},
        {"kind": "pairwise_dgr", "judge": ENDPOINT, "swap": False},
        {"kind": "function", "name": "mine", "function": "my_rewards.py:score", "range": [0, 1]},
    ],
}
FILES = {
    "grrm": PartFiles("ranking.yaml"),
    "comet": PartFiles(None, Path("models/comet"), "comet/bin/python"),
    "pairwise_dgr": PartFiles("config/prompts/translation_pairwise.yaml"),
}


def resolved(reward: dict[str, Any], comparison: list[Any] | None = None, **changes: Any) -> dict[str, Any]:
    config = experiment()
    config["mt_grpo"]["reward"] |= reward
    config["reward_comparison"] = comparison or []
    config["mt_grpo"] |= changes
    return resolve_experiment(config, SCHEMA, {})


def rendered(reward: dict[str, Any] = MIXED, **changes: Any) -> dict[str, Any]:
    settings = resolved(reward)["mt_grpo"]
    return verl.rl_overrides(
        settings,
        stage="mt_grpo",
        model=Path("models/mt_sft"),
        data=Path("data.parquet"),
        checkpoints=Path("checkpoints"),
        seed=3,
        **{"judge": Path("models/grrm_rlvr"), "parts": FILES} | changes,
    )


# ---------------------------------------------------------------- what contradicts


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        ({"kind": "mixture"}, r"mt_grpo\.reward\.parts is missing"),
        ({"kind": "function"}, r"mt_grpo\.reward\.function is missing"),
        ({"kind": "function", "function": "rewards.py"}, "expected path/to/file.py:function"),
        ({"kind": "mixture", "parts": [{"kind": "bleu"}], "prompt": "p.yaml"}, "prompt is 'p.yaml'"),
        ({"kind": "bleu", "range": [0, 1]}, "range is set, expected it with kind 'function' only"),
        ({"kind": "function", "function": "a.py:f", "range": [1, 0]}, r"range is \[1, 0\]"),
        ({"kind": "mixture", "parts": [{"kind": "bleu"}, {"kind": "bleu"}]}, "two are named 'bleu'"),
        ({"kind": "mixture", "parts": [{"kind": "function"}]}, "parts: function.function is missing"),
        ({"kind": "mixture", "parts": [{"kind": "bleu", "weight": 0}]}, "weight"),
        ({"kind": "mixture", "parts": [{"kind": "mixture"}]}, "mixture"),
        (
            {"kind": "mixture", "parts": [{"kind": "grrm"}, {"kind": "sqm"}], "model": "some/judge"},
            "grrm and sqm would be served by verl, expected at most one",
        ),
        ({"kind": "mixture", "parts": [{"kind": "sqm"}]}, "no judge for kind 'sqm'"),
        (
            {"kind": "mixture", "parts": [{"kind": "bleu"}], "semantics": "paper"},
            "semantics is 'paper', expected 'strict' for kind 'mixture'",
        ),
    ],
)
def test_what_a_mixture_or_a_function_lacks_is_said_while_it_is_planned(
    reward: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        resolved(reward)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("mixture", "reward_comparison has 'mixture', expected an entry with name, kind and parts"),
        ({"name": "bleu", "kind": "bleu"}, "the name 'bleu', expected one of its own that is no kind"),
        ({"name": "own", "kind": "function"}, "reward_comparison: own.function is missing"),
    ],
)
def test_what_is_compared_is_checked_too(entry: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolved({}, [entry])


def test_a_part_that_needs_a_reference_needs_one() -> None:
    with pytest.raises(
        UserError, match="cross_lingual_augmentation is true, expected false for reward 'comet'"
    ):
        resolved(MIXED, cross_lingual_augmentation=True)


def test_a_function_that_is_not_there_is_said_while_it_is_planned() -> None:
    with pytest.raises(
        UserError, match=r"mt_grpo\.reward\.function is 'no\.py:score', but no\.py cannot be read"
    ):
        check_prompts(resolved({"kind": "function", "function": "no.py:score"}))


def test_mixtures_and_functions_are_compared_by_a_name() -> None:
    own = {"name": "own", "kind": "function", "function": "my_rewards.py:score"}
    lexical = {"name": "lexical", "kind": "mixture", "parts": [{"kind": "bleu"}, {"kind": "chrf"}]}
    config = resolved(MIXED, ["bleu", own, lexical, "mixture"])
    runs = grpo_runs(config)
    assert compared_runs(config) == {
        "bleu": "mt_grpo_bleu",
        "own": "mt_grpo_own",
        "lexical": "mt_grpo_lexical",
        "mixture": "mt_grpo",
    }
    assert [*runs] == ["mt_grpo", "mt_grpo_bleu", "mt_grpo_own", "mt_grpo_lexical"]
    assert "parts" not in runs["mt_grpo_bleu"] and "parts" not in runs["mt_grpo_own"]
    assert [*pieces_of(runs["mt_grpo_lexical"])] == ["bleu", "chrf"]


def test_a_key_that_is_not_set_is_in_no_settings() -> None:
    assert not {"parts", "function", "range", "normalise"} & resolved({})["mt_grpo"]["reward"].keys()


# ---------------------------------------------------------------- what is rendered


def test_a_mixture_is_rendered_with_what_each_part_needs() -> None:
    options = verl_rewards.reward_kwargs(rendered())
    parts = options["parts"]
    assert [*parts] == ["grrm", "comet", "pairwise_dgr", "mine"]
    assert parts["grrm"] == {"kind": "grrm", "weight": 0.7, "normalise": "none", "prompt": "ranking.yaml"}
    assert parts["comet"] == {
        "kind": "comet",
        "weight": 1,
        "normalise": "group",
        "model": {"model": "models/comet", "device": "cpu", "python": "comet/bin/python"},
    }
    assert parts["mine"]["function"] == "my_rewards.py:score"
    assert parts["mine"]["range"] == [0, 1]
    judge = parts["pairwise_dgr"].pop("judge")
    assert parts["pairwise_dgr"]["swap"] is False
    assert (judge["url"], judge["model"]) == (ENDPOINT["url"], ENDPOINT["model"])
    assert "judge" not in options
    group = GroupOptions.from_mapping({**options, "parts": {**parts, "pairwise_dgr": {"kind": "bleu"}}})
    scoring = group.scoring(is_served=True)
    assert [part.name for part in scoring.parts if part.options.served] == ["grrm"]
    assert {part.options.seed for part in scoring.parts} == {3}


def test_a_mixture_asks_the_judge_that_verl_serves() -> None:
    overrides = rendered()
    assert overrides["reward.reward_model.enable"] is True
    assert overrides[verl_rewards.JUDGE] == "models/grrm_rlvr"


def test_how_a_parts_judge_is_reached_is_no_part_of_the_training() -> None:
    transport = verl_rewards.transport(rendered())
    assert "+reward.reward_kwargs.parts.pairwise_dgr.judge.url" in transport
    assert "+reward.reward_kwargs.parts.pairwise_dgr.judge.model" not in transport
    (judge,) = verl_rewards.judges_over_http(rendered())
    assert judge["url"] == ENDPOINT["url"]


def test_a_launch_names_files_from_the_root_and_notes_the_calls_of_every_client(tmp_path: Path) -> None:
    launched = verl_launch.launch_overrides(
        rendered(), temporary=Path("/t"), ledger=tmp_path / "groups.jsonl"
    )
    part = "+reward.reward_kwargs.parts"
    assert launched[f"{part}.mine.function"] == str(Path("my_rewards.py:score").absolute())
    assert launched[f"{part}.comet.model.model"] == str(Path("models/comet").absolute())
    assert launched[f"{part}.comet.model.python"] == str(Path("comet/bin/python").absolute())
    assert launched[f"{part}.pairwise_dgr.judge.ledger"] == str(tmp_path / "judge_calls.jsonl")


def test_the_text_of_a_function_belongs_to_the_training(tmp_path: Path) -> None:
    function, config = tmp_path / "my_rewards.py", tmp_path / "config.yaml"
    config.write_text(f"+reward.reward_kwargs.parts.mine.function: {function}:score\n")
    files = verl_rewards.scoring_files({"+reward.reward_kwargs.parts.mine.function": f"{function}:score"})
    assert files == [function]
    identities = []
    for text in ("def score(group): return [1]", "def score(group): return [2]"):
        function.write_text(text)
        identities.append(checkpoints.identity(config, files))
    assert identities[0] != identities[1]


# ---------------------------------------------------------------- tried before a training


def rows(folder: Path, **info: Any) -> str:
    row = {
        "data_source": "mine",
        "reward_model": {"ground_truth": "a dog"},
        "extra_info": {
            "src_text": "ein Hund",
            "src_lang": "de",
            "trg_lang": "en",
            "trg_text": "a dog",
            **info,
        },
    }
    pq.write_table(pa.Table.from_pylist([row]), folder / "rows.parquet")
    return str(folder / "rows.parquet")


def tried(folder: Path, body: str, **info: Any) -> None:
    (folder / "mine.py").write_text(f"def score(group):\n    {body}\n")
    part = {"kind": "function", "function": f"{folder}/mine.py:score"}
    options = json.dumps({"kind": "mixture", "parts": {"mine": part}})
    try_functions(["--options", options, "--data", rows(folder, **info)])


def test_a_function_is_tried_on_the_first_row_with_all_its_columns(tmp_path: Path) -> None:
    tried(tmp_path, "return [len(group['rubric']) for _ in group['candidates']]", rubric="be short")


def test_a_function_that_fails_on_the_first_row_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"mine.py:score: tried on the first row of the data, it gives no score: score: KeyError",
    ) as error:
        tried(tmp_path, "return [group['no column']]")
    assert "\n" not in str(error.value)


def test_a_training_whose_function_fails_ends_before_verl_begins(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    import train_rl

    (tmp_path / "mine.py").write_text("import no_such_package\n")
    config = {"+reward.reward_kwargs.kind": "function"}
    config["+reward.reward_kwargs.function"] = f"{tmp_path}/mine.py:score"
    arguments = ["--config", "c", "--data", rows(tmp_path), "--python", sys.executable]
    arguments += ["--model", "m", "--curve", "c"]
    with pytest.raises(
        UserError, match=r"function cannot be used: .*mine\.py: cannot be loaded .*no_such_package"
    ):
        train_rl._try_reward(train_rl._parser().parse_args(arguments), config)
