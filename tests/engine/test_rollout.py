"""The rollout server: decoding, sampling, batching, aborting, weights, and its HTTP endpoint."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from grrm.sampling import (
    SamplingParams,
    draw,
    parse_sampling_params,
    processed_log_probs,
    uniform_draws,
)
from grrm.texts import ends_of_answer
from grrm.verl_plugin import generation, server
from grrm.verl_plugin.generation import Request, generate
from grrm.verl_plugin.server import ServerSettings, TransformersServer
from grrm.verl_plugin.weights import copy_weights

PROMPTS = [[5, 6, 7, 8], [40], [9, 10, 11, 12, 13, 14, 15], [5, 6, 7, 8], [100, 101]]


@pytest.fixture(scope="session")
def model(tiny_model: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


def settings(folder: Path, **changes: Any) -> ServerSettings:
    values = {"prompt_length": 32, "response_length": 16, "seed": 3, **changes}
    return ServerSettings(model_path=str(folder), tokenizer_path=str(folder), **values)


def serve(config: ServerSettings, use: Callable[[TransformersServer], Awaitable[Any]]) -> Any:
    """Run `use` against a fresh server in one event loop."""

    async def run() -> Any:
        instance = TransformersServer(config)
        try:
            return await asyncio.wait_for(use(instance), 60)
        finally:
            await instance.stop_server()

    return asyncio.run(run())


def request(prompt: Sequence[int], key: object = 0, **params: Any) -> Request:
    sampling = SamplingParams(**{"max_tokens": 12, "temperature": 0.0, **params})
    return Request(list(prompt), sampling, uniform_draws(sampling.max_tokens, repr(key)))


def run(model: PreTrainedModel, requests: list[Request], eos: Sequence[int] = ()) -> list[Request]:
    generate(model, requests, eos, pad_token_id=0)
    return requests


@torch.inference_mode()
def full_forward(model: PreTrainedModel, done: Request, temperature: float = 1.0) -> torch.Tensor:
    """Log-probabilities of the answer from one forward pass, without cache or padding."""
    ids = torch.tensor([done.prompt + done.tokens])
    logits = model(input_ids=ids).logits[0, len(done.prompt) - 1 : -1] / temperature
    return logits.log_softmax(-1).gather(1, ids[0, len(done.prompt) :, None])[:, 0]


# ---------------------------------------------------------------- decoding


def test_greedy_equals_transformers_generate_token_for_token(model: PreTrainedModel) -> None:
    done = run(model, [request(prompt, max_tokens=20) for prompt in PROMPTS])
    for got in done:
        ids = torch.tensor([got.prompt])
        expected = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=20,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert got.tokens == expected[0, len(got.prompt) :].tolist()
        assert got.finish_reason == "length"


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0, 1.3])
def test_log_probs_equal_a_full_forward(model: PreTrainedModel, temperature: float) -> None:
    done = run(
        model, [request(p, key, temperature=temperature) for key, p in enumerate(PROMPTS)], eos=range(20)
    )
    assert len({len(got.tokens) for got in done}) > 1, "rows should end at different times"
    for got in done:
        expected = full_forward(model, got, temperature or 1.0)
        torch.testing.assert_close(torch.tensor(got.log_probs), expected, atol=1e-5, rtol=0)


def test_raw_log_probs_are_the_models_own(model: PreTrainedModel) -> None:
    got = request(PROMPTS[0], temperature=0.5, top_k=3)
    generate(model, [got], (), 0, raw_log_probs=True)
    torch.testing.assert_close(torch.tensor(got.log_probs), full_forward(model, got), atol=1e-5, rtol=0)


def test_log_probs_of_a_truncated_distribution_are_renormalised(model: PreTrainedModel) -> None:
    [got] = run(model, [request(PROMPTS[0], temperature=1.0, top_k=1)])
    assert got.log_probs == pytest.approx([0.0] * len(got.tokens))


def test_a_row_does_not_depend_on_the_batch(model: PreTrainedModel) -> None:
    """Parameters of every kind side by side: each row is what it would be alone."""
    kinds: list[dict[str, Any]] = [
        {"temperature": 0.0},
        {"temperature": 1.0, "max_tokens": 3},
        {"temperature": 0.8, "top_p": 0.6},
        {"temperature": 1.5, "top_k": 4, "max_tokens": 30},
        {"temperature": 1.0, "stop_token_ids": tuple(range(100, 330))},
    ]
    jobs = [(p, (i, j), kind) for i, p in enumerate(PROMPTS) for j, kind in enumerate(kinds)]
    together = run(model, [request(p, key, **kind) for p, key, kind in jobs], eos=[2])
    for (prompt, key, kind), got in zip(jobs, together, strict=True):
        [alone] = run(model, [request(prompt, key, **kind)], eos=[2])
        assert (got.tokens, got.finish_reason) == (alone.tokens, alone.finish_reason)
        assert got.log_probs == pytest.approx(alone.log_probs, abs=1e-5)


def test_equal_prompts_share_one_prefill(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    forward = type(model).forward

    def counting(self: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
        rows.append(tuple(kwargs["input_ids"].shape))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model), "forward", counting)
    run(model, [request(PROMPTS[0], key, temperature=1.0) for key in range(6)])
    assert rows[0] == (1, 4)
    assert rows[1] == (6, 1)


def test_finished_rows_are_dropped(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    forward = type(model).forward

    def counting(self: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
        rows.append(len(kwargs["input_ids"]))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model), "forward", counting)
    run(model, [request(p, max_tokens=n) for p, n in zip(PROMPTS, (2, 2, 3, 9, 20), strict=True)])
    assert rows[1:3] == [5, 3]
    assert rows[-1] == 1


# ---------------------------------------------------------------- ends


def test_a_stop_token_ends_the_answer_and_stays_in_it(model: PreTrainedModel) -> None:
    [free] = run(model, [request(PROMPTS[0])])
    stop = free.tokens[4]
    first = free.tokens.index(stop)
    [got] = run(model, [request(PROMPTS[0], stop_token_ids=(stop,))])
    assert got.tokens == free.tokens[: first + 1]
    assert got.finish_reason == "stop"


def test_the_models_end_token_can_be_ignored(model: PreTrainedModel) -> None:
    [free] = run(model, [request(PROMPTS[0])])
    eos = free.tokens[3]
    [ended] = run(model, [request(PROMPTS[0])], eos=[eos])
    [ignoring] = run(model, [request(PROMPTS[0], ignore_eos=True)], eos=[eos])
    assert ended.finish_reason == "stop"
    assert ended.tokens[-1] == eos
    assert ignoring.tokens == free.tokens


def test_the_end_of_a_turn_is_one_in_a_base_model_too(model: PreTrainedModel, tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    of_turn = tokenizer.eos_token_id
    assert ends_of_answer(tokenizer, model.generation_config.eos_token_id) == {of_turn}
    base = copy.deepcopy(model)
    tokenizer.eos_token, base.generation_config.eos_token_id = "<|endoftext|>", 0  # as Qwen2.5-7B has it
    ends = ends_of_answer(tokenizer, base.generation_config.eos_token_id)
    assert ends == {0, of_turn} == {tokenizer.eos_token_id, of_turn}


def test_an_end_token_at_the_limit_is_a_stop(model: PreTrainedModel) -> None:
    [free] = run(model, [request(PROMPTS[1], max_tokens=1)])
    [got] = run(model, [request(PROMPTS[1], max_tokens=1)], eos=free.tokens)
    assert (free.finish_reason, got.finish_reason) == ("length", "stop")


# ---------------------------------------------------------------- sampling


def frequencies(params: dict[str, Any], logits: torch.Tensor, count: int = 40_000) -> torch.Tensor:
    rows = torch.ones(1)
    log_probs = processed_log_probs(
        logits[None],
        rows * params.get("temperature", 1.0),
        torch.tensor([params.get("top_k", len(logits))]),
        rows * params.get("top_p", 1.0),
    )
    uniforms = torch.from_numpy(uniform_draws(count, "frequencies", str(params)))
    tokens = draw(log_probs.expand(count, -1), uniforms)
    return torch.bincount(tokens, minlength=len(logits)) / count


LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -3.0])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature(temperature: float) -> None:
    found = frequencies({"temperature": temperature}, LOGITS)
    torch.testing.assert_close(found, (LOGITS / temperature).softmax(-1), atol=0.01, rtol=0)


def test_top_k_keeps_the_k_most_likely() -> None:
    expected = torch.cat([LOGITS[:3].softmax(-1), torch.zeros(3)])
    found = frequencies({"top_k": 3}, LOGITS)
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0)
    assert not found[3:].any()


def test_top_p_keeps_the_fewest_tokens_that_reach_p() -> None:
    # Probabilities .55 .20 .12 .07 .03 .00: two reach .7, one reaches .5.
    two = torch.cat([LOGITS[:2].softmax(-1), torch.zeros(4)])
    torch.testing.assert_close(frequencies({"top_p": 0.7}, LOGITS), two, atol=0.01, rtol=0)
    assert frequencies({"top_p": 0.5}, LOGITS).tolist() == [1, 0, 0, 0, 0, 0]
    assert frequencies({"top_p": 1e-6}, LOGITS)[0] == 1


def test_top_k_comes_before_top_p() -> None:
    """Among the two most likely the first has .73 of the mass: top_p 0.7 leaves it alone."""
    assert frequencies({"top_k": 2, "top_p": 0.7}, LOGITS)[0] == 1


def test_equal_logits_keep_exactly_k_tokens() -> None:
    assert int((frequencies({"top_k": 2}, torch.zeros(5)) > 0).sum()) == 2


def test_a_token_of_probability_zero_is_never_drawn() -> None:
    log_probs = torch.tensor([[float("-inf"), 0.0, float("-inf")]])
    extremes = torch.tensor([0.0, 0.5, np.nextafter(1.0, 0.0)], dtype=torch.float64)
    assert draw(log_probs.expand(3, -1), extremes).tolist() == [1, 1, 1]


def test_sampling_follows_the_model(model: PreTrainedModel) -> None:
    done = run(model, [request([7], key, temperature=1.0, max_tokens=1) for key in range(4000)])
    counts = Counter(got.tokens[0] for got in done)
    with torch.inference_mode():
        expected = model(input_ids=torch.tensor([[7]])).logits[0, -1].softmax(-1)
    for token in expected.topk(5).indices.tolist():
        p = expected[token].item()
        assert abs(counts[token] / 4000 - p) < 5 * (p * (1 - p) / 4000) ** 0.5


def test_draws_depend_on_every_part_of_their_key() -> None:
    base = uniform_draws(4, 1, "a", [1, 2])
    assert (base == uniform_draws(4, 1, "a", [1, 2])).all()
    assert (base == uniform_draws(8, 1, "a", [1, 2])[:4]).all()
    for other in [(2, "a", [1, 2]), (1, "b", [1, 2]), (1, "a", [1, 3]), (1, "a", [12])]:
        assert (base != uniform_draws(4, *other)).any()
    assert ((base >= 0) & (base < 1)).all()


# ---------------------------------------------------------------- parameters


def test_verls_own_parameters_are_understood() -> None:
    raw = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "repetition_penalty": 1.0, "logprobs": True}
    assert parse_sampling_params(raw, 16, False) == SamplingParams(max_tokens=16, logprobs=True)


@pytest.mark.parametrize("name", ["max_tokens", "max_new_tokens", "max_completion_tokens"])
def test_names_of_the_limit(name: str) -> None:
    assert parse_sampling_params({name: 5}, 16, False).max_tokens == 5


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        ({"repetition_penalty": 1.1}, "repetition_penalty=1.1"),
        ({"presence_penalty": 0.5}, "presence_penalty=0.5"),
        ({"min_p": 0.1}, "min_p=0.1"),
        ({"stop": ["\n"]}, "stop="),
        ({"n": 2}, "n=2"),
        ({"temperature": -1}, "temperature=-1"),
        ({"temperature": "hot"}, "temperature='hot'"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"temperature": float("inf")}, "temperature=inf"),
        ({"top_p": 0}, "top_p=0"),
        ({"top_p": 1.5}, "top_p=1.5"),
        ({"top_k": 2.5}, "top_k=2.5"),
        ({"top_k": -2}, "top_k=-2"),
        ({"max_tokens": 0}, "max_tokens=0"),
        ({"max_tokens": True}, "max_tokens=True"),
        ({"max_tokens": 3, "max_new_tokens": 3}, "give one of"),
        ({"stop_token_ids": "7"}, "stop_token_ids='7'"),
        ({"seed": -1}, "seed=-1"),
        ({"guided_json": {}}, "unknown sampling parameter.*guided_json"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(raw: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        parse_sampling_params(raw, 16, False)


# ---------------------------------------------------------------- server


def test_settings_and_outputs_travel_between_processes(tiny_model: Path) -> None:
    config = settings(tiny_model)
    assert pickle.loads(pickle.dumps(config)) == config
    output = server.ServerOutput([1], [-0.5], "completed", {"global_steps": 1})
    assert pickle.loads(pickle.dumps(output)) == output


def test_the_output_has_the_fields_of_verls() -> None:
    from dataclasses import fields

    from verl.workers.rollout.replica import TokenOutput

    assert {field.name for field in fields(server.ServerOutput)} == set(TokenOutput.model_fields)


def test_the_server_process_does_not_import_verl() -> None:
    import subprocess
    import sys

    code = "import sys, grrm.verl_plugin.server; sys.exit('verl' in sys.modules or 'ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_an_answer(tiny_model: Path, model: PreTrainedModel) -> None:
    async def use(instance: TransformersServer) -> None:
        await instance.set_global_steps(7)
        out = await instance.generate([5, 6, 7], {"temperature": 0, "logprobs": True}, "a")
        [expected] = run(model, [request([5, 6, 7], max_tokens=16)], eos=instance.eos_token_ids)
        assert out.token_ids == expected.tokens
        assert out.log_probs == pytest.approx(expected.log_probs, abs=1e-5)
        assert out.stop_reason == "completed"
        assert out.extra_fields == {"global_steps": 7, "finish_reason": expected.finish_reason}
        assert (await instance.generate([5], {"temperature": 0}, "b")).log_probs is None

    serve(settings(tiny_model), use)


def test_a_burst_becomes_one_batch(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def counting(model: Any, requests: list[Request], *args: Any) -> None:
        sizes.append(len(requests))
        generate(model, requests, *args)

    monkeypatch.setattr(server, "generate", counting)

    async def use(instance: TransformersServer) -> None:
        async def late(i: int) -> server.ServerOutput:
            await asyncio.sleep(0.002 * i)
            return await instance.generate([5, i], {"max_tokens": 4, "temperature": i % 2}, str(i))

        outs = await asyncio.gather(*(late(i) for i in range(20)))
        assert all(1 <= len(out.token_ids) <= 4 for out in outs)

    serve(settings(tiny_model, max_num_seqs=16), use)
    assert sizes == [16, 4]


def sample_twice(config: ServerSettings, params: dict[str, Any]) -> list[list[int]]:
    async def use(instance: TransformersServer) -> list[list[int]]:
        jobs = [instance.generate([5, 6], params, str(i)) for i in range(4)]
        return [out.token_ids for out in await asyncio.gather(*jobs)]

    return list(serve(config, use))


def test_the_same_seed_gives_the_same_rollouts_and_siblings_differ(tiny_model: Path) -> None:
    first = sample_twice(settings(tiny_model, seed=1), {"temperature": 1.0})
    assert first == sample_twice(settings(tiny_model, seed=1), {"temperature": 1.0})
    assert first != sample_twice(settings(tiny_model, seed=2), {"temperature": 1.0})
    assert first != sample_twice(settings(tiny_model, seed=1, replica_rank=1), {"temperature": 1.0})
    assert len({tuple(tokens) for tokens in first}) == 4


def test_new_weights_give_new_rollouts_of_a_prompt(tiny_model: Path) -> None:
    async def use(instance: TransformersServer) -> None:
        weights = {name: tensor.clone() for name, tensor in instance.model.state_dict().items()}
        await instance.load_weights(weights, global_steps=1)
        first = await instance.generate([5, 6], {}, "a")
        await instance.load_weights(weights, global_steps=2)
        assert (await instance.generate([5, 6], {}, "b")).token_ids != first.token_ids
        await instance.load_weights(weights, global_steps=1)
        assert (await instance.generate([5, 6], {}, "c")).token_ids == first.token_ids

    serve(settings(tiny_model), use)


def test_a_requests_own_seed(tiny_model: Path) -> None:
    outs = sample_twice(settings(tiny_model), {"temperature": 1.0, "seed": 5})
    assert outs == [outs[0]] * 4
    assert outs == sample_twice(settings(tiny_model, seed=9), {"temperature": 1.0, "seed": 5})


@pytest.mark.parametrize(
    ("prompt", "params", "named"),
    [
        ([], {}, "no tokens"),
        ([99999], {}, "outside 0"),
        ([-1], {}, "outside 0"),
        ([5] * 48, {}, "prompt of 48 tokens.*is 48"),
        ([5] * 256, {"max_tokens": 4}, "prompt of 256 tokens.*context is 256"),
        ([5], {"repetition_penalty": 2.0}, "repetition_penalty"),
    ],
)
def test_bad_requests(tiny_model: Path, prompt: list[int], params: dict[str, Any], named: str) -> None:
    async def use(instance: TransformersServer) -> None:
        with pytest.raises(ValueError, match=named):
            await instance.generate(prompt, params, "a")

    serve(settings(tiny_model), use)


def test_limits_of_an_answer(tiny_model: Path) -> None:
    async def use(instance: TransformersServer) -> None:
        async def length(prompt: int, **params: Any) -> int:
            out = await instance.generate([5] * prompt, {"ignore_eos": True, **params}, "a")
            assert out.extra_fields["finish_reason"] == "length"
            return len(out.token_ids)

        assert await length(4) == 16  # response_length
        assert await length(40) == 8  # prompt_length + response_length - prompt
        assert await length(40, max_tokens=20) == 20
        assert await length(250, max_tokens=20) == 6  # the model's context

    serve(settings(tiny_model), use)


def test_images_are_refused(tiny_model: Path) -> None:
    async def use(instance: TransformersServer) -> None:
        with pytest.raises(ValueError, match="text only"):
            await instance.generate([5], {}, "a", image_data=["x"])

    serve(settings(tiny_model), use)


def test_a_failure_of_the_model_reaches_every_caller(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("out of memory")

    async def use(instance: TransformersServer) -> None:
        monkeypatch.setattr(server, "generate", broken)
        jobs = [instance.generate([5], {}, str(i)) for i in range(3)]
        failures = await asyncio.gather(*jobs, return_exceptions=True)
        assert [str(failure) for failure in failures] == ["out of memory"] * 3
        monkeypatch.setattr(server, "generate", generate)
        assert (await instance.generate([5], {}, "after")).token_ids

    serve(settings(tiny_model), use)


# ---------------------------------------------------------------- aborting


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


def slow_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty milliseconds a token: long enough to be interrupted."""
    import time

    next_tokens = generation._RowParams.next_tokens

    def slow(self: Any, *args: Any) -> Any:
        time.sleep(0.02)
        return next_tokens(self, *args)

    monkeypatch.setattr(generation._RowParams, "next_tokens", slow)


