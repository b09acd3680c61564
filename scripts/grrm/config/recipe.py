"""What the section `recipe` says: the published recipe that an experiment follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def recipe_name(recipe: Mapping[str, Any]) -> str:
    """What it is called wherever it appears."""
    return str(recipe["title"]) if recipe["exact"] else f"in the style of {recipe['title']}"


def unnamed_choices(config: Mapping[str, Any]) -> Iterator[str]:
    """A recipe of which not all is published says what was chosen here."""
    recipe = config.get("recipe")
    if recipe is not None and not recipe["exact"] and not recipe.get("open"):
        yield "recipe.open is missing, expected what is not published, as recipe.exact is false"
