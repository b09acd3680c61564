"""From source tables to the rows of reinforcement learning, in verl's layout.

Ranking rows can be augmented, as in the paper's released preparation: `subgroup_augment` adds subsets of the
candidates, `shuffle_augment` adds other orders of each. With 4 and 4, a group of two candidates gives 2 rows,
of three 11, and of four 17.8 on average. Translation rows can be augmented across languages (CLA): for every
pair, its source once more, with another target language.

Everything is streamed. Rows are shuffled as a whole: the texts of the source table wait in a temporary file,
a row is a few numbers until it is its turn, and a batch is made column by column.

`semantics`: "strict", or "paper" for what the released preparation writes, its slips included (NJUNLP/GRRM
1b81b29, scripts/).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from grrm.data.augment import RankingPlan, other_languages, plan_ranking_rows, shuffled
from grrm.data.columns import (
    FurtherColumns,
    LanguageColumn,
    TextFile,
    as_lists,
    column_texts,
    group_fences,
    language_names,
    ranking_prompts,
    translation_prompts,
)
from grrm.data.sft_rows import Semantics
from grrm.files import UserError, atomic_path
from grrm.languages import base_language
from grrm.prompts import RankingPrompt, TranslationPrompt
from grrm.ranking import MAX_CANDIDATES, MAX_SCORE, MIN_SCORE, labels

BATCH_ROWS = 8192

_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
_REWARD_MODEL = pa.struct([("style", pa.string()), ("ground_truth", pa.string())])


def _verl_schema(extra: Sequence[tuple[str, pa.DataType]]) -> pa.Schema:
    return pa.schema(
        [
            ("data_source", pa.string()),
            ("prompt", pa.list_(_MESSAGE)),
            ("ability", pa.string()),
            ("reward_model", _REWARD_MODEL),
            ("extra_info", pa.struct([("index", pa.int64()), ("split", pa.string()), *extra])),
        ]
    )


RANKING_ROWS = _verl_schema(
    [
        ("group", pa.int64()),  # row of the source table
        ("src_lang", pa.string()),
        ("trg_lang", pa.string()),
        ("src_text", pa.string()),
        ("mt_texts", pa.list_(pa.string())),  # as the prompt shows them
        ("shuffle_indices", pa.list_(pa.int64())),  # where they stand in the source row
    ]
)
PAPER_RANKING_ROWS = _verl_schema(
    [
        ("src_lang", pa.string()),  # names of languages
        ("trg_lang", pa.string()),
        ("analysis", pa.string()),  # of the whole group, in its own order
        ("mt_texts", pa.list_(pa.string())),  # missing where the order is another
        ("shuffle_indices", pa.list_(pa.int64())),  # where they stand in the group or subset
    ]
)
TRANSLATION_ROWS = _verl_schema(
    [
        ("src_lang", pa.string()),
        ("trg_lang", pa.string()),
        ("src_text", pa.string()),
        ("trg_text", pa.string()),  # for reports, no judge sees it; missing where the language is another
    ]
)


# ---------------------------------------------------------------- ranking


class RankedGroups:
    """A table of ranked groups: texts on disk, numbers in memory."""

    def __init__(
        self,
        tables: Iterable[pa.Table],
        folder: str | Path,
        *,
        with_analyses: bool = False,
        further: FurtherColumns | None = None,
        path: str | Path = "groups",
    ) -> None:
        """Read all pieces of the table; `folder` has room for its texts, `further` keeps what else is wanted,
        `path` is where they come from, for messages.

        Raises:
            UserError: scores are not integers from 0 to 10 (those of test tables may be on any scale), or a
                column that is asked for is missing.
        """
        self.further = further or FurtherColumns({})
        self.src_texts, self.mt_texts = TextFile(folder), TextFile(folder)
        self.analyses = TextFile(folder) if with_analyses else None
        self.src_langs, self.trg_langs = LanguageColumn(), LanguageColumn()
        sizes: list[npt.NDArray[np.int64]] = []
        scores: list[npt.NDArray[np.uint8]] = []
        for table in tables:
            for batch in table.to_batches():
                self.further.add(batch)
                self.src_texts.add(batch["src_text"])
                self.mt_texts.add(batch["mt_texts"].flatten())
                if self.analyses is not None:
                    if "analysis" not in batch.schema.names:
                        raise UserError(
                            f"{path}: no column analysis, which published rows have (data.semantics: paper); "
                            "give it, or use data.semantics: strict"
                        )
                    self.analyses.add(batch["analysis"])
                self.src_langs.add(batch["src_lang"])
                self.trg_langs.add(batch["trg_lang"])
                before = sum(len(known) for known in sizes)
                sizes.append(pc.list_value_length(batch["mt_texts"]).to_numpy().astype(np.int64))
                scores.append(_grades(batch["scores"].flatten().to_numpy(), sizes[-1], path, before))
        self.further.close()
        for column in (self.src_texts, self.mt_texts, self.analyses, self.src_langs, self.trg_langs):
            if column is not None:
                column.close()
        self.sizes, self.scores = np.concatenate(sizes), np.concatenate(scores)
        # Number of the first candidate of each group.
        self.starts = self.sizes.cumsum() - self.sizes

    def __len__(self) -> int:
        return len(self.sizes)


def _grades(
    scores: npt.NDArray[Any], sizes: npt.NDArray[np.int64], path: str | Path, before: int
) -> npt.NDArray[np.uint8]:
    """The scores of groups of these sizes, of which so many rows stood before in the file."""
    grades: npt.NDArray[np.uint8] = np.clip(np.nan_to_num(scores), MIN_SCORE, MAX_SCORE).astype(np.uint8)
    wrong = grades != scores
    if wrong.any():
        first = int(wrong.argmax())
        row = before + int(np.searchsorted(sizes.cumsum(), first, side="right"))
        raise UserError(
            f"{path}, row {row} (the first is 0): score {scores[first]}: the verified reward needs "
            f"integers from {MIN_SCORE} to {MAX_SCORE}: round them, or leave this table out of training"
        )
    return grades


def ranking_batches(
    groups: RankedGroups,
    prompt: RankingPrompt,
    *,
    seed: int,
    subgroup_augment: int,
    shuffle_augment: int,
    data_source: str,
    split: str,
    semantics: Semantics = "strict",
) -> Iterator[pa.RecordBatch]:
    """Batches of verl rows (`RANKING_ROWS`, or `PAPER_RANKING_ROWS`) from a table of ranked groups, shuffled.

    The ground truth is a JSON object from label to score, such as '{"A": 8, "B": 3}'.
    """
    plan = plan_ranking_rows(groups.sizes, seed, subgroup_augment, shuffle_augment)
    order = shuffled(len(plan), seed)
    for start in range(0, len(order), BATCH_ROWS):
        rows = order[start : start + BATCH_ROWS]
        yield _ranking_batch(groups, plan, rows, prompt, start, data_source, split, semantics)


def _ranking_batch(
    groups: RankedGroups,
    plan: RankingPlan,
    rows: npt.NDArray[np.int32],
    prompt: RankingPrompt,
    start: int,
    data_source: str,
    split: str,
    semantics: Semantics,
) -> pa.RecordBatch:
    chosen, sizes, orders = plan.groups[rows], plan.sizes[rows].astype(np.int64), plan.orders[rows]
    shown = np.arange(orders.shape[1]) < sizes[:, None]
    candidates = np.repeat(groups.starts[chosen], sizes) + orders[shown]
    bounds = np.concatenate([[0], sizes.cumsum()])
    # Position of each candidate in the prompt, that is, its label.
    labelled = np.arange(bounds[-1]) - np.repeat(bounds[:-1], sizes)
    src_texts, mt_texts = groups.src_texts.take(chosen), groups.mt_texts.take(candidates)
    src_langs, trg_langs = groups.src_langs.take(chosen), groups.trg_langs.take(chosen)
    prompts = ranking_prompts(
        prompt,
        src_texts=src_texts,
        src_langs=src_langs,
        trg_langs=trg_langs,
        mt_texts=mt_texts,
        sizes=sizes,
        fences=group_fences(groups.src_texts.fences[chosen], groups.mt_texts.fences[candidates], sizes),
        columns=column_texts(groups.further.take(chosen)),
    )
    texts, places = as_lists(mt_texts, bounds), as_lists(pa.array(orders[shown], pa.int64()), bounds)
    languages = {"src_lang": src_langs, "trg_lang": trg_langs}
    extra: dict[str, pa.Array]
    if semantics == "strict":
        schema = RANKING_ROWS
        extra = {
            "group": pa.array(chosen, pa.int64()),
            **languages,
            "src_text": src_texts,
            "mt_texts": texts,
            "shuffle_indices": places,
        }
    else:
        schema = PAPER_RANKING_ROWS
        extra = _paper_columns(groups, chosen, languages, texts, orders, sizes)
    entries = _TRUTH.take(pa.array(labelled * (MAX_SCORE + 1) + groups.scores[candidates]))
    truths = pc.binary_join_element_wise("{", pc.binary_join(as_lists(entries, bounds), ", "), "}", "")
    return _verl_batch(schema, start, prompts, truths, data_source, "ranking", split, extra)


def _paper_columns(
    groups: RankedGroups,
    chosen: npt.NDArray[np.int32],
    languages: Mapping[str, pa.Array],
    texts: pa.ListArray,
    orders: npt.NDArray[np.integer[Any]],
    sizes: npt.NDArray[np.int64],
) -> dict[str, pa.Array]:
    """As released: where candidates stand in their group, and their texts only where they stand as before."""
    assert groups.analyses is not None, "paper semantics need the analyses"
    places = np.arange(orders.shape[1])
    ranks = orders.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    shown = places < sizes[:, None]
    moved = ((ranks != places) & shown).any(axis=1)
    bounds = np.concatenate([[0], sizes.cumsum()])
    return {
        **{name: language_names(codes) for name, codes in languages.items()},
        "analysis": groups.analyses.take(chosen),
        "mt_texts": pc.if_else(pa.array(moved), pa.scalar(None, texts.type), texts),
        "shuffle_indices": as_lists(pa.array(ranks[shown], pa.int64()), bounds),
    }


# '"A": 0' and so on: all that a ground truth can be made of.
_TRUTH = pa.array(
    [f'"{label}": {score}' for label in labels(MAX_CANDIDATES) for score in range(MAX_SCORE + 1)]
)


# ---------------------------------------------------------------- translation


class SentencePairs:
    """A table of sentence pairs: texts on disk, languages in memory."""

    def __init__(
        self, tables: Iterable[pa.Table], folder: str | Path, further: FurtherColumns | None = None
    ) -> None:
        """Read all pieces of the table; `folder` has room for its texts, `further` keeps what else is wanted.

        Raises:
            UserError: a column that is asked for is missing.
        """
        self.further = further or FurtherColumns({})
        self.src_texts, self.trg_texts = TextFile(folder), TextFile(folder)
        self.src_langs, self.trg_langs = LanguageColumn(), LanguageColumn()
        self._count = 0
        for table in tables:
            for batch in table.to_batches():
                self._count += batch.num_rows
                self.further.add(batch)
                self.src_texts.add(batch["src_text"])
                self.trg_texts.add(batch["trg_text"])
                self.src_langs.add(batch["src_lang"])
                self.trg_langs.add(batch["trg_lang"])
        for column in (self.further, self.src_texts, self.trg_texts, self.src_langs, self.trg_langs):
            column.close()

    def __len__(self) -> int:
        return self._count


def translation_batches(
    pairs: SentencePairs,
    prompt: TranslationPrompt,
    *,
    seed: int,
    data_source: str,
    split: str,
    cross_lingual: bool = False,
    semantics: Semantics = "strict",
    carried: Collection[str] | None = (),
) -> Iterator[pa.RecordBatch]:
    """Batches of verl rows (`TRANSLATION_ROWS`) from a table of translation pairs, shuffled.

    What is `carried` of the pairs' further columns (None: all) stands behind the others in extra_info, for
    rewards and the prompts of judges.

    There is no ground truth: the judge sees the source text and the candidates only. With `cross_lingual`
    every pair gives a second row, for another language of the paper. It has no reference; with semantics
    "paper" it keeps the one it had, in the language that is no longer asked for.
    """
    order = shuffled(len(pairs) * (2 if cross_lingual else 1), seed)
    for start in range(0, len(order), BATCH_ROWS):
        rows = order[start : start + BATCH_ROWS]
        chosen, added = rows % len(pairs), rows >= len(pairs)
        src_texts, trg_texts = pairs.src_texts.take(chosen), pairs.trg_texts.take(chosen)
        src_langs, trg_langs = pairs.src_langs.take(chosen), pairs.trg_langs.take(chosen)
        if added.any():
            others = pa.array(other_languages(_codes(src_langs), _codes(trg_langs), chosen, seed))
            trg_langs = pc.if_else(pa.array(added), others, trg_langs)
            if semantics == "strict":
                trg_texts = pc.if_else(pa.array(added), pa.scalar(None, pa.string()), trg_texts)
        extra = {"src_lang": src_langs, "trg_lang": trg_langs, "src_text": src_texts, "trg_text": trg_texts}
        further = pairs.further.take(chosen)
        prompts = translation_prompts(
            prompt,
            src_texts=src_texts,
            src_langs=src_langs,
            trg_langs=trg_langs,
            fences=pairs.src_texts.fences[chosen],
            columns=column_texts({name: extra.get(name, further[name]) for name in prompt.columns}),
        )
        kept = {name: column for name, column in further.items() if carried is None or name in carried}
        extra, schema = {**kept, **extra}, _with_columns(TRANSLATION_ROWS, kept)
        truths = pa.repeat(pa.scalar(""), len(rows))
        yield _verl_batch(schema, start, prompts, truths, data_source, "translation", split, extra)


def _with_columns(schema: pa.Schema, columns: Mapping[str, pa.Array]) -> pa.Schema:
    """The schema of verl's rows with these columns behind the others in extra_info, but for those it has."""
    info = schema.field("extra_info")
    own = list(info.type)
    names = {field.name for field in own}
    more = [pa.field(name, column.type) for name, column in columns.items() if name not in names]
    place = schema.get_field_index("extra_info")
    return schema.set(place, info.with_type(pa.struct([*own, *more]))) if more else schema


