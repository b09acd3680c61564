"""What completes prompts: one small protocol, and the backends behind it.

| backend | runs | asks |
| --- | --- | --- |
| `transformers` | in this process, on a GPU or the CPU, in batches | a model folder or a model of the hub |
| `vllm` | in this process, on GPUs, or on the CPU if that is its build | the same |
| `openai` | elsewhere | any server that speaks OpenAI's API, at a base URL |
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from grrm.content import file_hash
from grrm.files import UserError
from grrm.hub_client import make_hub_client
from grrm.model_folder import check_model, configuration
from grrm.urls import without_secrets

# Each module has `open(model, engine) -> Backend`; it is imported only when its backend is asked for.
_MODULES = {
    "transformers": "grrm.inference.transformers_backend",
    "vllm": "grrm.inference.vllm_backend",
    "openai": "grrm.inference.openai_backend",
}
BACKENDS = ("auto", *_MODULES)
DTYPES = ("auto", "float32", "bfloat16", "float16")

_PACKAGES = ("torch", "transformers", "safetensors", "accelerate", "tokenizers", "vllm")
# What prompts are made tokens by, and what ends and bounds an answer.
_OTHER_FILES = (
    *("config.json", "generation_config.json", "tokenizer*.json", "*.model", "*.tiktoken", "vocab.*"),
    *("merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template.*"),
)
# What inference reads of a model; other files of a repository on the hub are not downloaded.
_MODEL_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


@dataclass(frozen=True)
class Decoding:
    """How text is generated.

    Attributes:
        max_new_tokens: longest completion in tokens; by default as published for both tasks (GRRM's README).
        temperature: 0 is greedy; above 0 samples.
        seed: of a whole run; each request has one of its own, made from it.
        top_p: samples from the smallest set of tokens with at least this probability, in (0, 1]; 1 is off.
    """

    max_new_tokens: int = 8192
    temperature: float = 0.0
    seed: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise UserError(f"max_new_tokens: {self.max_new_tokens}, expected 1 or more")
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"temperature: {self.temperature}, expected 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p: {self.top_p}, expected a number above 0, up to 1")

    def at(self, temperature: float) -> Decoding:
        """The same at another temperature."""
        return replace(self, temperature=temperature)


@dataclass(frozen=True)
class Request:
    """One text to complete.

    Attributes:
        text: what the model is asked.
        seed: of the sampling of this one completion, 0 to 2^31 - 1; without effect when greedy.
        chat: put as the user's turn of a chat, in the model's own template; else continued as it is.
    """

    text: str
    seed: int = 0
    chat: bool = True


@dataclass(frozen=True)
class Completion:
    """What a model wrote.

    Attributes:
        text: without special tokens; empty if nothing was generated.
        failure: why it must not be used: `unfinished` (cut at the longest completion, or ended by anything
            but the model), `prompt_too_long` (prompt and longest completion do not fit into the model's
            context), `budget`, or a reason of `grrm.judges.questions` (the server's); None if the model ended
            the text itself.
        detail: the failure in words.
    """

    text: str
    failure: str | None = None
    detail: str | None = None


UNFINISHED = "unfinished"
BUDGET = "budget"
"""Of a request that was not sent, because what may be spent is."""
PROMPT_TOO_LONG = "prompt_too_long"


def unfinished(text: str) -> Completion:
    """A cut text may still be readable ("A: 10" cut to "A: 1"), so it is never used."""
    return Completion(text, UNFINISHED, "cut at the longest completion (max_new_tokens)")


def prompt_too_long(tokens: int, room: int) -> Completion:
    """Nothing was generated: a prompt of so many tokens, where there is room for so many."""
    return Completion(
        "",
        PROMPT_TOO_LONG,
        f"the prompt has {tokens} tokens; the model's context less the longest completion is {max(room, 0)}",
    )


class Backend(Protocol):
    """A model that completes texts; loaded when made, until `close`."""

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
        """Complete all requests.

        A completion depends on its request and the decoding alone (up to rounding; a server may do as it
        likes), not on what else is asked.

        Yields:
            position in `requests` and completion: each position once, in any order, as they are finished.
        """
        ...

    def origin(self) -> dict[str, Any]:
        """What makes the texts, for provenance: `model` and `weights` (a digest, or where it is served)."""
        ...

    def other_files(self) -> dict[str, str]:
        """What the texts depend on besides the weights, such as tokenizer and chat template: digests of files
        by their names; none of a model that is served."""
        ...

    def context(self) -> int | None:
        """Longest prompt and completion together, in tokens; None if it cannot be known."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...


@dataclass(frozen=True)
class Engine:
    """Which backend runs a model, and how.

    Attributes:
        backend: `auto`: `openai` if there is a base URL, `vllm` if it is installed and there is a GPU, else
            `transformers`.
        batch_size: prompts a batch (transformers), or handed over at once (vllm, 32 times as many).
        threads: of the CPU; None: as many as torch takes by itself (transformers), as there are cores (vllm).
        gpus: over which the model is spread (vllm, tensor parallelism).
        gpu_memory: share of a GPU's memory to use (vllm).
        max_model_len: longest prompt and completion in tokens (vllm); None: the model's own.
        dtype: precision (vllm): float32, bfloat16 or float16; auto: the checkpoint's.
        kv_cache_mb: memory for its KV cache on a CPU, in MiB (vllm); None: 1024.
        base_url: of the server (openai), such as http://127.0.0.1:8000/v1.
        concurrency: requests at once (openai).
        timeout: seconds for one answer (openai).
        call_retries: times a call that failed is sent again (openai).
        key_variable: environment variable that holds the server's API key (openai); see
            `grrm.asking.options.key_of`.
        extra: further fields of every request (openai), such as thinking that is turned off,
            {"chat_template_kwargs": {"enable_thinking": False}}; None leaves one out, {"seed": None}.
        asking: further options of the client (openai), see `grrm.asking.options.JudgeOptions`: its cache,
            ledger, prices and budget.
        revision: of a model of the hub; None: its main branch.
    """

    backend: str = "auto"
    batch_size: int = 32
    threads: int | None = None
    gpus: int = 1
    gpu_memory: float = 0.9
    max_model_len: int | None = None
    dtype: str = "auto"
    kv_cache_mb: int | None = None
    base_url: str = ""
    concurrency: int = 64
    timeout: float = 600.0
    call_retries: int = 5
    key_variable: str = "JUDGE_API_KEY"
    revision: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    asking: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise UserError(f"backend {self.backend!r}: expected one of {', '.join(BACKENDS)}")
        for name in ("batch_size", "threads", "gpus", "concurrency", "max_model_len", "kv_cache_mb"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name}: {getattr(self, name)}, expected 1 or more")
        if self.dtype not in DTYPES:
            raise UserError(f"dtype {self.dtype!r}: expected one of {', '.join(DTYPES)}")
        if self.base_url and self.backend not in ("auto", "openai"):
            raise UserError(f"backend {self.backend!r} has no use for a base URL; leave one of the two out")
        if self.backend == "openai" and not self.base_url:
            raise UserError(
                "backend 'openai': no base URL; name the server, such as http://127.0.0.1:8000/v1"
            )


DEFAULT_ENGINE = Engine()


def open_backend(model: str | Path, engine: Engine = DEFAULT_ENGINE) -> Backend:
    """Load a model, or get ready to ask a server for it; use it as `with closing(open_backend(...))`.

    Args:
        model: model folder, model of the hub (`owner/name`), or the name that a server has for it.
        engine: what runs it.

    Raises:
        UserError: the model folder is missing or not complete, the hub does not have the model, or the
            backend cannot run here.
    """
    name = choose_backend(engine)
    if name != "openai":
        model = find_model(model, engine.revision)
    with needs_installed(str(model)):
        backend: Backend = import_module(_MODULES[name]).open(model, engine)
    return backend


class BackendWhenAsked:
    """A backend that loads its model with the first request; what makes the texts is known before.

    Args:
        model: as in `open_backend`.
        engine: as in `open_backend`.

    Raises:
        UserError: as `open_backend`, but for what shows itself in loading.
    """

    def __init__(self, model: str | Path, engine: Engine) -> None:
        self._engine, self._name = engine, choose_backend(engine)
        self._model = model if self._name == "openai" else find_model(model, engine.revision)
        self._opened: Backend | None = None
        if self._name == "openai":
            self._open()

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
        """As `Backend.generate`."""
        return self._open().generate(requests, decoding)

    def origin(self) -> dict[str, Any]:
        """As `Backend.origin`."""
        if self._opened is not None:
            return self._opened.origin()
        return local_origin(Path(self._model), self._name, self._engine)

    def other_files(self) -> dict[str, str]:
        """As `Backend.other_files`."""
        return other_files(Path(self._model)) if self._opened is None else self._opened.other_files()

    def context(self) -> int | None:
        """As `Backend.context`."""
        return self._open().context()

    def close(self) -> None:
        """Free the model, if it was loaded."""
        if self._opened is not None:
            self._opened.close()

    def _open(self) -> Backend:
        if self._opened is None:
            self._opened = open_backend(self._model, self._engine)
        return self._opened


@contextmanager
def needs_installed(model: str) -> Iterator[None]:
    """What loads a model; raises UserError if a package is not installed that runs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in _PACKAGES:
            raise
        raise UserError(
            f"{model}: {error.name} is not installed here, and runs it; install the extra infer "
            "(pip install 'grrm[infer]', from a checkout '.[infer]'), use the python of an environment "
            "of the workflow (.snakemake/environments/train/bin/python; vLLM is in rl_cuda and vllm_cpu), or "
            "name a server (base_url)"
        ) from error


def fit(decoding: Decoding, backend: Backend) -> Decoding:
    """The decoding; if it leaves no room for a prompt, with a longest completion of half the context."""
    context = backend.context()
    if context is None or decoding.max_new_tokens < context:
        return decoding
    return replace(decoding, max_new_tokens=max(1, context // 2))


def choose_backend(engine: Engine) -> str:
    """The backend that an engine means; `auto` looks at what there is."""
    if engine.backend != "auto":
        return engine.backend
    if engine.base_url:
        return "openai"
    if find_spec("vllm"):
        import torch

        if torch.cuda.is_available():
            return "vllm"
    return "transformers"


def find_model(model: str | Path, revision: str | None = None) -> Path:
    """The folder of a model; one of the hub is downloaded into the hub's cache if it is not there yet.

    Raises:
        UserError: there is no such folder or model, or it is not complete.
    """
    folder = Path(model)
    if folder.is_dir() or not _is_hub_name(str(model)):
        check_model(folder)
        return folder
    from huggingface_hub import snapshot_download

    make_hub_client()
    try:
        folder = Path(snapshot_download(str(model), revision=revision, allow_patterns=_MODEL_FILES))
    except Exception as error:  # the client's errors have no common ancestor
        raise UserError(
            f"{model}: no such model folder, and the hub does not give such a model "
            f"({type(error).__name__}: {_said(error)}); check its name, the network, "
            "HF_TOKEN and HF_HUB_OFFLINE"
        ) from error
    check_model(folder)
    return folder


def _said(error: Exception) -> str:
    return without_secrets(next(iter(str(error).strip().splitlines()), ""))


def local_origin(model: Path, backend: str, engine: Engine) -> dict[str, Any]:
    """Folder of a model and digest of its weights; of vLLM also the precision that they are used in."""
    origin = folder_origin(model, model)
    return origin | {"dtype": precision_used(model, engine)} if backend == "vllm" else origin


def folder_origin(model: str | Path, folder: Path) -> dict[str, Any]:
    """What a model is called, and the digest of its weights."""
    digests = "".join(file_hash(shard) for shard in sorted(folder.glob("*.safetensors")))
    return {"model": str(model), "weights": hashlib.sha256(digests.encode()).hexdigest()}


def precision_used(model: Path, engine: Engine) -> str:
    """The precision that vLLM is told: the engine's, or the checkpoint's."""
    return precision(model) if engine.dtype == "auto" else engine.dtype


def precision(model: Path) -> str:
    """The precision of a checkpoint, by its configuration: vLLM's own "auto" makes half of float32.

    Args:
        model: its folder.

    Returns:
        float32, bfloat16 or float16; float32 where nothing is said, as transformers reads it.
    """
    config = configuration(model)
    text = config.get("text_config") or {}
    names = (part.get(key) for part in (config, text) for key in ("dtype", "torch_dtype"))
    return str(next(filter(None, names), "float32"))


def other_files(folder: Path) -> dict[str, str]:
    """Digests of the files of a model, by name, that its texts depend on besides the weights."""
    found = sorted({file for name in _OTHER_FILES for file in folder.glob(name) if file.is_file()})
    return {file.name: file_hash(file)[:16] for file in found}


def _is_hub_name(model: str) -> bool:
    return model.count("/") == 1 and not model.startswith((".", "/", "~")) and all(model.split("/"))
