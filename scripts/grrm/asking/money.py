"""What asking costs, and a budget that is kept: in money, calls or tokens."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from grrm.asking.chat import Reply, longest_answer
from grrm.asking.ledger import Spent, spent_in, write_call
from grrm.asking.options import JudgeOptions
from grrm.files import UserError
from grrm.judges.questions import Reason

_UNANSWERED: frozenset[Reason | None] = frozenset({"timeout", "connection"})
# A model has written something, though it may be no use.
_WRITTEN: frozenset[Reason | None] = frozenset({None, "unfinished", "refused"})


class BudgetError(UserError):
    """The budget does not allow another call."""


def cost_of(options: JudgeOptions, prompt_tokens: float, completion_tokens: float) -> float:
    """What so many tokens cost by the prices of the options, which are per million."""
    return (prompt_tokens * options.prompt_price + completion_tokens * options.completion_price) / 1e6


@dataclass
class PaidCall:
    """A call under way.

    Attributes:
        used: what it came to; None while that is not known, and for ever if no answer comes: then it counts
            at the most it could.
    """

    most: Spent
    used: Spent | None = None


class Budget:
    """Lets calls go as long as the budget holds out, those under way counted at the most they can take.

    A call is noted in the ledger before it is sent, and once more when its answer has come. What earlier
    clients noted there about the same model counts as spent: their answered calls at what they came to, the
    others, which a killed process lost or no answer came to, at the most they could. So does what launches
    before have spent, by the options.

    Args:
        options: limits, prices and ledger.
    """

    def __init__(self, options: JudgeOptions) -> None:
        self._options = options
        self._limits = {
            name: limit
            for name, limit in (
                ("cost", options.budget),
                ("calls", options.budget_calls),
                ("tokens", options.budget_tokens),
            )
            if limit is not None
        }
        earlier = self.notes_calls and bool(options.ledger)
        noted = spent_in([Path(options.ledger)], options.model) if earlier else Spent()
        self.spent = noted + Spent(cost=options.spent)
        self._held: dict[str, Spent] = {}
        self._client = uuid.uuid4().hex[:12]
        self._numbers = itertools.count()
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def notes_calls(self) -> bool:
        """Whether calls are counted one by one: there is a limit, or they are to be."""
        return bool(self._limits) or self._options.note_calls

    @asynccontextmanager
    async def call(self, request: Mapping[str, Any]) -> AsyncIterator[PaidCall]:
        """Hold back what a call may take while it is under way; wait for others that hold back too much.

        Args:
            request: its fields.

        Raises:
            BudgetError: the budget does not allow it.
        """
        if not self.notes_calls:
            yield PaidCall(Spent())
            return
        # Four bytes a token is a guess.
        prompt, answer = len(json.dumps(request)) / 4, longest_answer(request, self._options)
        most = Spent(1, prompt + answer, cost_of(self._options, prompt, answer))
        await self._wait_for(most)
        name = f"{self._client}-{next(self._numbers)}"
        self._held[name] = most
        self._note("sent", name, most)
        call = PaidCall(most)
        try:
            yield call
        finally:
            del self._held[name]
            self.spent += call.used or most
            if call.used is not None:
                self._note("settled", name, call.used)
            for waiting in self._waiting:
                if not waiting.done():
                    waiting.set_result(None)
            self._waiting.clear()

    def settle(self, call: PaidCall, reply: Reply) -> None:
        """Tell what became of a call; what nobody counted is counted at the most."""
        if reply.reason in _UNANSWERED:
            call.used = None if reply.sent else Spent()
            return
        tokens = reply.prompt_tokens + reply.completion_tokens
        if reply.reason in _WRITTEN and not tokens:
            call.used = call.most
        else:
            cost = cost_of(self._options, reply.prompt_tokens, reply.completion_tokens)
            call.used = Spent(1, tokens, cost)

    async def _wait_for(self, most: Spent) -> None:
        while over := self._over(sum(self._held.values(), self.spent) + most):
            if not self._held or self._over(self.spent + most):
                raise BudgetError(self._refusal(over, most))
            self._waiting.append(asyncio.get_running_loop().create_future())
            await self._waiting[-1]

    def _over(self, spent: Spent) -> str:
        """What of a spending is above its limit; empty if nothing is."""
        # A limit is reached, not passed, by the same sum in another order.
        return next(
            (name for name, limit in self._limits.items() if getattr(spent, name) > limit * (1 + 1e-12)), ""
        )

    def _refusal(self, over: str, most: Spent) -> str:
        spent, limit, needed = getattr(self.spent, over), self._limits[over], getattr(most, over)
        held = sum(getattr(one, over) for one in self._held.values())
        key = "judge.budget" if over == "cost" else f"judge.budget_{over}"
        of = "" if over == "cost" else f" of {over}"
        return (
            f"judge {self._options.model}: {spent:.4g} of budget {limit:g}{of} is spent, calls under way may "
            f"take {held:.4g} and the next {needed:.4g}; raise {key} and run the same command again"
        )

    def _note(self, event: str, name: str, amount: Spent) -> None:
        if self._options.ledger:
            row = {"time": round(time.time(), 3), "model": self._options.model, event: name}
            write_call(Path(self._options.ledger), {**row, **asdict(amount)})
