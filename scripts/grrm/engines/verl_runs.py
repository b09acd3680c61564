"""The working folder of a verl training: its checkpoints, its attempts, and what is put together from them.

latest_checkpointed_iteration.txt    written by verl once a checkpoint is complete
global_step_<n>/actor/huggingface/   the model as Hugging Face loads it
kept/<n>/                            the model of an older checkpoint that is wanted later
attempts/<k>/metrics.jsonl           verl's metrics of the k-th launch
attempts/<k>/judgements.jsonl        the groups judged in it
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from grrm.files import temporary_sibling, write_text
from grrm.model_folder import torn_files

_TRACKER = "latest_checkpointed_iteration.txt"
_EXCEPTION = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Killed)\b.*")
_ACTOR = re.compile(r"^\s*name: (\w+)\s*$")
_RAY_PREFIX = re.compile(r"^(?:\x1b\[\d+m)*\([^)]*pid=\d+[^)]*\)(?:\x1b\[\d+m)*\s*")
_STEP = re.compile(r"\bstep:(\d+) - ")
_METRIC = re.compile(r"(\S+?):(?:np\.float\d+\()?(-?[\d.]+(?:e[-+]?\d+)?)\)?(?: - |$)")


# ---------------------------------------------------------------- checkpoints


def checkpoint(working: Path, step: int) -> Path:
    """The folder of a checkpoint."""
    return working / f"global_step_{step}"


def model_files(working: Path, step: int) -> list[Path]:
    """The files of the model in a checkpoint."""
    return sorted(
        file for file in (checkpoint(working, step) / "actor/huggingface").glob("*") if file.is_file()
    )


def last_complete_step(working: Path) -> int | None:
    """The step of the last complete checkpoint; None if there is none.

    verl writes a checkpoint, then its data.pt, then the tracker. A tracker that is cut off, is
    lost, or names what is not there whole says nothing: then it is the newest whole one.
    """
    tracker = working / _TRACKER
    text = tracker.read_text(encoding="utf-8", errors="replace").strip() if tracker.exists() else ""
    whole = [step for step in _steps(working) if _is_whole(checkpoint(working, step))]
    if re.fullmatch("[0-9]{1,18}", text) and int(text) in whole:
        return int(text)
    return max(whole, default=None)


def _is_whole(folder: Path) -> bool:
    """Whether all parts of a checkpoint are there, to their ends: data.pt, which comes last, and what each
    process wrote."""
    if not (folder / "data.pt").is_file() or torn_files(folder):
        return False
    return all(
        file.with_name(f"{match[1]}{rank}.pt").is_file()
        for file in folder.glob("*/*_world_size_*_rank_0.pt")
        if (match := re.fullmatch(r"(.*_world_size_(\d+)_rank_)0\.pt", file.name))
        for rank in range(int(match[2]))
    )


def kept_model(working: Path, step: int) -> Path:
    """The folder of an older checkpoint's model."""
    return working / "kept" / str(step)


def prepare_resume(working: Path, keep: Collection[int] = ()) -> int | None:
    """Leave nothing but the last complete checkpoint, and a tracker that names it; return its step.

    Args:
        working: the working folder.
        keep: see `remove_older`.
    """
    last = last_complete_step(working)
    for step in _steps(working):
        if last is None or step > last:
            print(f"{checkpoint(working, step)}: incomplete, removed", flush=True)
            shutil.rmtree(checkpoint(working, step))
    if last is None:
        (working / _TRACKER).unlink(missing_ok=True)
    else:
        write_text(working / _TRACKER, str(last))
        remove_older(working, last, keep)
    return last


def remove_older(working: Path, step: int, keep: Collection[int] = ()) -> None:
    """Remove the checkpoints before `step`, which must be complete; of those in `keep` the model stays.

    verl's own limit removes the old checkpoint before the new one is complete, and forgets the old ones when
    a training is resumed.
    """
    for older in _steps(working):
        if older < step:
            model = checkpoint(working, older) / "actor/huggingface"
            # A kill after the move leaves a checkpoint without its model, which is kept already.
            if older in keep and model.is_dir():
                shutil.rmtree(kept_model(working, older), ignore_errors=True)
                kept_model(working, older).parent.mkdir(exist_ok=True)
                model.rename(kept_model(working, older))
            # Under another name: what a kill leaves half removed must not be taken for a checkpoint.
            checkpoint(working, older).rename(temporary_sibling(checkpoint(working, older)))
    for outdated in working.glob(".global_step_*.tmp"):
        shutil.rmtree(outdated)


def _steps(working: Path) -> list[int]:
    found = (re.fullmatch(r"global_step_(\d+)", folder.name) for folder in working.glob("global_step_*"))
    return sorted(int(match[1]) for match in found if match)


# ---------------------------------------------------------------- attempts


