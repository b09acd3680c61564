"""Rehearse a training: two steps on rows of the longest lengths, watched; what it writes is removed."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from grrm.engines import rehearsed, verl
from grrm.engines.llamafactory import dataset_info
from grrm.engines.peaks import Peaks
from grrm.engines.rehearsal import Files, lengths, rehearsal_config
from grrm.engines.sessions import STEP_TIMES
from grrm.engines.trainer import engine_environment
from grrm.files import UserError, read_json, read_yaml, write_json, write_text
from grrm.process import TRY_AGAIN, run_engine, run_main

_SCRIPTS = Path(__file__).parent
_PROGRAMS = {"policy": "train_rl", "demonstrations": "train_sft", "preferences": "train_bradley_terry"}
"""By the kind of its rows, what trains."""


@dataclass(frozen=True)
class Model:
    """A model that is used: its kind (`grrm.config.rehearsal.AtHand`), what it is called, its folder."""

    kind: str
    name: str
    folder: Path


def main(argv: list[str] | None = None) -> None:
    """Train, and write what came of it, whatever that is; with an error if the training failed."""
    args = _parser().parse_args(argv)
    config = read_yaml(args.config)
    start = Model(args.start[0], args.start[1], Path(args.start[2]))
    judge = Model(args.judge[0], args.judge[1], Path(args.judge[2])) if args.judge else None
    shutil.rmtree(args.folder, ignore_errors=True)
    args.folder.mkdir(parents=True)
    outcome: dict[str, Any] = {
        "stage": args.stage,
        "state": "running",
        "start": {"kind": start.kind, "model": start.name},
        "judge": None if judge is None else {"kind": judge.kind, "model": judge.name},
    }
    began, said = time.time(), list[str]()

    def tell(found: dict[str, Any]) -> None:
        write_json(args.folder / rehearsed.OUTCOME, {**outcome, **found})

    tell({})
    peaks = Peaks(told=tell)
    try:
        with peaks:
            status = _rehearse(args, config, start, judge, said)
        outcome["state"] = "done" if status == 0 else "failed"
        outcome["error"] = _why(status, said) if status else None
    except BaseException as error:
        outcome |= {"state": "failed", "error": _ended(error)}
        raise
    finally:
        try:
            outcome |= {"seconds": time.time() - began, **peaks.found}
            outcome |= _measured(args.folder, config, began)
        finally:
            _remove(args.folder)  # first: with its checkpoints the disk may be full
            tell({})
    if outcome["state"] == "failed":
        raise UserError(f"rehearsal of {args.stage}: {outcome['error']}")
    write_json(args.output, outcome)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", required=True, help="name of the training")
    parser.add_argument("--config", type=Path, required=True, help="its rendered configuration")
    parser.add_argument("--data", type=Path, required=True, help="its prepared rows")
    parser.add_argument("--python", required=True, help="interpreter of the environment of its engine")
    parser.add_argument("--devices", type=int, default=1, help="of a supervised training, on all machines")
    words = ("KIND", "NAME", "FOLDER")
    parser.add_argument("--start", nargs=3, metavar=words, required=True, help="model that it starts from")
    parser.add_argument("--judge", nargs=3, metavar=words, help="model that verl serves as the judge")
    parser.add_argument("--folder", type=Path, required=True, help="working folder, made anew")
    parser.add_argument(
        "--output", type=Path, required=True, help="what came of it, if it did not fail (JSON)"
    )
    parser.add_argument("options", nargs="*", help="behind --: further options of the program that trains")
    return parser


def _rehearse(
    args: argparse.Namespace, config: dict[str, Any], start: Model, judge: Model | None, said: list[str]
) -> int:
    """Make the rows, then train; the status of what failed, or 0. What is printed goes to `said` as well."""
    folder, limits = args.folder, lengths(config, args.devices)
    kind = "policy" if limits.prompt else "preferences" if "training" in config else "demonstrations"
    rows = folder / ("rows.parquet" if kind == "policy" else "rows.jsonl")
    environment = engine_environment(_SCRIPTS)

    def module(name: str, *arguments: str) -> int:
        command = [args.python, "-m", f"grrm.engines.{name}", *arguments]
        return run_engine(command, env=environment, on_line=said.append)

    served: dict[str, Path] = {}
    for what, model in (("start", start), ("judge", judge)):
        if model is not None:
            served[what] = model.folder
            if model.kind == "base" and kind == "policy":
                served[what] = folder / "models" / what
                served[what].parent.mkdir(exist_ok=True)
                if status := module("base_start", str(model.folder), str(served[what])):
                    return status
    plain = ["--plain"] if config.get("template") == "chatml" else []
    made = module(
        *("longest_rows", kind, "--data", str(args.data), "--model", str(served["start"]), *plain),
        *("--longest", str(limits.prompt or limits.longest), "--batch", str(limits.batch)),
        *("--output", str(rows), "--tokens", str(folder / "tokens.json")),
    )
    if made:
        return made
    files = Files(served["start"], served.get("judge"), rows, folder / "checkpoints", folder / "dataset")
    write_text(folder / "config.yaml", yaml.safe_dump(rehearsal_config(config, files), sort_keys=False))
    write_json(files.dataset / "dataset_info.json", dataset_info(rows, files.dataset))
    variables = {**os.environ, "GRRM_TRACKER": "none", STEP_TIMES: str((folder / "times.jsonl").absolute())}
    return run_engine(
        [
            *(
                sys.executable,
                str(_SCRIPTS / f"{_PROGRAMS[kind]}.py"),
                "--config",
                str(folder / "config.yaml"),
            ),
            *("--data", str(rows), "--python", args.python, "--curve", str(folder / "curve.jsonl")),
            *("--model", str(folder / "models" / args.stage), *args.options),
        ],
        env=variables,
        on_line=said.append,
    )


def _why(status: int, said: list[str]) -> str:
    if status == TRY_AGAIN:
        return "the job's time was over before two steps were done; raise rehearsal.minutes"
    return rehearsed.first_error(said)


def _ended(error: BaseException) -> str:
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return "ended from outside: cancelled, or the job's time or memory was used up"
    return str(error) or type(error).__name__


def _measured(folder: Path, config: dict[str, Any], began: float) -> dict[str, Any]:
    """What is read from the folder of a training, as far as it came."""
    working, tokens = folder / "checkpoints", folder / "tokens.json"
    is_policy = verl.BATCH in config
    times = folder / "times.jsonl"
    return {
        "tokens": read_json(tokens)["tokens"] if tokens.is_file() else None,
        "steps": (rehearsed.policy_steps(working) if is_policy else rehearsed.supervised_steps(times, began)),
        "judgements": rehearsed.judgements(working) if is_policy else None,
        "checkpoint": rehearsed.checkpoint_bytes(working),
    }


def _remove(folder: Path) -> None:
    """All but the configuration and what came of it."""
    for name in ("checkpoints", "models", "dataset"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for rows in folder.glob("rows.*"):
        rows.unlink()


if __name__ == "__main__":
    run_main(main)
