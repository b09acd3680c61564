"""BLEU and chrF++ of translations as sacreBLEU computes them, as statistics that can be resampled.

A failed translation is an empty hypothesis: it lowers the corpus score, and the format rate beside the
score says how many there were.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sacrebleu.metrics import BLEU, CHRF

from grrm.files import UserError
from grrm.languages import language_code
from grrm.metrics.bootstrap import Stratum, mean, mean_of_known, ratio
from grrm.metrics.language import SIGNATURE, can_tell, is_off_target

# 13a and none give nearly 0 on text without spaces, so the tokeniser follows the target language.
_TOKENIZERS = {
    "zh": "zh",
    "ja": "ja-mecab",
    "ko": "ko-mecab",
    "yy": "none",
}  # yy: the toy language, words as they stand
_PUBLISHED_DEFAULT = "13a"


def tokenizer(trg_lang: str) -> str:
    """Name of sacreBLEU's tokeniser for BLEU in a target language."""
    return _TOKENIZERS.get(language_code(trg_lang), _PUBLISHED_DEFAULT)


def score_translations(
    hypotheses: Sequence[str | None], references: Sequence[str], trg_lang: str
) -> dict[str, tuple[Stratum, str]]:
    """Statistics and signature of each metric, by name.

    Names: `bleu` and `chrf++` (0-100), `format_rate` (share of hypotheses that are not None), `length_ratio`
    (tokens of the hypotheses over tokens of the references, in BLEU's tokens), `off_target_rate` (share of
    hypotheses in another language, of those whose language can be told; left out where none can).

    Args:
        hypotheses: one translation per segment, None where there is none.
        references: one reference per segment, in the same order.
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
    for index, reference in enumerate(references):
        if not reference.strip():
            raise UserError(f"segment {index}: the reference is empty, so no translation of it can be scored")
    texts = [text or "" for text in hypotheses]
    try:
        bleu = BLEU(tokenize=tokenizer(trg_lang))
    except RuntimeError as error:  # what sacreBLEU raises when MeCab is missing
        raise UserError(f"BLEU for target language {trg_lang!r}: {error}") from error
    chrf = CHRF(word_order=2)
    bleu_statistics, chrf_statistics = _corpus(bleu, texts, references), _corpus(chrf, texts, references)
    lengths = bleu_statistics.statistics[:, :2]
    metrics = {
        "bleu": (bleu_statistics, _signature("BLEU", bleu)),
        "chrf++": (chrf_statistics, _signature("chrF2++", chrf)),
        "format_rate": (mean([text is not None for text in hypotheses]), "format_rate|mean:segments"),
        "length_ratio": (
            ratio(lengths[:, 0], lengths[:, 1]),
            f"length_ratio|tok:{tokenizer(trg_lang)}|sum:hypotheses/references",
        ),
    }
    off_target = [is_off_target(text, trg_lang) for text in texts] if can_tell(trg_lang) else []
    if any(verdict is not None for verdict in off_target):
        signature = f"off_target_rate|detector:{SIGNATURE}|mean:segments whose language can be told"
        metrics["off_target_rate"] = (mean_of_known(off_target), signature)
    return metrics


def _corpus(metric: Any, hypotheses: Sequence[str], references: Sequence[str]) -> Stratum:
    # sacreBLEU resamples these same statistics for its own intervals; it has no public name for them.
    statistics = metric._extract_corpus_statistics(hypotheses, [references])
    return Stratum(
        np.asarray(statistics, dtype=np.float64),
        lambda sums: np.array(
            [metric._compute_score_from_stats(row).score for row in np.rint(sums).astype(int).tolist()],
            dtype=np.float64,
        ),
    )


def _signature(name: str, metric: Any) -> str:
    return f"{name}|{metric.get_signature().format()}"
