"""An LLM judge of the toy world: a server as a large model has it, which knows the toy language.

It stands in for the model behind the endpoint where recipes with LLM judges run at toy size: it is asked in
the words of config/prompts/translation_*.yaml, about single translations, pairs or whole groups, and sees
every error.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

from grrm.data.toy_world import ToyLanguage, make_language, penalty

_FENCED = re.compile(r"^(`{3,})\n(.*?)\n\1$", re.DOTALL | re.MULTILINE)
_TAG = re.compile(r"<(better|score|ranking)>")
_LOWEST, _HIGHEST = 1, 10
MODEL = "toy-judge"


def judge(language: ToyLanguage, prompt: str) -> str:
    """What it answers to a question about translations, fenced, the first text being their source.

    Raises:
        ValueError: it is another question.
    """
    tags = _TAG.findall(prompt)
    texts = [match[2] for match in _FENCED.finditer(prompt)]
    if not tags or len(texts) < 2:
        raise ValueError("expected a source and translations in fences, and a tag for the verdict")
    source, *translations = texts
    verdict = _verdict(tags[-1], [penalty(language, source, text) for text in translations])
    return f"<think>Errors counted.</think>\n<{tags[-1]}>{verdict}</{tags[-1]}>"


def _verdict(tag: str, penalties: Sequence[int]) -> str:
    if tag == "score":
        return str(max(_LOWEST, _HIGHEST - penalties[0]))
    if tag == "better":
        first, second = penalties
        return "tie" if first == second else "A" if first < second else "B"
    places = sorted(range(len(penalties)), key=lambda place: penalties[place])
    ranking = str(places[0] + 1)
    for before, place in pairwise(places):
        ranking += f" {'=' if penalties[before] == penalties[place] else '>'} {place + 1}"
    return ranking


@contextmanager
def serving() -> Iterator[str]:
    """Serve chat completions on a free port of the loopback; yields the base URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    _language = make_language()

    def do_POST(self) -> None:
        """Answer a chat completion."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            prompt = json.loads(body)["messages"][-1]["content"]
            status, answer = 200, _completion(prompt, judge(self._language, prompt))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            status, answer = 400, {"error": {"message": f"{type(error).__name__}: {error}"}}
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the client's ledger has every call."""


def _completion(prompt: str, text: str) -> dict[str, Any]:
    sent, made = len(prompt.split()), len(text.split())  # words, of a model that has no tokens
    return {
        "id": "toy",
        "object": "chat.completion",
        "model": MODEL,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": sent, "completion_tokens": made, "total_tokens": sent + made},
    }
