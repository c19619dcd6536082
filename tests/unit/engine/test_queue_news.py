import pytest

from webui.engine.interface import Queued
from webui.engine.queue_news import QueueNews


class Line:
    """A queue as `QueueNews` sees it."""

    def __init__(self, *names):
        self.names = list(names)
        self.each_s = None

    @property
    def num_waiting(self):
        return len(self.names)

    def outlook(self, now_s):
        each_s = self.each_s
        return {
            name: Queued(place, None if each_s is None else each_s * place)
            for place, name in enumerate(self.names, 1)
        }


def test_newcomer_hears_its_place_at_once_and_the_others_nothing():
    line = Line("a")
    news = QueueNews(line)
    assert news.take(0.0, has_newcomers=True) == {"a": Queued(1)}
    line.names.append("b")
    assert news.take(0.1, has_newcomers=True) == {"b": Queued(2)}
    assert news.take(0.2, has_newcomers=False) == {}


def test_change_is_told_after_a_second_at_the_earliest():
    line = Line("a", "b")
    news = QueueNews(line)
    news.take(0.0, has_newcomers=True)
    line.names.remove("a")
    told = [(i / 10, news.take(i / 10, has_newcomers=False)) for i in range(1, 40)]
    assert [(at, said) for at, said in told if said] == [(1.0, {"b": Queued(1)})]


@pytest.mark.parametrize(
    ("after_s", "is_told"), [(20.0, False), (22.0, False), (27.0, True), (5.0, True)]
)
def test_estimate_is_told_again_when_it_differs_markedly(after_s, is_told):
    line = Line("a")
    line.each_s = 20.0
    news = QueueNews(line)
    news.take(0.0, has_newcomers=True)
    line.each_s = after_s
    assert bool(news.take(1.0, has_newcomers=False)) is is_told


def test_small_drifts_add_up_to_a_marked_one():
    line = Line("a")
    line.each_s = 20.0
    news = QueueNews(line)
    news.take(0.0, has_newcomers=True)
    told = []
    for second in range(1, 12):
        line.each_s += 1.0
        told += news.take(float(second), has_newcomers=False).values()
    assert told == [Queued(1, 26.0)]


def test_who_waits_again_is_told_again():
    line = Line("a")
    news = QueueNews(line)
    news.take(0.0, has_newcomers=True)
    line.names.clear()
    assert news.take(0.1, has_newcomers=False) == {}
    line.names.append("a")
    assert news.take(0.2, has_newcomers=True) == {"a": Queued(1)}
