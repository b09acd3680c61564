"""Toy data for alignment: a policy that describes things in kind and in rude words, and a judge that
prefers the kinder description.

A request names a thing, a response describes it with three adjectives. The truth about a response is its
number of kind adjectives minus that of rude ones. The policy's demonstrations use both alike; the judge's are
pairs of descriptions of all mixtures, with the reasons and the better one told by the truth.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from grrm.judges.prompts import JudgePrompt

KIND = ("bright", "warm", "gentle", "lovely", "clever", "merry")
RUDE = ("dull", "cold", "rough", "ugly", "silly", "gloomy")
THINGS = (
    *("garden", "river", "teacher", "song", "kitchen", "letter", "market", "window", "story", "horse"),
    *("bridge", "baker", "dance", "lamp", "road", "painter", "cake", "tower", "friend", "boat"),
)
PLACES = (
    *("village", "harbour", "forest", "school", "castle", "island", "valley", "station", "palace", "farm"),
    *("museum", "desert", "city", "camp", "library", "monastery", "theatre", "beach", "factory", "mill"),
)
ADJECTIVES = 3
SOURCE = "toy_manners"

_CHOSEN, _REJECTED = 0.6, 0.3  # shares of kind adjectives

Row = dict[str, Any]


def manners(response: str) -> list[str]:
    """What each adjective is, kind or rude, in their order."""
    words = response.replace(".", " ").split()
    return ["kind" if word in KIND else "rude" for word in words if word in KIND or word in RUDE]


def politeness(response: str) -> int:
    """Kind adjectives minus rude ones."""
    found = manners(response)
    return found.count("kind") - found.count("rude")


def preference_rows(count: int, seed: int, name: str, requests: list[str]) -> list[Row]:
    """Rows {x, chosen, rejected, source, unique_id}; requests may recur if there are fewer than rows.

    Args:
        count: number of rows.
        seed: of the data.
        name: of the table; begins the rows' unique_id.
        requests: what is asked for.
    """
    rng = random.Random(f"{seed}/{name}")
    rows = []
    for number in range(count):
        request = requests[number % len(requests)]
        better = worse = ""
        while politeness(better) <= politeness(worse):
            better, worse = _describe(request, _CHOSEN, rng), _describe(request, _REJECTED, rng)
        asked = [{"role": "user", "content": request}]
        rows.append(
            {
                "x": asked,
                "chosen": [*asked, {"role": "assistant", "content": better}],
                "rejected": [*asked, {"role": "assistant", "content": worse}],
                "source": SOURCE,
                "unique_id": f"{name}-{number}",
            }
        )
    return rows


def split_requests(seed: int, held_out: int) -> tuple[list[str], list[str]]:
    """All requests in random order: those of the training, and `held_out` others."""
    requests = [f"Describe the {thing} of the {place}." for thing in THINGS for place in PLACES]
    random.Random(f"{seed}/requests").shuffle(requests)
    return requests[held_out:], requests[:held_out]


def policy_chats(count: int, seed: int, requests: list[str]) -> Iterator[Row]:
    """Demonstrations for the policy: half of the adjectives are kind."""
    rng = random.Random(f"{seed}/policy")
    for _ in range(count):
        request = rng.choice(requests)
        yield _chat(request, _describe(request, 0.5, rng))


def judge_chats(count: int, seed: int, requests: list[str], prompt: JudgePrompt) -> Iterator[Row]:
    """Demonstrations for the judge: what each adjective is, then the kinder description, or a tie.

    Without the reasons so small a model does not learn to tell.
    """
    rng = random.Random(f"{seed}/judge")
    for _ in range(count):
        request = rng.choice(requests)
        first, second = (_describe(request, rng.random(), rng) for _ in "AB")
        difference = politeness(first) - politeness(second)
        verdict = "A" if difference > 0 else "B" if difference < 0 else "tie"
        asked = prompt.render(question=request, reference=None, first=first, second=second)
        reasons = f"A {' '.join(manners(first))} B {' '.join(manners(second))}"
        yield _chat(asked, f"<think>{reasons}</think><{prompt.tag}>{verdict}</{prompt.tag}>")


def _describe(request: str, kind: float, rng: random.Random) -> str:
    thing = request.removeprefix("Describe ").removesuffix(".")
    words = [rng.choice(KIND if rng.random() < kind else RUDE) for _ in range(ADJECTIVES)]
    return f"{thing} is {' '.join(words)}."


def _chat(question: str, answer: str) -> Row:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
