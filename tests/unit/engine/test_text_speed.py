from __future__ import annotations

import pytest

from webui.engine.text_speed import TextSpeed


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def speed(clock) -> TextSpeed:
    return TextSpeed(clock)


def test_nothing_is_known_before_the_first_pass(speed, clock):
    speed.begin()
    clock.now_s = 5.0
    assert speed.expected_s(100) is None


def test_what_is_done_between_passes_counts_and_idle_time_does_not(speed, clock):
    for begin_s in (10.0, 500.0):
        clock.now_s = begin_s
        speed.begin()
        for end_s in (1.0, 2.0, 3.0):
            clock.now_s = begin_s + end_s
            speed.note(50, has_more=end_s < 3.0)
    assert speed.expected_s(200) == pytest.approx(4.0)


def test_work_that_was_taken_back_leaves_no_idle_time_behind(speed, clock):
    speed.begin()
    clock.now_s = 1000.0  # the only text was aborted at once
    speed.begin()
    clock.now_s = 1001.0
    speed.note(10, has_more=False)
    assert speed.expected_s(10) == pytest.approx(1.0)


def test_the_latest_passes_count_most(speed, clock):
    speed.begin()
    for number in range(100):
        clock.now_s += 5.0 if number < 50 else 1.0
        speed.note(10, has_more=True)
    assert speed.expected_s(10) == pytest.approx(1.0, rel=0.05)
