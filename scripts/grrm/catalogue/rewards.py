"""Every kind of reward, one entry each: what scores the rollouts of a prompt (`reward.kind`).

Pure data, importable while the Snakefile is parsed. What a kind does is in its module, which holds a function
`load` (`grrm.rewards.kinds`) and is imported by whoever scores. A new kind is one entry here and one module
there; everything else (schemas, checks, rendering, server, manager) derives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Asks: TypeAlias = Literal["judge", "checkpoint", "nothing", "parts"]


@dataclass(frozen=True)
class RewardKind:
    """What a kind of reward is.

    Attributes:
        name: `reward.kind`.
        label: what it does, in words.
        module: dotted name of the module that loads it.
        asks: a judge (a generative model behind HTTP, by default an endpoint of the user's unless
            `own_model` names one), a checkpoint that scores in a process of its own, nothing, or the parts
            of a mixture.
        range: scores that become 0 and 10 points, the worst and the best; None if the module makes points
            itself.
        scale: the range in words.
        relative: whether scores say something within their group only, so that a lone candidate has none;
            "scale": as the option `scale` says (`group` is relative); "points": its points only.
        needs_reference: whether candidates are compared with a reference; a checkpoint may do without one.
        translation_only: whether it scores translations only, not responses of any sort.
        prompt: kind of its prompt file; empty if it has none.
        translation_prompt: prompt file where translations are judged; empty: none, or the experiment's own.
        conversation_prompt: prompt file where responses of any sort are judged.
        family: what a judge is asked for: pairwise for pairwise_dgr.
        mode: how the answers of the family become scores: dgr.
        own_model: the model of the experiment's own that scores unless the configuration names another.
        environment: the environment that loads the checkpoint; empty: that of the training.
        has_semantics: whether `reward.semantics` says how it is asked and read: one call judges the group, as
            published or strictly. Calls of other kinds are counted, by keys of their own.
    """

    name: str
    label: str
    module: str
    asks: Asks
    range: tuple[float, float] | None
    scale: str = ""
    relative: bool | Literal["scale", "points"] = False
    needs_reference: bool = False
    translation_only: bool = False
    prompt: str = ""
    translation_prompt: str = ""
    conversation_prompt: str = ""
    family: str = ""
    mode: str = ""
    own_model: str = ""
    environment: str = ""
    has_semantics: bool = False

    @property
    def is_general_judge(self) -> bool:
        """Whether a judge is asked about texts of any sort."""
        return self.asks == "judge" and not self.translation_only


def _general(name: str, label: str, *, relative: bool | Literal["scale"] = True) -> RewardKind:
    family, _, mode = name.partition("_")
    return RewardKind(
        name,
        label,
        f"grrm.rewards.kinds.{family}",
        "judge",
        scale="-1 to 1",
        range=(-1, 1),
        relative=relative,
        prompt=f"judge_{family}",
        translation_prompt=f"config/prompts/translation_{family}.yaml",
        conversation_prompt=f"config/prompts/judge_{family}.yaml",
        family=family,
        mode=mode,
    )


def _text_metric(name: str, label: str) -> RewardKind:
    return RewardKind(
        name,
        label,
        f"grrm.rewards.kinds.{name}",
        "nothing",
        scale="0 to 100",
        range=(0, 100),
        needs_reference=True,
        translation_only=True,
        family=name,
    )


def _metric_checkpoint(
    name: str, label: str, *, module: str = "", needs_reference: bool = True
) -> RewardKind:
    """A metric of `grrm.catalogue.metrics`, by the checkpoint that the experiment takes or makes."""
    return RewardKind(
        name,
        label,
        f"grrm.rewards.kinds.{module or name}",
        "checkpoint",
        scale="about 0 to 1",
        range=(0, 1),
        needs_reference=needs_reference,
        translation_only=True,
        family=name,
        own_model=name,
        environment="comet",
    )


ENTRIES: tuple[RewardKind, ...] = (
    RewardKind(
        "grrm",
        "the GRRM, once per group: ranking and scores",
        "grrm.rewards.kinds.grrm",
        "judge",
        scale="0 to 10",
        range=(0, 10),
        relative=True,
        translation_only=True,
        prompt="ranking_score",
        family="grrm",
        own_model="grrm_rlvr",
        has_semantics=True,
    ),
    RewardKind(
        "sqm",
        "a judge about each translation",
        "grrm.rewards.kinds.sqm",
        "judge",
        scale="0 to 10",
        range=(0, 10),
        translation_only=True,
        prompt="sqm",
        translation_prompt="config/prompts/sqm.yaml",
        family="sqm",
    ),
    _general(
        "pairwise_winrate", "a judge about each pair; share of comparisons won, stretched over the group"
    ),
    _general("pairwise_copeland", "a judge about each pair; wins minus losses"),
    _general(
        "pairwise_dgr",
        "a judge about each pair; wins minus losses without contradictions (minimum feedback arc set)",
    ),
    _general(
        "pairwise_elo",
        "a judge about each pair; Bradley-Terry ratings that explain the comparisons best, stretched",
    ),
    _general("pointwise", "a judge about each candidate, 1 to 10", relative="scale"),
    _general("listwise", "a judge about a whole group: an order"),
    RewardKind(
        "bradley_terry",
        "a sequence-classification checkpoint",
        "grrm.rewards.kinds.bradley_terry",
        "checkpoint",
        range=None,
        scale="logit",
        relative="points",
        prompt="translation",
        translation_prompt="config/prompts/translation_plain.yaml",
        family="bradley_terry",
    ),
    _text_metric("bleu", "sacreBLEU's BLEU of the sentence, against the reference"),
    _text_metric("chrf", "sacreBLEU's chrF++ of the sentence, against the reference"),
    _metric_checkpoint("comet", "a COMET checkpoint"),
    _metric_checkpoint(
        "cometkiwi", "a CometKiwi checkpoint, which sees no reference", module="comet", needs_reference=False
    ),
    _metric_checkpoint("bleurt", "a BLEURT checkpoint"),
    RewardKind(
        "format",
        "1 for every translation in the form that its prompt asks for (mixture)",
        "grrm.rewards.kinds.format",
        "nothing",
        scale="1",
        range=(0, 1),
        translation_only=True,
        family="format",
    ),
    RewardKind(
        "function",
        "a Python function of your own, once per group or once per response",
        "grrm.rewards.kinds.function",
        "nothing",
        scale="as `range` says, 0 to 10 unless it is given",
        range=(0, 10),
        family="function",
    ),
    RewardKind(
        "mixture",
        "several kinds, weighted (`parts`)",
        "grrm.rewards.kinds.mixture",
        "parts",
        scale="0 to 10",
        range=(0, 10),
        family="mixture",
    ),
)

KINDS: dict[str, RewardKind] = {entry.name: entry for entry in ENTRIES}
NAMES: tuple[str, ...] = tuple(KINDS)

PART_NAMES: tuple[str, ...] = tuple(entry.name for entry in ENTRIES if entry.asks != "parts")
"""Kinds that may be a part of a mixture."""
JUDGED_KINDS = frozenset(entry.name for entry in ENTRIES if entry.asks == "judge")
"""Kinds that ask a generative judge, the GRRM among them."""
GENERAL_JUDGES = frozenset(entry.name for entry in ENTRIES if entry.is_general_judge)
"""Kinds that ask a judge about texts of any sort."""
ASKED_JUDGES = frozenset(entry.name for entry in ENTRIES if entry.asks == "judge" and not entry.own_model)
"""Kinds whose judge is an endpoint unless the configuration names a model."""
CHECKPOINT_KINDS = frozenset(entry.name for entry in ENTRIES if entry.asks == "checkpoint")
"""Kinds that score with a checkpoint, in a process of its own."""
REFERENCE_KINDS = frozenset(entry.name for entry in ENTRIES if entry.needs_reference)
"""Kinds that compare with a reference (a checkpoint may do without)."""
TRANSLATION_ONLY = frozenset(entry.name for entry in ENTRIES if entry.translation_only)
CONVERSATION_NAMES: tuple[str, ...] = tuple(entry.name for entry in ENTRIES if not entry.translation_only)
"""Kinds for responses of any sort."""
PAIRWISE = frozenset(entry.name for entry in ENTRIES if entry.family == "pairwise")
PAIRWISE_MODES: tuple[str, ...] = tuple(entry.mode for entry in ENTRIES if entry.family == "pairwise")
EVAL_MODES: tuple[str, ...] = tuple(
    dict.fromkeys(entry.family for entry in ENTRIES if entry.is_general_judge)
)
"""What EVAL_MODE may say: the families of the general judges."""
