"""BLEU and chrF++ of translations as sacreBLEU computes them, as statistics that can be resampled.

A failed translation is an empty hypothesis: it lowers the corpus score, and the format rate beside the
score says how many there were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any, TypeAlias

import numpy as np
from sacrebleu.metrics import BLEU, CHRF

from grrm import catalogue
from grrm.catalogue.metrics import METRICS
from grrm.files import UserError
from grrm.languages import WITHOUT_SPACES, base_language, script_of
from grrm.metrics.bootstrap import Stratum, mean, mean_of_known, ratio
from grrm.metrics.language import SIGNATURE, can_tell, is_off_target

# 13a and none give nearly 0 on text without spaces, so the tokeniser follows the target's script.
_TOKENIZERS = {
    **dict.fromkeys(WITHOUT_SPACES, "char"),
    **dict.fromkeys(("Hans", "Hant", "Hani", "Hanb"), "zh"),
    "Jpan": "ja-mecab",
    "Kore": "ko-mecab",
}
_OF_LANGUAGES = {"yy": "none"}  # the toy language, words as they stand
_PUBLISHED_DEFAULT = "13a"


def tokenizer(trg_lang: str) -> str:
    """Name of sacreBLEU's tokeniser for BLEU in a target language."""
    by_script = _TOKENIZERS.get(script_of(trg_lang), _PUBLISHED_DEFAULT)
    return _OF_LANGUAGES.get(base_language(trg_lang), by_script)


@dataclass(frozen=True)
class Corpus:
    """Translations that are scored together: one direction of one test set.

    Attributes:
        hypotheses: one translation per segment, None where there is none.
        references: one per segment, in the same order; none is empty. Empty: there are none.
        trg_lang: language code of the references; it decides BLEU's tokeniser.
        more_references: further lists of one per segment, None where a segment has fewer.
    """

    hypotheses: Sequence[str | None]
    references: Sequence[str]
    trg_lang: str
    more_references: Sequence[Sequence[str | None]] = ()

    @cached_property
    def texts(self) -> list[str]:
        """The hypotheses, empty where there is none, without NUL, where tokenisers in C would end."""
        return [(text or "").replace("\0", " ") for text in self.hypotheses]

    @cached_property
    def bleu(self) -> tuple[Stratum, str]:
        """BLEU, in whose tokens lengths are counted too."""
        try:
            metric = BLEU(tokenize=tokenizer(self.trg_lang))
        except RuntimeError as error:  # what sacreBLEU raises when MeCab is missing
            raise UserError(f"BLEU for target language {self.trg_lang!r}: {error}") from error
        return sacrebleu(self, metric, "BLEU")


# Statistics and signature; None where a metric cannot be told.
Scored: TypeAlias = tuple[Stratum, str]


def score_translations(
    hypotheses: Sequence[str | None], references: Sequence[str | Sequence[str] | None], trg_lang: str
) -> dict[str, Scored]:
    """By name, statistics and signature of each metric of a corpus that can be told (`grrm.catalogue`).

    Args:
        hypotheses: one translation per segment, None where there is none.
        references: one reference per segment, in the same order, or several; or None for all of them: then
            only metrics that need no reference can be told.
        trg_lang: language code of the references; it decides BLEU's tokeniser.

    Raises:
        UserError: there are no segments, the numbers differ, a reference is empty, or a tokeniser is not
            installed.
    """
    if not references:
        raise UserError("nothing to score: there are no references")
    if len(hypotheses) != len(references):
        raise UserError(
            f"{len(hypotheses)} translations for {len(references)} references: expected one for each"
        )
    corpus = _corpus(hypotheses, references, trg_lang)
    scored = {
        metric.name: catalogue.resolve(metric.score)(corpus)
        for metric in METRICS.values()
        if metric.level == "corpus" and metric.score and (corpus.references or not metric.needs_reference)
    }
    return {name: found for name, found in scored.items() if found is not None}


def _corpus(
    hypotheses: Sequence[str | None], references: Sequence[str | Sequence[str] | None], trg_lang: str
) -> Corpus:
    if all(reference is None for reference in references):
        return Corpus(hypotheses, (), trg_lang)
    lists = [[reference] if isinstance(reference, str) else list(reference or ()) for reference in references]
    for index, texts in enumerate(lists):
        if not texts or not all(text.strip() for text in texts):
            raise UserError(f"segment {index}: the reference is empty, so no translation of it can be scored")
    first, *more = zip_longest(*lists)
    return Corpus(hypotheses, first, trg_lang, more)


def bleu(corpus: Corpus) -> Scored:
    """sacreBLEU's BLEU, 0 to 100; its tokeniser goes by the target language."""
    return corpus.bleu


def chrf(corpus: Corpus) -> Scored:
    """sacreBLEU's chrF++, 0 to 100."""
    return sacrebleu(corpus, CHRF(word_order=2), "chrF2++")


def format_rate(corpus: Corpus) -> Scored:
    """Share of hypotheses that are there."""
    return mean([text is not None for text in corpus.hypotheses]), "format_rate|mean:segments"


def length_ratio(corpus: Corpus) -> Scored:
    """Tokens of the hypotheses over tokens of the references, in BLEU's tokens."""
    lengths = corpus.bleu[0].statistics
    signature = f"length_ratio|tok:{tokenizer(corpus.trg_lang)}|sum:hypotheses/references"
    return ratio(lengths[:, 0], lengths[:, 1]), signature


def off_target_rate(corpus: Corpus) -> Scored | None:
    """Share of hypotheses in another language, of those whose language can be told; None where none can."""
    if not can_tell(corpus.trg_lang):
        return None
    off_target = [is_off_target(text, corpus.trg_lang) for text in corpus.texts]
    if all(verdict is None for verdict in off_target):
        return None
    signature = f"off_target_rate|detector:{SIGNATURE}|mean:segments whose language can be told"
    return mean_of_known(off_target), signature


def sacrebleu(corpus: Corpus, metric: Any, name: str) -> Scored:
    """A metric of sacreBLEU from statistics that it sums over segments (BLEU, CHRF, TER), with its signature.

    Args:
        corpus: what is scored.
        metric: an object of sacreBLEU's.
        name: before its signature.
    """
    # sacreBLEU resamples these same statistics for its own intervals; it has no public name for them.
    statistics = metric._extract_corpus_statistics(corpus.texts, [corpus.references, *corpus.more_references])
    stratum = Stratum(
        np.asarray(statistics, dtype=np.float64),
        lambda sums: np.array(
            [metric._compute_score_from_stats(row).score for row in np.rint(sums).astype(int).tolist()],
            dtype=np.float64,
        ),
    )
    return stratum, f"{name}|{metric.get_signature().format()}"
