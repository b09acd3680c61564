"""Rows over cutoff_len, in LLaMA-Factory's own preparation (run by the training environment's python)."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("llamafactory")

from llamafactory.data import processor as processors
from llamafactory.data.template import TEMPLATES
from transformers import AutoTokenizer

from grrm.engines.sft_lengths import heed_lengths
from grrm.files import UserError

ANSWERS = ["a b", "a b c d e f g h i j k l m n o p q r s t", "c d"]


def prepared(model: Path, limit: int, bad_rows: str) -> dict[str, list[Any]]:
    processor_class = processors.SupervisedDatasetProcessor
    options = SimpleNamespace(cutoff_len=limit, mask_history=False, train_on_prompt=False)
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = {f"_{name}": [None] * len(ANSWERS) for name in ("system", "tools", "images", "videos", "audios")}
    rows["_prompt"] = [[{"role": "user", "content": "x"}] for _ in ANSWERS]
    rows["_response"] = [[{"role": "assistant", "content": answer}] for answer in ANSWERS]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(processor_class, "preprocess_dataset", processor_class.preprocess_dataset)
        if bad_rows:
            heed_lengths(bad_rows)
        processor = processor_class(TEMPLATES["chatml"], tokenizer, None, options)
        found: dict[str, list[Any]] = processor.preprocess_dataset(rows)
    return found


def test_what_fits_is_learned_as_before(tiny_model: Path) -> None:
    whole = prepared(tiny_model, 10_000, "")
    assert prepared(tiny_model, 10_000, "error") == whole
    longest = max(map(len, whole["input_ids"]))
    assert prepared(tiny_model, longest, "error") == prepared(tiny_model, longest, "")


def test_a_row_over_the_limit_is_refused_or_dropped(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = prepared(tiny_model, 10_000, "")["input_ids"]
    limit = len(whole[1]) - 1
    with pytest.raises(UserError, match=rf"1 of 3 rows have more than cutoff_len \({limit}\) tokens .*: 'x'"):
        prepared(tiny_model, limit, "error")
    kept = prepared(tiny_model, limit, "drop")
    assert kept["input_ids"] == [whole[0], whole[2]]
    assert {len(values) for values in kept.values()} == {2}
    assert "1 of 3 rows have more than" in capsys.readouterr().out
