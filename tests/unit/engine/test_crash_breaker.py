"""When a worker that died is started again."""

from __future__ import annotations

from webui.engine.crash_breaker import CrashBreaker


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_pauses_grow_with_the_deaths_within_the_window() -> None:
    clock = Clock()
    breaker = CrashBreaker(9, 60, (1, 2, 4), clock)
    pauses = []
    for _ in range(5):
        assert not breaker.note_death()
        pauses.append(breaker.pause_s)
    assert pauses == [1, 2, 4, 4, 4]
    clock.now_s += 61
    assert breaker.num_deaths == 0
    assert not breaker.note_death()
    assert breaker.pause_s == 1


def test_it_opens_for_the_window_and_counts_anew_when_it_is_closed() -> None:
    clock = Clock()
    breaker = CrashBreaker(3, 60, (1,), clock)
    assert breaker.closed_in_s == 0
    assert [breaker.note_death() for _ in range(3)] == [False, False, True]
    assert (breaker.num_deaths, breaker.closed_in_s) == (3, 60)
    clock.now_s += 45
    assert breaker.closed_in_s == 15
    clock.now_s += 15
    assert breaker.closed_in_s == 0
    breaker.close()
    assert [breaker.note_death() for _ in range(3)] == [False, False, True]


def test_deaths_that_lie_far_apart_never_open_it() -> None:
    clock = Clock()
    breaker = CrashBreaker(3, 60, (1,), clock)
    for _ in range(9):
        assert not breaker.note_death()
        clock.now_s += 31
