"""Scores of a COMET, BLEURT or Bradley-Terry checkpoint, computed in a process of its own.

The process may run in another environment than its owner (COMET's libraries and verl's do not go together).
It speaks JSON lines over its standard input and output, so it needs no port, is found on every machine, and
ends with its owner:

    python -m grrm.rewards.model_scores --load grrm.rewards.model_scores:load_comet --model FOLDER
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from grrm.catalogue import resolve
from grrm.files import UserError

if TYPE_CHECKING:
    from grrm.judges.groups import Group, Judged

Item: TypeAlias = Mapping[str, Any]
"""What is scored. comet: src, mt and ref (or None); bleurt: mt and ref; bradley_terry: messages, the last of
them scored."""
Score: TypeAlias = tuple[float | None, str]
"""The score, or None and the reason."""

NO_REFERENCE = "no reference to compare with"


# ---------------------------------------------------------------- the owner's side


@dataclass(frozen=True)
class ModelOptions:
    """Which checkpoint scores, and where it runs."""

    model: str
    """Folder of the checkpoint."""
    python: str = ""
    """Interpreter of an environment with the checkpoint's library; empty is this one."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    batch_size: int = 64
    threads: int = 1

    def __post_init__(self) -> None:
        """Check the values."""
        if not self.model:
            raise UserError("reward: model is empty; expected the folder of a checkpoint")
        for name in ("batch_size", "threads"):
            value = getattr(self, name)
            if not (type(value) is int and value >= 1):
                raise UserError(f"reward: {name} is {value!r}, expected a whole number of 1 or more")


class ModelScores:
    """A scoring process; it starts with the first items and ends with `close` or with its owner.

    Items that come while the process is busy are scored together. For one event loop.

    Args:
        load: `module:function` that loads the checkpoint there, such as `load_comet`.
        options: the checkpoint, and where it runs.
    """

    def __init__(self, load: str, options: ModelOptions) -> None:
        scripts = str(Path(__file__).parents[2])
        device, _, number = options.device.partition(":")
        self._command = [
            options.python or sys.executable,
            *("-m", "grrm.rewards.model_scores", "--load", load, "--model", options.model),
            *("--device", device, "--batch-size", str(options.batch_size)),
            *("--threads", str(options.threads)),
        ]
        path = os.pathsep.join(filter(None, [scripts, os.environ.get("PYTHONPATH")]))
        self._environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
        if device == "cuda":
            # Ray hides all GPUs from a worker that asked for none.
            self._environment.pop("CUDA_VISIBLE_DEVICES", None)
            if number:
                self._environment["CUDA_VISIBLE_DEVICES"] = number
        self._process: subprocess.Popen[str] | None = None
        self._waiting: list[tuple[list[Item], asyncio.Future[list[Score]]]] = []
        self._thread = ThreadPoolExecutor(1)
        self._busy: asyncio.Task[None] | None = None

    async def score(self, items: Sequence[Item]) -> list[Score]:
        """One score per item.

        Raises:
            UserError: the process cannot start, or ended.
        """
        answer: asyncio.Future[list[Score]] = asyncio.get_running_loop().create_future()
        self._waiting.append((list(items), answer))
        if self._busy is None or self._busy.done():
            self._busy = asyncio.create_task(self._work())
        return await answer

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            assert self._process.stdin is not None
            with suppress(BrokenPipeError):  # it is gone, and what was to be said to it is still here
                self._process.stdin.close()
            self._process.kill()
            self._process.wait()
            self._process = None
        self._thread.shutdown(wait=False)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            taken, self._waiting = self._waiting, []
            items = [item for own, _ in taken for item in own]
            try:
                scores = await loop.run_in_executor(self._thread, self._exchange, items)
            except Exception as error:
                for _, answer in taken:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for own, answer in taken:
                if not answer.done():
                    answer.set_result(scores[: len(own)])
                scores = scores[len(own) :]

    def _exchange(self, items: list[Item]) -> list[Score]:
        shown = " ".join(self._command[:7])
        try:
            if self._process is None:
                self._process = subprocess.Popen(
                    self._command,
                    env=self._environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    encoding="utf-8",
                )
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps(items) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError as error:
            raise UserError(f"{shown}: the process that scores cannot be used ({error})") from error
        if not line.endswith("\n"):  # also if it ended while it wrote
            raise UserError(
                f"{shown}: the process that scores ended with status {self._process.wait()}; its output "
                "stands above in this log"
            )
        answer = json.loads(line)
        if "error" in answer:
            raise UserError(str(answer["error"]))
        return [(score, reason) for score, reason in answer["scores"]]


def score_with_process(
    load: str, options: ModelOptions, item: Callable[[Group, str], Item]
) -> tuple[Callable[[Sequence[Group]], Awaitable[Judged]], Callable[[], Awaitable[None]]]:
    """What scores groups with a checkpoint, and what ends its process.

    Args:
        load: see `ModelScores`.
        options: likewise.
        item: what is scored of a candidate.
    """
    from grrm.judges.groups import GroupScores, judged_singly

    process: list[ModelScores] = []

    async def score(groups: Sequence[Group]) -> Judged:
        if not process:
            process.append(ModelScores(load, options))
        items = [item(group, text) for group in groups for text in group.candidates]
        scored = iter(await process[0].score(items))
        results = []
        for group in groups:
            own = [next(scored) for _ in group.candidates]
            failures = [f"candidate {i}: {reason}" for i, (score, reason) in enumerate(own) if score is None]
            results.append(GroupScores(tuple(score for score, _ in own), tuple(failures)))
        return judged_singly(results)

    async def close() -> None:
        while process:
            process.pop().close()

    return score, close