def new_attempt(working: Path) -> Path:
    """A fresh folder for the files of one launch."""
    folder = working / "attempts" / str(len(attempts(working)) + 1)
    folder.mkdir(parents=True)
    return folder


def attempts(working: Path) -> list[Path]:
    """The folders of all launches so far, in order."""
    return sorted((working / "attempts").glob("*"), key=lambda folder: int(folder.name))


def merge_metrics(logs: Iterable[Path]) -> list[dict[str, float | None]]:
    """One row per step from verl's metrics of all attempts; of a step done twice, the later values count.

    What has no value in a step (NaN among the metrics, which verl's logger makes null) is None.
    verl writes a step's row after its checkpoint and the validation that may follow. An attempt killed
    between the two leaves a step that is trained, but has no row: see `unrecorded`.
    """
    steps: dict[int, dict[str, float | None]] = {}
    for log in logs:
        for row in _whole_rows(log):
            numbers = {
                key: value if value is not None and math.isfinite(value) else None
                for key, value in row["data"].items()
                if value is None or isinstance(value, int | float)
            }
            steps.setdefault(row["step"], {"step": row["step"]}).update(numbers)
    return [steps[step] for step in sorted(steps)]


def correct_clip_ratios(
    rows: Iterable[Mapping[str, float | None]], longest: int
) -> list[dict[str, float | None]]:
    """The same metrics; the share of responses that were cut off is 0 where none has `longest` tokens.

    verl 0.9.1 compares the lengths of a step with the longest of them, not with the limit: some response was
    always "cut off".
    """
    ratios = ("response_length/clip_ratio", "response_length_non_aborted/clip_ratio")

    def corrected(row: Mapping[str, float | None]) -> dict[str, float | None]:
        whole = (row.get("response_length/max") or longest) < longest
        return {key: 0.0 if whole and key in ratios else value for key, value in row.items()}

    return [corrected(row) for row in rows]


def unrecorded(rows: Iterable[Mapping[str, Any]], last: int) -> list[int]:
    """Steps up to the last that were trained, but whose metrics no attempt lived to write.

    A validation before an attempt's first step stands under the step before.
    """
    trained = {
        int(row["step"])
        for row in rows
        if not all(key == "step" or key.startswith(("val-core/", "val-aux/")) for key in row)
    }
    return sorted(set(range(1, last + 1)) - trained)


def merge_judgements(logs: Iterable[Path]) -> list[dict[str, Any]]:
    """The judged groups of several attempts: of a step done twice, those of the later attempt."""
    steps: dict[int, list[dict[str, Any]]] = {}
    for log in logs:
        own: dict[int, list[dict[str, Any]]] = {}
        for row in _whole_rows(log):
            own.setdefault(row["step"], []).append(row)
        steps |= own
    return [row for step in sorted(steps) for row in steps[step]]


def _whole_rows(log: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON-lines file; a last line cut off by a kill does not count."""
    if not log.exists():
        return
    *lines, _cut_off = log.read_bytes().split(b"\n")  # it may end within a character
    yield from map(json.loads, lines)


# ---------------------------------------------------------------- reading along


def exception_in(line: str) -> str | None:
    """The exception a line of output reports, such as "ValueError: no such thing"."""
    match = _EXCEPTION.match(_RAY_PREFIX.sub("", line))
    return match[0] if match else None


def actor_in(line: str) -> str | None:
    """The name of the actor that a line tells of below Ray's ActorDiedError, whose first line does not."""
    match = _ACTOR.match(_RAY_PREFIX.sub("", line))
    return match[1] if match else None


def console_metrics(line: str) -> tuple[int, dict[str, float]] | None:
    """Step and metrics from the long line that verl prints after a step; None for other lines."""
    step = _STEP.search(line)
    if step is None:
        return None
    return int(step[1]), {name: float(value) for name, value in _METRIC.findall(line[step.end() :])}


def append_metrics(log: Path, step: int, metrics: dict[str, float]) -> None:
    """Add a step to a log of metrics, as verl's own file logger does."""
    with log.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"step": step, "data": metrics}) + "\n")


def progress(line: str, steps: int, *, first: bool) -> str | None:
    """A short report of a step, from the long line that verl prints; None for other lines.

    The first step of a launch is many times slower than the others, so it says nothing about the time left.
    """
    found = console_metrics(line)
    if found is None:
        return None
    done, metrics = found
    seconds = metrics.get("timing_s/step")
    report = f"step {done} of {steps}"
    if "critic/score/mean" in metrics:
        report += f": mean reward {metrics['critic/score/mean']:.3f}"
    if seconds is not None:
        report += f", {seconds:.1f} s"
        if done < steps and not first:
            report += f", about {_duration(seconds * (steps - done))} left"
    return report


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
