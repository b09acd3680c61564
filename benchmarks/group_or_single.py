"""One call about a group, or one about each translation? The paper's comparison, at the demonstration's size.

    .venv/bin/python benchmarks/group_or_single.py --seeds 0 1 2
    .venv/bin/python benchmarks/group_or_single.py --plan      # what the workflow would run, and no more

On each seed's demonstration (what is missing of it is made first): the GRRM, asked once per group, beside an
SQM judge, asked once per translation. That judge starts from the same base model and is trained on the same
rows, a candidate at a time, with the same seed: SFT and RLVR of as many steps, each of as many candidates,
and RLVR with as many rollouts of a prompt. Beside both stand BLEU against the reference and, as a judge only,
the GRRM asked about one translation at a time: it was never trained for that ("untrained"), and most of its
answers cannot be read.

Printed, as Markdown: ranking accuracy of the judges on the held-out groups, and what GRPO makes of the same
translation model with each as its reward, with calls, minutes, and paired differences to the GRRM.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from grrm.data.sft_rows import chat  # noqa: E402
from grrm.files import read_json, read_jsonl, read_yaml, write_jsonl  # noqa: E402
from grrm.prompts import PointwisePrompt, load_pointwise_prompt  # noqa: E402
from grrm.ranking import labels  # noqa: E402

GROUP, SINGLE = "config/prompts/toy_ranking.yaml", "config/prompts/toy_single.yaml"
TRAIN = ".snakemake/environments/train/bin/python"
CANDIDATES = 3
"""Of a group of the toy world, in the mean: a step has so many times as many rows of one candidate."""
METRICS = {
    "ranking_accuracy": "accuracy",
    "ranking_accuracy_untied": "without ties",
    "ranking_accuracy_calibrated": "ties calibrated",
    "valid_rate": "valid",
}

Row = Mapping[str, Any]


def main() -> None:
    """Make what is not there yet; print two tables for each seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--plan", action="store_true", help="print what the workflow would run")
    args = parser.parse_args()
    os.chdir(ROOT)
    for seed in args.seeds:
        comparison = Comparison(seed, args.cores)
        if args.plan:
            comparison.plan()
        else:
            comparison.run()
            print(f"\nSeed {seed}\n\n{comparison.judges_table()}\n\n{comparison.rewards_table()}")