def test_abort_ends_running_and_queued_requests(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_decoding(monkeypatch)
    long = {"max_tokens": 200, "ignore_eos": True, "logprobs": True}

    async def use(instance: TransformersServer) -> None:
        running = [asyncio.create_task(instance.generate([5, i], long, f"r{i}")) for i in range(2)]
        await until(lambda: len(instance._running) == 2)
        await asyncio.sleep(0.1)
        queued = asyncio.create_task(instance.generate([9], long, "q"))
        await until(lambda: len(instance._queue) == 1)
        told = await instance.abort_all_requests()
        assert told == {"aborted_count": 3, "request_ids": ["q", "r0", "r1"]}
        outs = await asyncio.gather(*running, queued)
        assert [out.stop_reason for out in outs] == ["aborted"] * 3
        assert all(0 < len(out.token_ids) < 200 for out in outs[:2])
        assert all(len(out.token_ids) == len(out.log_probs) for out in outs)
        assert outs[2].token_ids == []
        await asyncio.wait_for(instance.wait_for_requests_to_drain(), 5)

        held = asyncio.create_task(instance.generate([9], {"max_tokens": 2}, "held"))
        await asyncio.sleep(0.1)
        assert not held.done()
        await instance.resume_generation()
        assert (await held).stop_reason == "completed"

    serve(settings(tiny_model, max_num_seqs=2), use)


def test_requests_may_be_refused_while_paused(tiny_model: Path) -> None:
    async def use(instance: TransformersServer) -> None:
        assert (await instance.abort_all_requests(reject_request=True))["aborted_count"] == 0
        out = await instance.generate([9], {}, "a")
        assert (out.stop_reason, out.token_ids) == ("aborted", [])
        await instance.resume_generation()
        assert (await instance.generate([9], {}, "b")).stop_reason == "completed"

    serve(settings(tiny_model), use)


def test_one_request_can_be_aborted(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_decoding(monkeypatch)

    async def use(instance: TransformersServer) -> None:
        keep = asyncio.create_task(instance.generate([5], {"max_tokens": 15, "ignore_eos": True}, "keep"))
        drop = asyncio.create_task(instance.generate([6], {"max_tokens": 200, "ignore_eos": True}, "drop"))
        await until(lambda: len(instance._running) == 2)
        assert (await instance.abort_request("drop"))["aborted"]
        assert (await drop).stop_reason == "aborted"
        assert len((await keep).token_ids) == 15
        assert not (await instance.abort_request("drop"))["aborted"]

    serve(settings(tiny_model), use)


def test_a_caller_who_leaves_does_not_disturb_the_others(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_decoding(monkeypatch)

    async def use(instance: TransformersServer) -> None:
        stays = asyncio.create_task(instance.generate([5], {"max_tokens": 8, "ignore_eos": True}, "s"))
        leaves = asyncio.create_task(instance.generate([6], {"max_tokens": 200, "ignore_eos": True}, "l"))
        await until(lambda: len(instance._running) == 2)
        leaves.cancel()
        assert len((await stays).token_ids) == 8
        await asyncio.wait_for(instance.wait_for_requests_to_drain(), 2)

    serve(settings(tiny_model), use)


# ---------------------------------------------------------------- weights


def fresh(folder: Path, seed: int) -> tuple[PreTrainedModel, dict[str, torch.Tensor]]:
    """The model, and other weights for it as the trainer sends them (tied names twice)."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    other = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model, {name: tensor.detach().clone() for name, tensor in other.state_dict().items()}


@pytest.mark.parametrize("fixture", ["tiny_model", "tied_model"])
def test_all_weights_are_replaced_exactly(fixture: str, request: pytest.FixtureRequest) -> None:
    model, weights = fresh(request.getfixturevalue(fixture), seed=1)
    copy_weights(model, weights)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


@pytest.mark.parametrize("left_out", ["lm_head.weight", "model.embed_tokens.weight"])
def test_of_tied_names_one_is_enough(tied_model: Path, left_out: str) -> None:
    model, weights = fresh(tied_model, seed=1)
    sent = weights.pop(left_out)
    copy_weights(model, weights)
    assert torch.equal(model.lm_head.weight, sent)
    assert torch.equal(model.model.embed_tokens.weight, sent)
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()


def test_tied_names_with_different_values(tied_model: Path) -> None:
    model, weights = fresh(tied_model, seed=1)
    weights["lm_head.weight"] = weights["lm_head.weight"] + 1
    with pytest.raises(ValueError, match="tied in the model"):
        copy_weights(model, weights)


def test_of_untied_names_none_may_miss(tiny_model: Path) -> None:
    model, weights = fresh(tiny_model, seed=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    del weights["lm_head.weight"]
    with pytest.raises(ValueError, match=r"1 missing.*lm_head\.weight"):
        copy_weights(model, weights)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_an_unexpected_name_or_shape(tiny_model: Path) -> None:
    model, weights = fresh(tiny_model, seed=1)
    with pytest.raises(ValueError, match=r"1 unexpected.*lora_a"):
        copy_weights(model, {**weights, "lora_a": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"model\.norm\.weight has shape \(31,\), expected \(32,\)"):
        copy_weights(model, {**weights, "model.norm.weight": torch.zeros(31)})


def test_a_server_that_waits_for_weights(tiny_model: Path) -> None:
    async def use(instance: TransformersServer) -> None:
        with pytest.raises(RuntimeError, match="no weights"):
            await instance.generate([5], {}, "a")
        own = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
        await instance.load_weights(own.state_dict(), global_steps=0)
        out = await instance.generate([5, 6, 7], {"temperature": 0}, "b")
        [expected] = run(own, [request([5, 6, 7], max_tokens=16)], eos=instance.eos_token_ids)
        assert out.token_ids == expected.tokens

    serve(settings(tiny_model, wait_for_weights=True), use)


def test_weights_do_not_change_in_the_middle_of_an_answer(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_decoding(monkeypatch)

    async def use(instance: TransformersServer) -> None:
        params = {"max_tokens": 10, "ignore_eos": True, "temperature": 0}
        calm = await instance.generate([5], params, "a")
        job = asyncio.create_task(instance.generate([5], params, "b"))
        await until(lambda: len(instance._running) == 1)
        _, weights = fresh(tiny_model, seed=1)
        await instance.load_weights(weights)
        assert (await job).token_ids == calm.token_ids
        assert (await instance.generate([5], params, "c")).token_ids != calm.token_ids

    serve(settings(tiny_model), use)


# ---------------------------------------------------------------- HTTP


def over_http(config: ServerSettings, use: Callable[[Callable[..., Any]], Awaitable[None]]) -> None:
    async def run(instance: TransformersServer) -> None:
        host, port = await instance.launch_server()
        assert host == "127.0.0.1"
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session:

            async def post(body: Any, **kwargs: Any) -> tuple[int, Any]:
                payload = {"data": body} if isinstance(body, str) else {"json": body}
                async with session.post("/v1/chat/completions", **payload, **kwargs) as response:
                    return response.status, await response.json()

            await use(post)

    serve(config, run)


MESSAGES = [{"role": "user", "content": "rank the frog"}]


def test_a_chat_completion(tiny_model: Path, model: PreTrainedModel) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    prompt = tokenizer.apply_chat_template(
        MESSAGES, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    eos = [tokenizer.eos_token_id]
    [expected] = run(model, [request(prompt, max_tokens=12)], eos=eos)

    async def use(post: Callable[..., Any]) -> None:
        body = {"model": "judge", "messages": MESSAGES, "temperature": 0, "max_tokens": 12}
        status, answer = await post(body)
        assert status == 200
        assert answer["object"] == "chat.completion"
        assert answer["model"] == "judge"
        [choice] = answer["choices"]
        assert choice["message"] == {
            "role": "assistant",
            "content": tokenizer.decode(expected.tokens, skip_special_tokens=True),
        }
        assert choice["finish_reason"] == expected.finish_reason
        assert answer["usage"] == {
            "prompt_tokens": len(prompt),
            "completion_tokens": len(expected.tokens),
            "total_tokens": len(prompt) + len(expected.tokens),
        }
        [first] = run(model, [request(prompt, max_tokens=1)])
        stopped = (await post({**body, "stop_token_ids": first.tokens}))[1]
        assert stopped["choices"][0]["finish_reason"] == "stop"
        cut = (await post({**body, "max_tokens": 1, "ignore_eos": True}))[1]
        assert cut["choices"][0]["finish_reason"] == "length"

    over_http(settings(tiny_model), use)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("{not json", "not JSON"),
        ([1], "JSON object"),
        ({}, "messages must be a list"),
        ({"messages": []}, "at least one"),
        ({"messages": [{"role": "user"}]}, "each message needs"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "each message needs"),
        ({"messages": MESSAGES, "stream": True}, "stream=True"),
        ({"messages": MESSAGES, "n": 2}, "n=2"),
        ({"messages": MESSAGES, "logprobs": True}, "logprobs=True"),
        ({"messages": MESSAGES, "temperature": -1}, "temperature=-1"),
        ({"messages": MESSAGES, "tools": []}, "tools"),
        ({"messages": MESSAGES, "max_tokens": 250}, "exceed the context of 256"),
        ({"messages": [{"role": "user", "content": "long " * 300}]}, "no room for an answer"),
    ],
)
def test_bad_bodies_are_the_clients_fault(tiny_model: Path, body: Any, named: str) -> None:
    async def use(post: Callable[..., Any]) -> None:
        status, answer = await post(body)
        assert status == 400
        assert named in answer["error"]["message"]
        assert answer["error"]["type"] == "invalid_request_error"

    over_http(settings(tiny_model), use)


def test_a_failure_of_the_model_is_the_servers_fault(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(server, "generate", broken)

    async def use(post: Callable[..., Any]) -> None:
        status, answer = await post({"messages": MESSAGES})
        assert status == 500
        assert answer["error"]["message"] == "RuntimeError: out of memory"

    over_http(settings(tiny_model), use)


def test_many_judgements_at_once(tiny_model: Path) -> None:
    async def use(post: Callable[..., Any]) -> None:
        bodies = [
            {"messages": [{"role": "user", "content": f"rank {i}"}], "max_tokens": 5} for i in range(24)
        ]
        answers = await asyncio.gather(*map(post, bodies))
        assert [status for status, _ in answers] == [200] * 24

    over_http(settings(tiny_model), use)


# ---------------------------------------------------------------- verl's configuration


def rollout_config(**changes: Any) -> Any:
    from verl.workers.config import RolloutConfig

    return RolloutConfig(
        **{"name": "transformers", "tensor_model_parallel_size": 1, "dtype": "float32", **changes}
    )


def test_settings_come_from_verls_configuration(tiny_model: Path) -> None:
    from omegaconf import OmegaConf

    from grrm.verl_plugin.rollout import server_settings

    model = OmegaConf.create(
        {"path": str(tiny_model), "override_config": {"attn_implementation": "eager"}, "tokenizer_path": None}
    )
    config = rollout_config(seed=5, prompt_length=40, response_length=50, max_num_seqs=8)
    assert server_settings(config, model, replica_rank=1) == ServerSettings(
        model_path=str(tiny_model),
        tokenizer_path=str(tiny_model),
        prompt_length=40,
        response_length=50,
        attn_implementation="eager",
        wait_for_weights=True,  # verl's default load_format is "dummy"
        max_num_seqs=8,
        seed=5,
        replica_rank=1,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"tensor_model_parallel_size": 2},
        {"data_parallel_size": 2},
        {"dtype": "float16"},
        {"load_format": "gguf"},
        {"logprobs_mode": "processed_logits"},
        {"repetition_penalty": 1.2},
        {"quantization": "fp8"},
    ],
)
def test_settings_that_cannot_be_honoured(changes: dict[str, Any], tiny_model: Path) -> None:
    from omegaconf import OmegaConf

    from grrm.verl_plugin.rollout import server_settings

    model = OmegaConf.create({"path": str(tiny_model)})
    with pytest.raises(ValueError, match=rf"rollout\.{next(iter(changes))}="):
        server_settings(rollout_config(**changes), model, 0)


def test_adapters_and_foreign_code_are_refused(tiny_model: Path) -> None:
    from omegaconf import OmegaConf

    from grrm.verl_plugin.rollout import server_settings

    for key, value in {"lora_rank": 8, "trust_remote_code": True}.items():
        model = OmegaConf.create({"path": str(tiny_model), key: value})
        with pytest.raises(ValueError, match=rf"model\.{key}"):
            server_settings(rollout_config(), model, 0)


def test_adapters_that_are_merged_on_their_way_are_weights_like_others(tiny_model: Path) -> None:
    from omegaconf import OmegaConf

    from grrm.verl_plugin.rollout import server_settings

    model = OmegaConf.create({"path": str(tiny_model), "lora_rank": 8, "lora": {"merge": True}})
    assert server_settings(rollout_config(), model, 0).model_path == str(tiny_model)
