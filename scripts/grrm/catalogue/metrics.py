"""Every metric, one entry each: what it is called, which way is better, where it runs, what scores.

Pure data, importable while the Snakefile is parsed. A new metric is one entry here and, unless there is one
that computes it, one function: schema, plan, preflight, scoring, tables, page and comparison derive.
A metric of a user's own is an entry too, made of an item of `evaluate.metrics` (`own`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Environment = Literal["driver", "comet"]


@dataclass(frozen=True)
class Metric:
    """What a metric is.

    Attributes:
        name: in the configuration, in documents and in names of files.
        label: in tables; what stands before " (" is its short name.
        better: which way is better; None if neither is.
        factor: by which it is multiplied to be shown (100 for shares shown as per cent).
        digits: after the point, once multiplied.
        task: what is scored: rankings, translations, or what other judges say (`JUDGE_METRICS`).
        level: `corpus` if it is computed beside BLEU for every experiment, from statistics of the segments;
            `segment` if a rule of its own scores each segment, where `evaluate.metrics` names it.
        quality: whether it says how good translations are; if not, it is what a model may change to please a
            judge (their length, their form).
        headline: whether it stands at the top of the page.
        score: `module:function` that computes it. Of a corpus (`grrm.metrics.translation.Corpus`) to its
            statistics and signature, None where it cannot be told; or of segments and what goes with them
            (`grrm.metrics.segments.Given`) to scores and signature. Empty: of rankings and
            judges, which `grrm.metrics.ranking_accuracy` and `grrm.metrics.judges` score in one go.
        train: `module:function` that trains a tiny model in place of a published one; empty if nothing does.
        environment: where it runs; `comet` holds torch and the metrics' libraries.
        needs_reference: whether it is shown the reference; segments without one have no score then.
        optional_reference: whether it scores segments without one all the same.
        without_reference: key of its section that makes it do without, if it is true; empty if there is none.
        section: path of the section that holds its settings.
        checkpoint: whether it is a model in a folder, which `start_from` of its section names.
        parts: keys of its section that name what must be fetched beside the checkpoint.
        required: keys of its section that must be set where nothing is trained instead; where it has a
            `train`, `steps` may be in their place.
        options: keys of its section that go to `score`.
        files: those of `options` that name files.
        function: FILE:NAME of a user's own function.
    """

    name: str
    label: str
    better: Literal["higher", "lower"] | None = "higher"
    factor: float = 1
    digits: int = 1
    task: Literal["ranking", "translation", "judge"] = "translation"
    level: Literal["corpus", "segment"] = "corpus"
    quality: bool = True
    headline: bool = False
    score: str = ""
    train: str = ""
    environment: Environment = "driver"
    needs_reference: bool = True
    optional_reference: bool = False
    without_reference: str = ""
    section: tuple[str, ...] = ()
    checkpoint: bool = False
    parts: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    function: str = ""

    @property
    def scores_without_reference(self) -> bool:
        """Whether it scores segments without a reference, whatever its settings."""
        return self.optional_reference or not self.needs_reference

    @property
    def short(self) -> str:
        """The label without what stands in brackets."""
        return self.label.partition(" (")[0]

    @property
    def sign(self) -> int:
        """1 if higher is better, -1 if lower is, 0 if neither: times a change, what is gained."""
        return {"higher": 1, "lower": -1, None: 0}[self.better]

    def settings(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Its section of the configuration; empty if it has none."""
        found: Mapping[str, Any] = config if self.section else {}
        for key in self.section:
            found = found[key]
        return found

    @property
    def key(self) -> str:
        """Its section as a key of the configuration, such as `evaluate.bleurt`."""
        return ".".join(self.section)


def _ranking(
    name: str, label: str, better: Literal["higher", "lower"] = "higher", headline: bool = False
) -> Metric:
    return Metric(name, label, better, 100, task="ranking", headline=headline)


def _judge(
    name: str, label: str, better: Literal["higher", "lower"] | None = "higher", factor: float = 100
) -> Metric:
    return Metric(name, label, better, factor, 1 if factor == 100 else 2, task="judge")


def _comet(name: str, label: str, **more: Any) -> Metric:
    return Metric(
        name,
        label,
        factor=100,
        level="segment",
        score="grrm.metrics.comet:score",
        environment="comet",
        checkpoint=True,
        parts=("encoder",),
        **more,
    )


_CORPUS = "grrm.metrics.translation"

