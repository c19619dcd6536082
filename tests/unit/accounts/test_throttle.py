"""Wrong guesses: each waits longer, nobody is locked out for good."""

from __future__ import annotations

import pytest

from tests.unit.accounts.conftest import Clock
from webui.accounts.throttle import (
    ACCOUNT,
    ADDRESS,
    FADE_S,
    MAX_KEYS,
    MAX_WAIT_S,
    PAIR,
    Throttle,
    TooManyAttempts,
    network_of,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> Throttle:
    return Throttle(clock)


def refused_for(throttle: Throttle, account: str, address: str) -> float:
    """Return the seconds that a guess must wait; 0 when it was counted."""
    try:
        throttle.begin(account, address)
    except TooManyAttempts as error:
        return error.retry_after_s
    return 0


def test_first_guesses_are_free_then_each_waits_longer(throttle, clock) -> None:
    waits = []
    for _ in range(PAIR.num_free + 12):
        wait_s = refused_for(throttle, "ann", "192.0.2.1")
        if wait_s:
            clock.now_s += wait_s
            assert refused_for(throttle, "ann", "192.0.2.1") == 0
        waits.append(wait_s)
    assert waits[: PAIR.num_free] == [0] * PAIR.num_free
    later = waits[PAIR.num_free :]
    assert later == sorted(later)
    assert later[0] == PAIR.first_wait_s
    assert later[-1] == MAX_WAIT_S


def test_many_at_once_are_counted_before_they_are_looked_at(throttle) -> None:
    taken = [refused_for(throttle, "ann", "192.0.2.1") == 0 for _ in range(100)]
    assert sum(taken) == PAIR.num_free


def test_nobody_is_locked_out_for_good(throttle, clock) -> None:
    for _ in range(1000):
        clock.now_s += refused_for(throttle, "ann", "192.0.2.1")
    assert refused_for(throttle, "ann", "192.0.2.1") <= MAX_WAIT_S
    clock.now_s += FADE_S + 1
    assert refused_for(throttle, "ann", "192.0.2.1") == 0


def test_one_address_cannot_try_many_names(throttle) -> None:
    taken = [refused_for(throttle, f"name {n}", "192.0.2.1") == 0 for n in range(100)]
    assert sum(taken) == ADDRESS.num_free
    assert refused_for(throttle, "ann", "192.0.2.2") == 0


def test_many_addresses_cannot_try_one_name(throttle) -> None:
    taken = [refused_for(throttle, "ann", f"198.51.100.{n}") == 0 for n in range(100)]
    assert sum(taken) == ACCOUNT.num_free


def test_owner_gets_in_from_where_they_came_before_while_others_guess(throttle) -> None:
    throttle.begin("ann", "192.0.2.1")
    throttle.note_right("ann", "192.0.2.1")
    for n in range(200):
        refused_for(throttle, "ann", f"198.51.100.{n}")
    assert refused_for(throttle, "ann", "203.0.113.9") > 0
    assert refused_for(throttle, "ann", "192.0.2.1") == 0


def test_right_password_is_not_counted(throttle) -> None:
    for n in range(100):
        throttle.begin(f"name {n}", "192.0.2.1")
        throttle.note_right(f"name {n}", "192.0.2.1")
    assert refused_for(throttle, "ann", "192.0.2.1") == 0


def test_memory_is_bounded(throttle) -> None:
    for n in range(MAX_KEYS):
        refused_for(throttle, f"name {n}", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
    assert len(throttle._counts) <= MAX_KEYS


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:2", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_sender_cannot_change_its_network_at_will(address: str, network: str) -> None:
    assert network_of(address) == network
