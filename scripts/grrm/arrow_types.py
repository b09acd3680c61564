"""Columns of whatever Arrow types a writer chose, in those that are computed with here."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa


def usual_type(found: pa.DataType, *, decimals: bool = True) -> pa.DataType:
    """The type for one: no dictionaries and views, in lists and structs neither; decimals as floating point.

    Args:
        found: any type.
        decimals: whether these change.
    """
    if pa.types.is_dictionary(found):
        return usual_type(found.value_type, decimals=decimals)
    if decimals and pa.types.is_decimal(found):
        return pa.float64()
    if pa.types.is_struct(found):
        return pa.struct([field.with_type(usual_type(field.type, decimals=decimals)) for field in found])
    if is_list(found):
        below = usual_type(found.value_type, decimals=decimals)
        return found if below == found.value_type and not _is_view(found) else pa.list_(below)
    for view, usual in (("is_string_view", pa.string()), ("is_binary_view", pa.binary())):
        if _is(view, found):
            return usual
    return found


def usual(values: Any, *, decimals: bool = True) -> Any:
    """An array, chunked or not, in the type that `usual_type` gives for its own."""
    wanted = usual_type(values.type, decimals=decimals)
    if wanted == values.type:
        return values
    try:
        return values.cast(wanted)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        # What this Arrow cannot cast (dictionaries in lists, among others), value by value.
        plain = [_plain(value, decimals) for value in values.to_pylist()]
        array = pa.array(plain, wanted)
        return pa.chunked_array([array]) if isinstance(values, pa.ChunkedArray) else array


def is_list(found: pa.DataType) -> bool:
    """Whether values are lists, in any of the forms there are."""
    forms = ("is_list", "is_large_list", "is_fixed_size_list", "is_list_view", "is_large_list_view")
    return any(_is(form, found) for form in forms)


def is_text(found: pa.DataType) -> bool:
    """Whether values are texts, in any of the forms there are."""
    return any(_is(form, found) for form in ("is_string", "is_large_string", "is_string_view"))


def _is_view(found: pa.DataType) -> bool:
    return _is("is_list_view", found) or _is("is_large_list_view", found)


def _is(form: str, found: pa.DataType) -> bool:
    """What pyarrow.types says of a type; older ones do not know views."""
    test: Callable[[pa.DataType], bool] | None = getattr(pa.types, form, None)
    return test is not None and bool(test(found))


def _plain(value: Any, decimals: bool) -> Any:
    if isinstance(value, list):
        return [_plain(item, decimals) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item, decimals) for key, item in value.items()}
    return float(value) if decimals and isinstance(value, Decimal) else value
