from __future__ import annotations

from webui.engine.turnover import Turnover


def test_nothing_is_known_before_one_has_ended():
    assert Turnover().next_s(3) is None


def test_one_of_many_ends_so_much_sooner():
    turnover = Turnover()
    turnover.note(8.0)
    assert [turnover.next_s(num) for num in (1, 2, 8)] == [8.0, 4.0, 1.0]


def test_the_latest_count_most():
    turnover = Turnover()
    turnover.note(8.0)
    for _ in range(40):
        turnover.note(2.0)
    assert 2.0 <= turnover.next_s(1) < 2.1


def test_line_moves_as_it_says():
    """Two are served at once, 3 s each, and five wait: one of seven ends every 1.5 s."""
    turnover = Turnover()
    for _ in range(20):
        turnover.note(7 * 1.5)
    assert turnover.next_s(7) == 1.5
