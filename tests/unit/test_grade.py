"""Grading with a trained judge: asked as it was trained, resumed when interrupted, never a guessed score."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from grrm import cli
from grrm.data.judge_data import export_data
from grrm.files import UserError, read_jsonl, write_jsonl
from grrm.inference import Completion, Decoding, Request, Retries, grading
from grrm.inference.agreement import Agreement
from grrm.inference.journal import rows_digest
from grrm.judges.card import BradleyTerry, JudgeCard, Pairwise, Pointwise, write_card
from judge_server import Act, JudgeServer

ROOT = Path(__file__).parents[2]


def prompt(name: str) -> dict[str, str]:
    content: dict[str, str] = yaml.safe_load((ROOT / f"config/prompts/{name}.yaml").read_text())
    return content


POINTWISE = Pointwise(prompt("toy_pointwise"), 0, 4, 64, 16)
PAIRWISE = Pairwise(prompt("toy_pairwise"), both_orders=True, max_prompt_length=64, max_new_tokens=16)


class Scripted:
    """A backend that answers by a function of the prompt, and keeps what it was asked."""

    def __init__(self, answer: Callable[[str], str | Completion]) -> None:
        self.asked: list[str] = []
        self._answer = answer

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
        for position, request in enumerate(requests):
            self.asked.append(request.text)
            answer = self._answer(request.text)
            yield position, answer if isinstance(answer, Completion) else Completion(answer)

    def origin(self) -> dict[str, Any]:
        return {"model": "scripted", "weights": "none"}

    def other_files(self) -> dict[str, str]:
        return {}

    def context(self) -> int | None:
        return None

    def close(self) -> None:
        pass


def row(*responses: str, question: str = "?") -> dict[str, Any]:
    return grading.read_row({"question": question, "responses": list(responses)}, "row")


def graded(
    answer: Callable[[str], str | Completion],
    rows: Sequence[dict[str, Any]],
    used: Pointwise | Pairwise = POINTWISE,
    **options: Any,
) -> list[grading.Grade]:
    results = dict(grading.grade_each(Scripted(answer), rows, used, Decoding(16), **options))
    return [results[number] for number in range(len(rows))]


def by_length(text: str) -> str:
    """Prefers the longer one of two responses."""
    first, second = re.findall(r"^[AB]: (.*)$", text, re.MULTILINE)
    if len(first) == len(second):
        return "<better>tie</better>"
    return f"<think>lengths</think><better>{'A' if len(first) > len(second) else 'B'}</better>"


# ---------------------------------------------------------------- scores


def test_every_response_gets_a_score_with_its_reason() -> None:
    (result,) = graded(lambda text: f"<think>{text[-1]}</think><score>{text[-1]}</score>", [row("3", "0")])
    assert (result.scores, result.ranks, result.failure) == ([3, 0], [1, 2], None)
    assert result.judgements[0].reason == "<think>3</think><score>3</score>"


def test_an_answer_without_a_score_is_a_failure_and_the_others_stay() -> None:
    (result,) = graded(lambda text: "fine" if "bad" in text else "<score>2</score>", [row("good", "bad")])
    assert (result.scores, result.ranks, result.failure) == ([2, None], [1, None], "unparsable")
    assert result.judgements[1].reason == "fine"
    assert "no complete <score>" in (result.judgements[1].detail or "")


@pytest.mark.parametrize("said", ["<score>5</score>", "<score>-1</score>", "<score>2.5</score>", "<score>"])
def test_what_is_off_the_scale_is_no_score(said: str) -> None:
    assert graded(lambda _: said, [row("x")])[0].scores == [None]


def test_a_cut_answer_is_never_read() -> None:
    (result,) = graded(lambda _: Completion("<score>2</score>", "unfinished", "cut"), [row("x")])
    assert (result.scores, result.failure) == ([None], "unfinished")


def test_a_servers_failure_comes_first_so_that_the_row_is_asked_about_again() -> None:
    answers = iter(["nonsense", Completion("", "timeout", "60 s")])
    (result,) = graded(lambda _: next(answers), [row("x", "y")])
    assert result.failure == "timeout"


def test_the_judge_sees_the_whole_conversation_and_a_reference_only_if_it_is_to() -> None:
    judge = Scripted(lambda _: "<score>1</score>")
    turns = [
        {"role": role, "content": text} for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"))
    ]
    table = [grading.read_row({"messages": turns, "response": "r", "reference": "good"}, "row")]
    for reference in (False, True):
        dict(grading.grade_each(judge, table, POINTWISE, Decoding(16), reference=reference))
    assert "User: a\n\nAssistant: b\n\nUser: c" in judge.asked[0]
    assert ["good" in text for text in judge.asked] == [False, True]


# ---------------------------------------------------------------- comparisons


def test_responses_are_ranked_by_comparing_them_in_both_orders() -> None:
    judge = Scripted(by_length)
    ((_, result),) = grading.grade_each(judge, [row("bb", "cccc", "a", "ddd")], PAIRWISE, Decoding(16))
    assert result.ranks == [3, 1, 4, 2]
    assert len(judge.asked) == len(set(judge.asked)) == 12


def test_a_judge_that_always_says_a_prefers_nobody() -> None:
    (result,) = graded(lambda _: "<better>A</better>", [row("x", "y", "z")], PAIRWISE)
    assert (result.scores, result.ranks) == ([0, 0, 0], [1, 1, 1])


def test_one_order_is_asked_where_the_training_had_one() -> None:
    one = Pairwise(PAIRWISE.prompt, both_orders=False, max_prompt_length=64, max_new_tokens=16)
    (result,) = graded(by_length, [row("bb", "cccc", "a")], one)
    assert (result.ranks, len(result.judgements)) == ([2, 1, 3], 3)


def test_where_one_order_is_asked_no_index_has_an_advantage() -> None:
    one = Pairwise(PAIRWISE.prompt, both_orders=False, max_prompt_length=64, max_new_tokens=16)
    rows = [row(f"x{i}", f"y{i}", question=str(i)) for i in range(100)]
    turned = [row(f"y{i}", f"x{i}", question=str(i)) for i in range(100)]
    results = graded(lambda _: "<better>A</better>", rows, one)
    assert 30 < sum(result.ranks == [1, 2] for result in results) < 70
    again = graded(lambda _: "<better>A</better>", turned, one)
    assert all(result.scores[::-1] == other.scores for result, other in zip(results, again, strict=True))


def test_a_missing_comparison_is_no_tie() -> None:
    (result,) = graded(
        lambda text: "?" if "cccc" in text else by_length(text), [row("bb", "cccc", "a")], PAIRWISE
    )
    assert (result.ranks, result.failure) == ([1, None, 2], "unparsable")
    (alone,) = graded(lambda _: "?", [row("bb", "a")], PAIRWISE)
    assert (alone.scores, alone.ranks) == ([None, None], [None, None])


def test_a_lone_response_cannot_be_compared() -> None:
    with pytest.raises(UserError, match="row 0: one response"):
        graded(by_length, [row("x")], PAIRWISE)


# ---------------------------------------------------------------- rows and cards


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"response": "x"}, "expected question"),
        ({"question": "?", "response": ""}, "response is ''; expected a text"),
        ({"question": "?"}, "expected question or messages and response or responses"),
        ({"question": "?", "responses": ["x", 7]}, r"responses\[1\] is 7; expected a text"),
        ({"messages": [{"role": "robot", "content": "x"}], "response": "x"}, "messages"),
        ({"question": "?", "response": "x", "reference": 7}, "reference is 7"),
        ({"question": "?", "response": "x \ud83d"}, "without NUL and half characters"),
    ],
)
def test_a_row_that_cannot_be_graded_is_named(content: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=f"line 3: .*{words}"):
        grading.read_row(content, "line 3")


def test_rows_are_told_apart_as_ever_so_that_earlier_journals_go_on() -> None:
    rows = [
        {"id": "a1", "question": "2 + 2?", "response": "4", "score": 3},
        {
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "[q"}],
            "responses": ["4", "[5"],
            "reference": "4",
        },
    ]
    digest = rows_digest([grading.read_row(row, "row") for row in rows])
    assert digest == "c7086b12c412594940c0daf36350e29b62dcce5f13802a40bacd80f4227ea873"


# ---------------------------------------------------------------- agreement with labels


def agreement(used: Pointwise | Pairwise | BradleyTerry, *rows: tuple[dict[str, Any], list[Any]]) -> str:
    """What is said about rows with labels, and the scores that they got."""
    found = Agreement([grading.read_candidates(row, "row") for row, _ in rows], used)
    for index, (_, scores) in enumerate(rows):
        found.add(index, scores)
    return str(found)


def test_agreement_with_preferences_counts_ties_and_missing_grades() -> None:
    chosen = {"chosen": "good", "rejected": "bad"}
    tie = {"context": "?", "response1": "a", "response2": "b", "overall_preference": 0}
    rows: list[tuple[dict[str, Any], list[Any]]] = [
        (chosen, [0.5, -0.5]),
        (chosen, [-0.5, 0.5]),
        (chosen, [1.0, None]),
        (tie, [0.0, 0.0]),
    ]
    for used in (PAIRWISE, POINTWISE, BradleyTerry(64)):
        assert agreement(used, *rows) == "agreement with the labels: preferences 50.0 % [0.0, 100.0], n = 4"
    assert "preferences 100.0 % [100.0, 100.0], n = 1" in agreement(PAIRWISE, rows[0])


def test_agreement_with_points() -> None:
    rows: list[tuple[dict[str, Any], list[Any]]] = [
        ({"question": "?", "response": str(n), "score": n}, [said])
        for n, said in enumerate([0, 1, 3, 2, None])
    ]
    said = agreement(POINTWISE, *rows)
    assert re.search(r"the very points 40\.0 % \[[\d.]+, [\d.]+\], n = 5", said)
    assert re.search(r"correlation of points 0\.80 \[-?[\d.]+, [\d.]+\], n = 4", said)
    assert "preferences" not in said
    assert "very points" not in agreement(BradleyTerry(64), *rows)
    assert agreement(PAIRWISE, *rows) == ""  # points of one response order nothing
    three = {"question": "?", "responses": ["a", "b", "c"], "scores": [1, 2, 3]}
    assert "preferences 66.7 %" in agreement(PAIRWISE, (three, [0.2, 0.1, 0.5]))


def test_without_labels_nothing_is_said_about_them() -> None:
    assert agreement(POINTWISE, ({"question": "?", "responses": ["a", "b"], "score": "high"}, [1, 2])) == ""


@pytest.fixture
def judge(tmp_path: Path) -> Path:
    """A folder with the card of a judge; a server has the model."""
    folder = tmp_path / "judge"
    folder.mkdir()
    write_card(folder / "judge.json", JudgeCard(POINTWISE, PAIRWISE, stage="judge_sft"))
    return folder


def test_a_judge_with_two_modes_needs_to_be_told_and_one_without_a_card_is_refused(judge: Path) -> None:
    with pytest.raises(UserError, match="pointwise and pairwise; say which"):
        grading.judge_use(judge, None)
    with pytest.raises(UserError, match="not for bradley_terry"):
        grading.judge_use(judge, "bradley_terry")
    with pytest.raises(UserError, match="no such file"):
        grading.judge_use(judge.parent, None)


def test_a_bradley_terry_judge_cannot_be_asked_over_chat() -> None:
    engine = grading.Engine(base_url="http://127.0.0.1:1/v1")
    with pytest.raises(UserError, match="writes no text"):
        grading.open_judge("judge", engine, BradleyTerry(64))


def test_a_servers_judge_needs_its_card() -> None:
    with pytest.raises(UserError, match="--card"):
        cli.main(["grade", "--model", "judge", "--base-url", "http://127.0.0.1:1/v1"])


# ---------------------------------------------------------------- the command


async def run_grade(
    server: JudgeServer, judge: Path, *flags: str, stdin: str = "", kill_at: int | None = None
) -> tuple[int, str, str]:
    """Status, output and errors of `grrm grade`; ended after `kill_at` calls if that is given."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "grrm.cli", "grade", "--model", "judge", "--card", str(judge)),
        *("--base-url", server.url, *flags),
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "NO_PROXY": "*"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    if kill_at is not None:
        while len(server.calls) < kill_at:
            assert process.returncode is None, await process.communicate()
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
    return process.returncode or 0, out.decode(), err.decode()