# In the order of tables.
ENTRIES: tuple[Metric, ...] = (
    _ranking("ranking_accuracy", "Ranking accuracy (%)", headline=True),
    _ranking("ranking_accuracy_calibrated", "Ranking accuracy, ties calibrated (%)"),
    _ranking("ranking_accuracy_half_ties", "Ranking accuracy, half credit for ties (%)"),
    _ranking("ranking_accuracy_untied", "Ranking accuracy, pairs without ties (%)"),
    _ranking("ranking_accuracy_orders", "Ranking accuracy, mean over orders (%)"),
    _ranking("flipped_pairs", "Pairs flipped by another order (%)", "lower"),
    _ranking("changed_pairs", "Pairs changed by another order (%)", "lower"),
    _ranking("exact_share", "Groups ranked exactly (%)"),
    _ranking("valid_rate", "Valid answers (%)"),
    Metric("bleu", "BLEU", headline=True, score=f"{_CORPUS}:bleu"),
    Metric("chrf++", "chrF++", score=f"{_CORPUS}:chrf"),
    _comet(
        "comet",
        "COMET (× 100)",
        headline=True,
        train="grrm.metrics.comet:train_tiny",
        section=("comet",),
    ),
    _comet(
        "cometkiwi",
        "CometKiwi (× 100)",
        needs_reference=False,
        train="grrm.metrics.comet:train_tiny_referenceless",
        section=("evaluate", "cometkiwi"),
        required=("start_from",),
    ),
    _comet("xcomet", "XCOMET (× 100)", section=("evaluate", "xcomet"), required=("start_from",)),
    Metric(
        "bleurt",
        "BLEURT (× 100)",
        factor=100,
        level="segment",
        score="grrm.metrics.bleurt:score",
        train="grrm.metrics.bleurt:train_tiny",
        environment="comet",
        section=("evaluate", "bleurt"),
        checkpoint=True,
    ),
    Metric(
        "metricx",
        "MetricX (lower is better)",
        "lower",
        level="segment",
        score="grrm.metrics.metricx:score",
        environment="comet",
        section=("evaluate", "metricx"),
        checkpoint=True,
        parts=("tokenizer",),
        required=("start_from", "tokenizer"),
        options=("reference_free",),
        without_reference="reference_free",
    ),
    Metric(
        "llm_judge",
        "LLM judge (0-100)",
        level="segment",
        optional_reference=True,
        score="grrm.metrics.llm_judge:score",
        section=("evaluate", "llm_judge"),
        required=("model",),
        options=(
            "model",
            "url",
            "prompt",
            "temperature",
            "max_tokens",
            "max_concurrency",
            "timeout",
            "deadline",
            "parse_retries",
            "max_failure_share",
        ),
        files=("prompt",),
    ),
    Metric(
        "format_rate",
        "Translations found (%)",
        factor=100,
        quality=False,
        score=f"{_CORPUS}:format_rate",
        needs_reference=False,
    ),
    Metric("length_ratio", "Length ratio", None, 1, 2, quality=False, score=f"{_CORPUS}:length_ratio"),
    Metric(
        "off_target_rate",
        "Translations in another language (%)",
        "lower",
        100,
        quality=False,
        score=f"{_CORPUS}:off_target_rate",
        needs_reference=False,
    ),
)

# Of judges that grade single responses or pairs, on a page of their own.
JUDGE_METRICS: dict[str, Metric] = {
    entry.name: entry
    for entry in (
        _judge("agreement", "Agreement (%)"),
        _judge("agreement_both_orders", "Agreement, both orders together (%)"),
        _judge("within_one", "Within one point (%)"),
        _judge("mean_absolute_error", "Mean absolute error", "lower", 1),
        _judge("bias", "Said less annotated", None, 1),
        _judge("position_bias", "Position bias: the same place wins twice (%)", "lower"),
        _judge("inconsistent", "Orders disagree (%)", "lower"),
        _judge("says_first", "Answers that prefer the first (%)", None),
        _judge("loss", "Loss", "lower", 1),
        _judge("brier", "Brier score", "lower", 1),
        _judge("valid_rate", "Valid answers (%)"),
    )
}
METRICS: dict[str, Metric] = {entry.name: entry for entry in ENTRIES}
NAMES: tuple[str, ...] = tuple(entry.name for entry in ENTRIES if entry.level == "segment")
"""What `evaluate.metrics` may name."""
RESERVED = frozenset({"ranking", "translation", "checkpoints", "reward_kinds", "samples"})
"""Names of the evaluation's other documents, which no metric of a user's own may have."""


def own(item: Mapping[str, Any]) -> Metric:
    """The entry of a user's own metric: an item {name, function, better, ...} of `evaluate.metrics`."""
    return Metric(
        item["name"],
        item.get("label") or item["name"] + (" (lower is better)" if item["better"] == "lower" else ""),
        item["better"],
        item.get("factor", 1),
        item.get("digits", 1),
        level="segment",
        score="grrm.metrics.own:score",
        environment=item.get("environment", "driver"),
        needs_reference=item.get("needs_reference", True),
        function=item["function"],
    )


def metrics_of(config: Mapping[str, Any]) -> list[Metric]:
    """The metrics that `evaluate.metrics` names, in its order."""
    return [METRICS[item] if isinstance(item, str) else own(item) for item in _items(config)]


def known_metrics(*configs: Mapping[str, Any]) -> dict[str, Metric]:
    """All metrics by name that experiments may have scores of, in the order of tables: every entry, and then
    their own."""
    return METRICS | {
        item["name"]: own(item) for config in configs for item in _items(config) if isinstance(item, Mapping)
    }


def _items(config: Mapping[str, Any]) -> Sequence[str | Mapping[str, Any]]:
    items: Sequence[str | Mapping[str, Any]] = config.get("evaluate", {}).get("metrics", ())
    return items
