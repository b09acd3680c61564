"""The sections `reward` of the configuration: what a kind needs, and which trainings there are.

The kinds themselves: `grrm.catalogue.rewards`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grrm.catalogue.rewards import ASKED_JUDGES, KINDS, RewardKind
from grrm.catalogue.trainings import OWN_JUDGES, TRAININGS

Section = Mapping[str, Any]
"""A section `reward`."""
TAKEN_JUDGE = TRAININGS["mt_grpo"].taken_judge


def entry_of(reward: Section) -> RewardKind:
    """What the kind of a section is."""
    return KINDS[reward["kind"]]


def compared_rewards(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The sections that the translation model is trained with: its own, and those that are compared."""
    return list(grpo_runs(config).values())


def pieces_of(reward: Section) -> dict[str, dict[str, Any]]:
    """The parts of a mixture, by name, each as a section of its own; of another kind the section itself.

    A part asks the judge of the mixture unless it names one. The mixture's `model` is the checkpoint of its
    part bradley_terry if it has one, else the model that verl serves for the part that asks a judge.
    """
    if "parts" not in reward:
        return {reward["kind"]: dict(reward)}
    checkpoints = {part["kind"] for part in reward["parts"] if _wants_checkpoint(part["kind"])}
    shared = {key: value for key, value in reward.items() if key not in ("parts", "function", "range")}
    pieces = {}
    for part in reward["parts"]:
        takes_model = part["kind"] in checkpoints if checkpoints else KINDS[part["kind"]].asks == "judge"
        pieces[part.get("name", part["kind"])] = {
            **shared,
            "prompt": None,
            "model": reward["model"] if takes_model and "judge" not in part else None,
            "normalise": reward.get("normalise", "none"),
            **part,
            "judge": {**reward["judge"], **part.get("judge", {})},
            **({"placement": "endpoint"} if "judge" in part else {}),
        }
    return pieces


def _wants_checkpoint(kind: str) -> bool:
    return KINDS[kind].asks == "checkpoint" and not KINDS[kind].own_model


def asks_endpoint(reward: Section) -> bool:
    """Whether a judge is asked at an address, not served by verl: that of a kind, or of a part."""
    return any(
        piece["model"] is None and piece["placement"] != "policy"
        if piece["kind"] in ASKED_JUDGES
        else entry_of(piece).asks == "judge" and piece["placement"] == "endpoint"
        for piece in pieces_of(reward).values()
    )


def served_piece(reward: Section) -> dict[str, Any] | None:
    """The part, or the whole, whose judge verl serves; None without."""
    served = [p for p in pieces_of(reward).values() if entry_of(p).asks == "judge" and not asks_endpoint(p)]
    return served[0] if served else None


def family(kind: str) -> str:
    """What a judge is asked for: pairwise for pairwise_dgr."""
    return KINDS[kind].family


def reward_of(reward: Section, compared: str | Mapping[str, Any]) -> dict[str, Any]:
    """The section reward for what it is compared with: prompt and model are that kind's own.

    Args:
        reward: the experiment's own section.
        compared: an entry of `reward_comparison`: a kind, or keys of a section with a name.
    """
    if isinstance(compared, str):
        if compared == reward["kind"]:
            return dict(reward)
        compared = {"kind": compared}
    changed = {key: value for key, value in compared.items() if key not in ("name", "judge")}
    same_judge = changed["kind"] in ASKED_JUDGES and reward["kind"] in ASKED_JUDGES
    kept = {key: value for key, value in reward.items() if key not in _KINDS_OWN}
    return {
        **kept,
        "prompt": None,
        "model": reward["model"] if same_judge else None,
        "semantics": "strict",
        **changed,
        "judge": {**reward["judge"], **compared.get("judge", {})},
    }


_KINDS_OWN = ("parts", "function", "range", "normalise")
"""Keys that only the kind which they are given for has."""


def name_of(compared: str | Mapping[str, Any]) -> str:
    """Name of an entry of `reward_comparison`."""
    return compared if isinstance(compared, str) else str(compared["name"])


