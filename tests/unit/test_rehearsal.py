"""A rehearsal: which models it starts from, what it changes of a training, its rows, its page."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

from configurations import ROOT, experiment, render_rl, render_sft
from grrm.catalogue.trainings import TRAININGS
from grrm.cluster import load_resources, requests
from grrm.config.rehearsal import AtHand, judge_at_hand, rehearsed, released_models, start_at_hand
from grrm.data.records import Preferred
from grrm.engines.longest_rows import demonstrations, lengthened, policy_rows, preferences
from grrm.engines.peaks import Peaks
from grrm.engines.rehearsal import Files, Lengths, lengths, rehearsal_config
from grrm.engines.rehearsed import first_error, judgements, supervised_steps
from grrm.files import UserError, write_jsonl
from grrm.preflight.speeds import Range
from grrm.report.pace import Expected, Pace, expectations, measured, pace_of
from grrm.report.rehearsal import changes, page

GB = 10**9
FILES = Files(Path("start"), Path("judge"), Path("rows"), Path("checkpoints"), Path("dataset"))


# ---------------------------------------------------------------- what is rehearsed, from which models


def at_hand(config: Mapping[str, Any], name: str, *finished: str) -> tuple[AtHand, AtHand | None]:
    row = TRAININGS[name]
    return start_at_hand(config, row, finished.__contains__), judge_at_hand(
        config, row, finished.__contains__
    )


def test_a_training_starts_from_the_model_that_it_has() -> None:
    paper, small = experiment("paper", "rehearsal"), experiment("paper", "small", "rehearsal")
    grrm, mt = "double7/Qwen2.5-7B-GRRM", "double7/Qwen2.5-7B-MT-GRRM-Optimized"
    assert at_hand(paper, "mt_sft") == (AtHand("given", "mt_base"), None)
    assert at_hand(paper, "grrm_rlvr") == (AtHand("released", grrm), None)
    assert at_hand(paper, "mt_grpo") == (AtHand("released", mt), AtHand("released", grrm))
    # Released models are of another size than these.
    assert at_hand(small, "mt_grpo") == (AtHand("base", "mt_base"), AtHand("base", "grrm_base"))
    for config in (paper, small):
        found = at_hand(config, "mt_grpo", "mt_sft", "grrm_rlvr")
        assert found == (AtHand("finished", "mt_sft"), AtHand("finished", "grrm_rlvr"))
    # Before RLVR its SFT has judged at best.
    assert at_hand(small, "mt_grpo", "grrm_sft")[1] == AtHand("finished", "grrm_sft")
    assert at_hand(experiment("rehearsal"), "mt_grpo")[0] == AtHand("base", "mt_base")
    assert released_models(paper) == {grrm, mt} and released_models(small) == set()
    assert released_models(experiment("paper")) == set()


def test_what_the_configuration_names_goes_before_all() -> None:
    config = experiment("paper", "rehearsal")
    config["mt_grpo"] |= {"start_from": "own/sft"}
    config["mt_grpo"]["reward"]["model"] = "own/judge"
    found = at_hand(config, "mt_grpo", "mt_sft", "grrm_rlvr")
    assert found == (AtHand("given", "mt_sft"), AtHand("given", "mt_reward"))


def test_a_folder_stands_in_for_any_model(tmp_path: Path) -> None:
    config = experiment("paper", "small", "rehearsal")
    config["rehearsal"]["released"] = {"mt_sft": str(tmp_path)}
    assert at_hand(config, "mt_grpo")[0] == AtHand("released", str(tmp_path))


def test_all_trainings_of_an_experiment_are_rehearsed_or_those_that_are_named() -> None:
    config = experiment("judges", "rehearsal")
    stages = ["grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo"]
    judges = ["judge_sft", "judge_pointwise", "judge_pairwise", "judge_bradley_terry"]
    assert [row.name for row in rehearsed(config)] == [*stages, *judges, "alignment_grpo"]
    config["rehearsal"]["trainings"] = ["mt_grpo", "judge_sft"]
    assert [row.name for row in rehearsed(config)] == ["mt_grpo", "judge_sft"]
    config["rehearsal"]["trainings"] = ["mt_gpro"]
    with pytest.raises(UserError, match=r"'rehearsal.trainings' names 'mt_gpro', expected .*mt_grpo"):
        rehearsed(config)
    with pytest.raises(UserError, match="nothing is trained"):
        rehearsed(experiment("paper", "paper_released", "rehearsal"))


def test_a_rehearsal_asks_for_the_machines_of_its_training_and_little_time() -> None:
    config = experiment("paper", "rehearsal")
    table = load_resources(
        ROOT / "config/resources.yaml", ROOT / "config/schemas/resources.schema.yaml", changes={}
    )
    asked = requests("rehearse_rl", table, config)
    (training,) = set(requests("train_mt_grpo", table, config).values())
    assert list(asked) == ["grrm_rlvr", "mt_grpo"]
    assert vars(asked["mt_grpo"]) == {**vars(training), "runtime": 120}


# ---------------------------------------------------------------- what it changes of a training


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    assert not before.keys() - after.keys() - {"num_train_epochs"}
    return {key: value for key, value in after.items() if before.get(key, "-") != value}


def test_what_decides_about_memory_and_pace_is_the_trainings_own() -> None:
    config = experiment("paper", "rehearsal")
    rendered = render_rl(config, "mt_grpo")
    assert differences(rendered, rehearsal_config(rendered, FILES)) == {
        "actor_rollout_ref.model.path": "start",
        "reward.reward_model.model_path": "judge",
        "data.train_files": "rows",
        "data.val_files": "rows",
        "data.shuffle": False,
        "trainer.default_local_dir": "checkpoints",
        "trainer.total_training_steps": 2,
        "trainer.save_freq": 2,
        "+reward.reward_kwargs.max_failure_rate": 1.0,
    }
    rendered = render_rl(config, "grrm_rlvr")
    changed = differences(rendered, rehearsal_config(rendered, FILES))
    assert {"trainer.test_freq", "trainer.val_before_train"} < changed.keys()
    assert changed.keys() - {"trainer.test_freq", "trainer.val_before_train", "trainer.total_epochs"} < {
        *differences(render_rl(config, "mt_grpo"), rehearsal_config(render_rl(config, "mt_grpo"), FILES))
    }
    rendered = render_sft(config, "grrm_sft")
    assert differences(rendered, rehearsal_config(rendered, FILES)) == {
        "model_name_or_path": "start",
        "output_dir": "checkpoints",
        "dataset_dir": "dataset",
        "max_steps": 2,
        "save_steps": 2,
    }
    assert "num_train_epochs" not in rehearsal_config(rendered, FILES)


def test_rows_are_as_many_and_as_long_as_is_configured() -> None:
    config = experiment("paper", "rehearsal")
    assert lengths(render_rl(config, "mt_grpo"), 16) == Lengths(512, 1280, 4096)
    # 4 rows a device, twice accumulated, on 16.
    assert lengths(render_sft(config, "mt_sft"), 16) == Lengths(128, 0, 12000)


# ---------------------------------------------------------------- rows


class Letters:
    """A tokenizer whose tokens are letters."""

    name_or_path = "letters"

    def apply_chat_template(self, messages: Any, tokenize: bool = True, **options: Any) -> Any:
        text = "".join(f"[{message['content']}]" for message in messages)
        return {"input_ids": list(text)} if tokenize else text

    def __call__(self, text: str, **options: Any) -> dict[str, list[str]]:
        return {"input_ids": list(text)}


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_messages_go_on_with_their_own_words_as_far_as_there_is_room() -> None:
    def tokens(messages: Any) -> int:
        return sum(len(message["content"]) for message in messages)

    (made,) = lengthened(user("Good day, world"), tokens, 40) or []
    assert made["content"].startswith("Good day, world\nGood day") and 36 <= len(made["content"]) <= 40
    assert lengthened(user("Good day"), tokens, 8) == user("Good day")
    assert lengthened(user("Good day"), tokens, 7) is None
    (made,) = lengthened(user("你好，世界"), tokens, 100) or []
    assert 96 <= len(made["content"]) <= 100


def test_the_first_step_has_the_rows_as_they_are_and_the_second_the_longest_prompts() -> None:
    rows = [{"prompt": user(text), "extra_info": {"index": 7}} for text in ("one", "too long" * 9, "two")]
    made, tokens = policy_rows(rows, Letters(), longest=50, batch=3)
    short, long = made[:3], made[3:]
    assert [row["prompt"][0]["content"] for row in short] == ["one", "two", "one"]
    assert [row["extra_info"]["longest"] for row in made] == [False] * 3 + [True] * 3
    assert [row["extra_info"]["index"] for row in made] == list(range(6))
    lengths = [len(row["prompt"][0]["content"]) + 2 for row in long]
    assert all(46 <= length <= 50 for length in lengths) and tokens == sum(lengths) / 3
    with pytest.raises(UserError, match="no prepared row has at most 4 tokens"):
        policy_rows(rows, Letters(), longest=4, batch=3)


def test_supervised_rows_are_as_long_as_is_allowed() -> None:
    answer = [*user("Translate"), {"role": "assistant", "content": "A word"}]
    made, tokens = demonstrations([{"messages": answer}], Letters(), 200, 5, plain=True)
    assert len(made) == 5 and 196 <= tokens <= 200
    assert made[0]["messages"][0] == answer[0] and made[0]["messages"][1]["content"].startswith("A word\n")
    record = Preferred((dict(user("Why?")[0]),), "Because.", "No idea.")
    pairs, tokens = preferences([record], Letters(), 100, 2)
    assert len(pairs) == 2 and 192 <= tokens <= 200
    assert pairs[0]["chosen"][-1]["content"] != pairs[0]["rejected"][-1]["content"]


# ---------------------------------------------------------------- what is left of it


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (
            [
                "(WorkerDict pid=7) Traceback (most recent call last):",
                "ray.exceptions.ActorDiedError: The actor died unexpectedly",
                "(WorkerDict pid=7) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 9.27 GiB.",
                "error: verl ended with status 1; the last error it reported is: ActorDiedError",
            ],
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 9.27 GiB.",
        ),
        (
            [
                "Error executing job with overrides: ['data.train_files=rows']",
                "ValueError: heads do not divide",
                "RuntimeError: a peer is gone",
            ],
            "ValueError: heads do not divide",
        ),
        (["Loading", "error: rows.jsonl: no such file"], "rows.jsonl: no such file"),
        (["Loading"], "it said nothing"),
    ],
)
def test_the_first_true_error_is_said(lines: list[str], error: str) -> None:
    assert first_error(lines) == error


def test_times_of_supervised_steps(tmp_path: Path) -> None:
    write_jsonl(
        tmp_path / "times",
        [{"step": 1, "at": 160.0}, {"step": 2, "at": 175.0}, {"saved": 2, "at": 205.0}],
    )
    assert supervised_steps(tmp_path / "times", 100.0) == [
        {"step": 1, "seconds": 60.0},
        {"step": 2, "seconds": 15.0, "saving": 30.0},
    ]
    assert supervised_steps(tmp_path / "none", 100.0) == []


def test_judgements_of_the_step_whose_answers_may_end(tmp_path: Path) -> None:
    outcomes = [(1, "judged", None), (1, "failed", "no verdict"), (1, "invalid", None), (2, "failed", "late")]
    (tmp_path / "attempts/1").mkdir(parents=True)
    write_jsonl(
        tmp_path / "attempts/1/judgements.jsonl",
        [{"step": step, "outcome": outcome, "reason": reason} for step, outcome, reason in outcomes],
    )
    assert judgements(tmp_path) == {"groups": 3, "judged": 1, "failed": 1, "reason": "no verdict"}
    assert judgements(tmp_path / "none") is None


def test_the_most_memory_is_that_of_all_processes_and_of_each_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "nvidia-smi"
    use = tmp_path / "use"
    script.write_text(f'#!/bin/sh\nprintf "0, NVIDIA H100, 81559, 580.1, GPU-a, $(cat {use})\\n"')
    script.chmod(0o755)
    use.write_text("70000")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with Peaks(every=0.02) as peaks:
        deadline = time.monotonic() + 10
        while not peaks.gpus and time.monotonic() < deadline:
            time.sleep(0.01)
        use.write_text("60000")
        time.sleep(0.2)
    mib = 2**20
    assert peaks.found["gpus"] == [{"name": "NVIDIA H100", "peak": 70000 * mib, "limit": 81559 * mib}]
    assert 10**7 < peaks.found["host"]["peak"] < peaks.found["host"]["limit"]


# ---------------------------------------------------------------- what it will take


def policy_rows_of(reward: float = 10.0) -> list[dict[str, Any]]:
    return [
        {"step": 1, "timing_s/step": 500.0, "timing_s/reward": reward},
        {
            "step": 2,
            "timing_s/step": 200.0,
            "timing_s/gen": 100.0,
            "timing_s/reward": 0.0,
            "timing_s/save_checkpoint": 20.0,
            "prompt_length/mean": 1600.0,
            "response_length/mean": 4096.0,
            "training/rollout_probs_diff_mean": 0.004,
        },
    ]


EXPECTED = Expected(
    steps=Range(10, 20),
    gpu_hours=Range(100, 900),
    mean=(Range(800, 1600), Range(1024, 2048)),
    limits=(1600, 4096),
    save_steps=5,
    devices=16,
    runtime=1440,
)


def test_a_step_of_other_lengths_is_reckoned_from_the_measured_one() -> None:
    pace = pace_of({"steps": policy_rows_of()})
    assert pace == Pace(generating=100, rest=80, judging=10, saving=20, prompt=1600, answer=4096)
    assert pace.step(1600, 4096) == 190
    # A quarter of the generation, 1824 of 5696 tokens of the rest, and the judge as before.
    assert pace.step(800, 1024) == pytest.approx(25 + 80 * 1824 / 5696 + 10)
    found = measured(pace, EXPECTED)
    assert found is not None
    # A checkpoint of 20 s every 5 steps.
    assert found.longest == (10 * 194, 20 * 194)
    assert found.mean.low == pytest.approx(10 * (35 + 80 * 1824 / 5696 + 4))
    assert found.mean.high == pytest.approx(20 * (50 + 80 * 3648 / 5696 + 10 + 4))


def test_a_supervised_step_goes_with_its_tokens() -> None:
    steps = [{"step": 1, "seconds": 60.0}, {"step": 2, "seconds": 15.0, "saving": 30.0}]
    pace = pace_of({"steps": steps, "tokens": 12000.0})
    assert pace is not None and pace.step(12000, 0) == 15 and pace.step(1000, 0) == 1.25
    assert pace_of({"steps": steps[:1], "tokens": 12000.0}) is None


def test_expectations_are_those_of_the_forecast_within_the_limits() -> None:
    found = expectations(experiment("paper", "small", "one_gpu", "rehearsal"), ROOT)
    assert list(found) == ["grrm_sft", "grrm_rlvr", "mt_sft", "mt_grpo"]
    rlvr = found["grrm_rlvr"]
    # config/forecast.yaml: prompts of 400 to 900 tokens, answers of 500 to 1200.
    assert rlvr.mean == ((400, 900), (500, 1200)) and rlvr.limits == (1600, 2048)
    assert found["mt_sft"].mean == ((450, 1250), (0, 0)) and found["mt_sft"].limits == (4096, 0)
    assert rlvr.steps is not None and rlvr.gpu_hours is not None and rlvr.devices == 1
    toy = expectations(experiment("rehearsal"), ROOT)
    assert toy["mt_grpo"].mean == ((32, 32), (48, 48)) and toy["mt_grpo"].gpu_hours is None


# ---------------------------------------------------------------- the page


def outcome(stage: str, **changes: Any) -> dict[str, Any]:
    return {
        "stage": stage,
        "state": "done",
        "error": None,
        "start": {"kind": "released", "model": "double7/model"},
        "judge": None,
        "seconds": 800.0,
        "host": {"peak": 300 * GB, "limit": 900 * GB, "where": "this Slurm job"},
        "gpus": [{"name": "NVIDIA H100", "peak": 60 * GB, "limit": 80 * GB}],
        "tokens": 1600.0,
        "steps": policy_rows_of(),
        "judgements": None,
        "checkpoint": 122 * GB,
        **changes,
    }


JUDGED = {"groups": 512, "judged": 500, "failed": 12, "reason": "no verdict"}


def pages(outcomes: Mapping[str, Any], *overlays: str) -> tuple[dict[str, list[str]], str]:
    """The cells of each training's first row, and the page."""
    config = experiment(*(overlays or ("paper",)), "rehearsal")
    text = page(config, outcomes, dict.fromkeys(outcomes, EXPECTED))
    rows: dict[str, list[str]] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in outcomes:
            rows.setdefault(cells[0], cells[1:])
    return rows, text


