"""The record of every judged group."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grrm.json_text import json_line
from grrm.judges.groups import Group
from grrm.rewards.group.plan import Judgement, Plan


class GroupLedger:
    """Appends every group to a file of JSON lines; the first judged ones of each step with all texts."""

    def __init__(self, path: Path, texts_per_step: int) -> None:
        self._path, self._texts_per_step = path, texts_per_step
        self._with_texts: dict[int, int] = {}
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(
        self,
        step: int,
        uid: str,
        source: Group,
        plan: Plan,
        judgement: Judgement,
        lengths: Sequence[int],
        rewards: Sequence[float],
        seconds: float,
    ) -> None:
        """Append one group. Texts are the source, the candidates as shown and the judge's answer."""
        place = {candidate: index for index, candidate in enumerate(plan.candidates)}
        row: dict[str, Any] = {
            "step": step,
            "uid": uid,
            "outcome": judgement.outcome,
            "reason": judgement.reason,
            "retries": judgement.retries,
            "seconds": round(seconds, 3),
            "scores": judgement.scores,
            # Which candidate each rollout is (None: no translation), so equal translations can be seen.
            "candidate": [place[t] if t else None for t in plan.translations],
            "lengths": list(lengths),
            "rewards": list(rewards),
        }
        if judgement.parts:
            row["parts"] = judgement.parts
        asked = judgement.outcome in ("judged", "failed")
        if asked and self._with_texts.get(step, 0) < self._texts_per_step:
            self._with_texts = {step: self._with_texts.get(step, 0) + 1}
            row |= {
                "src_text": source.question,
                "src_lang": source.src_lang,
                "trg_lang": source.trg_lang,
                "candidates": plan.candidates,
                "answer": judgement.answer,
            }
            if source.chosen is not None:
                row["chosen"] = place.get(source.chosen)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json_line(row) + "\n")
