"""What runs a trained judge: a backend that writes, or for a Bradley-Terry judge one that scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from grrm.files import UserError
from grrm.inference.backends import (
    Backend,
    Decoding,
    Engine,
    Request,
    choose_backend,
    folder_origin,
    needs_installed,
    open_backend,
    other_files,
)
from grrm.judges.card import BradleyTerry, Pairwise, Pointwise
from grrm.model_folder import check_model

Use: TypeAlias = Pointwise | Pairwise | BradleyTerry
"""How a judge is used: prompt, parser and limits of its training."""


class Classifier:
    """A Bradley-Terry judge in the place of a backend: it scores, and writes nothing."""

    def __init__(self, model: Path, engine: Engine, max_length: int) -> None:
        from grrm.inference.bradley_terry import load

        self._model = model
        with needs_installed(str(model)):
            self.score: Callable[[Sequence[Sequence[Mapping[str, str]]]], list[float]] = load(
                model, max_length, batch_size=engine.batch_size, threads=engine.threads
            )

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[Any]:
        """Not what it is for; see `score`."""
        raise NotImplementedError

    def origin(self) -> dict[str, Any]:
        """Folder and digest of the weights."""
        return folder_origin(self._model, self._model)

    def other_files(self) -> dict[str, str]:
        """Of the folder."""
        return other_files(self._model)

    def context(self) -> int | None:
        """Nothing is generated."""
        return None

    def close(self) -> None:
        """Nothing to give back."""


def open_judge(model: str | Path, engine: Engine, used: Use) -> Backend:
    """Load a judge, or get ready to ask a server for it.

    Raises:
        UserError: as `open_backend`; or a Bradley-Terry judge is asked for by another backend than
            transformers.
    """
    if not isinstance(used, BradleyTerry):
        return open_backend(model, engine)
    if choose_backend(engine) != "transformers":
        raise UserError(
            f"{model}: a Bradley-Terry judge writes no text, so vLLM and servers of chats cannot run it; "
            "choose the backend transformers (--backend transformers)"
        )
    check_model(Path(model))
    return Classifier(Path(model), engine, used.max_length)
