"""The group reward against a real HTTP server and verl's data (run by the training environment's python)."""

import asyncio

import pytest
import torch

pytest.importorskip("verl")

from aiohttp import web

from grrm.asking.served import served_judge
from grrm.files import UserError
from grrm.judges.questions import NoAnswerError
from grrm.rewards.group import GroupRewardManager

ANSWER = {"choices": [{"message": {"role": "assistant", "content": "B > A"}, "finish_reason": "stop"}]}


def with_server(handler, use):
    """Run `use(address)` while a server on loopback answers chat requests with `handler`."""

    async def main():
        app = web.Application()
        app.router.add_post("/v1/chat/completions", handler)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            return await use(f"127.0.0.1:{runner.addresses[0][1]}")
        finally:
            await runner.cleanup()

    return asyncio.run(main())


def test_the_judge_is_asked_in_openais_form_over_kept_connections():
    requests, connections = [], set()

    async def answer(request):
        requests.append(await request.json())
        connections.add(request.transport.get_extra_info("peername"))
        return web.json_response(ANSWER)

    async def use(address):
        judge = served_judge(address, {"model": "grrm", "max_tokens": 9}, timeout=5)
        return [await judge("which?", 0.0), await judge("which?", 1.0)]

    assert with_server(answer, use) == ["B > A", "B > A"]
    assert requests[0] == {
        "model": "grrm",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "which?"}],
        "temperature": 0.0,
    }
    assert requests[1]["temperature"] == 1.0
    assert len(connections) == 1


def test_an_error_of_the_server_is_an_exception_not_an_answer():
    async def fail(request):
        return web.Response(status=500)

    async def use(address):
        await served_judge(address, {}, timeout=5)("which?", 0.0)

    with pytest.raises(NoAnswerError, match="500"):
        with_server(fail, use)


def test_a_judge_that_does_not_answer_is_given_up():
    async def sleep(request):
        await asyncio.sleep(2)
        return web.Response()

    async def use(address):
        await served_judge(address, {}, timeout=0.1)("which?", 0.0)

    with pytest.raises(NoAnswerError, match=r"timeout: no complete answer within 0\.1 s"):
        with_server(sleep, use)


@pytest.mark.parametrize("status", [None, 502])
def test_a_judge_that_cannot_be_reached_stops_the_run(status):
    """Nobody listens (None), or verl's router reaches nobody behind it."""
    tries = []

    async def refuse(request):
        tries.append(request)
        if status is None:
            request.transport.abort()
        return web.Response(status=status or 200)

    async def use(address):
        await served_judge(address, {}, timeout=5, pauses=(0, 0))("which?", 0.0)

    with pytest.raises(UserError, match=r"at http://127\.0\.0\.1:\d+\S* cannot be reached any more"):
        with_server(refuse, use)
    assert len(tries) == 3


def test_a_connection_cut_once_is_made_again():
    tries = []

    async def cut_first(request):
        tries.append(request)
        if len(tries) == 1:
            request.transport.abort()
        return web.json_response(ANSWER)

    async def use(address):
        return await served_judge(address, {}, timeout=5, pauses=(0,))("which?", 0.0)

    assert with_server(cut_first, use) == "B > A"


def test_scores_are_put_on_the_last_token_of_each_response():
    from verl import DataProto
    from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

    data = DataProto.from_dict(
        tensors={
            "prompts": torch.zeros(2, 3, dtype=torch.long),
            "responses": torch.ones(2, 4, dtype=torch.long),
            "attention_mask": torch.tensor([[0, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1]]),
        }
    )
    ours = GroupRewardManager.assemble_rm_scores(data, [0.5, -0.25])
    assert ours.tolist() == [[0, 0.5, 0, 0], [0, 0, 0, -0.25]]
    assert torch.equal(ours, RewardManagerBase.assemble_rm_scores(data, [0.5, -0.25]))
