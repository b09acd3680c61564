"""Backends: a server's over real HTTP; what is refused before anything is loaded."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from grrm.files import UserError
from grrm.inference import Completion, Decoding, Engine, Request, open_backend
from judge_server import Act, JudgeServer, completion
from serving import serving

# ---------------------------------------------------------------- a server


GREEDY = Decoding(9)


def ask(server: JudgeServer, *requests: Request, decoding: Decoding = GREEDY) -> list[Completion]:
    engine = Engine(base_url=server.url, key_variable="TEST_KEY", call_retries=0)
    with closing(open_backend("served", engine)) as backend:
        written = dict(backend.generate(requests, decoding))
    return [written[position] for position in range(len(requests))]


def test_a_server_is_asked_with_the_decoding_and_the_seed_of_each_request(monkeypatch):
    monkeypatch.setenv("TEST_KEY", "secret")
    with serving(lambda call: Act(f"to {call.prompt}", latency=0.1 if call.prompt == "a" else 0)) as server:
        written = ask(server, Request("a", 5), Request("b", 6), decoding=Decoding(9, 0.5, 1, 0.9))
    assert [completion.text for completion in written] == ["to a", "to b"]
    calls = sorted(server.calls, key=lambda call: call.prompt)
    assert calls[0].body == {
        "model": "served",
        "messages": [{"role": "user", "content": "a"}],
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 5,
    }
    assert calls[1].body["seed"] == 6
    assert calls[0].headers["authorization"] == "Bearer secret"


def test_completions_come_as_they_are_finished():
    with (
        serving(lambda call: Act("x", latency=0.5 if call.prompt == "a" else 0)) as server,
        closing(open_backend("served", Engine(base_url=server.url))) as backend,
    ):
        order = [position for position, _ in backend.generate([Request("a"), Request("b")], GREEDY)]
    assert order == [1, 0]


def test_a_cut_answer_of_a_server_is_unfinished():
    body = completion("A: 1").replace(b'"stop"', b'"length"')
    assert b'"length"' in body
    with serving(lambda _: Act(raw=body)) as server:
        (written,) = ask(server, Request("a"))
    assert (written.text, written.failure) == ("A: 1", "unfinished")


def test_what_is_to_be_continued_goes_to_the_other_address():
    raw = b'{"choices": [{"text": "weiter", "finish_reason": "stop"}]}'
    with serving(lambda _: Act(raw=raw)) as server:
        (written,) = ask(server, Request("go on <zh>", chat=False))
    assert written == Completion("weiter")
    (call,) = server.calls
    assert (call.path, call.prompt) == ("/v1/completions", "go on <zh>")
    assert "messages" not in call.body


@pytest.mark.parametrize(
    ("act", "failure"),
    [(Act(status=400, raw=b"too long"), "rejected"), (Act(raw=b'{"choices": []}'), "malformed")],
)
def test_a_request_that_a_server_cannot_answer_is_a_failure_of_its_own(act, failure):
    with serving(lambda call: act if call.prompt == "a" else Act("x")) as server:
        first, second = ask(server, Request("a"), Request("b"))
    assert (first.failure, second.failure) == (failure, None)
    assert first.detail


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_server_that_would_refuse_every_request_stops_the_run(status):
    with (
        serving(lambda _: Act(status=status, raw=b"no such model")) as server,
        pytest.raises(UserError, match=rf"HTTP {status}.*no such model.*served.*TEST_KEY"),
    ):
        ask(server, Request("a"), Request("b"))


def test_where_a_model_is_served_is_its_origin_without_what_may_be_secret():
    engine = Engine(base_url="http://user:word@127.0.0.1:9/v1?key=k")
    with closing(open_backend("served", engine)) as backend:
        assert backend.origin() == {"model": "served", "weights": "http://127.0.0.1:9/v1"}
        assert backend.context() is None


# ---------------------------------------------------------------- model folders


@pytest.mark.parametrize(
    ("missing", "named"),
    [("config.json", "config.json"), ("tokenizer.json", "a tokenizer"), ("model.safetensors", "weights")],
)
def test_an_incomplete_model_folder_is_named_before_anything_is_loaded(tmp_path, missing, named):
    for name in {"config.json", "model.safetensors", "tokenizer.json"} - {missing}:
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=f"{tmp_path}.*it lacks.*{named}"):
        open_backend(tmp_path)


def test_without_vllm_the_error_says_where_it_is(tmp_path):
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"rl_cuda.*vllm_cpu"):
        open_backend(tmp_path, Engine("vllm"))
