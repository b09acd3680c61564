"""Splitting rows so that those about the same thing stay together."""

from __future__ import annotations

import math
import random
from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from typing import TypeVar

from grrm.data.records import Record, conversation_key
from grrm.files import UserError

AnyRecord = TypeVar("AnyRecord", bound=Record)


def split_records(
    records: Sequence[AnyRecord], shares: Mapping[str, float], seed: int
) -> dict[str, list[AnyRecord]]:
    """Split records; those about one conversation, both orders of a comparison too, stay together.

    Args:
        records: what to split.
        shares: name of each part to its share of the records; they add up to 1.
        seed: of the shuffling.

    Raises:
        UserError: see `split_rows`; or a part with a share would be empty.
    """
    parts = split_rows([conversation_key(record) for record in records], shares, seed)
    if empty := [name for name, numbers in parts.items() if not numbers and shares[name] > 0]:
        raise UserError(f"{len(records)} rows are too few for a share {empty[0]} of {shares[empty[0]]}")
    return {name: [records[number] for number in numbers] for name, numbers in parts.items()}


def split_rows(keys: Sequence[Hashable], shares: Mapping[str, float], seed: int) -> dict[str, list[int]]:
    """Split row numbers so that rows with equal keys stay together.

    Groups are shuffled; each goes to the first part that has room for it. So shares are met to the row where
    group sizes allow it, and else to less than one group. With groups of one row this is RM-Gallery's split.

    Args:
        keys: one per row.
        shares: name of each part to its share of the rows; they add up to 1 exactly, as decimal numbers.
        seed: of the shuffling.

    Raises:
        UserError: a share is negative, or they do not add up to 1.
    """
    usable = all(0 <= share < math.inf for share in shares.values())
    exact = {name: Fraction(str(share)) for name, share in shares.items()} if usable else {}
    if sum(exact.values()) != 1:
        raise UserError(
            f"shares of the split are {dict(shares)}; expected numbers from 0 that add up to 1, "
            f"not to {float(sum(shares.values())):g}"
        )
    groups: dict[Hashable, list[int]] = {}
    for number, key in enumerate(keys):
        groups.setdefault(key, []).append(number)
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    room, end, so_far = {}, 0, Fraction(0)
    for name, share in exact.items():
        so_far += share
        room[name] = int(len(keys) * so_far) - end
        end += room[name]
    parts: dict[str, list[int]] = {name: [] for name in shares}
    for group in order:
        name = next((name for name in room if room[name] >= len(group)), None) or max(
            room, key=room.__getitem__
        )
        parts[name].extend(group)
        room[name] -= len(group)
    return parts