def test_the_page_answers_for_a_training_that_fits() -> None:
    judge = {"kind": "released", "model": "double7/judge"}
    rows, text = pages({"mt_grpo": outcome("mt_grpo", judge=judge, judgements=JUDGED)})
    assert rows["mt_grpo"] == [
        "released: double7/model",
        "2 steps in 13 min",
        "3 min",
        "60.0 of 80.0 GB (75%)",
        "300.0 of 900.0 GB (33%)",
        "yes (differs by 0.004 in the mean)",
        "yes, about 500 of 512 groups",
        "122.0 GB",
    ]
    assert "All of it starts and fits." in text and "- Nothing: all of it fits." in text
    # 194 s a step, 16 GPUs: 10 to 20 steps.
    assert "| mt_grpo | 10-20 | 100-900 | " in text and f"| {10 * 194 * 16 / 3600:.2g}-17 |" in text


def test_a_training_out_of_memory_is_a_row_with_its_error_and_what_to_change() -> None:
    error = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 9.27 GiB."
    out = outcome("grrm_sft", state="failed", error=error, steps=[], checkpoint=None)
    rows, text = pages({"grrm_sft": out})
    assert rows["grrm_sft"][1] == f"**failed** in step 1: {error}"
    assert "1 of 1 did not come through: grrm_sft." in text
    assert "halve grrm_sft.batch_size and double grrm_sft.gradient_accumulation" in text
    out = outcome("mt_grpo", state="failed", error=error, steps=policy_rows_of()[:1])
    assert pages({"mt_grpo": out})[0]["mt_grpo"][1].startswith("**failed** in step 2: torch.OutOfMemory")
    assert "lower mt_grpo.gpu_memory_utilization (0.6)" in pages({"mt_grpo": out})[1]


