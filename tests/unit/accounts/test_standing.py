"""What is left of limits, with clocks that are told the time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from webui.accounts.limits import Limits
from webui.accounts.standing import Moment, Standing
from webui.errors import QuotaExceeded

START = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)


def at(seconds: float, clock_s: float | None = None) -> Moment:
    return Moment(START + timedelta(seconds=seconds), seconds if clock_s is None else clock_s)


def fresh(used: int = 0) -> Standing:
    return Standing(START.date(), used)


def refused(standing: Standing, limits: Limits, now: Moment, num: int = 1) -> QuotaExceeded:
    before = standing.num_requests
    with pytest.raises(QuotaExceeded) as caught:
        standing.take(limits, now, num)
    assert standing.num_requests == before
    return caught.value


def test_no_limit_lets_everything_in() -> None:
    standing = fresh(10**12)
    standing.take(Limits(), at(0), 1000)
    assert standing.remaining_tokens(Limits(), START.date()) is None


def test_tokens_of_a_day_are_there_again_at_midnight_utc() -> None:
    limits, standing = Limits(tokens_per_day=100), fresh(99)
    standing.take(limits, at(0), 1)
    standing.add_tokens(START.date(), 1)
    error = refused(standing, limits, at(0))
    assert (error.remaining, error.retry_after_s) == (0, 7200)
    assert error.resets_at == datetime(2026, 11, 24, tzinfo=UTC)
    assert error.message == "you have used 100 tokens today and may use 100 a day"
    assert "00:00 UTC" in error.hint
    standing.take(limits, at(7200), 1)
    assert standing.used_tokens(at(7200).day) == 0


def test_messages_come_back_one_by_one() -> None:
    limits, standing = Limits(messages_per_minute=6), fresh()
    for _ in range(6):
        standing.take(limits, at(0), 1)
    error = refused(standing, limits, at(0))
    assert error.retry_after_s == pytest.approx(10)
    assert error.resets_at == START + timedelta(seconds=10)
    refused(standing, limits, at(9.9))
    standing.take(limits, at(10), 1)
    refused(standing, limits, at(10))
    assert standing.remaining_messages(limits, at(1000)) == 6


def test_wall_clock_that_jumps_gives_no_messages() -> None:
    limits, standing = Limits(messages_per_minute=1), fresh()
    standing.take(limits, at(0), 1)
    refused(standing, limits, at(30 * 86_400, clock_s=1))
    refused(standing, limits, at(0, clock_s=-50))  # nor does a clock that goes back take any
    standing.take(limits, at(0, clock_s=61), 1)


def test_more_than_ever_fits_says_no_time() -> None:
    standing = fresh()
    assert refused(standing, Limits(messages_per_minute=3), at(0), 4).retry_after_s is None
    assert refused(standing, Limits(requests_at_once=3), at(0), 4).retry_after_s is None


def test_message_of_which_nothing_came_is_given_back() -> None:
    limits, standing = Limits(messages_per_minute=1), fresh()
    standing.take(limits, at(0), 1)
    standing.give_back(limits, 1)
    standing.take(limits, at(0), 1)


def test_limit_that_is_raised_fills_from_where_it_was() -> None:
    standing = fresh()
    standing.take(Limits(messages_per_minute=1), at(0), 1)
    refused(standing, Limits(messages_per_minute=60), at(0))
    standing.take(Limits(messages_per_minute=60), at(1), 1)


def test_requests_at_once_are_counted_together() -> None:
    limits, standing = Limits(requests_at_once=3), fresh()
    standing.take(limits, at(0), 2)
    error = refused(standing, limits, at(0), 2)
    assert (error.remaining, error.resets_at, error.retry_after_s) == (1, None, 1)
    standing.take(limits, at(0), 1)
    standing.num_requests -= 3
    standing.take(limits, at(0), 3)


def test_refusal_takes_nothing_of_other_limits() -> None:
    limits, standing = Limits(messages_per_minute=2, requests_at_once=1), fresh()
    standing.take(limits, at(0), 1)
    refused(standing, limits, at(0))
    assert standing.remaining_messages(limits, at(0)) == 1
