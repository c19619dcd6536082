"""Limits over a real database: exact when many come at once, kept over restarts."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from webui.accounts.quotas import Quotas
from webui.actor import Actor, Permission, UserRole
from webui.errors import QuotaExceeded, StorageFull
from webui.storage import groups, usage, users
from webui.storage.tables import UserRow
from webui.storage.usage import Spent

if TYPE_CHECKING:
    from tests.unit.accounts.conftest import House

ANN = Actor("ann", "Ann", frozenset({Permission.CHAT}), UserRole.USER)
BOB = Actor("bob", "Bob", frozenset({Permission.CHAT}), UserRole.USER)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Counting:
    """Quotas on fake clocks, for Ann and Bob."""

    def __init__(self, house: House) -> None:
        self.database = house.database
        self.clock = house.clock
        self.at = NOON
        self.begin()

    def begin(self) -> None:
        self.quotas = Quotas(self.database, clock=self.clock, now=lambda: self.at)

    async def limit(self, **limits: int | None) -> None:
        await self.database.run(groups.set_default_limits, limits)

    async def used(self, user_id: str = "ann") -> int:
        await self.quotas.flush()
        rows = await self.database.read(usage.list_since, user_id, NOON.date())
        return sum(row.counted_tokens for row in rows)


@pytest.fixture
async def counting(house: House) -> Counting:
    for user_id in ("ann", "bob"):
        await house.database.run(users.add, UserRow(id=user_id, name=user_id, name_key=user_id))
    return Counting(house)


def spent(tokens: int, owner: str = "ann") -> Spent:
    return Spent(owner_id=owner, day=NOON.date(), model="m", completion_tokens=tokens)


@pytest.mark.parametrize("limit", ["messages_per_minute", "requests_at_once"])
async def test_hundred_at_once_with_a_limit_of_ten_let_exactly_ten_in(
    counting: Counting, limit: str
) -> None:
    await counting.limit(**{limit: 10})
    admissions = [counting.quotas.admission(ANN) for _ in range(100)]
    entered = await asyncio.gather(*(one.enter() for one in admissions), return_exceptions=True)
    refused = [one for one in entered if isinstance(one, QuotaExceeded)]
    assert len(refused) == 90
    await counting.quotas.admission(BOB).enter()  # whose own are untouched
    for one, how in zip(admissions, entered, strict=True):
        if not isinstance(how, QuotaExceeded):
            one.leave()
    counting.clock.now_s += 60
    entered = await asyncio.gather(
        *(counting.quotas.admission(ANN).enter() for _ in range(100)), return_exceptions=True
    )
    assert sum(isinstance(one, QuotaExceeded) for one in entered) == 90


async def test_requests_that_belong_together_are_let_in_together_or_not(
    counting: Counting,
) -> None:
    await counting.limit(requests_at_once=3, messages_per_minute=6)
    three = counting.quotas.admission(ANN, num_requests=3)
    await asyncio.gather(*(three.enter() for _ in range(3)))
    with pytest.raises(QuotaExceeded):
        await counting.quotas.admission(ANN).enter()
    three.leave()
    three.leave()
    with pytest.raises(QuotaExceeded):
        await counting.quotas.admission(ANN).enter()
    three.leave()
    await counting.quotas.admission(ANN, num_requests=3).enter()


async def test_refusal_of_one_is_that_of_all_that_belong_together(counting: Counting) -> None:
    await counting.limit(requests_at_once=2)
    other = counting.quotas.admission(ANN)
    await other.enter()
    two = counting.quotas.admission(ANN, num_requests=2)
    with pytest.raises(QuotaExceeded):
        await two.enter()
    other.leave()
    with pytest.raises(QuotaExceeded):
        await two.enter()
    await counting.quotas.admission(ANN, num_requests=2).enter()


async def test_one_that_is_cancelled_while_it_enters_leaves_no_trace(counting: Counting) -> None:
    await counting.limit(requests_at_once=1)
    for _ in range(3):
        entering = asyncio.create_task(counting.quotas.admission(ANN).enter())
        await asyncio.sleep(0)
        entering.cancel()
        await asyncio.wait({entering})
    admission = counting.quotas.admission(ANN)
    await admission.enter()
    admission.withdraw()
    await counting.quotas.admission(ANN).enter()


async def test_tokens_are_remembered_over_a_restart_and_new_the_next_day(
    counting: Counting,
) -> None:
    await counting.limit(tokens_per_day=10)
    admission = counting.quotas.admission(ANN)
    meter = await admission.enter()
    meter.read(10)
    admission.leave(meter.spent("m"))
    with pytest.raises(QuotaExceeded):
        await counting.quotas.admission(ANN).enter()
    await counting.quotas.close()
    counting.begin()
    with pytest.raises(QuotaExceeded):
        await counting.quotas.admission(ANN).enter()
    counting.at += timedelta(days=1)
    await counting.quotas.admission(ANN).enter()


async def test_limits_hold_from_the_next_request_on(counting: Counting) -> None:
    await counting.quotas.admission(ANN).enter()
    await counting.limit(requests_at_once=1)
    with pytest.raises(QuotaExceeded):
        await counting.quotas.admission(ANN).enter()
    await counting.limit(requests_at_once=None)
    await counting.quotas.admission(ANN).enter()


async def test_what_storage_refuses_is_saved_later(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise StorageFull("The disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(counting.database, "run", full)
        counting.quotas.note(spent(3))
        await counting.quotas.flush()
    assert await counting.used() == 3
    for tokens in (1, 2, 3):
        counting.quotas.note(spent(tokens))
    assert await counting.used() == 9


async def test_storage_is_checked_against_what_is_there(counting: Counting) -> None:
    await counting.quotas.check_storage(ANN, 10**9)
    await counting.limit(storage_bytes=5)
    await counting.quotas.check_storage(ANN, 5)
    with pytest.raises(QuotaExceeded, match="0 bytes of the 5") as caught:
        await counting.quotas.check_storage(ANN, 6)
    assert (caught.value.remaining, caught.value.resets_at) == (5, None)


async def test_limits_are_told_with_what_is_left(counting: Counting) -> None:
    assert {view.limit for view in await counting.quotas.list(ANN)} == {None}
    await counting.limit(tokens_per_day=100, messages_per_minute=5, requests_at_once=2)
    admission = counting.quotas.admission(ANN)
    (await admission.enter()).read(30)
    told = {view.name: view for view in await counting.quotas.list(ANN)}
    left = {name: view.remaining for name, view in told.items()}
    assert left == {
        "tokens_per_day": 70,
        "messages_per_minute": 4,
        "requests_at_once": 1,
        "context_tokens": None,
        "storage_bytes": None,
    }
    assert told["tokens_per_day"].resets_at == datetime(2026, 11, 24, tzinfo=UTC)


async def test_account_that_is_gone_is_forgotten(counting: Counting) -> None:
    await counting.limit(tokens_per_day=10)
    meter = await counting.quotas.admission(ANN).enter()
    meter.read(10)
    await counting.database.run(lambda session: users.delete(session, users.get(session, "ann")))
    await counting.quotas.forget("ann")
    counting.quotas.note(spent(1))
    await counting.quotas.close()
    await counting.quotas.admission(ANN).enter()