class Comparison:
    """The comparison of one seed; what it makes is kept below the results of that demonstration."""

    def __init__(self, seed: int, cores: int) -> None:
        self.seed, self.cores = seed, cores
        self.experiment = "demo" if seed == 0 else f"demo_seed{seed}"
        self.results = Path("results") / self.experiment
        self.folder = self.results / "group_or_single"
        self.sft, self.rlvr = self.folder / "models/grrm_sft_sqm", self.folder / "models/grrm_rlvr_sqm"
        before, after = (self.results / "models" / name for name in ("grrm_sft", "grrm_rlvr"))
        self.judges = {
            "GRRM after SFT": (before, GROUP),
            "GRRM after RLVR": (after, GROUP),
            "SQM after SFT": (self.sft, SINGLE),
            "SQM after RLVR": (self.rlvr, SINGLE),
            "GRRM one by one (untrained)": (after, SINGLE),
        }

    def plan(self) -> None:
        """Print the workflow's dry runs."""
        self.rlvr.mkdir(parents=True, exist_ok=True)  # taken as a judge, it must be there
        try:
            self.workflow(*self.stages(), dry=True)
            self.workflow("reward_kinds", dry=True, compared=True)
        finally:
            self.rlvr.rmdir()

    def run(self) -> None:
        """Train the SQM judge, ask all judges, train the translation model with each."""
        self.workflow(*self.stages())
        self.train()
        for name, (model, prompt) in self.judges.items():
            self.rank(name, model, prompt)
        self.workflow("reward_kinds", compared=True)

    def stages(self) -> list[str]:
        """Targets of the demonstration that are needed."""
        return ["grrm_rlvr", "mt_sft", str(self.results / "config.yaml")]

    def workflow(self, *targets: str, dry: bool = False, compared: bool = False) -> None:
        """Run, or plan, what is missing."""
        more = ["--dry-run"] if dry else []
        if compared:
            file = self.folder / "reward_comparison.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(yaml.safe_dump(self.rewards()), encoding="utf-8")
            more += ["--configfile", str(file)]
        settings = ["--config", f"experiment={self.experiment}", f"seed={self.seed}"]
        call("scripts/run_workflow.py", "--cores", self.cores, *more, *settings, "--", *targets)

    def rewards(self) -> dict[str, Any]:
        """The key reward_comparison; the others are compared with the GRRM."""
        trained = {"name": "sqm_trained", "kind": "sqm", "prompt": SINGLE, "model": str(self.rlvr)}
        return {"reward_comparison": ["grrm", trained, "bleu"]}

    def train(self) -> None:
        """SFT and RLVR of the SQM judge, as the GRRM's but for rows of one candidate, more in a step."""
        config, prompt = read_yaml(self.results / "config.yaml"), load_pointwise_prompt(SINGLE)
        rows, settings = self.folder / "sft.jsonl", config["grrm_sft"]
        settings["batch_size"] *= CANDIDATES
        if not self.sft.is_dir():
            write_jsonl(rows, sft_rows(self.table("grrm_sft"), prompt))
            more = ["--dataset-info", self.folder / "dataset_info.json"]
            self.fit("sft", self.sft, self.results / "models/grrm_base", rows, settings, more)
        rows, settings = self.folder / "rlvr.parquet", config["grrm_rlvr"]
        for key in ("train_batch_size", "mini_batch_size", "micro_batch_size"):
            settings[key] *= CANDIDATES
        if not self.rlvr.is_dir():
            pq.write_table(pa.Table.from_pylist(list(rl_rows(self.table("grrm_rlvr"), prompt))), rows)
            more = ["--stage", self.rlvr.name, "--verified", "sqm_score"]
            self.fit("rl", self.rlvr, self.sft, rows, settings, more)

    def fit(
        self, engine: str, model: Path, start: Path, rows: Path, settings: Row, more: Sequence[object]
    ) -> None:
        """Render and run a training, by the scripts that the workflow's rules call."""
        config = self.folder / f"{model.name}.yaml"
        checkpoints = ["--checkpoints", self.folder / "checkpoints" / model.name]
        rendered = ["--settings", json.dumps(settings), "--seed", self.seed, "--output", config, *checkpoints]
        call(f"scripts/render_{engine}.py", *rendered, "--model", start, "--data", rows, *more)
        curve = ["--curve", self.folder / f"{model.name}.jsonl"]
        trained = ["--config", config, "--data", rows, "--python", TRAIN, "--model", model, *curve]
        call(f"scripts/train_{engine}.py", *trained)

    def table(self, name: str) -> list[Row]:
        """Rows of a table of the demonstration."""
        rows: list[Row] = pq.read_table(self.results / f"data/{name}.parquet").to_pylist()
        return rows

    def answers(self, judge: str) -> Path:
        """A judge's answers to the held-out groups."""
        return self.folder / f"{re.sub('[^a-z]+', '_', judge.lower()).strip('_')}.jsonl"

    def rank(self, name: str, model: Path, prompt: str) -> None:
        """Ask a judge about the held-out groups, as the workflow does."""
        asked = ["--model", model, "--input", self.results / "data/ranking_test.parquet", "--prompt", prompt]
        greedy = ["--max-new-tokens", 96, "--temperature", 0.0, "--backend", "transformers"]
        more = ["--batch-size", 150, "--retries", 0, "--seed", self.seed, "--discard-stale"]
        call(
            "scripts/rank_candidates.py", *asked, *greedy, *more, "--output", self.answers(name), python=TRAIN
        )

    def judges_table(self) -> str:
        """Ranking accuracy of each judge, and its calls for the held-out groups."""
        files = {self.answers(name).stem: self.answers(name) for name in self.judges}
        scores, groups = self.folder / "ranking.json", self.results / "data/ranking_test.parquet"
        named = [f"{name}={file}" for name, file in files.items()]
        call("scripts/score_rankings.py", "--reference", groups, "--rankings", *named, "--output", scores)
        found = {system["name"]: system["metrics"] for system in read_json(scores)["systems"]}
        groups_of = [len(set(row["mt_texts"])) for row in self.table("ranking_test")]
        rows = [
            [
                name,
                *(estimate(found[self.answers(name).stem][metric], 100) for metric in METRICS),
                str(len(groups_of) if prompt == GROUP else sum(groups_of)),
            ]
            for name, (_, prompt) in self.judges.items()
        ]
        return markdown(["judge", *METRICS.values(), "calls"], rows)

    def rewards_table(self) -> str:
        """What GRPO made of the translation model with each reward, and what that cost."""
        found = read_json(self.results / "evaluation/reward_kinds.json")
        rows = [["before", *_scores(found["baseline"]), *[""] * 3]]
        for kind in found["kinds"]:
            apart = kind["to_first"]
            minutes = kind["training"]["steps"] * kind["training"]["seconds_per_step"] / 60
            rows.append(
                [
                    kind["kind"],
                    *_scores(kind),
                    estimate(apart["bleu"], signed=True) if apart else "",
                    str(self.calls(kind["name"], kind["kind"])),
                    f"{minutes:.1f}",
                ]
            )
        return markdown(["reward", "BLEU", "chrF++", "COMET", "BLEU, to the GRRM", "calls", "minutes"], rows)

    def calls(self, run: str, kind: str) -> int:
        """Judgements that a training asked for: groups, or candidates."""
        if kind == "bleu":
            return 0
        steps = read_jsonl(self.results / f"curves/{run}.jsonl", gaps=True)
        asked = [step["reward/judgements"] for step in steps if step.get("reward/judgements") is not None]
        groups = read_jsonl(self.results / f"curves/{run}.judgements.jsonl")
        return int(sum(asked)) if asked else sum(group["outcome"] == "judged" for group in groups)


