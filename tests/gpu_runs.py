"""Trainings of GPUs' configurations, executed on a CPU: `on_cpu` lists all that is changed of them.

The models are tiny and have learned by heart what they answer, so that answers end long before the rendered
limits and judgements can be read. Steps have as many prompts and rollouts as rendered.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from configurations import ROOT, experiment, render_alignment, render_judge, render_rl
from grrm.data.alignment import verl_rows
from grrm.data.prepare_judges import judge_rows
from grrm.data.records import Compared, Graded
from grrm.engines import verl
from grrm.judges.prompts import load_judge_prompt
from grrm.prompts import load_ranking_prompt
from on_cpu import on_cpu
from tiny_model import learn, save_tiny_model

LANGUAGES = ["de", "ja"]
SOURCES = ["the grass", "a frog", "the other side", "in the throat"]
TRANSLATIONS = ["```\ngreen\n```", "```\nfrog\n```"]
RESPONSES = ["green", "frog", "the other side", "a throat"]
VERDICTS = {"A": "good\n\n### Final Ranking:\n\nA > B\n\n### Scores:\n\nA: 9, B: 2\n"}
VERDICTS["B"] = VERDICTS["A"].replace("A > B", "B > A").replace("A: 9, B: 2", "B: 9, A: 2")
PROMPT = ROOT / "config/prompts/toy_ranking.yaml"
JUDGE_PROMPTS = {kind: f"config/prompts/toy_{kind}.yaml" for kind in ("pointwise", "pairwise")}
STEPS = 2
LIMIT = 3000
"""Seconds that a start may take."""

OVERLAYS = {
    "one_gpu": ("paper", "small", "one_gpu"),
    "lora": ("paper", "small", "one_gpu", "lora"),
    "paper": ("paper",),
    "dedicated": ("paper", "small", "one_gpu"),
    "judges": ("paper", "judges_paper"),
    "alignment": ("paper", "small", "alignment_gpu"),
}
"""Configurations for GPUs that differ in kind -> their files below config/.

