"""Who asks in the scenarios with several owners, and what is counted; the server is a stand-in."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from webui.cli.bench import owner_scenarios
from webui.cli.bench.owner_scenarios import OwnerShare, PoolFilled
from webui.cli.bench.report import judge
from webui.cli.bench.scenario import Contest
from webui.cli.bench.served import Served
from webui.cli.bench.streams import Reply
from webui.errors import Busy, EngineError

ROOM = 64 + 4  # requests of one owner that wait or are written


@contextmanager
def own_server(model, options, *, num_owners):
    yield Served(1, 2, tuple(f"key {number}" for number in range(num_owners)))


@pytest.fixture(autouse=True)
def server(monkeypatch):
    monkeypatch.setattr(owner_scenarios, "own_server", own_server)


def contest(soak_s: float = 0.0, num_pairs: int = 2) -> Contest:
    return Contest(Path("m.gguf"), Path("peer"), 1, num_pairs=num_pairs, soak_s=soak_s)


class Streams:
    """Makes streams of a server with so much room for one owner's requests.

    Args:
        room: More of one owner at once are refused.
        refused: An owner who is refused always.
        unheard: An owner who never gets an answer.
    """

    def __init__(self, room: int = ROOM, refused: int | None = None, unheard: int | None = None):
        self.room, self.refused, self.unheard = room, refused, unheard
        self.lock = threading.Lock()
        self.num_live = 0
        self.most_live = 0
        self.asked: dict[int, int] = {}

    def __call__(self, server, body, owner):
        assert server.keys[owner]
        with self.lock:
            self.asked[owner] = self.asked.get(owner, 0) + 1
            return Stream(self, owner)


class Stream:
    def __init__(self, streams, owner):
        self.streams, self.owner = streams, owner
        is_flood = owner == PoolFilled.FLOODING
        self.is_refused = owner == streams.refused or (
            is_flood and streams.num_live >= streams.room
        )
        self.is_heard = not is_flood and owner != streams.unheard
        if is_flood and not self.is_refused:
            streams.num_live += 1
            streams.most_live = max(streams.most_live, streams.num_live)

    def has_ended(self, timeout_s):
        threading.Event().wait(0.001)
        return self.is_refused or self.is_heard

    def cancel(self):
        with self.streams.lock:
            self.streams.num_live -= self.owner == PoolFilled.FLOODING

    def result(self):
        if self.is_refused:
            raise Busy("the server is busy")
        return Reply(0.0, (1.0,))


@pytest.fixture
def flooded(monkeypatch):
    """Run the scenario on such streams; returns errors of others, and refused requests."""

    def run(streams):
        monkeypatch.setattr(owner_scenarios, "Stream", streams)
        monkeypatch.setattr(owner_scenarios, "RETRY_S", 0.005)
        scenario = PoolFilled()
        (figures,) = list(scenario.run(contest(soak_s=0.2)))
        return judge(scenario, 1, [figures])

    return run


def test_flood_takes_all_that_it_may_and_nobody_else_is_refused(flooded):
    streams = Streams()
    errors, refused = flooded(streams)
    assert (errors.ours, errors.is_met) == (0, True)
    assert refused.ours >= PoolFilled.NUM_FLOODING - ROOM
    assert refused.is_met
    assert streams.most_live == ROOM
    assert streams.num_live == 0  # all hung up at the end
    assert set(streams.asked) == {PoolFilled.FLOODING, *PoolFilled.OTHERS}


def test_flood_that_is_never_refused_filled_nothing(flooded):
    errors, refused = flooded(Streams(room=1000))
    assert errors.is_met
    assert (refused.ours, refused.is_met) == (0, False)


def test_refusal_of_somebody_else_is_an_error(flooded):
    errors, refused = flooded(Streams(refused=PoolFilled.OTHERS[1]))
    assert errors.ours >= 1
    assert not errors.is_met
    assert refused.is_met


def test_who_gets_no_answer_in_all_that_time_is_an_error(flooded):
    errors, _ = flooded(Streams(unheard=PoolFilled.OTHERS[2]))
    assert (errors.ours, errors.is_met) == (1, False)


def test_other_failures_of_the_flood_are_not_refusals(flooded, monkeypatch):
    monkeypatch.setattr(Stream, "result", lambda self: (_ for _ in ()).throw(EngineError("broke")))
    _, refused = flooded(Streams())
    assert refused.ours == 0


def test_single_owners_are_the_same_people_beside_one_request_and_beside_eight(monkeypatch):
    rounds = []

    def ask_all(server, bodies, owners):
        assert len(bodies) == len({body["messages"][0]["content"] for body in bodies})
        rounds.append(list(owners))
        rate = {4: 10, 11: 9}.get(len(owners), 1) if len(set(owners)) < 11 else 8
        return [Reply(0.0, (1.0, 2.0), completion_tokens=rate + 1) for _ in owners]

    monkeypatch.setattr(owner_scenarios, "ask_all", ask_all)
    figures = list(OwnerShare().run(contest()))
    warm_up, *measured = rounds
    assert len(set(warm_up)) == len(warm_up) == 15
    assert len(measured) == 6
    for even, crowded, apart in (measured[:3], measured[3:]):
        assert even == [0, 1, 2, 3]
        assert crowded == [0] * 8 + [1, 2, 3]
        assert len(set(apart)) == 11
        assert not set(apart) & {0, 1, 2, 3}
    for pair in figures:
        assert pair[OwnerShare.SINGLE].quotient == pytest.approx(0.9)
        assert pair[OwnerShare.AGGREGATE].quotient == pytest.approx(10 / 9)