# ---------------------------------------------------------------- rows of one candidate


def sft_rows(groups: Sequence[Row], prompt: PointwisePrompt) -> Iterator[Row]:
    """Of each candidate of each group: what the teacher found in it, and its score."""
    for group in groups:
        for text, finding, score in zip(group["mt_texts"], findings(group), group["scores"], strict=True):
            yield chat(messages(group, text, prompt), f"Analysis: {finding}\n\n{score}")


def rl_rows(groups: Sequence[Row], prompt: PointwisePrompt) -> Iterator[Row]:
    """Of each candidate of each group: the prompt and its true score, in verl's layout."""
    for number, group in enumerate(groups):
        for text, score in zip(group["mt_texts"], group["scores"], strict=True):
            yield {
                "data_source": "grrm.sqm_score",
                "prompt": messages(group, text, prompt),
                "ability": "judge",
                "reward_model": {"style": "rule", "ground_truth": str(score)},
                "extra_info": {"index": number, "split": "train"},
            }


def messages(group: Row, text: str, prompt: PointwisePrompt) -> list[dict[str, str]]:
    """The question about one candidate."""
    languages = {key: group[key] for key in ("src_lang", "trg_lang")}
    return prompt.messages(src_text=group["src_text"], mt_text=text, **languages)


def findings(group: Row) -> list[str]:
    """What the toy world's teacher says about each candidate of "Analysis: A literal 7, B good 10"."""
    found = group["analysis"].removeprefix("Analysis: ").split(", ")
    return [text.removeprefix(f"{label} ") for label, text in zip(labels(len(found)), found, strict=True)]


# ---------------------------------------------------------------- tables


def _scores(system: Row) -> list[str]:
    metrics = system["metrics"]
    return [estimate(metrics["bleu"]), estimate(metrics["chrf++"]), estimate(metrics["comet"], 100)]


def estimate(record: Row, points: float = 1.0, *, signed: bool = False) -> str:
    """A value with its interval."""
    value, low, high = (f"{record[key] * points:{'+' * signed}.1f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def call(script: str, *arguments: object, python: str = sys.executable) -> None:
    """Run a script of the workflow."""
    subprocess.run([python, script, *map(str, arguments)], check=True)


if __name__ == "__main__":
    main()
