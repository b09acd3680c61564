"""`grrm serve-reward`: rewards over HTTP, for trainers of other projects."""

from __future__ import annotations

import argparse
import errno
import os
import socket
import sys
from contextlib import suppress
from typing import Any

import yaml

from grrm import event_loop
from grrm.catalogue.rewards import NAMES
from grrm.config.environment import kind_of_environment, without_variables_of
from grrm.files import UserError
from grrm.yaml_text import parse_yaml

HELP = "rewards over HTTP, by the protocol of OpenRLHF's --remote_rm_url"

_LIMITS = {
    "patience": "seconds a response waits for its siblings (--group-size)",
    "concurrency": "groups scored at once",
    "max_waiting": "requests answered at once",
    "max_queries": "responses a request",
    "max_group": "responses a group",
    "max_body": "bytes a request",
    "max_receiving": "bytes of all requests that are on their way",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument(
        "--kind", help=f"how responses are rewarded (or EVAL_MODE and PAIRWISE_MODE): {', '.join(NAMES)}"
    )
    parser.add_argument(
        "--prompt",
        help="prompt file of the judge, or path/to/file.py:function (default: "
        "config/prompts/judge_pairwise.yaml, judge_pointwise.yaml or judge_listwise.yaml)",
    )
    parser.add_argument("--judge-url", help="of an OpenAI-compatible server (or JUDGE_API_URL)")
    parser.add_argument("--judge-model", help="the name it serves (or JUDGE_MODEL_NAME)")
    parser.add_argument(
        "--judge",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="further options of the judge's client, such as temperature=0.6 cache=replies.sqlite",
    )
    parser.add_argument("--no-swap", action="store_true", help="ask about a pair in one order (pairwise)")
    parser.add_argument("--scale", default="absolute", help="absolute (default) or group (pointwise)")
    parser.add_argument("--reference", action="store_true", help="show the judge the reference")
    parser.add_argument("--seed", type=int, default=0, help="of the order in which a GRRM sees candidates")
    parser.add_argument(
        "--tolerant",
        action="store_true",
        help="read answers like those of a judge that was not trained on the form: bold headers, 9/10, "
        '"Response A", [3, 2, 1]',
    )
    parser.add_argument("--function", default="", help="path/to/file.py:function (function)")
    parser.add_argument(
        "--range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="scores of the function that become 0 and 10 points (--points)",
    )
    parser.add_argument(
        "--part",
        nargs="+",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a part of a mixture, such as kind=bleu weight=0.3 normalise=group; give one for each",
    )
    parser.add_argument("--model", help="folder of the checkpoint (bradley_terry, comet)")
    parser.add_argument("--model-python", default="", help="interpreter that can load it (default: this one)")
    parser.add_argument("--device", default="cpu", help="of the checkpoint: cpu (default) or cuda")
    parser.add_argument(
        "--extract",
        default="none",
        help="what of a response is judged: none (all of it, default), thinking (all but it), code_block or "
        "last_line",
    )
    parser.add_argument(
        "--invalid-reward", type=float, help="reward of a response in which there is no such part"
    )
    parser.add_argument(
        "--on-failure",
        default="error",
        help="what becomes of a response about which the judge gave no answer: error (default), or mean, the "
        "mean of its group's others",
    )
    parser.add_argument(
        "--points", action="store_true", help="rewards from 0 to 10 whatever the kind, not on its own scale"
    )
    _add_server_arguments(parser)


def _add_server_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--group-size",
        type=int,
        default=0,
        help="responses to a prompt that are judged together, whichever requests they come in; the trainer's "
        "samples per prompt (default: the responses to a prompt within a request)",
    )
    for name, text in _LIMITS.items():
        kind = float if name == "patience" else int
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=argparse.SUPPRESS, help=text)
    parser.add_argument(
        "--untried", action="store_true", help="begin without asking the judge a first question"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=5000, help="0: any free one (default: 5000)")


