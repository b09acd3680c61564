"""A judge that the run itself serves: all of a step may ask at once, and without it there is no going on."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from grrm.asking.client import JudgeClient
from grrm.asking.endpoint import Retrying
from grrm.asking.options import NO_DEADLINE, UNLIMITED, JudgeOptions
from grrm.asking.together import Together


def served_judge(
    address: str,
    request: Mapping[str, Any],
    timeout: float,
    pauses: Sequence[float] = (1.0, 4.0, 10.0),
    tokenizer: str = "",
    together: Together | None = None,
) -> Callable[[str, float], Awaitable[str]]:
    """A function that asks a served judge: from a prompt and a temperature to the answer's text.

    It raises `NoAnswerError` where there is no answer. Only a judge that cannot be reached is asked again; if
    it stays so, that is a UserError: it died, and without it there is nothing to learn from. Nothing is
    cached, equal prompts are asked each for itself, and no proxy stands between.

    Args:
        address: host:port.
        request: fields of every request besides messages and temperature, such as model, top_k, max_tokens.
        timeout: longest time for one call, in seconds.
        pauses: seconds between the tries to reach it.
        tokenizer: of the judge, as in `JudgeOptions`.
        together: as of `JudgeClient`.
    """
    options = JudgeOptions(
        model=request.get("model", "judge"),
        url=f"http://{address}/v1",
        extra={"top_p": None, "max_tokens": None, **request},
        tokenizer=tokenizer,
        timeout=timeout,
        deadline=NO_DEADLINE,
        max_concurrency=UNLIMITED,
        breaker_failures=UNLIMITED,
        required=True,
    )
    retrying = Retrying(frozenset({"connection"}), tuple(pauses))
    client = JudgeClient(options, environment={}, retrying=retrying, together=together)
    draws = itertools.count()

    async def ask(prompt: str, temperature: float) -> str:
        return await client.answer(prompt, temperature, sample=next(draws))

    return ask
