"""A scripted teacher for `JudgeServer`: it translates, and ranks by likeness to references that it knows.

What it says depends on the question alone, so that whoever asks again is answered alike. With faults it
refuses, sends 429, garbage and broken bodies, and judges some groups by the places of their candidates.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Mapping
from difflib import SequenceMatcher
from itertools import pairwise

from judge_server import Act, Call

_CANDIDATE = re.compile(r"^([A-Z]):\n(`{3,})\n(.*?)\n\2$", re.M | re.S)
_SOURCE = re.compile(r"^(`{3,})\n(.*?)\n\1$", re.M | re.S)


def number_of(text: str) -> int:
    """A number that depends on a text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def answer(ranked: Mapping[str, int], analysis: str) -> str:
    """An answer in the form that a GRRM learns."""
    order = sorted(ranked, key=lambda label: (-ranked[label], label))
    line = order[0]
    for one, other in pairwise(order):
        line += f" {'>' if ranked[one] > ranked[other] else '='} {other}"
    scores = ", ".join(f"{label}: {ranked[label]}" for label in order)
    return f"{analysis}\n\n### Final Ranking:\n\n{line}\n\n### Scores:\n\n{scores}"


class Teacher:
    """Answers questions about the sources it knows.

    Args:
        references: by source.
        faults: whether it has any.
        latency: seconds for every answer.

    Attributes:
        answered: by the body of the request, how often it was answered in full.
        sources_refused: that it will not judge.
        sources_biased: that it judges by places.
    """

    def __init__(self, references: Mapping[str, str], *, faults: bool = False, latency: float = 0.0) -> None:
        self.references, self.faults, self.latency = references, faults, latency
        self.answered: Counter[str] = Counter()
        self.lock = threading.Lock()
        kinds = {source: number_of(source) % 8 for source in references}
        self.sources_refused = {source for source, kind in kinds.items() if faults and kind == 0}
        self.sources_biased = {source for source, kind in kinds.items() if faults and kind == 1}

    def __call__(self, call: Call) -> Act:
        body = json.dumps(call.body, sort_keys=True)
        if self.faults and call.attempt == 0 and (fault := self._fault(body)):
            return fault
        with self.lock:
            self.answered[body] += 1
        source = _SOURCE.search(call.prompt)
        assert source is not None, call.prompt
        candidates = [(label, text) for label, _, text in _CANDIDATE.findall(call.prompt)]
        act = self._judged(source[2], candidates) if candidates else self._translated(source[2], call)
        return Act(act.text, raw=act.raw, latency=self.latency)

    def _fault(self, body: str) -> Act | None:
        """What becomes of the first try of some requests."""
        return {
            0: Act(status=429, headers={"Retry-After": "0.05"}),
            1: Act(status=503),
            2: Act(raw=b"<html>gateway</html>"),
            3: Act("cut", keep=30),
        }.get(number_of(body) % 24)

    def _judged(self, source: str, candidates: list[tuple[str, str]]) -> Act:
        if source in self.sources_refused:
            message = {"role": "assistant", "content": None, "refusal": "I will not judge this."}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {"prompt_tokens": 10, "completion_tokens": 5}
            return Act(raw=json.dumps({"choices": [choice], "usage": usage}).encode())
        if source in self.sources_biased:
            return Act(
                answer({label: 9 - 2 * i for i, (label, _) in enumerate(candidates)}, "A comes first.")
            )
        reference = self.references[source]
        scores = {
            label: round(10 * SequenceMatcher(None, text, reference).ratio()) for label, text in candidates
        }
        return Act(
            answer(scores, f"{max(scores, key=lambda label: scores[label])} is closest to what is meant.")
        )

    def _translated(self, source: str, call: Call) -> Act:
        text = self.references[source]
        if "code block" in call.prompt:
            if self.faults and number_of(source) % 5 == 0:
                return Act("I would rather not.")
            return Act(f"Nothing is hard here.\n\n```\n{text}\n```")
        # A system that translates: worse the hotter it is asked.
        words = text.split(" ")
        place = number_of(json.dumps(call.body)) % len(words)
        return Act(" ".join(words[:place] + words[place + 1 :]) if len(words) > 2 else text[::-1])
