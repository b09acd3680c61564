"""Keys of the sections `reward` that contradict each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from grrm.catalogue.rewards import CONVERSATION_NAMES, KINDS, NAMES
from grrm.catalogue.trainings import OWN_JUDGES
from grrm.config.rewards import (
    Section,
    asks_endpoint,
    entry_of,
    family,
    grpo_runs,
    has_alignment_judge,
    name_of,
    pieces_of,
)
from grrm.ranking import MAX_CANDIDATES
from grrm.urls import address_fault

_NO_JUDGE = (
    "no judge for kind {kind!r}; expected judge.url (or JUDGE_API_URL) and judge.model (or "
    "JUDGE_MODEL_NAME), or model for one that verl serves"
)

Check = Callable[[Mapping[str, Any], Section], Iterator[str]]
"""What is wrong with a section, given the whole configuration."""


def reward_contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    """What does not go together in the sections `reward`, in words."""
    yield from _unusable_addresses("mt_grpo.reward", config["mt_grpo"]["reward"])
    if problems := [*_incomplete(config)]:
        yield from problems  # nothing more can be said about what is not whole
        return
    found: dict[str, None] = {}
    for reward in grpo_runs(config).values():
        for check in _TRANSLATION:
            found |= dict.fromkeys(check(config, reward))
    yield from found
    if config["alignment"] is not None:
        yield from _alignment(config["alignment"])


# ---------------------------------------------------------------- keys that belong to a kind


def _incomplete(config: Mapping[str, Any]) -> Iterator[str]:
    """Kinds without what they cannot do without, or with what belongs to another."""
    own, compared = config["mt_grpo"]["reward"], config["reward_comparison"]
    names = [name_of(entry) for entry in compared]
    yield from _keys_of_kind("mt_grpo.reward", own)
    for entry in compared:
        if isinstance(entry, str):
            if entry in _KEYS and entry != own["kind"]:
                yield f"reward_comparison has {entry!r}, expected an entry with name, kind and {_KEYS[entry]}"
            continue
        yield from _keys_of_kind(f"reward_comparison: {entry['name']}", entry)
        if entry["name"] in NAMES or names.count(entry["name"]) > 1:
            yield f"reward_comparison has the name {entry['name']!r}, expected one of its own that is no kind"


_KEYS = {"mixture": "parts", "function": "function"}
"""Kinds -> the key without which they are nothing."""
_ONLY = {"parts": "mixture", "normalise": "mixture", "function": "function", "range": "function"}


def _keys_of_kind(where: str, reward: Mapping[str, Any]) -> Iterator[str]:
    kind = reward["kind"]
    if (key := _KEYS.get(kind)) and not reward.get(key):
        yield f"{where}.{key} is missing, expected it with kind {kind!r}"
    for key, wanted in _ONLY.items():
        inherited = key == "normalise" and "weight" in reward
        if key in reward and kind != wanted and not inherited:
            yield f"{where}.{key} is set, expected it with kind {wanted!r} only, not {kind!r}"
    if kind in _KEYS and reward.get("prompt") is not None:
        yield f"{where}.prompt is {reward['prompt']!r}, expected null for kind {kind!r}"
    if "range" in reward and not reward["range"][0] < reward["range"][1]:
        yield f"{where}.range is {reward['range']}, expected the lowest score, then the highest"
    names = [part.get("name", part["kind"]) for part in reward.get("parts", ())]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield f"{where}.parts: two are named {name!r}, expected a name for each"
    for part in reward.get("parts", ()):
        yield from _keys_of_kind(f"{where}.parts: {part.get('name', part['kind'])}", {"weight": 1, **part})


# ---------------------------------------------------------------- rewards of translations


def _unusable_addresses(where: str, reward: Section) -> Iterator[str]:
    addresses = [reward["judge"]["url"], *(p.get("judge", {}).get("url") for p in reward.get("parts", ()))]
    for address in filter(None, addresses):
        if fault := address_fault(address, "JUDGE_API_KEY"):
            yield f"{where}.judge.url {fault}"


def _unreachable(config: Mapping[str, Any], reward: Section) -> Iterator[str]:
    for piece in pieces_of(reward).values():
        if asks_endpoint(piece) and not _reachable(piece):
            yield f"mt_grpo.reward: {_NO_JUDGE.format(kind=piece['kind'])}"


def _reachable(reward: Section) -> bool:
    judge = reward["judge"]
    return judge["model"] is not None and (judge["url"] is not None or judge["replay"])


def _too_many_candidates(config: Mapping[str, Any], reward: Section) -> Iterator[str]:
    rollouts = config["mt_grpo"]["rollouts"]
    for piece in pieces_of(reward).values():
        # Other judges number what they are shown.
        if entry_of(piece).has_semantics and rollouts > MAX_CANDIDATES:
            yield (
                f"mt_grpo.rollouts is {rollouts}, expected at most {MAX_CANDIDATES} for reward "
                f"{piece['kind']!r}: its judge is shown all rollouts of a prompt, one a letter from A to Z"
            )


def _wrong_model(config: Mapping[str, Any], reward: Section) -> Iterator[str]:
    if reward["placement"] in ("endpoint", "policy") and reward["model"] is not None:
        yield f"mt_grpo.reward.placement is {reward['placement']!r}, expected null for mt_grpo.reward.model"
    for piece in pieces_of(reward).values():
        entry = entry_of(piece)
        if entry.asks == "checkpoint" and not entry.own_model and piece["model"] is None:
            yield f"mt_grpo.reward.model is null, expected a checkpoint for kind {entry.name!r}"
        if entry.asks == "checkpoint" and entry.own_model and piece["model"] is not None:
            yield (
                f"mt_grpo.reward.model is set, expected null for kind {entry.name!r}: its model is "
                f"{entry.own_model}.start_from"
            )
        kind = OWN_JUDGES.get(piece["model"], entry.name)
        if kind != entry.name and piece["prompt"] is None:
            yield (
                f"mt_grpo.reward.model is {piece['model']!r}, which scores for kind {kind!r}, not "
                f"{entry.name!r}; expected a prompt of kind {entry.prompt!r} that it can answer"
            )


def _judged_by_itself(config: Mapping[str, Any], reward: Section) -> Iterator[str]:
    """The policy's servers hold what a rollout takes, and are asked as any model is."""
    if reward["placement"] != "policy":
        return
    stage, where = config["mt_grpo"], "mt_grpo.reward"
    asked = [p["kind"] for p in pieces_of(reward).values() if entry_of(p).asks == "judge"]
    if not asked or any(KINDS[kind].has_semantics for kind in asked):
        known = ", ".join(
            name for name, kind in KINDS.items() if kind.asks == "judge" and not kind.has_semantics
        )
        yield f"{where}.placement is 'policy', expected a kind or part that asks any model: {known}"
    room, needed = (
        section["max_prompt_length"] + section["max_response_length"] for section in (stage, reward)
    )
    if needed > room and config["hardware"]["device"] == "cuda":
        yield (
            f"{where}.max_prompt_length + max_response_length are {needed} tokens, expected at most {room} "
            "with placement 'policy': its servers hold a prompt and a response of mt_grpo"
        )