def grpo_runs(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Trainings of the translation model by GRPO, each with its section reward.

    `mt_grpo` is the experiment's own, `mt_grpo_<name>` that with another one that is compared.
    """
    own = config["mt_grpo"]["reward"]
    return {"mt_grpo": own} | {
        f"mt_grpo_{name_of(compared)}": reward_of(own, compared)
        for compared in config["reward_comparison"]
        if compared != own["kind"]
    }


def rewarded_trainings(config: Mapping[str, Any]) -> list[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Every training with a reward of this kind: its name, its section (a dotted path), the
    section itself, and the section reward that it has."""
    own = [("mt_grpo", run, config["mt_grpo"], reward) for run, reward in grpo_runs(config).items()]
    found = [(run, section, settings, reward) for section, run, settings, reward in own]
    if config["alignment"] is not None:
        grpo = config["alignment"]["grpo"]
        found.append(("alignment_grpo", "alignment.grpo", grpo, grpo["reward"]))
    return found


def judge_taken_for(run: str, config: Mapping[str, Any]) -> str:
    """Name of the model that a run of GRPO takes as its judge, if its section names one from elsewhere.

    A compared kind that names a model of its own has another judge than the experiment.
    """
    model = grpo_runs(config).get(run, {}).get("model")
    named = model is not None and model != config["mt_grpo"]["reward"]["model"]
    return run.replace("mt_grpo", TAKEN_JUDGE, 1) if named else TAKEN_JUDGE


def judges_taken(config: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Judges that entries of `reward_comparison` take from elsewhere: name -> key and model of each."""
    named = [entry for entry in config["reward_comparison"] if not isinstance(entry, str)]
    judges = {judge_taken_for(f"mt_grpo_{name_of(entry)}", config): entry for entry in named}
    return {
        name: (f"reward_comparison: {name_of(entry)}.model", entry["model"])
        for name, entry in judges.items()
        if name != TAKEN_JUDGE and entry["model"] not in OWN_JUDGES
    }


def compared_runs(config: Mapping[str, Any]) -> dict[str, str]:
    """The trainings that `reward_comparison` puts side by side, by its names."""
    own = config["mt_grpo"]["reward"]["kind"]
    return {
        name_of(compared): "mt_grpo" if compared == own else f"mt_grpo_{name_of(compared)}"
        for compared in config["reward_comparison"]
    }


def is_served_apart(reward: Section, judge: str | None) -> bool:
    """Whether verl serves the judge on devices of its own.

    Args:
        reward: the section of that name.
        judge: the model or checkpoint that scores; None if none does, or if an endpoint is asked.
    """
    checkpoint = entry_of(reward).asks == "checkpoint"  # scores where the reward is computed
    return judge is not None and not checkpoint and reward["placement"] == "dedicated"


def scoring_model_of(reward: Section, taken: str = TAKEN_JUDGE) -> str | None:
    """Name of the model that verl serves as the judge of translations, or of the checkpoint that scores them;
    None if none does. Of a mixture the former: `part_checkpoints_of` names the checkpoints of its parts.

    Args:
        reward: the section of that name.
        taken: name of a model from elsewhere, see `judge_taken_for`.
    """
    if "parts" in reward:
        served = served_piece(reward)
        return None if served is None else scoring_model_of(served, taken)
    entry = entry_of(reward)
    if entry.asks == "nothing":
        return None
    if reward["model"] is not None:
        return str(reward["model"]) if reward["model"] in OWN_JUDGES else taken
    return None if reward["placement"] == "endpoint" and entry.asks == "judge" else entry.own_model or None


def part_checkpoints_of(reward: Section, taken: str = TAKEN_JUDGE) -> dict[str, str]:
    """Parts of a mixture that score with a checkpoint -> name of the checkpoint, see `scoring_model_of`."""
    if "parts" not in reward:
        return {}
    return {
        name: model
        for name, piece in pieces_of(reward).items()
        if entry_of(piece).asks == "checkpoint" and (model := scoring_model_of(piece, taken)) is not None
    }


def translation_prompt_of(reward: Section, ranking: str) -> str | None:
    """Prompt of the judge of translations; None if the kind needs none.

    Args:
        reward: the section of that name.
        ranking: the ranking prompt of the experiment.
    """
    entry = entry_of(reward)
    if not (entry.prompt or entry.translation_prompt):
        return None
    if reward["prompt"] is not None:
        return str(reward["prompt"])
    return entry.translation_prompt or ranking


def has_alignment_judge(alignment: Mapping[str, Any]) -> bool:
    """Whether a model or checkpoint scores the policy's responses, not an endpoint."""
    reward = alignment["grpo"]["reward"]
    if all(entry_of(piece).asks == "nothing" for piece in pieces_of(reward).values()):
        return False
    if reward["model"] is not None:
        return True
    return reward["judge"]["url"] is None and not reward["judge"]["replay"]


def alignment_prompt_of(reward: Section) -> str | None:
    """Prompt of the judge of any responses; None if the kind needs none."""
    prompt = entry_of(reward).conversation_prompt
    return (reward["prompt"] or prompt) if prompt else None


def function_files_of(reward: Section) -> list[str]:
    """Files of the functions that score, for a rule's input."""
    functions = [piece["function"] for piece in pieces_of(reward).values() if "function" in piece]
    return [function.rpartition(":")[0] for function in functions]


def prompt_file(prompt: str | None) -> str | list[str]:
    """The file of a prompt, for a rule's input: without the name of a function in it."""
    if prompt is None:
        return []
    path, colon, _ = prompt.rpartition(":")
    return path if colon and path.endswith(".py") else prompt
