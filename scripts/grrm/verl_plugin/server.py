"""The rollout server: a transformers model behind verl's server interface and an OpenAI-style endpoint.

Runs in its own process (a Ray actor). It imports nothing of verl: what it is told (`ServerSettings`) and
what it answers (`ServerOutput`) are plain data, which spares the process most of its start-up time.
The interface is that of verl/workers/rollout/vllm_rollout/vllm_async_server.py.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
import uuid
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from aiohttp import web
from transformers import AutoTokenizer

from grrm.sampling import LIMITS, SamplingParams, parse_sampling_params, uniform_draws
from grrm.texts import ends_of_answer
from grrm.verl_plugin.completions import ChatEndpoint
from grrm.verl_plugin.generation import Request, generate
from grrm.verl_plugin.weights import context_length, copy_weights, load_model

logger = logging.getLogger(__name__)

# Requests that come by themselves trickle in; a batch starts when none has come for this long.
QUIET_SECONDS = 0.03
POLL_SECONDS = 0.005

MEDIA = ("image_data", "video_data", "audio_data", "mm_processor_output")
"""What verl's client may send along, and this server does not take."""


@dataclass(frozen=True)
class ServerSettings:
    """What a server needs to know.

    Attributes:
        model_path: folder of the model.
        tokenizer_path: folder of the tokenizer.
        chat_template: replaces the tokenizer's own, if given.
        dtype: "float32" or "bfloat16".
        attn_implementation: as in transformers.
        wait_for_weights: start with random weights and refuse to generate until `load_weights` was called.
        prompt_length: longest prompt of the training data, tokens.
        response_length: default limit of an answer, tokens.
        max_model_len: prompt and answer together; None: what the model's configuration says.
        max_num_seqs: rows of a batch.
        ignore_eos: default of the request's parameter.
        raw_log_probs: see `generation.generate`.
        seed: of all draws.
        replica_rank: replicas draw differently.
    """

    model_path: str
    tokenizer_path: str
    prompt_length: int
    response_length: int
    chat_template: str | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    attn_implementation: str = "sdpa"
    wait_for_weights: bool = False
    max_model_len: int | None = None
    max_num_seqs: int = 256
    ignore_eos: bool = False
    raw_log_probs: bool = False
    seed: int = 0
    replica_rank: int = 0


@dataclass
class ServerOutput:
    """Same fields as verl's TokenOutput (verl/workers/rollout/replica.py), without importing verl.

    Attributes:
        token_ids: of the answer, the end-of-sequence token included.
        log_probs: one per token, or None if not asked for.
        stop_reason: "completed" or "aborted" (verl's words).
        extra_fields: `finish_reason` is "stop", "length" or "abort"; `global_steps` the weights' version.
    """

    token_ids: list[int]
    log_probs: list[float] | None
    stop_reason: Literal["completed", "aborted"]
    extra_fields: dict[str, Any] = field(default_factory=dict)
    routed_experts: None = None
    num_preempted: None = None


@dataclass(frozen=True)
class Asked:
    """What is to be continued, checked."""

    id: str
    prompt: list[int]
    params: SamplingParams


@dataclass(eq=False)
class _Pending:
    id: str
    request: Request
    done: asyncio.Future[None]
    message: int | None
    """With which it came; None: by itself."""


