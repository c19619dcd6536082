"""Who asks in the scenarios over HTTP: where several people are meant, each with their own key."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from webui.cli.bench import served_scenarios
from webui.cli.bench.scenario import OVER_HTTP, SEVERAL_OVER_HTTP, Contest
from webui.cli.bench.scenarios import SCENARIOS
from webui.cli.bench.served import Served
from webui.cli.bench.streams import Reply

PEER = Served(2, 2)
REPLY = Reply(0.0, (1.0, 2.0, 3.0), "text", prompt_tokens=10, completion_tokens=3, cached_tokens=10)
CONTEST = Contest(Path("m.gguf"), Path("peer"), 1, num_pairs=1, soak_s=0)
HELLO = 1  # words of the question that warms up


class Asked:
    """Servers that note which owner asked, and how many words.

    Attributes:
        requests: Of our own servers.
        num_of_peer: Requests to the peer.
        keys: What each of our own servers was started with.
    """

    def __init__(self):
        self.requests: list[tuple[str, int]] = []
        self.num_of_peer = 0
        self.keys: list[tuple[str, ...]] = []

    def ask(self, server, body, owner=0):
        if server is PEER:
            self.num_of_peer += 1
        else:
            num_words = len(body["messages"][-1]["content"].split())
            self.requests.append((server.keys[owner], num_words))
        return REPLY

    def ask_all(self, server, bodies, owners=None):
        each = zip(bodies, owners or [0] * len(bodies), strict=True)
        return [self.ask(server, body, owner) for body, owner in each]

    def stream(self, server, body, owner):
        self.ask(server, body, owner)
        return SimpleNamespace(num_stamps=3, wait_tokens=lambda num: None, cancel=lambda: REPLY)

    @contextmanager
    def own_server(self, model, options, data_dir=None, *, num_owners=1, keys=()):
        self.keys.append(keys)
        yield Served(1, 1, keys or tuple(map(str, range(num_owners))))

    @contextmanager
    def both(self, shape, *, num_owners=1):
        with self.own_server(None, shape.load_options(), num_owners=num_owners) as ours:
            yield ours, PEER


@pytest.fixture
def run(monkeypatch):
    """Run a scenario; returns what our own servers were asked after the warm-up."""

    def run(name):
        asked = Asked()
        monkeypatch.setattr(served_scenarios, "Stream", asked.stream)
        monkeypatch.setattr(served_scenarios, "ask", asked.ask)
        monkeypatch.setattr(served_scenarios, "ask_all", asked.ask_all)
        monkeypatch.setattr(served_scenarios, "own_server", asked.own_server)
        monkeypatch.setattr(Contest, "both", lambda _, *given, **named: asked.both(*given, **named))
        (scenario,) = (one for one in SCENARIOS if one.name == name)
        (figures,) = scenario.run(CONTEST)
        assert set(figures) == {bar.metric for bar in scenario.bars}
        return asked

    return run


def after_warm_up(asked):
    return [(key, num_words) for key, num_words in asked.requests if num_words > HELLO]


@pytest.mark.parametrize("num", [4, 8, 16])
def test_streams_at_once_are_those_of_several_people(run, num):
    asked = run(f"several_streams_{num}")
    assert [key for key, _ in after_warm_up(asked)] == [str(owner) for owner in range(num)]
    assert asked.num_of_peer == len(asked.requests) == 2 * num


def test_idle_chats_are_those_of_others(run):
    asked = run("idle_chats")
    idle = [key for key, num_words in asked.requests if num_words > 1000]
    assert idle == [str(owner) for owner in range(1, 9)]
    assert {key for key, num_words in asked.requests if num_words <= 1000} == {"0"}


def test_newcomer_is_somebody_else(run):
    *victims, newcomer = after_warm_up(run("newcomer"))
    assert [key for key, _ in victims] == ["0", "1", "2"]
    assert newcomer[0] == "3"
    assert newcomer[1] > 3000


def test_others_talk_between_two_turns(run):
    first, *others, again = after_warm_up(run("second_turn"))
    assert first[0] == again[0] == "0"
    assert [key for key, _ in others] == ["1", "2", "3", "4"]


def test_who_comes_back_after_a_restart_has_the_same_key(run):
    asked = run("restart")
    assert asked.keys == [(), ("0",)]
    assert {key for key, _ in asked.requests} == {"0"}


@pytest.mark.parametrize("name", ["one_stream", "busy_core"])
def test_one_stream_is_one_persons(run, monkeypatch, name):
    monkeypatch.setattr(served_scenarios, "_busy_process", nullcontext)
    assert {key for key, _ in run(name).requests} == {"0"}


def test_path_says_whether_several_people_asked():
    paths = {one.name: one.path for one in SCENARIOS}
    several = {name for name, path in paths.items() if path == SEVERAL_OVER_HTTP}
    assert several == {
        *(f"several_streams_{num}" for num in (4, 8, 16)),
        *("idle_chats", "newcomer", "second_turn", "owner_share", "pool_filled"),
    }
    one = {name for name, path in paths.items() if path == OVER_HTTP}
    assert one == {"one_stream", "restart", "busy_core"}
