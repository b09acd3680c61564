"""docs/configuration.md is the schema, key by key."""

from __future__ import annotations

import re

from configurations import ROOT
from document_config import document
from grrm.config import load_schema

SCHEMA = load_schema(ROOT / "config/schemas/config.schema.yaml")
PAGE = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")


def test_the_page_is_up_to_date() -> None:
    assert document(SCHEMA) == PAGE, "run `make docs`"


def test_every_section_has_its_table() -> None:
    sections = {name for name, part in SCHEMA["properties"].items() if "properties" in part or "$ref" in part}
    assert set(re.findall(r"^## (\w+)$", PAGE, re.M)) == sections


def test_a_row_gives_allowed_values_default_and_a_sentence() -> None:
    assert "| `clip_low` | number above 0 | `0.0003` | GSPO lower clip of the sequence ratio. |" in PAGE
    assert (
        '| `reward.placement` | `dedicated` or `colocated` or `endpoint` or `policy` | `"dedicated"` | '
        in PAGE
    )
    assert "| `validation.steps` | whole number from 1 |  | Training steps between validations. |" in PAGE


def test_every_overlay_is_named() -> None:
    for path in (ROOT / "config").glob("*.yaml"):
        if "\nexperiment:" in path.read_text(encoding="utf-8") and path.stem != "config":
            assert f"`{path.name}`" in PAGE