def test_from_standard_input_to_standard_output(judge: Path) -> None:
    async def run() -> tuple[int, str, str]:
        async with JudgeServer(lambda call: Act("<score>" + call.prompt[-1] + "</score>")) as server:
            rows = [{"id": f"r{n}", "question": "?", "response": f"is {n}"} for n in (4, 0, 9)]
            lines = "".join(json.dumps(line) + "\n" for line in rows)
            return await run_grade(server, judge, "--mode", "pointwise", "--retries", "0", stdin=lines)

    status, out, err = asyncio.run(run())
    results = [json.loads(line) for line in out.splitlines()]
    assert [(line["id"], line["scores"], line["failure"]) for line in results] == [
        ("r4", [4], None),
        ("r0", [0], None),
        ("r9", [None], "unparsable"),
    ]
    assert status == 1  # some could not be used
    assert "2 of 3 answers are usable" in err


def test_a_server_that_does_not_answer_is_said_with_the_last_call(judge: Path, tmp_path: Path) -> None:
    table, output = tmp_path / "rows.jsonl", tmp_path / "grades.jsonl"
    write_jsonl(table, [{"question": "?", "responses": ["a", "b"]}])
    flags = ("--input", str(table), "--output", str(output), "--mode", "pairwise", "--call-retries", "0")
    command = ["grade", "--model", "judge", "--card", str(judge), "--base-url", "http://127.0.0.1:9", *flags]
    with pytest.raises(UserError, match=r"1 of 1 rows .* \(1 connection; of the last: ConnectError: "):
        cli.main(command)


