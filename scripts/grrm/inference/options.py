"""Command-line options that every program has which asks a model."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from grrm.inference.attempts import Retries
from grrm.inference.backends import BACKENDS, DTYPES, Decoding, Engine
from grrm.json_text import parse_json


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """What runs the model; read by `engine_of`."""
    group = parser.add_argument_group("what runs the model")
    group.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="auto (default): openai with a base URL, else vllm on a GPU where it is installed, else "
        "transformers",
    )
    group.add_argument("--base-url", default="", help="of an OpenAI-compatible server: http://host:port/v1")
    group.add_argument(
        "--key-variable",
        default=Engine.key_variable,
        help=f"environment variable with the server's API key (default: {Engine.key_variable}, without it "
        "OPENAI_API_KEY)",
    )
    group.add_argument(
        "--extra",
        type=_fields,
        default={},
        metavar="JSON",
        help="further fields of every request (openai), such as "
        '\'{"chat_template_kwargs": {"enable_thinking": false}}\'; null leaves a field out: '
        "'{\"seed\": null}'",
    )
    group.add_argument("--revision", help="commit or branch of a model of the hub")
    _number(group, "--batch-size", int, Engine.batch_size, "rows a batch")
    group.add_argument("--threads", type=int, help="CPU threads (default: as many as there are cores)")
    _number(group, "--gpus", int, Engine.gpus, "GPUs that the model is spread over (vllm)")
    _number(group, "--gpu-memory", float, Engine.gpu_memory, "share of a GPU's memory to use (vllm)")
    group.add_argument("--max-model-len", type=int, help="longest prompt and answer in tokens (vllm)")
    group.add_argument(
        "--dtype",
        choices=DTYPES,
        default=Engine.dtype,
        help="precision; auto (default) is the checkpoint's (vllm)",
    )
    group.add_argument("--kv-cache-mb", type=int, help="MiB for the KV cache on a CPU (vllm; default: 1024)")
    _number(group, "--concurrency", int, Engine.concurrency, "requests at once (openai)")
    _number(group, "--timeout", float, Engine.timeout, "seconds for an answer (openai)")
    _number(group, "--call-retries", int, Engine.call_retries, "times a failed call is sent again (openai)")


def _fields(text: str) -> dict[str, Any]:
    """An object in JSON."""
    try:
        value = parse_json(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(
            f"{text[:80]!r}, expected an object in JSON, such as '{{\"seed\": null}}'"
        )
    return value


def engine_of(args: argparse.Namespace) -> Engine:
    """The engine that the options of `add_engine_options` mean."""
    given = vars(args)
    return Engine(**{field.name: given[field.name] for field in fields(Engine) if field.name in given})


def add_decoding_options(
    parser: argparse.ArgumentParser, *, max_new_tokens: int | None = None, retries: int = 0
) -> None:
    """How answers are generated; read by `decoding_of` and `retries_of`.

    Args:
        max_new_tokens: default; None makes it required; 0 is what the model was trained with.
        retries: default.
    """
    group = parser.add_argument_group("how answers are generated")
    shown = "" if max_new_tokens is None else f" (default: {max_new_tokens or 'as in its training'})"
    group.add_argument(
        "--max-new-tokens",
        type=int,
        default=max_new_tokens,
        required=max_new_tokens is None,
        help=f"longest answer in tokens{shown}",
    )
    _number(group, "--temperature", float, Decoding.temperature, "0 is greedy")
    _number(group, "--top-p", float, Decoding.top_p, "sample from the likeliest tokens of this probability")
    _number(
        group, "--seed", int, Decoding.seed, "of sampling and shuffling; run r of seed s is run 0 of s + r"
    )
    _number(group, "--runs", int, 1, "times every row is answered, each with a seed of its own")
    _number(
        group, "--retries", int, retries, "times an answer that cannot be used is asked for again, hotter"
    )


def add_stale_option(parser: argparse.ArgumentParser) -> None:
    """What becomes of an interrupted run with other settings, for `Journal`."""
    parser.add_argument(
        "--discard-stale",
        action="store_true",
        help="begin anew if the output, or what is left of an interrupted run, has other settings; otherwise "
        "an error",
    )


def decoding_of(args: argparse.Namespace) -> Decoding:
    """The decoding that the options of `add_decoding_options` mean."""
    return Decoding(args.max_new_tokens, args.temperature, args.seed, args.top_p)


def retries_of(args: argparse.Namespace) -> Retries:
    """The retries that the options of `add_decoding_options` mean."""
    return Retries(args.retries)


def _number(group: argparse._ArgumentGroup, name: str, kind: type, default: float, what: str) -> None:
    group.add_argument(name, type=kind, default=default, help=f"{what} (default: {default:g})")
