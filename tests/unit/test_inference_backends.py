"""Backends: a server's over real HTTP; vLLM's calls against a stand-in for its documented API."""

from __future__ import annotations

import sys
import types
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


# ---------------------------------------------------------------- vLLM


@dataclass
class Asked:
    """What the stand-in was given."""

    engine: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[Any, Any, dict[str, Any]]] = field(default_factory=list)


class Tokenizer:
    """One token per character; of a chat, a mark at either end."""

    eos_token_id, chat_template, name_or_path = 2, "template", "folder"

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [ord(character) for character in text]}

    def apply_chat_template(self, messages: Any, **options: Any) -> dict[str, list[int]]:
        assert options == {"add_generation_prompt": True, "tokenize": True, "return_dict": True}
        return {"input_ids": [1, *self(messages[0]["content"])["input_ids"], 3]}

    def get_vocab(self) -> dict[str, int]:
        return {"<|im_end|>": 7}


@pytest.fixture
def vllm(monkeypatch, tmp_path) -> Asked:
    """`vllm.LLM` and `vllm.SamplingParams` of vLLM 0.24, as far as they are used: names and keywords of
    arguments, shapes of answers. vLLM itself needs a GPU."""
    asked = Asked()

    class SamplingParams:
        def __init__(
            self, *, max_tokens: int, temperature: float, top_p: float, seed: int, stop_token_ids: list[int]
        ) -> None:
            self.values = (max_tokens, temperature, top_p, seed, stop_token_ids)

    class LLM:
        def __init__(
            self,
            model: str,
            *,
            tensor_parallel_size: int,
            gpu_memory_utilization: float,
            max_model_len: int | None,
            enable_prefix_caching: bool,
        ) -> None:
            asked.engine = {key: value for key, value in locals().items() if key not in ("self", "asked")}
            config = types.SimpleNamespace(max_model_len=max_model_len or 20)
            self.llm_engine = types.SimpleNamespace(model_config=config)

        def get_tokenizer(self) -> Tokenizer:
            return Tokenizer()

        def generate(self, prompts: Any, sampling_params: Any, *, use_tqdm: bool) -> list[Any]:
            assert len(prompts) == len(sampling_params)
            assert not use_tqdm
            asked.calls.append((prompts, [params.values for params in sampling_params], {}))
            return [
                types.SimpleNamespace(
                    outputs=[
                        types.SimpleNamespace(
                            text=str(len(prompt["prompt_token_ids"])),
                            finish_reason="length" if prompt["prompt_token_ids"][1] == ord("c") else "stop",
                        )
                    ]
                )
                for prompt in prompts
            ]

    module = types.ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).touch()
    return asked


def test_vllm_is_given_tokens_and_parameters_of_each_request(vllm, tmp_path):
    engine = Engine("vllm", gpus=2, gpu_memory=0.7, max_model_len=15)
    with closing(open_backend(tmp_path, engine)) as backend:
        assert backend.context() == 15
        requests = [Request("ab", 5), Request("x" * 20, 6), Request("ccc", 7), Request("de", 8, chat=False)]
        written = dict(backend.generate(requests, Decoding(9, 0.5, 1, 0.9)))
    assert vllm.engine == {
        "model": str(tmp_path),
        "tensor_parallel_size": 2,
        "gpu_memory_utilization": 0.7,
        "max_model_len": 15,
        "enable_prefix_caching": True,
    }
    ((prompts, parameters, _),) = vllm.calls
    assert [prompt["prompt_token_ids"] for prompt in prompts] == [
        [1, ord("a"), ord("b"), 3],
        [1, ord("c"), ord("c"), ord("c"), 3],
        [ord("d"), ord("e")],
    ]
    assert parameters == [(9, 0.5, 0.9, seed, [2, 7]) for seed in (5, 7, 8)]
    assert [written[i].text for i in range(4)] == ["4", "", "5", "2"]
    assert [written[i].failure for i in range(4)] == [None, "prompt_too_long", "unfinished", None]


def test_vllm_gets_large_pieces_and_what_is_made_of_one_is_passed_on_before_the_next(vllm, tmp_path):
    with closing(open_backend(tmp_path, Engine("vllm", batch_size=1))) as backend:
        written = backend.generate([Request("a")] * 40, Decoding(9))
        next(written)
        assert [len(prompts) for prompts, _, _ in vllm.calls] == [32]
        assert len(list(written)) == 39
    assert [len(prompts) for prompts, _, _ in vllm.calls] == [32, 8]


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
    with pytest.raises(UserError, match="rl_cuda"):
        open_backend(tmp_path, Engine("vllm"))