def test_an_interrupted_run_goes_on_and_asks_about_no_row_twice(judge: Path, tmp_path: Path) -> None:
    table, output = tmp_path / "rows.jsonl", tmp_path / "grades.jsonl"
    write_jsonl(table, ({"question": f"q{n}", "responses": ["long", "x"]} for n in range(12)))
    flags = ("--mode", "pairwise", "--input", str(table), "--output", str(output), "--concurrency", "2")

    async def run() -> list[str]:
        async with JudgeServer(lambda call: Act(by_length(call.prompt), latency=0.02)) as server:
            status, _, err = await run_grade(server, judge, *flags, kill_at=11)
            assert status != 0
            assert not output.exists()
            kept = {line["index"] for line in read_jsonl(f"{output}.partial")[1:]}
            assert kept
            first = len(server.calls)
            status, _, err = await run_grade(server, judge, *flags)
            assert status == 0, err
            again = {call.prompt.split()[0] for call in server.calls[first:]}
            assert again == {f"q{n}" for n in range(12) if n not in kept}
            third = len(server.calls)
            assert (await run_grade(server, judge, *flags))[0] == 0
            assert len(server.calls) == third  # finished: nothing is asked
            return [call.prompt for call in server.calls]

    asyncio.run(run())
    results = read_jsonl(output)
    assert [line["index"] for line in results] == list(range(12))
    assert all(line["ranks"] == [1, 2] for line in results)
    write_jsonl(table, [{"question": "another", "responses": ["x", "y"]}])
    with pytest.raises(UserError, match="another input"):
        cli.main(
            ["grade", "--model", "judge", "--card", str(judge), *flags, "--base-url", "http://127.0.0.1:1"]
        )