The paper's batches of 512 prompts are there once; one GPU's do where something else differs."""
TRAININGS = [
    *((kind, stage) for kind in ("one_gpu", "lora", "paper") for stage in ("grrm_rlvr", "mt_grpo")),
    ("dedicated", "mt_grpo"),
    ("judges", "judge_pointwise"),
    ("judges", "judge_pairwise"),
    ("alignment", "alignment_grpo"),
]
"""All that are executed."""


def rendered(kind: str, stage: str, *, precision: str = "bf16", **changes: Any) -> dict[str, Any]:
    """What GPUs would get for a training of a configuration; `changes` to settings of one of the chain."""
    config = experiment(*OVERLAYS[kind])
    config["hardware"]["precision"] = precision
    if kind == "dedicated":
        config["mt_grpo"]["reward"] |= {"placement": "dedicated", "nodes": 1, "gpus_per_node": 8}
    if kind == "judges":
        config["judges"]["prompts"] = JUDGE_PROMPTS
        return render_judge(config, stage.removeprefix("judge_"))  # type: ignore[arg-type]
    return render_alignment(config) if kind == "alignment" else render_rl(config, stage, **changes)


Rows = Callable[[int, str], list[dict[str, Any]]]

# ---------------------------------------------------------------- what the models know, and rows


def ranking_prompts() -> list[str]:
    render = load_ranking_prompt(PROMPT).render
    return [
        render(src_text=source, mt_texts=texts, src_lang="en", trg_lang=language)
        for source in SOURCES
        for texts in (["green", "frog"], ["frog", "green"])
        for language in LANGUAGES
    ]


def _ranking_rows(count: int, split: str) -> list[dict[str, Any]]:
    prompts = ranking_prompts()
    return [
        row(prompts[index % len(prompts)], json.dumps({"A": 9, "B": 2 + index % 3}), index, split)
        for index in range(count)
    ]


def _translation_rows(count: int, split: str) -> list[dict[str, Any]]:
    rows = []
    for index in range(count):
        # Every source in two languages, as cross-lingual augmentation has it.
        source, language = SOURCES[index // 2 % len(SOURCES)], LANGUAGES[index % 2]
        rows.append(translation_row(source, source, language, index, split))
    return rows


def row(prompt: str, truth: str, index: int, split: str) -> dict[str, Any]:
    return {
        "data_source": "test",
        "prompt": [{"role": "user", "content": prompt}],
        "ability": "test",
        "reward_model": {"style": "rule", "ground_truth": truth},
        "extra_info": {"index": index, "split": split},
    }


def translation_row(prompt: str, source: str, language: str, index: int, split: str) -> dict[str, Any]:
    info = {"src_text": source, "src_lang": "en", "trg_lang": language, "trg_text": None}
    made = row(prompt, "", index, split)
    return {**made, "extra_info": made["extra_info"] | info}


def _judge_rows(stage: str, count: int, split: str) -> list[dict[str, Any]]:
    """As the workflow prepares them: `count` rows, both orders of a pair following each other."""
    kind = stage.removeprefix("judge_")
    prompt = load_judge_prompt(str(ROOT / JUDGE_PROMPTS[kind]), stage)  # type: ignore[arg-type]
    asked = [({"role": "user", "content": f"{SOURCES[index % 4]} {index // 4}"},) for index in range(count)]
    if kind == "pointwise":
        graded = [Graded(turns, RESPONSES[index % 4], index % 5) for index, turns in enumerate(asked)]
        return judge_rows(graded, prompt, split=split)
    pairs = [
        Compared(turns, RESPONSES[index % 4], RESPONSES[(index + 1) % 4], "A")
        for index, turns in enumerate(asked[: count // 2])
    ]
    return judge_rows(pairs, prompt, both=True, split=split)


def _alignment_rows(count: int, split: str, folder: Path) -> list[dict[str, Any]]:
    """Prepared from a table as it is published."""
    table = folder / f"preferences_{split}.jsonl"
    with table.open("w") as file:
        for index in range(count):
            turns = [{"role": "user", "content": SOURCES[index % len(SOURCES)]}]
            answers = {
                name: [*turns, {"role": "assistant", "content": text}]
                for name, text in (("chosen", "green"), ("rejected", "frog"))
            }
            file.write(json.dumps({"x": turns, "unique_id": f"{split}{index}", "source": "test", **answers}))
            file.write("\n")
    return verl_rows(table, split="train" if split == "train" else "test")


def rows_of(stage: str, count: int, split: str, folder: Path) -> list[dict[str, Any]]:
    """Rows as verl reads them, of which the models have learned the answers."""
    if stage.startswith("judge_"):
        return _judge_rows(stage, count, split)
    if stage == "alignment_grpo":
        return _alignment_rows(count, split, folder)
    return (_ranking_rows if stage == "grrm_rlvr" else _translation_rows)(count, split)


def known(stage: str) -> list[tuple[str, str]]:
    """Prompts and answers that the model of a training has learned by heart."""
    if stage == "grrm_rlvr":
        return [(prompt, verdict) for prompt in ranking_prompts() for verdict in VERDICTS.values()]
    if stage == "mt_grpo":
        return [(source, answer) for source in SOURCES for answer in TRANSLATIONS]
    if stage == "alignment_grpo":
        return [(source, answer) for source in SOURCES for answer in RESPONSES]
    tag, verdicts = ("score", "13") if stage == "judge_pointwise" else ("better", "AB")
    prompts = [row["prompt"][0]["content"] for row in _judge_rows(stage, 96, "train")[::3]]
    return [
        (prompt, f"<think>good</think>\n<{tag}>{verdict}</{tag}>")
        for prompt in prompts
        for verdict in verdicts
    ]


def make_model(folder: Path, stage: str) -> Path:
    """A model that knows its answers, with room for the longest that is rendered (10,240 tokens)."""
    seed = 0 if stage in ("mt_grpo", "alignment_grpo") else 1
    pairs = known(stage)
    texts = [text for pair in pairs for text in pair]
    model = save_tiny_model(folder, seed=seed, width=64, heads=2, positions=16384, texts=texts)
    learn(model, pairs)
    return model


# ---------------------------------------------------------------- runs

_PROMPT = "+reward.reward_kwargs.prompt"


@dataclass
class Run:
    """One training in a folder of its own, started as often as it takes."""

    folder: Path
    stage: str
    environment: Mapping[str, str]
    steps: int = STEPS
    killed: bool = False

    @property
    def config(self) -> dict[str, Any]:
        return dict(yaml.safe_load((self.folder / "config.yaml").read_text()))

    def start(self) -> subprocess.Popen[bytes]:
        """scripts/train_rl.py, as the rule of the training calls it."""
        command = [sys.executable, str(ROOT / "scripts/train_rl.py"), "--python", sys.executable]
        command += ["--config", "config.yaml", "--data", "rows.parquet", "--model", "model"]
        command += ["--curve", "curve.jsonl"]
        if self.stage in ("mt_grpo", "alignment_grpo"):
            command += ["--judgements", "judgements.jsonl"]
        if self.stage == "alignment_grpo":
            command += ["--judge-calls", "judge_calls.json"]
        with (self.folder / "log").open("a") as log:
            environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts"), **self.environment}
            return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)

    def finish(self, watch: Callable[[psutil.Process], None] = lambda run: None) -> None:
        """Bring it to its end, `watch`ed every second."""
        process, deadline = self.start(), time.monotonic() + LIMIT
        try:
            while process.poll() is None:
                assert time.monotonic() < deadline, self.said()
                watch(psutil.Process(process.pid))
                time.sleep(1)
        finally:
            process.terminate()  # one that has ended takes no notice
            process.wait()
        assert process.returncode == 0, self.said()

    def kill_after_the_first_step(self) -> None:
        """Kill it once a step is done and saved; nothing that it started stays behind."""
        first, metrics = self.start(), self.folder / "checkpoints/attempts/1/metrics.jsonl"
        deadline = time.monotonic() + LIMIT
        while not metrics.exists() or '"step":1,' not in metrics.read_text():
            assert first.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)
        before = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]
        first.send_signal(signal.SIGKILL)
        first.wait()
        _, alive = psutil.wait_procs(before, timeout=20)
        assert not alive, [process.cmdline() for process in alive]
        self.killed = True

    def said(self) -> str:
        """What of the log says why it failed: Ray's processes may say a lot more after that."""
        log = self.log()
        errors = re.findall(r"^(?:.*\) )?(?:error|\w*Error|\w*Exception): .*", log, re.MULTILINE)
        return "\n".join([*(error[:600] for error in errors[-10:]), "...", log[-4000:]])

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def rows(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]