def test_what_did_not_begin_or_could_not_say_why_is_a_row_too() -> None:
    rows, text = pages({"mt_sft": None, "mt_grpo": outcome("mt_grpo", state="running", steps=[])})
    assert "**did not begin**: logs/rehearse_mt_sft.log" in rows["mt_sft"][1]
    assert "**failed**: it was ended before it could say why" in rows["mt_grpo"][1]
    assert "2 of 2 did not come through: mt_sft, mt_grpo." in text


@pytest.mark.parametrize(
    ("start", "judge", "found", "words"),
    [
        ("base", "finished", JUDGED, "not tested (from a base model)"),
        ("finished", "base", JUDGED | {"judged": 0, "failed": 512}, "not tested (from a base model)"),
        ("finished", "finished", JUDGED | {"judged": 0, "failed": 0}, "not tested (no rollout could be"),
        ("finished", "finished", JUDGED | {"judged": 12, "failed": 500}, "**no**: 500 of 512 groups failed"),
        ("finished", "finished", None, ""),
    ],
)
def test_a_judge_is_tested_where_answers_are_what_they_will_be(
    start: str, judge: str, found: dict[str, Any] | None, words: str
) -> None:
    models = {"start": {"kind": start, "model": "a"}, "judge": {"kind": judge, "model": "b"}}
    (row,) = pages({"mt_grpo": outcome("mt_grpo", **models, judgements=found)})[0].values()
    assert row[6].startswith(words) if words else row[6] == ""