def _codes(languages: pa.StringArray) -> list[str]:
    return [base_language(language) for language in languages.to_pylist()]


def _verl_batch(
    schema: pa.Schema,
    start: int,
    prompts: pa.StringArray,
    truths: pa.StringArray,
    data_source: str,
    ability: str,
    split: str,
    extra: dict[str, pa.Array],
) -> pa.RecordBatch:
    """Put columns together."""
    count = len(prompts)

    def same(text: str) -> pa.StringArray:
        return pa.repeat(pa.scalar(text), count)

    messages = _struct(_MESSAGE, {"role": same("user"), "content": prompts})
    info = {**extra, "index": pa.array(np.arange(start, start + count)), "split": same(split)}
    return pa.RecordBatch.from_arrays(
        [
            same(data_source),
            as_lists(messages, np.arange(count + 1)),
            same(ability),
            _struct(_REWARD_MODEL, {"style": same("rule"), "ground_truth": truths}),
            _struct(schema.field("extra_info").type, info),
        ],
        schema=schema,
    )


def _struct(kind: pa.StructType, columns: dict[str, pa.Array]) -> pa.StructArray:
    return pa.StructArray.from_arrays([columns[field.name] for field in kind], fields=list(kind))


def write_rows(path: str | Path, batches: Iterator[pa.RecordBatch]) -> int:
    """Write batches, at least one, as one Parquet file, whole or not at all; return the number of rows.

    The next batch is made while one is written.
    """
    rows = 0
    with atomic_path(path) as partial, ThreadPoolExecutor(1) as maker:
        batch = next(batches)
        with pq.ParquetWriter(partial, batch.schema, compression="zstd") as writer:
            while batch is not None:
                following = maker.submit(next, batches, None)
                writer.write_batch(batch)
                rows += batch.num_rows
                batch = following.result()
    return rows
