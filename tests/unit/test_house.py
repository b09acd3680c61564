"""How large the product's pieces may grow (what is longer is divided), and what import-linter cannot see."""

from __future__ import annotations

import ast
import re
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted([*(ROOT / "scripts").rglob("*.py"), *(ROOT / "rules").glob("*.smk"), ROOT / "Snakefile"])

LONGEST_FILE = 500
LONGEST_FUNCTION = 80
USUAL_FUNCTION = 50
SHARE_ABOVE_USUAL = 0.01


class Function(NamedTuple):
    place: str
    name: str
    lines: int

    def __str__(self) -> str:
        return f"{self.place}: {self.name} has {self.lines} lines"


def definitions(text: str) -> Iterator[str]:
    """The functions of a rule file, which is no Python as a whole."""
    lines = text.splitlines()
    for start, line in enumerate(lines):
        if match := re.match(r"( *)def ", line):
            # A line that stands no further in ends it, unless it closes the signature.
            over = re.compile(rf" {{0,{len(match[1])}}}[^\s)]")
            rest = next((i for i in range(start + 1, len(lines)) if over.match(lines[i])), len(lines))
            yield textwrap.dedent("\n".join(lines[start:rest]))


def functions(path: Path) -> Iterator[Function]:
    text = path.read_text(encoding="utf-8")
    for piece in [text] if path.suffix == ".py" else definitions(text):
        for node in ast.walk(ast.parse(piece)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                lines = node.end_lineno - node.lineno + 1
                yield Function(str(path.relative_to(ROOT)), node.name, lines)


@pytest.fixture(scope="module")
def longest() -> list[Function]:
    found = [function for path in FILES for function in functions(path)]
    return sorted(found, key=lambda function: -function.lines)


def test_no_file_is_too_long() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    long = {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > LONGEST_FILE}
    assert not long, f"more than {LONGEST_FILE} lines: {long}"


def test_no_function_is_too_long(longest: list[Function]) -> None:
    long = [str(function) for function in longest if function.lines > LONGEST_FUNCTION]
    assert not long, f"more than {LONGEST_FUNCTION} lines:\n" + "\n".join(long)


def test_few_functions_are_long(longest: list[Function]) -> None:
    long = [str(function) for function in longest if function.lines > USUAL_FUNCTION]
    most = int(len(longest) * SHARE_ABOVE_USUAL)
    assert len(long) <= most, (
        f"{len(long)} of {len(longest)} functions have more than {USUAL_FUNCTION} lines, "
        f"at most {most} may:\n" + "\n".join(long)
    )


RULES = """
rule one:
    output: "a"


if FORK:

    def f(
        a,
    ):
        b = a

        return b

    rule two:
        output: "b"
"""


def test_functions_of_rule_files_are_measured() -> None:
    [piece] = definitions(RULES)
    assert ast.unparse(ast.parse(piece)) == "def f(a):\n    b = a\n    return b"
    assert {function.place for path in FILES for function in functions(path)} >= {"rules/common.smk"}


def test_everything_that_planning_imports_is_held_light() -> None:
    """import-linter reads no rule files: what they import has to be named to it."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    [planning] = [one for one in contracts["contracts"] if one["name"].startswith("Planning")]
    held = tuple(planning["source_modules"])
    texts = [path.read_text(encoding="utf-8") for path in FILES if path.suffix != ".py"]
    imported = {
        found for text in texts for found in re.findall(r"^\s*(?:from|import) (grrm[\w.]*)", text, re.M)
    }
    assert len(imported) > 5
    assert {name for name in imported if not any(f"{name}.".startswith(f"{one}.") for one in held)} == set()
