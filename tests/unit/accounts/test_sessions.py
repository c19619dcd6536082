"""How long a sign-in lasts: by its last use, by its age, over restarts and clocks that jump."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.unit.accounts.conftest import HERE, House
from webui.accounts.sessions import Lifetime
from webui.storage.tables import utc_now

DAY = timedelta(days=1)
IDLE, LONGEST = Lifetime().idle, Lifetime().longest


class Calendar:
    """A clock that is set by hand, of all sign-ins of a house."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.began = utc_now()
        self.after = timedelta(0)
        self.hang()

    def hang(self) -> None:
        """Let the house go by it; again after a restart."""
        self.house.accounts.sessions._clock = self.now

    def now(self) -> datetime:
        return self.began + self.after

    async def is_in(self, token: str, after: timedelta) -> bool:
        self.after = after
        return await self.house.accounts.sessions.identify(token, HERE) is not None


@pytest.fixture
async def token(house: House) -> str:
    return await house.claim()


@pytest.fixture
def calendar(house: House, token: str) -> Calendar:
    return Calendar(house)


async def test_sign_in_that_nobody_uses_ends_after_two_weeks(calendar, token) -> None:
    assert await calendar.is_in(token, timedelta(0))
    assert not await calendar.is_in(token, IDLE + DAY)


async def test_each_use_lets_it_last_on(calendar, token) -> None:
    assert await calendar.is_in(token, IDLE - DAY)
    assert await calendar.is_in(token, 2 * IDLE - 2 * DAY)
    assert not await calendar.is_in(token, 3 * IDLE)


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_use_does_not_let_it_last_for_ever(calendar, token, house, is_restarted) -> None:
    after = timedelta(0)
    while after <= LONGEST - 10 * DAY:
        assert await calendar.is_in(token, after), after
        after += 10 * DAY
        if is_restarted:
            house.begin()
            calendar.hang()
    assert await calendar.is_in(token, LONGEST - DAY)
    assert not await calendar.is_in(token, LONGEST + DAY)


async def test_end_by_age_holds_over_a_restart(calendar, token, house) -> None:
    assert await calendar.is_in(token, timedelta(0))
    house.begin()
    calendar.hang()
    assert not await calendar.is_in(token, IDLE + DAY)


async def test_clock_that_is_set_back_ends_nothing_and_lengthens_nothing(calendar, token) -> None:
    assert await calendar.is_in(token, 10 * DAY)
    assert await calendar.is_in(token, -10 * DAY)
    assert await calendar.is_in(token, 11 * DAY)
    assert not await calendar.is_in(token, LONGEST + DAY)
