"""YAML as the project reads it: what could be taken otherwise than it is meant is refused, in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from configurations import ROOT, experiment
from grrm.config import load_experiment, resolve_experiment
from grrm.files import UserError, read_yaml
from grrm.yaml_text import parse_yaml, unusable

SCHEMA = ROOT / "config/schemas/config.schema.yaml"
OURS = sorted(
    path
    for folder in ("config", "envs", "slurm")
    for path in (ROOT / folder).glob("**/*.yaml")
    if path.is_file()
)


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_of_the_project_is_read_as_any_reader_reads_it(path: Path) -> None:
    assert read_yaml(path) == yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", "line 3, column 1: the key 'a' stands twice, first in line 1"),
        ('a: {b: 1, "b": 2}', "the key 'b' stands twice"),
        ("x:\n  on: 1", "line 2, column 3: the key on is read as bool: put it in quotes"),
        ("1: a", "the key 1 is read as int"),
        ("null: a", "the key null is read as null"),
        ("? [a]\n: b", "a key that is no text"),
        ("a: [1, .nan]", "key 'a.1' is nan, expected a finite number"),
        ("a: {b: -.inf}", "key 'a.b' is -inf"),
        ("a: 2026-01-01", "line 1, column 4: 2026-01-01 is read as a date: put it in quotes"),
        ("a: 2026-13-45", "2026-13-45 is read as a date"),
        ("runtime: 24:00:00", "line 1, column 10: 24:00:00 is read as a number of base 60: put it in quotes"),
        ("a: -1:30.5", "-1:30.5 is read as a number of base 60"),
        ("a: [010]", "010 is read as a number of base 8: put it in quotes"),
        ("a: " + "9" * 5000, "a number of 5000 digits"),
        ("a: 0x1" + "0" * 20, "a number of 81 bits, expected one of 63 at most"),
        ('a: "x\\0y"', "key 'a' is 'x\\x00y', expected text without the character NUL"),
        ('"x\\0": 1', "the key 'x\\x00', which is 'x\\x00', expected text without"),
        ("[" * 300_000, "line 1, column 101: more than 100 levels deep"),
        ("a: &a [*a]", "more than 100 levels deep"),
        ("a: [", "line 2, column 1: while parsing a flow node, did not find expected node content"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("a: \ud800", "surrogates not allowed"),
        ("a: \x07", "control characters are not allowed"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
        (
            "\n".join(
                ["a0: &a0 [1]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 20)}]" for n in range(1, 9))]
            ),
            "more than 1000000 values",
        ),
    ],
)
def test_what_is_refused_is_named_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(yaml.YAMLError) as caught:
        parse_yaml(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    path = tmp_path / "given.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError, match=r"given\.yaml(: |, line 1: not UTF-8)") as error:
        read_yaml(path)
    assert "\n" not in str(error.value)


def test_a_merged_section_may_be_overridden() -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *b, y: 4}"
    assert parse_yaml(text)["c"] == {"x": 3, "y": 4}


_VALUES: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\ufffe\uffff")),
    lambda parts: st.lists(parts) | st.dictionaries(st.text("abcé.-:", min_size=1), parts),
    max_leaves=20,
)


@given(_VALUES)
def test_what_is_usable_is_written_and_read_back(value: Any) -> None:
    assert list(unusable(value)) == []
    assert parse_yaml(yaml.safe_dump(value, allow_unicode=True)) == value


@given(st.dictionaries(st.text("abc", min_size=1), st.integers(), min_size=1), st.data())
def test_any_key_that_stands_twice_is_found(value: dict[str, int], data: st.DataObject) -> None:
    twice = data.draw(st.sampled_from(sorted(value)))
    lines = [f"{key}: {number % 100}" for key, number in value.items()]
    lines.insert(data.draw(st.integers(0, len(lines))), f"{twice}: 7")
    with pytest.raises(yaml.YAMLError, match=f"the key '{twice}' stands twice"):
        parse_yaml("\n".join(lines))


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        parse_yaml(text)
    except yaml.YAMLError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"mt_grpo": {"learning_rate": float("nan")}},
            "key 'mt_grpo.learning_rate' is nan, expected",
        ),
        ({"mt_grpo": {"learning_rate": float("inf")}}, "key 'mt_grpo.learning_rate' is inf"),
        ({"seed": 10**4000}, "key 'seed' is a number of 13288 bits"),
        ({"data": {"downloads": "a\0b"}}, "key 'data.downloads' is 'a\\x00b'"),
        ({"resources": {True: 1}}, "key 'resources' has the key True, which is no text"),
    ],
)
def test_a_configuration_that_another_reader_read_is_held_to_the_same(change: Any, words: str) -> None:
    with pytest.raises(UserError) as error:
        load_experiment(ROOT, changes=change)
    assert words in str(error.value)


def test_files_that_another_reader_read_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("seed: 1\nseed: 2\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"mine\.yaml: not valid YAML \(line 2, .*'seed' stands twice"):
        resolve_experiment({**experiment(), "seed": 2}, SCHEMA, files=[path])