# ---------------------------------------------------------------- the process


def main(argv: list[str] | None = None) -> None:
    """Answer each line of items with a line of scores until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load", required=True, metavar="MODULE:FUNCTION", help="what loads the checkpoint")
    parser.add_argument("--model", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: cpu")
    parser.add_argument("--batch-size", type=int, default=64, help="texts a forward pass (default: 64)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    args = parser.parse_args(argv)

    # What libraries print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    score: Callable[[list[Item]], list[Score]] | None = None
    for line in sys.stdin:
        try:
            if score is None:
                score = resolve(args.load)(args.model, args.device, args.batch_size, args.threads)
            answer: dict[str, Any] = {"scores": score(json.loads(line))}
        except UserError as error:
            answer = {"error": str(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def load_comet(
    folder: Path, device: str, batch_size: int, threads: int
) -> Callable[[list[Item]], list[Score]]:
    """A function that scores segments with a COMET checkpoint.

    Raises:
        UserError: see `grrm.metrics.comet.load_model`.
    """
    import torch

    from grrm.metrics.comet import load_model

    torch.set_num_threads(threads)
    model = load_model(folder)
    needed = ["src", "mt", "ref"] if model.requires_references() else ["src", "mt"]

    def predict(items: list[Item]) -> Sequence[float]:
        output = model.predict(
            [{name: item[name] for name in needed} for item in items],
            batch_size=batch_size,
            gpus=int(device == "cuda"),
            num_workers=0,
            progress_bar=False,
        )
        return [float(score) for score in output.scores]

    return _of_complete(needed, predict)


def _of_complete(
    needed: Sequence[str], predict: Callable[[list[Item]], Sequence[float]]
) -> Callable[[list[Item]], list[Score]]:
    """A function that scores segments with all texts that a checkpoint needs; others get a reason."""

    def score(items: list[Item]) -> list[Score]:
        usable = [all((item[name] or "").strip() for name in needed) for item in items]
        complete = [item for item, fine in zip(items, usable, strict=True) if fine]
        scores = iter(predict(complete) if complete else ())
        return [(next(scores), "") if fine else (None, NO_REFERENCE) for fine in usable]

    return score


def load_bleurt(
    folder: Path, device: str, batch_size: int, threads: int
) -> Callable[[list[Item]], list[Score]]:
    """A function that scores segments with a BLEURT checkpoint.

    Raises:
        UserError: see `grrm.metrics.bleurt.load_model`.
    """
    import torch

    from grrm.metrics.bleurt import check_folder, load_model, score_loaded

    torch.set_num_threads(threads)
    check_folder(folder)
    model, tokenizer = load_model(folder)
    model.to(device)

    return _of_complete(["ref"], lambda items: score_loaded(model, tokenizer, items, batch_size))


def load_bradley_terry(
    folder: Path, device: str, batch_size: int, threads: int
) -> Callable[[list[Item]], list[Score]]:
    """A function that scores conversations with a sequence-classification checkpoint of one label.

    A conversation is written with the tokenizer's chat template; its score is the logit at its last token. Of
    one longer than in the training of the judge (judge.json) the beginning is cut off; without that file, one
    longer than the model takes has no score.

    Raises:
        UserError: the folder cannot be loaded, the model has another number of labels, or judge.json is of
            another kind of judge.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from grrm.judges.conversation import encode

    trained_length = _trained_length(folder)
    torch.set_num_threads(threads)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32 if device == "cpu" else torch.bfloat16
        )
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: not a sequence-classification checkpoint ({error})") from error
    if model.config.num_labels != 1:
        raise UserError(
            f"{folder}: the model has {model.config.num_labels} labels, expected 1: a Bradley-Terry reward "
            "model gives one number"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    tokenizer.padding_side = "right"
    model.to(device).eval()
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize

    def score(items: list[Item]) -> list[Score]:
        encoded = [encode(tokenizer, item["messages"], trained_length or sys.maxsize) for item in items]
        fits = [index for index, tokens in enumerate(encoded) if len(tokens) <= longest]
        scores: list[Score] = [(None, f"longer than the model's {longest} tokens")] * len(items)
        # Texts of similar length together, so that little is padding.
        fits.sort(key=lambda index: len(encoded[index]))
        for start in range(0, len(fits), batch_size):
            chosen = fits[start : start + batch_size]
            batch = tokenizer.pad({"input_ids": [encoded[index] for index in chosen]}, return_tensors="pt")
            with torch.inference_mode():
                logits = model(**batch.to(device)).logits[:, 0].float().tolist()
            for index, logit in zip(chosen, logits, strict=True):
                scores[index] = (logit, "")
        return scores

    return score


def _trained_length(folder: Path) -> int | None:
    """Longest conversation of the judge's training in tokens; None if its folder does not say."""
    from grrm.judges.card import FILE, BradleyTerry, read_card, use

    if not (folder / FILE).is_file():
        return None
    used = use(read_card(folder), "bradley_terry", folder)
    assert isinstance(used, BradleyTerry)
    return used.max_length


if __name__ == "__main__":
    main()