def test_what_does_not_fit_is_said_with_its_key() -> None:
    config = experiment("paper", "rehearsal")
    steps = policy_rows_of()
    steps[1] |= {"timing_s/step": 2000.0, "training/rollout_probs_diff_mean": 0.3}
    slow = outcome(
        "mt_grpo",
        steps=steps,
        gpus=[{"name": "NVIDIA H100", "peak": 79 * GB, "limit": 80 * GB}],
        host={"peak": 890 * GB, "limit": 900 * GB, "where": "this Slurm job"},
    )
    said = "\n".join(changes(config, {"mt_grpo": slow}, {"mt_grpo": EXPECTED}))
    assert "leaves 1.0 GB of a GPU" in said and "raise mem_gb_per_gpu of train_mt_grpo" in said
    assert "cluster.stop_before is 900 s" in said and "lower mt_grpo.save_steps" not in said
    assert "not the policy's" in said and "mt_grpo.rollout_engine" in said
    late = outcome("mt_grpo", state="failed", error="the job's time was over before two steps", steps=[])
    assert changes(config, {"mt_grpo": late}, {"mt_grpo": EXPECTED}) == [
        "mt_grpo did not do 2 steps in 120 min: raise rehearsal.minutes."
    ]


def test_an_error_with_bars_and_line_ends_stays_in_its_cell() -> None:
    out = outcome("mt_sft", state="failed", error="a | b\nc", steps=[])
    assert "in step 1: a \\| b c |" in pages({"mt_sft": out})[1]


