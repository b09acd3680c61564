"""What asking costs, and a budget that is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from grrm.asking.chat import longest_answer
from grrm.asking.ledger import spent
from grrm.asking.options import JudgeOptions
from grrm.files import UserError


def cost_of(options: JudgeOptions, prompt_tokens: float, completion_tokens: float) -> float:
    """What so many tokens cost by the prices of the options, which are per million."""
    return (prompt_tokens * options.prompt_price + completion_tokens * options.completion_price) / 1e6


class Budget:
    """Lets calls go as long as `options.budget` holds out, those under way counted at the most they can cost.

    What an earlier client noted in the same ledger counts as spent, and what launches before spent.
    """

    def __init__(self, options: JudgeOptions) -> None:
        self._options = options
        earlier = options.budget is not None and bool(options.ledger)
        self._spent_before = options.spent + (spent([Path(options.ledger)], options.model) if earlier else 0)
        self._reserved = 0.0

    @contextmanager
    def reserved(self, request: Mapping[str, Any], cost: float) -> Iterator[None]:
        """Hold back what a request may cost while it is under way.

        Args:
            request: its fields.
            cost: of the calls of this client so far.

        Raises:
            UserError: the budget does not allow it.
        """
        options = self._options
        if options.budget is None:
            yield
            return
        # Four bytes a token is a guess.
        most = cost_of(options, len(json.dumps(request)) / 4, longest_answer(request, options))
        so_far = cost + self._spent_before
        if so_far + self._reserved + most > options.budget:
            raise UserError(
                f"judge {options.model}: {so_far:.4g} of budget {options.budget:g} is spent, calls under way "
                f"may cost {self._reserved:.4g} and the next {most:.4g}; raise judge.budget and run the same "
                "command again"
            )
        self._reserved += most
        try:
            yield
        finally:
            self._reserved -= most