def test_what_export_data_writes_is_graded_and_compared_with_its_labels(judge: Path, tmp_path: Path) -> None:
    rows = [{"chosen": f"{n} is longer", "rejected": f"{n}"} for n in range(6)]  # not even a prompt
    rows.append({"chosen": "7", "rejected": "7 is longer"})
    (path,) = export_data(rows, tmp_path, "pairwise", ["parquet"])
    output = tmp_path / "grades.jsonl"

    table = tmp_path / "rows.csv"
    table.write_text('prompt,chosen,rejected\n?,longer,short\n?,"longer, this",s\n')

    async def run() -> list[str]:
        errors = []
        async with JudgeServer(lambda call: Act(by_length(call.prompt))) as server:
            for flags in ([path], [path, "--output", output], [path, "--output", output], [table]):
                asked = len(server.calls)
                command = ["--mode", "pairwise", "--input", *map(str, flags)]
                status, _, err = await run_grade(server, judge, *command)
                assert status == 0, err
                errors.append(f"{len(server.calls) - asked} asked; {err}")
        return errors

    *exported, small = asyncio.run(run())
    assert all("agreement with the labels: preferences 85.7 %" in err for err in exported)
    assert [err.partition(" ")[0] for err in exported] == ["14", "14", "0"]
    assert len(read_jsonl(output)) == 7
    assert "preferences 100.0 % [100.0, 100.0], n = 2" in small


def test_a_server_that_does_not_know_the_judge_leaves_no_grades(judge: Path) -> None:
    async def run() -> tuple[int, str, str]:
        async with JudgeServer(lambda _: Act(status=404)) as server:
            line = json.dumps({"question": "?", "response": "x"})
            return await run_grade(server, judge, "--mode", "pointwise", stdin=line)

    status, out, err = asyncio.run(run())
    assert (status, out) == (2, "")
    assert "check the base URL, the model's name (judge)" in err
    assert "Traceback" not in err


def test_retries_ask_only_about_what_failed() -> None:
    said: dict[str, int] = {}

    def answer(text: str) -> str:
        said[text] = said.get(text, 0) + 1
        return "<score>3</score>" if "good" in text or said[text] == 2 else "hm"

    (result,) = graded(answer, [row("good", "late")], retries=Retries(1))
    assert result.scores == [3, 3]
    assert sorted(said.values()) == [1, 2]
