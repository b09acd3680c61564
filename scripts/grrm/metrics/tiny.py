"""What the tiny metrics of the demonstration are trained on, and their shape: translations of known quality,
made by spoiling references."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grrm.files import UserError
from grrm.schemas import read_table

_VOCABULARY = 4000


@dataclass(frozen=True)
class TinyModel:
    """Shape and training of a tiny metric."""

    steps: int
    batch_size: int = 64
    learning_rate: float = 1e-3
    hidden_size: int = 64
    layers: int = 2
    heads: int = 4
    seed: int = 0


def fit(
    model: Any,
    loss_of: Callable[[Sequence[Mapping[str, Any]]], Any],
    rows: Sequence[Mapping[str, Any]],
    settings: TinyModel,
) -> None:
    """Train a model on batches that are drawn by the seed, and say how the loss goes.

    Args:
        model: a torch module.
        loss_of: the loss of a batch of rows.
        rows: translations of known quality.
        settings: steps, batches, learning rate, seed.
    """
    import torch

    rng = random.Random(settings.seed)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate)
    losses: list[float] = []
    for step in range(1, settings.steps + 1):
        loss = loss_of(rng.sample(list(rows), settings.batch_size))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        if step % 50 == 0 or step == settings.steps:
            recent = losses[-50:]
            print(f"step {step}: loss {sum(recent) / len(recent):.4f}", file=sys.stderr, flush=True)


def check_rows(rows: Sequence[Mapping[str, Any]], settings: TinyModel) -> None:
    """Raise UserError if there are fewer rows than a batch."""
    if len(rows) < settings.batch_size:
        raise UserError(f"{len(rows)} training rows for batches of {settings.batch_size}: give more data")


def write_vocabulary(path: Path, texts: Sequence[str], **options: Any) -> None:
    """Train a SentencePiece vocabulary of the texts; the same texts give the same vocabulary.

    Args:
        path: of the model file.
        texts: what it is trained on.
        **options: of SentencePiece's trainer.
    """
    import io

    import sentencepiece

    vocabulary = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sorted(set(texts))),
        model_writer=vocabulary,
        vocab_size=_VOCABULARY,
        hard_vocab_limit=False,
        model_type="unigram",
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
        **options,
    )
    path.write_bytes(vocabulary.getvalue())


def degraded_references(pairs: Sequence[tuple[str, str]], variants: int, seed: int) -> list[dict[str, Any]]:
    """Translations of known quality: each reference `variants` times, with a random share of its words
    spoilt.

    A spoilt word is replaced by a word of another reference or of the source, dropped, or doubled. The
    score is one minus the share of spoilt words; now and then a translation is empty, with score 0.

    Args:
        pairs: source and reference texts.
        variants: translations made of each.
        seed: the same seed and pairs give the same rows.
    """
    rng = random.Random(seed)
    references = [split_words(reference) for _, reference in pairs]
    rows = []
    for (source, reference), words in zip(pairs, references, strict=True):
        for _ in range(variants):
            spoilt, score = _spoil(words, split_words(source), rng.choice(references), rng)
            rows.append(
                {"src": source, "mt": join_words(spoilt, reference), "ref": reference, "score": score}
            )
    return rows


def split_words(text: str) -> list[str]:
    """Words of a text; its characters if it is written without spaces."""
    words = text.split()
    return words if len(words) > 1 else list(text.strip())


def join_words(words: Sequence[str], like: str) -> str:
    """The opposite of `split_words` for a text written as `like` is."""
    return (" " if len(like.split()) > 1 else "").join(words)


def _spoil(
    words: Sequence[str], source: Sequence[str], other: Sequence[str], rng: random.Random
) -> tuple[list[str], float]:
    if rng.random() < 0.02:
        return [], 0.0
    rate = rng.random() if rng.random() < 0.85 else 0.0
    spoilt, result = 0, []
    for i, word in enumerate(words):
        put = _instead(word, source[i : i + 1], other[i : i + 1], rng) if rng.random() < rate else [word]
        spoilt += put != [word]
        result += put
    return result, 1 - spoilt / len(words)


def _instead(word: str, source: Sequence[str], other: Sequence[str], rng: random.Random) -> list[str]:
    """What stands in the place of a spoilt word; `source` and `other` hold the word at its place, if any."""
    way = rng.random()
    if way < 0.6:
        return list(other)
    if way < 0.8:
        return list(source)
    return [] if way < 0.9 else [word, word]


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Source and reference texts of a training table.

    Raises:
        UserError: it does not fit its schema.
    """
    table = read_table(path, "pairs").select(["src_text", "trg_text"])
    return [(row["src_text"], row["trg_text"]) for row in table.to_pylist()]
