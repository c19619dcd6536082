"""Counts what a request takes while it runs, and ends it where the day's tokens are used up.

Knows deltas and one person's standing; keeps no text.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from webui.accounts.standing import ASK
from webui.engine.interface import Finish, FinishReason, Prefill, Text, Timings, Usage
from webui.errors import QuotaExceeded
from webui.storage.usage import Spent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from webui.accounts.limits import Limits
    from webui.accounts.standing import Moment, Standing
    from webui.engine.interface import Delta


class Meter:
    """The tokens of one request.

    Args:
        owner_id: Whose request.
        standing: What they have used.
        limits: What they may use.
        now: The time.
    """

    def __init__(
        self, owner_id: str, standing: Standing, limits: Limits, now: Callable[[], Moment]
    ) -> None:
        self.is_cut = False  # the reply was ended here
        self._owner_id = owner_id
        self._standing = standing
        self._limits = limits
        self._now = now
        self._begun_s = self._first_step_s = self._latest_s = now().clock_s
        self._first_token_s: float | None = None
        self._has_begun = False
        self._usage = Usage(0, 0)
        self._counted = 0

    async def watch(self, deltas: AsyncGenerator[Delta, None]) -> AsyncGenerator[Delta, None]:
        """Yield the deltas of a reply; ends it where no tokens are left for today.

        The overrun is at most what one step of the engine wrote.

        Raises:
            QuotaExceeded: The prompt is longer than may be, or than what is left for today.
            WebuiError: What the engine raises.
        """
        async with aclosing(deltas):
            async for delta in deltas:
                if not isinstance(delta, Prefill | Text | Finish):
                    yield delta
                    continue
                now = self._now()
                self._take(delta, now)
                yield delta
                if isinstance(delta, Text) and self._remaining(now) == 0:
                    self.is_cut = True
                    yield Finish(FinishReason.QUOTA, self._usage, self._timings())
                    return

    def read(self, num_tokens: int) -> None:
        """Count texts that were read, none of them known before."""
        self._has_begun = True
        self._count(Usage(num_tokens, 0), self._now())

    def spent(self, model: str) -> Spent | None:
        """Return what the request took; None where nothing was done for it."""
        if not self._has_begun:
            return None
        return Spent(
            owner_id=self._owner_id,
            day=self._now().day,
            model=model,
            prompt_tokens=self._usage.prompt_tokens,
            completion_tokens=self._usage.completion_tokens,
            cached_tokens=self._usage.cached_tokens,
        )

    def _take(self, delta: Prefill | Text | Finish, now: Moment) -> None:
        self._latest_s = now.clock_s
        if not self._has_begun:
            self._has_begun, self._first_step_s = True, now.clock_s
        if isinstance(delta, Text):
            if self._first_token_s is None:
                self._first_token_s = now.clock_s
            so_far = self._usage
            written = so_far.completion_tokens + delta.num_tokens
            self._count(Usage(so_far.prompt_tokens, written, so_far.cached_tokens), now)
        elif isinstance(delta, Finish):
            self._count(delta.usage, now)
        else:
            self._check_prompt(delta, now)
            self._count(Usage(delta.total, self._usage.completion_tokens, delta.cached), now)

    def _check_prompt(self, prompt: Prefill, now: Moment) -> None:
        limit = self._limits.context_tokens
        if limit is not None and prompt.total > limit:
            raise QuotaExceeded(
                f"the conversation has {prompt.total:,} tokens; you may send {limit:,} at once",
                f"Shorten it or begin a new one. {ASK}",
                remaining=limit,
            )
        remaining, needed = self._remaining(now), prompt.total - prompt.cached
        if self._counted == 0 and remaining is not None and needed > remaining:
            raise QuotaExceeded(
                f"reading the conversation takes {needed:,} tokens; {remaining:,} are left of "
                f"the {self._limits.tokens_per_day:,} that you may use a day",
                f"There are new ones from {now.next_day:%H:%M} UTC on. {ASK}",
                remaining=remaining,
                resets_at=now.next_day,
                retry_after_s=(now.next_day - now.at).total_seconds(),
            )

    def _count(self, usage: Usage, now: Moment) -> None:
        counted = usage.prompt_tokens - usage.cached_tokens + usage.completion_tokens
        self._standing.add_tokens(now.day, counted - self._counted)
        self._usage, self._counted = usage, counted

    def _remaining(self, now: Moment) -> int | None:
        return self._standing.remaining_tokens(self._limits, now.day)

    def _timings(self) -> Timings:
        first_token_s = self._latest_s if self._first_token_s is None else self._first_token_s
        return Timings(
            self._first_step_s - self._begun_s,
            first_token_s - self._first_step_s,
            self._latest_s - first_token_s,
        )
