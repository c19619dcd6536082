"""What one sender may ask for: in a second, in a burst, and at once."""

from __future__ import annotations

import contextlib

import pytest

from webui.api.traffic import BURST_S, COSTS, MAX_KEYS, MAX_OPEN, TooManyRequests, Traffic


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def ask(traffic: Traffic, key: str = "ann", method: str = "GET", path: str = "/api/me") -> None:
    with traffic.request(key, method, path):
        pass


def num_let_through(traffic: Traffic, tries: int, key: str = "ann") -> int:
    count = 0
    with contextlib.suppress(TooManyRequests):
        for _ in range(tries):
            ask(traffic, key)
            count += 1
    return count


def test_burst_then_the_rate(clock: Clock) -> None:
    traffic = Traffic(5, clock)
    assert num_let_through(traffic, 1000) == 5 * BURST_S
    clock.now_s += 1
    assert num_let_through(traffic, 1000) == 5
    clock.now_s += 10_000
    assert num_let_through(traffic, 1000) == 5 * BURST_S


def test_wait_that_is_told_is_enough_and_no_longer_than_needed(clock: Clock) -> None:
    traffic = Traffic(4, clock)
    num_let_through(traffic, 1000)
    with pytest.raises(TooManyRequests) as error:
        ask(traffic)
    assert error.value.retry_after_s == pytest.approx(0.25)
    clock.now_s += error.value.retry_after_s
    ask(traffic)


def test_one_sender_takes_nothing_from_another(clock: Clock) -> None:
    traffic = Traffic(1, clock)
    num_let_through(traffic, 1000)
    ask(traffic, "bob")


def test_what_is_refused_costs_nothing(clock: Clock) -> None:
    traffic = Traffic(1, clock)
    num_let_through(traffic, 1000)
    for _ in range(50):
        with pytest.raises(TooManyRequests):
            ask(traffic)
    clock.now_s += 1
    ask(traffic)


@pytest.mark.parametrize(("method", "path"), sorted(COSTS))
@pytest.mark.parametrize("rate", [0.1, 50])
def test_dear_requests_cost_more_and_are_possible_at_any_rate(
    clock: Clock, rate: float, method: str, path: str
) -> None:
    traffic = Traffic(rate, clock)
    ask(traffic, method=method, path=path)
    left = rate * BURST_S - min(COSTS[method, path], rate * BURST_S)
    assert num_let_through(traffic, 1000) == int(left)


def test_so_many_at_once_and_no_more(clock: Clock) -> None:
    traffic = Traffic(1000, clock)
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_OPEN):
            stack.enter_context(traffic.request("ann", "GET", "/api/events"))
        with pytest.raises(TooManyRequests):
            ask(traffic)
        ask(traffic, "bob")
    ask(traffic)


def test_nothing_is_counted_at_rate_0(clock: Clock) -> None:
    assert num_let_through(Traffic(0, clock), 5000) == 5000


def test_senders_that_are_kept_are_bounded(clock: Clock) -> None:
    traffic = Traffic(1, clock)
    for number in range(MAX_KEYS + 10):
        ask(traffic, str(number))
    assert len(traffic._senders) == MAX_KEYS
