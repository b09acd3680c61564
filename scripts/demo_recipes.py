"""Run the published recipes of config/recipes at toy size, one after the other, and put them side by side."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from grrm.catalogue.recipes import RECIPES
from grrm.config import load_experiment
from grrm.config.rewards import asks_endpoint, pieces_of
from grrm.data import toy_judge
from grrm.files import UserError, read_json, read_jsonl, write_json, write_text
from grrm.process import run_main
from grrm.report.benchmarks import read_benchmarks
from grrm.report.machine import machine
from grrm.report.recipes import Run, recipes_document, recipes_text

_ROOT = Path(__file__).parents[1]
_FOLDER = "config/recipes"
_TOY = f"{_FOLDER}/toy.yaml"
_RESULTS = Path("results/recipes")

STARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "start": ("SFT", {}),
    "brief": ("brief SFT", {"mt_sft": {"max_steps": 150, "save_steps": 150}}),
    "both": (
        "SFT on both tasks",
        {"mt_sft": {"max_steps": 700, "save_steps": 700, "judging": "config/prompts/toy_sqm.yaml"}},
    ),
}
"""What a recipe begins at -> that in words, and what is changed of its SFT."""


def main(argv: list[str] | None = None) -> None:
    """Write results/recipes/table.json and table.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", type=int, required=True, help="for Snakemake")
    names = list(RECIPES)
    parser.add_argument("--recipes", nargs="+", choices=names, default=names, help="default: all")
    args = parser.parse_args(argv)

    published = {name: published_recipe(name) for name in args.recipes}
    starts = {name: start_of(config) for name, config in published.items()}
    for start in dict.fromkeys(["start", *starts.values()]):
        models = ["mt_sft"]
        if start == "start":
            models += ["comet", "cometkiwi", "bleurt", *(["grrm_sft"] if "grrm" in args.recipes else [])]
        _make(args.cores, start, models)
    runs = []
    for name, config in published.items():
        seconds = _run(args.cores, name, config, starts[name])
        found = read_json(f"results/recipes_{name}/evaluation/reward_kinds.json")
        rewards = [piece["kind"] for piece in pieces_of(config["mt_grpo"]["reward"]).values()]
        calls = calls_of(Path(f"results/recipes_{name}/curves"))
        runs.append(Run(name, config["recipe"], STARTS[starts[name]][0], rewards, found, calls, seconds))
    document = recipes_document(runs, machine(), time.strftime("%Y-%m-%d"))
    write_json(_RESULTS / "table.json", document)
    write_text(_RESULTS / "table.md", recipes_text(document))
    print(recipes_text(document))


def calls_of(curves: Path) -> int:
    """Calls to a judge: as noted of those over HTTP; verl's own judge of groups is asked about each once."""
    noted = int(read_json(curves / "mt_grpo.judge_calls.json")["requests"])
    groups = read_jsonl(curves / "mt_grpo.judgements.jsonl")
    asked = [group["retries"] + 1 for group in groups if group["outcome"] in ("judged", "failed")]
    by_groups = any(group.get("answer") for group in groups) and not noted
    return sum(asked) if by_groups else noted


def published_recipe(name: str) -> dict[str, Any]:
    """The configuration of a recipe at its published size."""
    return load_experiment(_ROOT, [_ROOT / "config/paper.yaml", *(_ROOT / file for file in _files(name))])


def start_of(config: Mapping[str, Any]) -> str:
    """What a recipe begins at: a model after SFT; where it has no SFT, a briefly trained one, since a random
    one earns nothing; where it judges itself, one that has learnt both."""
    if config["mt_grpo"]["reward"]["placement"] == "policy":
        return "both"
    return "brief" if config["mt_grpo"]["start_from"] else "start"


def overlay(name: str, config: Mapping[str, Any], start: str, judge: str) -> dict[str, Any]:
    """What a recipe is given beside config/recipes/toy.yaml: a name, its start, and who judges it there."""
    reward: dict[str, Any] = {}
    if config["mt_grpo"]["reward"]["kind"] == "grrm":
        reward = {"model": "results/recipes_start/models/grrm_sft"}
    elif start == "both":
        reward = {"parts": [_as_learnt(part) for part in config["mt_grpo"]["reward"]["parts"]]}
    elif judge:
        reward = {"judge": {"url": judge, "model": toy_judge.MODEL}}
    model = f"results/recipes_{start}/models/mt_sft"
    return {"experiment": f"recipes_{name}", "mt_grpo": {"start_from": model, "reward": reward}}


def _as_learnt(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part that asks the model in the words of its SFT."""
    return {**part, "prompt": STARTS["both"][1]["mt_sft"]["judging"]} if "prompt" in part else dict(part)


def _files(name: str) -> list[str]:
    return [f"{_FOLDER}/{file}.yaml" for file in RECIPES[name]]


def _make(cores: int, start: str, models: Sequence[str]) -> None:
    changes = {"experiment": f"recipes_{start}", **STARTS[start][1]}
    targets = [f"results/recipes_{start}/models/{model}" for model in models]
    _workflow(cores, changes, [f"{_FOLDER}/toy_start.yaml"], targets)


def _run(cores: int, name: str, config: Mapping[str, Any], start: str) -> float:
    """Run a recipe; returns the seconds that its training took."""
    with _judge(config) as judge:
        _workflow(cores, overlay(name, config, start, judge), [*_files(name), _TOY], ["reward_kinds"])
    jobs = {job["job"]: job for job in read_benchmarks(Path(f"results/recipes_{name}/benchmarks"))}
    return float(jobs["train_mt_grpo"]["seconds"])


@contextmanager
def _judge(config: Mapping[str, Any]) -> Iterator[str]:
    """The address of the toy world's LLM judge, where a recipe asks one; else nothing."""
    if not asks_endpoint(config["mt_grpo"]["reward"]):
        yield ""
        return
    with toy_judge.serving() as url:
        yield url


def _workflow(cores: int, changes: Mapping[str, Any], files: Sequence[str], targets: Sequence[str]) -> None:
    file = _RESULTS / "configs" / f"{changes['experiment']}.yaml"
    write_text(file, yaml.safe_dump(dict(changes), sort_keys=False))
    command = [sys.executable, "scripts/run_workflow.py", "--cores", str(cores)]
    command += ["--configfile", *files, str(file), "--", *targets]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("JUDGE_")}
    status = subprocess.run(command, env=environment, check=False).returncode
    if status != 0:
        raise UserError(f"{changes['experiment']}: the workflow ended with status {status}; see above")


if __name__ == "__main__":
    run_main(main)