def test_the_page_is_written_by_the_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import report_rehearsal

    folder = tmp_path / "rehearsal"
    for name in ("grrm_rlvr", "mt_grpo"):
        (folder / name).mkdir(parents=True)
        (folder / name / "outcome.json").write_text(json.dumps(outcome(name)))
    files = [str(ROOT / f"config/{name}.yaml") for name in ("paper", "rehearsal")]
    words = ["--workflow", str(ROOT), "--folder", str(folder), "--output", str(tmp_path / "page.md")]
    report_rehearsal.main(["--config", *files, *words])
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert text.startswith("# Rehearsal of paper\n") and capsys.readouterr().out.strip() == text.strip()
    assert "2 of 4 did not come through: grrm_sft, mt_sft." in text


def test_a_rehearsal_that_fails_leaves_why_and_no_models(tmp_path: Path) -> None:
    import rehearse

    engine = tmp_path / "python"
    engine.write_text("#!/bin/sh\necho 'Loading'\necho 'ValueError: no such template'\nexit 1\n")
    engine.chmod(0o755)
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(render_sft(experiment("rehearsal"), "mt_sft")))
    folder, output = tmp_path / "mt_sft", tmp_path / "mt_sft.json"
    (folder / "models").mkdir(parents=True)  # of an earlier rehearsal
    words = ["--stage", "mt_sft", "--config", str(config), "--data", "rows", "--python", str(engine)]
    words += ["--folder", str(folder), "--output", str(output), "--start", "base", "mt_base", "folder"]
    with pytest.raises(UserError, match="rehearsal of mt_sft: ValueError: no such template"):
        rehearse.main([*words, "--", "--nodes", "1"])
    assert not output.exists() and [path.name for path in folder.iterdir()] == ["outcome.json"]
    found = json.loads((folder / "outcome.json").read_text())
    assert found["state"] == "failed" and found["error"] == "ValueError: no such template"
    assert found["host"]["peak"] > 0 and found["steps"] == [] and found["checkpoint"] is None
    assert pages({"mt_sft": found})[0]["mt_sft"][0] == "base: mt_base"


def test_a_rehearsal_that_cannot_be_measured_leaves_why_and_no_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that its checkpoints have filled."""
    import rehearse

    def fill(args: argparse.Namespace, *_: object) -> int:
        (args.folder / "checkpoints").mkdir()
        raise UserError("the disk is full")

    def measure(*_: object) -> NoReturn:
        raise UserError("curve.jsonl: cut off")

    monkeypatch.setattr(rehearse, "_rehearse", fill)
    monkeypatch.setattr(rehearse, "_measured", measure)
    (tmp_path / "config.yaml").write_text("{}")
    words = [
        "--stage",
        "mt_sft",
        "--config",
        str(tmp_path / "config.yaml"),
        "--data",
        "rows",
        "--python",
        "p",
    ]
    words += ["--folder", str(tmp_path / "mt_sft"), "--output", "out", "--start", "base", "mt_base", "folder"]
    with pytest.raises(UserError, match="cut off"):
        rehearse.main(words)
    assert [path.name for path in (tmp_path / "mt_sft").iterdir()] == ["outcome.json"]
    found = json.loads((tmp_path / "mt_sft/outcome.json").read_text())
    assert found["state"] == "failed" and found["error"] == "the disk is full"
