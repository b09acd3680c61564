"""Who is asked, a teacher or a system that translates: a model behind an endpoint, or one of this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from grrm.asking.ledger import Spent, spent_in
from grrm.inference.attempts import Retries
from grrm.inference.backends import Backend, Decoding, Engine, fit, open_backend
from grrm.inference.journalled import JournalledBackend
from grrm.inference.openai_backend import OpenAIBackend
from grrm.inference.progress import Progress
from grrm.inference.runs import Result, Tally

T = TypeVar("T")

BUDGET_KEYS = {"calls": "budget_calls", "tokens": "budget_tokens", "cost": "budget"}
"""Limits of a section `budget`, and the options of the client that hold them."""


@dataclass(frozen=True)
class Files:
    """Where answers and calls are kept; neither is an output, so that both survive whatever is made anew.

    Attributes:
        folder: of both.
        name: of who is asked.
    """

    folder: Path
    name: str

    @property
    def journal(self) -> Path:
        """Answers by their requests (SQLite)."""
        return self.folder / f"{self.name}.sqlite"

    @property
    def ledger(self) -> Path:
        """Calls over HTTP (JSON lines), without their texts."""
        return self.folder / f"{self.name}.calls.jsonl"


@dataclass
class Asked:
    """Who is asked, ready.

    Attributes:
        backend: gives the answers.
        decoding: how it generates.
        retries: what is done about answers that cannot be used.
        made_by: for the provenance of what it says: model, weights or address, decoding.
        files: where its answers are kept.
        tally: what became of what was asked so far.
    """

    backend: Backend
    decoding: Decoding
    retries: Retries
    made_by: dict[str, Any]
    files: Files
    tally: Tally = field(default_factory=Tally)

    def progress(self, total: int) -> Progress:
        """Shows how far it is, how fast, what that has cost, and the time left."""
        return Progress(total, cost=self._cost, there=self._there)

    def spent(self) -> Spent:
        """Calls over HTTP so far, earlier launches among them; nothing of a model of this machine."""
        return spent_in([self.files.ledger], self.made_by["model"])

    def _there(self) -> int:
        if isinstance(self.backend, OpenAIBackend):
            return self.backend.cached
        return self.backend.found if isinstance(self.backend, JournalledBackend) else 0

    def _cost(self) -> str:
        if not isinstance(self.backend, OpenAIBackend):
            return "on this machine"
        spent = self.backend.spent()
        money = f", cost {spent.cost:.4g}" if spent.cost else ""
        return f"{spent.calls:.0f} calls, {spent.tokens:.0f} tokens{money}"


@contextmanager
def open_asked(
    settings: Mapping[str, Any], files: Files, seed: int, *, gpus: int = 0, threads: int | None = None
) -> Iterator[Asked]:
    """Load a model, or get ready to ask a server; every answer is kept as soon as it is there.

    Args:
        settings: section `teacher` of the configuration, or of one of the models of its candidates.
        files: where answers and calls are kept.
        seed: of sampling.
        gpus: that a model of this machine is spread over; 0 of others.
        threads: CPU threads of a model of this machine.

    Raises:
        UserError: see `open_backend`.
    """
    files.folder.mkdir(parents=True, exist_ok=True)
    engine = engine_of(settings, files, gpus, threads)
    with closing(_opened(settings["model"], engine, files)) as backend:
        given = Decoding(settings["max_tokens"], settings["temperature"], seed, settings["top_p"])
        decoding = fit(given, backend)
        # What the address says beside the host is nobody's business.
        made_by = {**backend.origin(), "decoding": asdict(decoding)}
        yield Asked(backend, decoding, Retries(settings["retries"]), made_by, files)


def engine_of(settings: Mapping[str, Any], files: Files, gpus: int = 0, threads: int | None = None) -> Engine:
    """What runs the model of a section; arguments as of `open_asked`."""
    if url := settings.get("url"):
        budget = settings.get("budget") or {}
        return Engine(
            backend="openai",
            base_url=url,
            concurrency=settings["max_concurrency"],
            timeout=settings["timeout"],
            call_retries=settings["call_retries"],
            key_variable=settings["key_variable"],
            extra=settings["extra"],
            asking={
                "cache": str(files.journal),
                "ledger": str(files.ledger),
                "note_calls": True,
                "keep_refusals": True,
                "prompt_price": settings["prompt_price"],
                "completion_price": settings["completion_price"],
                **{BUDGET_KEYS[name]: limit for name, limit in budget.items() if limit is not None},
            },
        )
    return Engine(
        backend=settings["backend"],
        batch_size=settings["batch_size"],
        gpus=max(1, gpus),
        threads=threads,
    )


def chunks(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """A sequence in pieces of at most so many."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


A = TypeVar("A", bound=Result)


def in_order(answers: Iterable[tuple[int, A]], tally: Tally, progress: Progress) -> list[A]:
    """Answers by their positions, which they do not come in; each is counted and shown as it comes."""
    found: dict[int, A] = {}
    for position, answer in answers:
        found[position] = answer
        tally.count(answer.failure, answer.detail)
        progress(tally)
    return [found[position] for position in range(len(found))]


def _opened(model: str, engine: Engine, files: Files) -> Backend:
    backend = open_backend(model, engine)
    return backend if engine.base_url else JournalledBackend(backend, files.journal)