def _form_alone(config: Mapping[str, Any], reward: Section) -> Iterator[str]:
    if reward["kind"] == "format":
        yield "mt_grpo.reward.kind is 'format', expected it as a part of a mixture: it is 1 for all"


def _served_twice(config: Mapping[str, Any], reward: Section) -> Iterator[str]:
    served = [
        name
        for name, piece in pieces_of(reward).items()
        if entry_of(piece).asks == "judge" and not asks_endpoint(piece)
    ]
    if len(served) > 1:
        yield (
            f"mt_grpo.reward.parts: {' and '.join(served)} would be served by verl, expected at most one; "
            "give the others a judge of their own (judge.url)"
        )


def _without_reference(config: Mapping[str, Any], reward: Section) -> Iterator[str]:
    for piece in pieces_of(reward).values():
        if entry_of(piece).needs_reference and config["mt_grpo"]["cross_lingual_augmentation"]:
            yield (
                f"mt_grpo.cross_lingual_augmentation is true, expected false for reward {piece['kind']!r}: "
                "what is translated into a random language has no reference to compare with"
            )


def _wrong_semantics(config: Mapping[str, Any], reward: Section) -> Iterator[str]:
    kind = reward["kind"]
    if reward["semantics"] == "paper" and not KINDS[kind].has_semantics:
        yield f"mt_grpo.reward.semantics is 'paper', expected 'strict' for kind {kind!r}"
    if config["rl_engine"] == "gen_rm_fork" and not KINDS[kind].has_semantics:
        yield f"mt_grpo.reward.kind is {kind!r}, expected 'grrm' with rl_engine 'gen_rm_fork'"


_TRANSLATION: tuple[Check, ...] = (
    _too_many_candidates,
    _unreachable,
    _wrong_model,
    _judged_by_itself,
    _form_alone,
    _served_twice,
    _without_reference,
    _wrong_semantics,
)


# ---------------------------------------------------------------- the alignment's reward


def _alignment(alignment: Mapping[str, Any]) -> Iterator[str]:
    reward, where = alignment["grpo"]["reward"], "alignment.grpo.reward"
    yield from _unusable_addresses(where, reward)
    if problems := list(_keys_of_kind(where, reward)):
        yield from problems
        return
    for piece in pieces_of(reward).values():
        if piece["kind"] not in CONVERSATION_NAMES:
            allowed = ", ".join(sorted(CONVERSATION_NAMES))
            yield f"{where}.kind is {piece['kind']!r}, expected one of {allowed}"
        elif entry_of(piece).asks == "checkpoint" and piece["model"] is None:
            yield f"{where}.model is null, expected a checkpoint for kind {piece['kind']!r}"
    if reward["reference"]:
        yield f"{where}.reference is true, expected false: rows have none but chosen, which is judged itself"
    data = alignment["data"]
    if (data["train"] is None) != (data["validation"] is None):
        yield "alignment.data.train and .validation: expected a file for both or null for both"
    if alignment["grpo"]["start_from"] is None and "policy_sft" not in alignment:
        yield "alignment.grpo.start_from is null, expected a model (or alignment.policy_sft, for the toy)"
    for piece in pieces_of(reward).values():
        if entry_of(piece).is_general_judge and piece["model"] is None:
            yield from _alignment_judge(where, alignment, piece)


def _alignment_judge(where: str, alignment: Mapping[str, Any], piece: Section) -> Iterator[str]:
    if has_alignment_judge(alignment) and "judge_sft" in alignment:
        if family(piece["kind"]) != "pairwise":
            yield (
                f"{where}.kind is {piece['kind']!r}, expected a kind of pairwise: that is what the toy's "
                "judge is trained for; name another by judge.url (or JUDGE_API_URL) or model"
            )
    elif not _reachable(piece):
        yield f"{where}: {_NO_JUDGE.format(kind=piece['kind'])}"
