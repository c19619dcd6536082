import time

import pytest

from webui.engine.neighbours import LOOK_S, Neighbours, busy_s


def test_what_others_leave_is_told_in_cores_and_not_too_often():
    seconds = {"clock": 10.0, "own": 3.0, "all": 100.0}
    neighbours = Neighbours(
        lambda: seconds["clock"], lambda: seconds["own"], lambda: seconds["all"], num_cores=4
    )
    seconds |= {"clock": 10.0 + LOOK_S / 2, "all": 200.0}
    assert neighbours.num_free_cores() is None
    seconds |= {"clock": 12.0, "own": 5.0, "all": 105.0}  # 5 s of all, 2 of them our own
    assert neighbours.num_free_cores() == pytest.approx(2.5)
    assert neighbours.num_free_cores() is None
    seconds |= {"clock": 14.0, "own": 9.0, "all": 109.0}
    assert neighbours.num_free_cores() == 4.0
    seconds |= {"clock": 15.0, "all": 120.0}
    assert neighbours.num_free_cores() == 0.0
    seconds |= {"clock": 16.0, "own": 13.0, "all": 123.9}  # the system counts in coarse ticks
    assert neighbours.num_free_cores() == 4.0


def test_system_counts_at_least_what_this_process_computes():
    before_s, own_s = busy_s(), time.process_time()
    while time.process_time() - own_s < 0.1:
        pass
    assert busy_s() - before_s >= 0.05
