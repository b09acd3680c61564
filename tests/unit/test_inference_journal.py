"""Results on disk as they come: nothing lost, nothing twice, nothing mixed."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grrm.files import UserError, read_jsonl
from grrm.inference.backends import other_files
from grrm.inference.journal import Journal, Printer

SETTINGS = {"model": "m", "decoding": {"temperature": 0.0, "seed": 0}}


def result(run: int, index: int) -> dict[str, object]:
    return {"answer": f"{run}/{index}\u2028ü", "failure": None}


def test_a_finished_run_is_one_file_in_the_order_of_runs_and_rows(tmp_path):
    output = tmp_path / "new" / "out.jsonl"
    with Journal(output, SETTINGS, runs=2, rows=2) as journal:
        for run, index in [(1, 1), (0, 1), (0, 0), (1, 0)]:
            assert not output.exists()
            journal.add(run, index, result(run, index))
        journal.publish()
    found = read_jsonl(output)
    assert [(row["run"], row["index"]) for row in found] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [row["answer"] for row in found] == [result(row["run"], row["index"])["answer"] for row in found]
    assert [path.name for path in output.parent.iterdir()] == ["out.jsonl"]


@given(st.lists(st.integers(0, 5), unique=True, max_size=6), st.integers(0, 10**4))
def test_wherever_a_run_is_cut_off_it_goes_on_with_whole_results_only(tmp_path_factory, order, cut):
    output = tmp_path_factory.mktemp("journal") / "out.jsonl"
    with Journal(output, SETTINGS, runs=1, rows=6) as journal:
        for index in order:
            journal.add(0, index, result(0, index))
        path = journal.path
    content = path.read_bytes()
    path.write_bytes(content[: cut % (len(content) + 1)])
    with Journal(output, SETTINGS, runs=1, rows=6) as journal:
        kept = [row["index"] for row in journal.results()]
        assert set(kept) <= set(order)
        assert set(order[: len(kept)]) == set(kept)
        assert journal.missing() == [(0, index) for index in range(6) if index not in kept]
        for run, index in journal.missing():
            journal.add(run, index, result(run, index))
        journal.publish()
    assert [row["index"] for row in read_jsonl(output)] == list(range(6))
    assert not path.exists()


def test_other_settings_are_refused_while_a_run_is_unfinished(tmp_path):
    output = tmp_path / "out.jsonl"
    with Journal(output, SETTINGS, runs=1, rows=2) as journal:
        journal.add(0, 0, result(0, 0))
    kept = journal.path.read_bytes()
    hotter = {**SETTINGS, "decoding": {"temperature": 0.7, "seed": 0}}
    with pytest.raises(UserError, match=r"out.jsonl.partial.*decoding.temperature: 0.0 there, 0.7 now"):
        Journal(output, hotter, runs=1, rows=2)
    assert journal.path.read_bytes() == kept
    with Journal(output, hotter, runs=1, rows=2, overwrite=True) as journal:
        assert len(journal.missing()) == 2


def test_what_is_left_from_other_settings_can_be_discarded(tmp_path, capsys):
    output = tmp_path / "out.jsonl"
    with Journal(output, SETTINGS, runs=1, rows=2) as journal:
        journal.add(0, 0, result(0, 0))
    with Journal(output, SETTINGS, runs=1, rows=2, discard_stale=True) as journal:
        assert journal.missing() == [(0, 1)]
    assert capsys.readouterr().err == ""
    other = {**SETTINGS, "model": "n"}
    with Journal(output, other, runs=1, rows=2, discard_stale=True) as journal:
        assert journal.missing() == [(0, 0), (0, 1)]
        journal.add(0, 1, result(0, 1))
    assert 'out.jsonl.partial: holds the results of an interrupted run that differs in model: "m" there' in (
        capsys.readouterr().err
    )
    with Journal(output, other, runs=1, rows=2) as journal:
        assert journal.missing() == [(0, 0)]


def test_a_finished_output_is_left_as_it_is(tmp_path):
    output = tmp_path / "out.jsonl"
    with Journal(output, SETTINGS, runs=1, rows=1) as journal:
        journal.add(0, 0, {**result(0, 0), **SETTINGS})
        journal.publish()
    content = output.read_bytes()
    with Journal(output, SETTINGS, runs=1, rows=1) as journal:
        assert journal.finished
        assert journal.missing() == []
        assert [row["answer"] for row in journal.results()] == [result(0, 0)["answer"]]
        journal.publish()
    assert output.read_bytes() == content
    with pytest.raises(UserError, match=r'out\.jsonl: exists.*model: "m" there, "n" now'):
        Journal(output, {**SETTINGS, "model": "n"}, runs=1, rows=1)
    with pytest.raises(UserError, match=r"out\.jsonl: exists.*its rows"):
        Journal(output, {**SETTINGS, "rows_sha256": "0"}, runs=1, rows=1)
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


@pytest.mark.parametrize("content", ["", "a text\n", '{"some": "row"}\n', "[1]\n"])
def test_a_file_of_another_kind_is_not_touched(tmp_path, content):
    output = tmp_path / "out.jsonl"
    output.write_text(content)
    with pytest.raises(UserError, match="no output of this command"):
        Journal(output, SETTINGS, runs=1, rows=1)
    assert output.read_text() == content


def test_two_processes_do_not_write_the_same_output(tmp_path):
    with (
        Journal(tmp_path / "out", SETTINGS, runs=1, rows=1),
        pytest.raises(UserError, match="another process is writing it"),
    ):
        Journal(tmp_path / "out", SETTINGS, runs=1, rows=1)


def test_rows_made_of_the_results_can_be_published_in_their_place(tmp_path):
    with Journal(tmp_path / "out", SETTINGS, runs=1, rows=1) as journal:
        journal.add(0, 0, result(0, 0))
        journal.publish({"made": row["answer"]} for row in journal.results())
    (row,) = read_jsonl(tmp_path / "out")
    assert row["made"] == result(0, 0)["answer"]
    with Journal(tmp_path / "out", SETTINGS, runs=1, rows=1) as journal:
        assert journal.finished


def test_a_stream_gets_results_in_order_each_as_soon_as_it_can():
    stream = io.StringIO()
    printer = Printer(stream, lambda row: json.dumps([row["run"], row["index"]]), runs=2, rows=2)
    for key, printed in [((0, 1), 0), ((0, 0), 2), ((1, 1), 2)]:
        printer.add(*key, {})
        assert len(stream.getvalue().splitlines()) == printed
    printer.publish()  # (1, 0) has not come
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [[0, 0], [0, 1], [1, 1]]


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_what_no_journal_holds_is_said_with_its_line(tmp_path, number):
    output = tmp_path / "out.jsonl"
    with Journal(output, SETTINGS, runs=1, rows=2) as first:
        first.add(0, 0, result(0, 0))
    path = tmp_path / "out.jsonl.partial"
    good = path.read_bytes()
    path.write_bytes(good + b'{"index": 1, "run": 0, "score": %s, "text": "b"}\n' % number.encode())
    with pytest.raises(UserError, match=r"partial, line 3: not valid JSON .*; remove this line"):
        Journal(output, SETTINGS, runs=1, rows=2)
    path.write_bytes(good)
    with Journal(output, SETTINGS, runs=1, rows=2) as again:
        assert again.missing() == [(0, 1)]


def with_tokenizer(digest: str) -> dict[str, object]:
    return {**SETTINGS, "files": {"tokenizer.json": digest}}


def test_another_tokenizer_is_another_run_before_and_after_its_end(tmp_path):
    output = tmp_path / "out.jsonl"
    with Journal(output, with_tokenizer("a"), runs=1, rows=2) as journal:
        journal.add(0, 0, result(0, 0))
    with pytest.raises(UserError, match=r'differs in files\.tokenizer\.json: "a" there, "b" now'):
        Journal(output, with_tokenizer("b"), runs=1, rows=2)
    with Journal(output, with_tokenizer("a"), runs=1, rows=2) as journal:
        assert journal.missing() == [(0, 1)]
        journal.add(0, 1, result(0, 1))
        journal.publish()
    with Journal(output, with_tokenizer("a"), runs=1, rows=2) as journal:
        assert journal.finished
    with pytest.raises(UserError, match="made with other settings"):
        Journal(output, with_tokenizer("b"), runs=1, rows=2)


@pytest.mark.parametrize("done", [1, 2])
def test_what_was_left_before_tokenizers_were_noted_goes_on(tmp_path, done):
    output = tmp_path / "out.jsonl"
    with Journal(output, SETTINGS, runs=1, rows=2) as journal:
        for index in range(done):
            journal.add(0, index, result(0, index))
        if done == 2:
            journal.publish()
    with Journal(output, with_tokenizer("a"), runs=1, rows=2) as journal:
        assert journal.missing() == [(0, index) for index in range(done, 2)]
        for _, index in journal.missing():
            journal.add(0, index, result(0, index))
        journal.publish()
    assert len({row["settings"] for row in read_jsonl(output)}) == 1
    with Journal(output, with_tokenizer("a"), runs=1, rows=2) as journal:
        assert journal.finished


def test_files_beside_the_weights_are_those_that_make_prompts(tmp_path):
    for name in ("config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors", "README.md"):
        (tmp_path / name).write_text(name)
    (tmp_path / "training.json").write_text("{}")
    found = other_files(tmp_path)
    assert sorted(found) == ["chat_template.jinja", "config.json", "tokenizer.json"]
    (tmp_path / "chat_template.jinja").write_text("another")
    assert {name for name in found if found[name] != other_files(tmp_path)[name]} == {"chat_template.jinja"}


def test_a_seed_of_any_size_goes_on(tmp_path):
    settings = {**SETTINGS, "seed": 10**30}
    with Journal(tmp_path / "out", settings, runs=1, rows=2) as journal:
        journal.add(0, 0, {**result(0, 0), "seed": 10**30})
    with Journal(tmp_path / "out", settings, runs=1, rows=2) as journal:
        assert journal.missing() == [(0, 1)]