def run(args: argparse.Namespace) -> None:
    """Serve until interrupted."""
    import uvicorn

    from grrm.reward_server.app import ServerOptions, create_app
    from grrm.rewards.kinds import Scorer
    from grrm.rewards.labelled import Reading, checker, scoring
    from grrm.rewards.trial import check_checkpoints, try_judges

    options = _scoring(args)
    check = checker(options.kind, Scorer(options))  # a prompt that cannot be used is said before anybody asks
    check_checkpoints(options)
    reading = Reading(args.extract, args.invalid_reward, args.points, args.on_failure)
    if not args.untried:
        for said in event_loop.run(try_judges(options, os.environ)):
            print(said, file=sys.stderr, flush=True)
    limits = {name: getattr(args, name) for name in _LIMITS if hasattr(args, name)}
    compares = options.compares(points=args.points)
    server = ServerOptions(options.kind, compares=compares, group_size=args.group_size, **limits)
    if args.host not in ("127.0.0.1", "::1", "localhost"):
        print(f"{args.host}: anybody who can reach this address can ask for rewards", file=sys.stderr)
    app = create_app(lambda: scoring(options, reading), server, check)
    config = uvicorn.Config(app, log_level="info", access_log=False, timeout_graceful_shutdown=5)
    with _listen(args.host, args.port) as listener:
        host = f"[{args.host}]" if ":" in args.host else args.host
        print(f"Listening at http://{host}:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
        uvicorn_server = uvicorn.Server(config)
        with suppress(KeyboardInterrupt):
            uvicorn_server.run(sockets=[listener])
    if not uvicorn_server.started:
        sys.exit(1)  # uvicorn has said why


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises UserError where there can be none."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise UserError(
                f"--port {port}: in use on {host}, perhaps by an earlier server; end that one "
                f"(`ss -ltnp` shows who listens), or take another port (0: any free one)"
            ) from error
        if isinstance(error, OverflowError) or error.errno == errno.EACCES:
            raise UserError(
                f"--port {port}: {error}; take one from 1024 to 65535 (0: any free one)"
            ) from error
        raise UserError(
            f"--host {host}: cannot listen there ({error}); expected an address of this machine, such as "
            "127.0.0.1, or 0.0.0.0 for all of them"
        ) from error


def _scoring(args: argparse.Namespace) -> Any:
    from grrm.asking.options import PATIENT
    from grrm.judges.prompts import shipped_prompt
    from grrm.rewards.kinds import ScoringOptions

    kind = args.kind or kind_of_environment(os.environ)
    if kind is None:
        raise UserError("--kind is missing; name it, or set EVAL_MODE or PAIRWISE_MODE")
    asked = {"url": args.judge_url, "model": args.judge_model, **_pairs(args.judge, "--judge")}
    client = {name: value for name, value in asked.items() if value is not None}
    parts = [_pairs(texts, "--part") for texts in args.part]
    device = {"python": args.model_python, "device": args.device}
    return ScoringOptions.from_mapping(
        {
            "kind": kind,
            "prompt": args.prompt or shipped_prompt(kind),
            "swap": not args.no_swap,
            "scale": args.scale,
            "reference": args.reference,
            "judge": client,
            "model": {"model": args.model, **device} if args.model else None,
            "seed": args.seed,
            "tolerant": args.tolerant,
            "function": args.function,
            "range": args.range,
            "parts": [_part(part, device) for part in parts],
        },
        judge={**PATIENT, **client},
        environment=without_variables_of(client, os.environ),  # the command line comes first
    )


def _part(given: dict[str, Any], device: dict[str, str]) -> dict[str, Any]:
    """A part with what it does not say: the shipped prompt of its kind, and what loads a checkpoint."""
    from grrm.judges.prompts import shipped_prompt

    part = {"prompt": shipped_prompt(str(given.get("kind"))), **given}
    return (
        {**part, "model": {"model": part["model"], **device}} if isinstance(part.get("model"), str) else part
    )


def _pairs(texts: list[str], option: str) -> dict[str, Any]:
    """Options as YAML reads their values."""
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"{option}: {text!r}, expected KEY=VALUE")
        try:
            pairs[key] = parse_yaml(value)
        except yaml.YAMLError as error:
            raise UserError(f"{option}: {key}: not valid YAML ({error})") from error
    return pairs