class TransformersServer:
    """One replica: batches requests, generates in a thread, serves /v1/chat/completions on loopback.

    Requests that come in one message are cut into batches as they stand in it, whatever else the server does.
    Those that come by themselves are batched with what comes in the same moment.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.tokenizer = AutoTokenizer.from_pretrained(settings.tokenizer_path)
        if settings.chat_template is not None:
            self.tokenizer.chat_template = settings.chat_template
        self.model = load_model(
            settings.model_path,
            settings.dtype,
            settings.attn_implementation,
            random=settings.wait_for_weights,
        )
        declared = getattr(self.model.generation_config, "eos_token_id", None)
        self.eos_token_ids = frozenset(ends_of_answer(self.tokenizer, declared))
        if not self.eos_token_ids and not settings.ignore_eos:
            raise ValueError(f"{settings.model_path}: neither the model nor the tokenizer names an eos token")
        self.pad_token_id = self.tokenizer.pad_token_id or 0
        self.max_model_len = settings.max_model_len or context_length(self.model)
        self.global_steps: int | None = None
        self._has_weights = not settings.wait_for_weights
        self._seen: Counter[tuple[int, ...]] = Counter()
        self._queue: deque[_Pending] = deque()
        self._messages = itertools.count()
        self._running: list[_Pending] = []
        self._arrived = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()
        self._rejecting = False
        self._model_lock = asyncio.Lock()
        self._batcher: asyncio.Task[None] | None = None
        self._runner: web.AppRunner | None = None

    # ---- generation

    async def generate(
        self,
        prompt_ids: list[int],
        sampling_params: dict[str, Any],
        request_id: str,
        image_data: Any = None,
        video_data: Any = None,
        audio_data: Any = None,
        mm_processor_output: Any = None,
        mm_processor_kwargs: Any = None,
        priority: int = 0,
    ) -> ServerOutput:
        """Continue a prompt.

        Args:
            prompt_ids: token ids.
            sampling_params: see `sampling.parse_sampling_params`; without a limit, answers are at most
                `response_length` long, and prompt and answer at most `prompt_length + response_length`. A
                limit beyond the model's context is lowered to it.
            request_id: names the request for `abort_request`.
            image_data: must be absent, as all media.
            video_data: see image_data.
            audio_data: see image_data.
            mm_processor_output: see image_data.
            mm_processor_kwargs: ignored (there are no media to process).
            priority: ignored: requests are served in order of arrival.

        Raises:
            ValueError: bad parameters, media, or a prompt that leaves no room for an answer.
            RuntimeError: no weights have been loaded yet.
        """
        media = (image_data, video_data, audio_data, mm_processor_output)
        asked = self._asked(prompt_ids, sampling_params, request_id, media)
        (request,) = await self._run([asked], together=False)
        return self._output(request)

    async def generate_together(self, requests: Sequence[dict[str, Any]]) -> list[ServerOutput | Exception]:
        """Continue all prompts of one message, in batches of `max_num_seqs` in the order of the message.

        Args:
            requests: arguments of `generate`, each.

        Returns:
            what `generate` returns or raises.
        """
        results: list[ServerOutput | Exception | None] = []
        asked = []
        for request in requests:
            try:
                media = [request.get(name) for name in MEDIA]
                asked.append(
                    self._asked(
                        request["prompt_ids"], request["sampling_params"], request["request_id"], media
                    )
                )
                results.append(None)
            except ValueError as error:
                results.append(error)
        done = iter(await self._run(asked, together=True))
        return [self._output(next(done)) if result is None else result for result in results]

    def _asked(
        self, prompt_ids: list[int], raw: dict[str, Any], request_id: str, media: Sequence[Any]
    ) -> Asked:
        if any(medium is not None for medium in media):
            raise ValueError("the transformers rollout takes text only, got images, videos or audio")
        prompt = [int(token) for token in prompt_ids]
        return Asked(request_id, prompt, self._params(prompt, raw))

    def _output(self, request: Request) -> ServerOutput:
        return ServerOutput(
            token_ids=request.tokens,
            log_probs=request.log_probs if request.params.logprobs else None,
            stop_reason="aborted" if request.finish_reason == "abort" else "completed",
            extra_fields={"global_steps": self.global_steps, "finish_reason": request.finish_reason},
        )

    def _params(self, prompt: list[int], raw: dict[str, Any]) -> SamplingParams:
        """Check a request against the model's limits.

        Raises:
            ValueError: see `generate`.
        """
        if not prompt:
            raise ValueError("the prompt has no tokens")
        vocabulary = self.model.config.get_text_config().vocab_size
        if not all(0 <= token < vocabulary for token in prompt):
            raise ValueError(f"the prompt holds token ids outside 0..{vocabulary - 1}")
        room = self.max_model_len - len(prompt)
        if room < 1:
            raise ValueError(
                f"prompt of {len(prompt)} tokens leaves no room for an answer: the context is "
                f"{self.max_model_len} tokens"
            )
        limit = self.settings.prompt_length + self.settings.response_length
        default = min(self.settings.response_length, limit - len(prompt), room)
        if default < 1 and not any(raw.get(key) for key in LIMITS):
            raise ValueError(
                f"prompt of {len(prompt)} tokens leaves no room for an answer: rollout.prompt_length + "
                f"rollout.response_length is {limit}; raise them or give max_tokens"
            )
        params = parse_sampling_params(raw, max(default, 1), self.settings.ignore_eos)
        if params.max_tokens > room:
            return SamplingParams(**{**params.__dict__, "max_tokens": room})
        return params

    async def _run(self, asked: Sequence[Asked], *, together: bool) -> list[Request]:
        while not self._open.is_set():
            if self._rejecting:
                return [
                    Request(one.prompt, one.params, np.empty(0), aborted=True, finish_reason="abort")
                    for one in asked
                ]
            await self._open.wait()
        if not self._has_weights:
            raise RuntimeError(
                "no weights have been loaded yet (rollout.load_format=dummy waits for the trainer)"
            )
        message = next(self._messages) if together else None
        loop = asyncio.get_running_loop()
        pendings = []
        for one in asked:
            request = Request(one.prompt, one.params, self._uniforms(one.prompt, one.params))
            pendings.append(_Pending(one.id, request, loop.create_future(), message))
        self._queue.extend(pendings)
        self._arrived.set()
        if self._batcher is None:
            self._batcher = asyncio.create_task(self._serve())
        try:
            results = await asyncio.gather(*[pending.done for pending in pendings], return_exceptions=True)
        except asyncio.CancelledError:
            for pending in pendings:
                pending.request.aborted = True  # the caller is gone
            raise
        if failed := [result for result in results if result is not None]:
            raise failed[0]
        return [pending.request for pending in pendings]

    def _uniforms(self, prompt: list[int], params: SamplingParams) -> np.ndarray:
        """Draws that depend on the seed, the weights' version, the prompt, and how often it came before."""
        if params.temperature == 0:
            return np.empty(0)
        if params.seed is not None:
            return uniform_draws(params.max_tokens, "request", params.seed, prompt)
        key = tuple(prompt)
        self._seen[key] += 1
        return uniform_draws(
            params.max_tokens,
            "server",
            self.settings.seed,
            self.settings.replica_rank,
            self.global_steps or 0,
            prompt,
            self._seen[key],
        )

    async def _serve(self) -> None:
        while True:
            await self._arrived.wait()
            await self._until_quiet()
            async with self._model_lock:
                self._running = self._next_batch()
                if not self._queue:
                    self._arrived.clear()
                batch = [pending for pending in self._running if not pending.request.aborted]
                error: Exception | None = None
                if batch:
                    try:
                        await asyncio.to_thread(
                            generate,
                            self.model,
                            [pending.request for pending in batch],
                            self.eos_token_ids,
                            self.pad_token_id,
                            self.settings.raw_log_probs,
                        )
                    except Exception as caught:  # every caller must hear of it
                        logger.exception("generation of %d prompts failed", len(batch))
                        error = caught
                for pending in self._running:
                    _resolve(pending, error)
                self._running = []

    def _next_batch(self) -> list[_Pending]:
        """What stands first in the queue: the rest of a message, or what came by itself."""
        batch: list[_Pending] = []
        while self._queue and len(batch) < self.settings.max_num_seqs:
            if batch and self._queue[0].message != batch[0].message:
                break
            batch.append(self._queue.popleft())
        return batch

    async def _until_quiet(self) -> None:
        """Messages are whole; what comes by itself may be followed by more."""
        count, since = -1, time.monotonic()
        while (
            len(self._queue) < self.settings.max_num_seqs
            and time.monotonic() - since < QUIET_SECONDS
            and all(pending.message is None for pending in self._queue)
        ):
            if len(self._queue) != count:
                count, since = len(self._queue), time.monotonic()
            await asyncio.sleep(POLL_SECONDS)

    # ---- aborting

    async def abort_all_requests(
        self, reset_prefix_cache: bool = True, reject_request: bool = False
    ) -> dict[str, Any]:
        """End all requests with what they have ("aborted") and admit none until `resume_generation`.

        Args:
            reset_prefix_cache: nothing to reset: caches live as long as a batch.
            reject_request: answer later requests "aborted" at once instead of holding them.

        Returns:
            aborted_count and request_ids.
        """
        self._rejecting = reject_request
        self._open.clear()
        aborted = await self._abort([*self._queue, *self._running])
        return {"aborted_count": len(aborted), "request_ids": aborted}

    async def abort_request(self, request_id: str, reset_prefix_cache: bool = True) -> dict[str, Any]:
        """End one request with what it has."""
        aborted = await self._abort([p for p in [*self._queue, *self._running] if p.id == request_id])
        if not aborted:
            return {
                "aborted": False,
                "request_id": request_id,
                "error": f"no request {request_id} is under way",
            }
        return {"aborted": True, "request_id": request_id}

    async def _abort(self, pendings: list[_Pending]) -> list[str]:
        pendings = [pending for pending in pendings if not pending.done.done()]
        for pending in pendings:
            pending.request.aborted = True
            if pending in self._queue:
                self._queue.remove(pending)
                _resolve(pending, None)
        if pendings:
            await asyncio.wait([pending.done for pending in pendings])
        return [p.id for p in pendings if p.request.finish_reason == "abort"]

    async def resume_generation(self) -> None:
        """Admit requests again, those held since `abort_all_requests` first."""
        self._rejecting = False
        self._open.set()

    async def wait_for_requests_to_drain(self) -> None:
        """Wait until no request is queued or running."""
        while self._queue or self._running:
            await asyncio.wait([pending.done for pending in [*self._queue, *self._running]])
            await asyncio.sleep(0)

    # ---- weights

    async def load_weights(self, weights: dict[str, torch.Tensor], global_steps: int | None = None) -> None:
        """Replace all weights between two batches.

        Args:
            weights: every parameter and buffer of the model by its state-dict name. Of names tied to one
                tensor, one is enough.
            global_steps: the trainer's step, the version of these weights.

        Raises:
            ValueError: a name is missing or unexpected, a shape differs, or tied names disagree.
        """
        async with self._model_lock:
            copy_weights(self.model, weights)
            self._has_weights = True
            self._seen.clear()
            if global_steps is not None:
                self.global_steps = global_steps

    async def set_global_steps(self, global_steps: int) -> None:
        """Name the version of the weights."""
        self.global_steps = global_steps

    # ---- verl's life cycle: weights stay in memory and caches live as long as a batch

    async def sleep(self, *_args: Any, **_kwargs: Any) -> None:
        """Nothing to free."""

    async def wake_up(self, *_args: Any, **_kwargs: Any) -> None:
        """Nothing to restore."""

    async def clear_kv_cache(self) -> None:
        """Nothing to clear."""

    async def release_kv_cache(self) -> None:
        """Nothing to free."""

    async def resume_kv_cache(self) -> None:
        """Nothing to restore."""

    async def start_profile(self, **_kwargs: Any) -> None:
        """No profiler."""

    async def stop_profile(self) -> None:
        """No profiler."""

    # ---- HTTP

    async def _continue(
        self, asked: Sequence[tuple[list[int], SamplingParams]], *, together: bool
    ) -> list[Request]:
        named = [Asked(f"chatcmpl-{uuid.uuid4().hex}", *one) for one in asked]
        return await self._run(named, together=together)

    async def launch_server(self) -> tuple[str, int]:
        """Serve on a free port of 127.0.0.1; returns (host, port)."""
        name, context = self.settings.model_path, self.max_model_len
        chat = ChatEndpoint(name, self.tokenizer, context, self._params, self._continue)
        self._runner = web.AppRunner(chat.application(), access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self.get_server_address()

    def get_server_address(self) -> tuple[str, int]:
        """Where it listens: (host, port); named as of verl's vLLM servers."""
        assert self._runner is not None, "the server is not launched"
        host, port = self._runner.addresses[0][:2]
        return host, port

    async def stop_server(self) -> None:
        """Close the port and stop serving."""
        if self._batcher is not None:
            self._batcher.cancel()
        if self._runner is not None:
            await self._runner.cleanup()


def _resolve(pending: _Pending, error: Exception | None) -> None:
    if pending.request.aborted and pending.request.finish_reason is None:
        pending.request.finish_reason = "abort"
    if pending.done.done():  # cancelled
        return
    if error is not None and not pending.request.aborted:
        pending.done.set_exception(error)
    else:
        pending.done.set_result(None)