def prepare(
    config: dict[str, Any],
    stage: str,
    folder: Path,
    models: Mapping[str, Path],
    *,
    rows: Rows | None = None,
    prompt: Path = PROMPT,
    steps: int = STEPS,
    environment: Mapping[str, str] | None = None,
) -> Run:
    """A run of what `on_cpu` gives, with its rows and models.

    Args:
        config: the configuration; what it reads and writes is put into it.
        stage: the training.
        folder: of the run.
        models: by the trainings that they are for; GRPO has the judge that is for RLVR.
        rows: (number, split) -> rows; those of which the models have learned the answers if None.
        prompt: of the judge that verl serves.
        steps: of the training.
        environment: variables of the training beside the test's own.
    """
    config |= {
        verl.MODEL: str(models[stage]),
        verl.DATA: "rows.parquet",
        verl.VALIDATION_DATA: "held_out.parquet",
        verl.CHECKPOINTS: "checkpoints",
        "trainer.save_freq": 1,  # for something to go on from
    }
    if stage == "alignment_grpo":
        config[_PROMPT] = str(ROOT / config[_PROMPT])
    if stage == "mt_grpo":
        config["reward.reward_model.model_path"] = str(models["grrm_rlvr"])
        config[_PROMPT] = str(prompt)
        # It has nothing to validate on, but verl reads a file all the same.
        config[verl.VALIDATION_DATA] = "rows.parquet"
    batch, epochs = int(config[verl.BATCH]), int(config[verl.EPOCHS])
    if epochs > steps:
        config[verl.STEPS] = steps
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    for name, count in (("rows", max(batch, steps * batch // epochs)), ("held_out", 16)):
        split = "train" if name == "rows" else "validation"
        made = rows(count, split) if rows else rows_of(stage, count, split, folder)
        table = pa.Table.from_pylist(made)
        pq.write_table(table, folder / f"{name}.parquet")
    return Run(folder, stage, environment or {}, steps)


def on_a_cpu(kind: str, stage: str) -> dict[str, Any]:
    """What a CPU gets for a training of a configuration."""
    return on_cpu(rendered(kind, stage))


def check(run: Run) -> list[dict[str, Any]]:
    """What holds of all trainings; the metrics of the steps."""
    steps = [row for row in run.rows("curve.jsonl") if "actor/grad_norm" in row]
    assert [row["step"] for row in steps] == list(range(1, run.steps + 1))
    for metrics in steps:
        # bf16 on both sides, by different kernels; another model's would be off by tenths on the mean.
        assert metrics["training/rollout_probs_diff_mean"] < 0.005
        assert metrics["training/rollout_probs_diff_max"] < 0.5
    # Told to sleep, and to wake.
    assert run.log().count("sleep mode is not supported on CPU") >= 2 * run.steps
    assert (run.folder / "checkpoints/latest_checkpointed_iteration.txt").read_text() == str(run.steps)
    assert (run.folder / "model/model.safetensors").exists()
    return steps


def check_rlvr(run: Run) -> None:
    """Rankings are learned, and validated before the first step and after the last."""
    check(run)
    # And before the first step of a second attempt.
    assert validated(run) == ([0, 1, run.steps] if run.killed else [0, run.steps])


def check_grpo(run: Run) -> None:
    """Every group is judged once, by the judge that verl serves."""
    assert all("actor/sft_loss" in metrics for metrics in check(run))
    judged = run.rows("judgements.jsonl")
    batch = run.config[verl.BATCH]
    assert [group["step"] for group in judged] == [
        step for step in range(1, run.steps + 1) for _ in range(batch)
    ]
    assert {group["outcome"] for group in judged} <= {"judged", "identical", "failed"}
    # What a model of 64 numbers has learned by heart is not always said to its end.
    assert sum(group["outcome"] == "judged" for group in judged) > len(judged) / 2


def validated(run: Run) -> list[int]:
    """The steps after which it was validated."""
    return [row["step"] for row in run.rows("curve.jsonl") if any(key.startswith("val-core/") for key in row)]
