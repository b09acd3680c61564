"""Rewards from a server (`grrm serve-reward`) for plain verl, without any other part of this project.

verl loads this file by its path (`reward.custom_reward_function.path`); it imports nothing else of it.
All rollouts of a prompt ask at once; the server brings them together (`--group-size` as large as `rollout.n`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

# What the rows of the training data may say about a prompt: see docs/serve_reward.md.
_LABEL = ("src_text", "src_lang", "trg_lang", "trg_text", "question", "reference")
_PAUSE = 1.0


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    url: str = "http://127.0.0.1:5000/get_reward",
    attempts: int = 10,
    timeout: float = 600.0,
    **kwargs: Any,
) -> dict[str, float]:
    """Reward of one rollout, once its siblings are there and the group is judged.

    Args:
        data_source: with `extra_info` and the ground truth, what rollouts of one prompt have in common.
        solution_str: the rollout.
        ground_truth: the reference, if it is a text and the row names no other.
        extra_info: src_text, src_lang, trg_lang and trg_text, or question and reference; index.
        url: of the server.
        attempts: times a group that is not complete, a busy server or a cut connection is asked again.
        timeout: seconds for one answer.
        kwargs: whatever else verl passes; not used.

    Returns:
        score, and what the server says about it.

    Raises:
        ValueError: the row does not say what was asked.
        RuntimeError: there is no reward; the server's own words.
    """
    import httpx

    info = extra_info or {}
    label = {name: info[name] for name in _LABEL if info.get(name) is not None}
    if isinstance(ground_truth, str) and ground_truth and not label.keys() & {"trg_text", "reference"}:
        label["reference"] = ground_truth
    if not label.keys() & {"src_text", "question"}:
        raise ValueError(f"extra_info has the keys {sorted(info)}; expected src_text or question among them")
    prompt = json.dumps([data_source, info.get("split"), info.get("index"), label], sort_keys=True)
    content = {"query": [prompt + solution_str], "prompts": [prompt], "labels": [label]}
    reason = ""
    # One client a call: verl's workers may run several event loops.
    async with httpx.AsyncClient(timeout=timeout, trust_env=False) as client:
        for attempt in range(attempts):
            if attempt:
                await asyncio.sleep(_PAUSE)
            try:
                response = await client.post(url, json=content)
            except httpx.TransportError as error:
                reason = f"{type(error).__name__}: {error}"
                continue
            if response.status_code == 200:
                answer = response.json()
                logs = {name: float(values[0]) for name, values in answer["extra_logs"].items()}
                return {"score": float(answer["rewards"][0]), **logs}
            reason = str(response.json().get("detail", response.text))
            if response.status_code not in (502, 503):
                break
    raise RuntimeError(f"{url}: no reward: {reason}")
