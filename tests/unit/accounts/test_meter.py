"""Tokens of a request, counted while it runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from webui.accounts.limits import Limits
from webui.accounts.meter import Meter
from webui.accounts.standing import Moment, Standing
from webui.engine.interface import Finish, FinishReason, Prefill, Queued, Text, Timings, Usage
from webui.errors import EngineDied, QuotaExceeded
from webui.storage.usage import Spent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from webui.engine.interface import Delta

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = NOW.date()
FINISH = Finish(FinishReason.STOP, Usage(10, 4, 6), Timings(0, 0, 0))


class House:
    def __init__(self, used: int = 0, **limits: int) -> None:
        self.standing = Standing(DAY, used)
        self.meter = Meter("ann", self.standing, Limits(**limits), self.now)
        self.clock_s = 0.0
        self.is_closed = False

    def now(self) -> Moment:
        return Moment(NOW, getattr(self, "clock_s", 0.0))

    async def engine(self, *steps: Delta | Exception) -> AsyncGenerator[Delta, None]:
        try:
            for step in steps:
                self.clock_s += 1
                if isinstance(step, Exception):
                    raise step
                yield step
        finally:
            self.is_closed = True

    async def run(self, *steps: Delta | Exception) -> list[Delta]:
        return [delta async for delta in self.meter.watch(self.engine(*steps))]

    def used(self) -> int:
        return self.standing.used_tokens(DAY)


def spent(prompt: int, completion: int, cached: int) -> Spent:
    return Spent(
        owner_id="ann",
        day=DAY,
        model="m",
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
    )


async def test_reply_is_passed_on_and_counted_as_the_engine_says_at_its_end() -> None:
    house = House()
    steps = [Queued(1), Prefill(5, 10, 6), Prefill(10, 10, 6), Text("a", 1), Text("b", 2), FINISH]
    assert await house.run(*steps) == steps
    assert house.used() == 10 - 6 + 4
    assert house.meter.spent("m") == spent(10, 4, 6)
    assert not house.meter.is_cut


async def test_tokens_count_while_they_are_written() -> None:
    house = House()
    counts = [house.used() async for _ in house.meter.watch(house.engine(*STEPS))]
    assert counts == [4, 5, 7, 8]


STEPS = (Prefill(10, 10, 6), Text("a", 1), Text("b", 2), FINISH)


async def test_reply_ends_where_the_day_is_used_up_and_keeps_its_text() -> None:
    house = House(used=90, tokens_per_day=97)
    *told, end = await house.run(Queued(1), *STEPS)
    assert told == [Queued(1), *STEPS[:3]]
    assert end == Finish(FinishReason.QUOTA, Usage(10, 3, 6), Timings(2, 1, 1))
    assert house.meter.is_cut
    assert house.is_closed
    assert house.used() == 97
    assert house.meter.spent("m") == spent(10, 3, 6)


async def test_tokens_of_another_reply_count_too() -> None:
    house = House(tokens_per_day=100)
    deltas = house.meter.watch(house.engine(*STEPS))
    await anext(deltas)
    house.standing.add_tokens(DAY, 95)
    assert await anext(deltas) == STEPS[1]
    assert isinstance(await anext(deltas), Finish)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"context_tokens": 9}, "10 tokens; you may send 9"),
        ({"tokens_per_day": 53}, "takes 4 tokens; 3 are left of the 53"),
    ],
)
async def test_prompt_that_is_too_long_is_refused_and_not_read(limits, said) -> None:
    house = House(used=50, **limits)
    with pytest.raises(QuotaExceeded, match=said):
        await house.run(*STEPS)
    assert house.is_closed
    assert house.used() == 50


async def test_reply_that_breaks_off_counts_as_far_as_it_came() -> None:
    house = House()
    with pytest.raises(EngineDied):
        await house.run(*STEPS[:2], EngineDied("gone"))
    assert house.meter.spent("m") == spent(10, 1, 6)


async def test_request_for_which_nothing_was_done_is_none() -> None:
    house = House()
    with pytest.raises(EngineDied):
        await house.run(Queued(1), EngineDied("gone"))
    assert house.meter.spent("m") is None


async def test_text_that_is_only_read_is_counted() -> None:
    house = House()
    house.meter.read(7)
    assert house.used() == 7
    assert house.meter.spent("m") == spent(7, 0, 0)
