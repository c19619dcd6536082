"""Scenarios over HTTP beside the peer, or beside another server of our own.

Where several people are meant, each asks with a key of their own; the peer knows no people.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from webui.cli.bench.own_server import own_server
from webui.cli.bench.peers import Shape
from webui.cli.bench.scenario import (
    SEVERAL_OVER_HTTP,
    Contest,
    Scenario,
    at_least,
    at_most,
    chat_body,
    prompt,
)
from webui.cli.bench.statistics import Pair, percentile
from webui.cli.bench.streams import Stream, aggregate_tokens_per_s, ask, ask_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from webui.cli.bench.served import Served
    from webui.cli.bench.streams import Reply

PEER = "llama-server"
LONG_PROMPT = 2000
WARM_UP = chat_body("Hello", 8, 1)
FIRST_TOKEN = "first token s"  # noqa: S105 - a figure's name
DECODE = "decode tok/s"


class OneStream(Scenario):
    """One person, a long prompt that nobody has read before."""

    name = "one_stream"
    title = "1 stream, 2k-token cold prompt"
    bars = (at_most(FIRST_TOKEN, 1.05, PEER), at_least(DECODE, 0.98, PEER))

    @override
    def shape(self, threads: int | None) -> Shape:
        return Shape(threads, num_streams=1, context_length=4096)

    @override
    def run(self, contest: Contest) -> Iterator[Mapping[str, Pair]]:
        with contest.both(self.shape(contest.threads)) as servers:
            _warm_up(servers)
            for seed in range(1, contest.num_pairs + 1):
                body = chat_body(prompt(LONG_PROMPT, seed), 128, seed)
                ours, peer = (ask(server, body) for server in servers)
                yield {
                    FIRST_TOKEN: Pair(ours.first_token_s, peer.first_token_s),
                    DECODE: Pair(ours.tokens_per_s, peer.tokens_per_s),
                }


class SeveralStreams(Scenario):
    """So many people who ask in the same moment."""

    path: ClassVar[str] = SEVERAL_OVER_HTTP
    AGGREGATE = "aggregate tok/s"
    GAP = "p95 gap s"
    bars = (at_least(AGGREGATE, 1.0, PEER), at_most(GAP, 1.0, PEER))

    def __init__(self, num_streams: int) -> None:
        self._num_streams = num_streams
        self.name = f"several_streams_{num_streams}"
        self.title = f"{num_streams} streams at once"

    @override
    def shape(self, threads: int | None) -> Shape:
        return Shape(threads, num_streams=self._num_streams, context_length=1024)

    @override
    def run(self, contest: Contest) -> Iterator[Mapping[str, Pair]]:
        shape, owners = self.shape(contest.threads), range(self._num_streams)
        with contest.both(shape, num_owners=len(owners)) as servers:
            _warm_up(servers, num_owners=len(owners))
            for pair in range(1, contest.num_pairs + 1):
                seeds = range(100 * pair, 100 * pair + self._num_streams)
                bodies = [chat_body(prompt(64, seed), 96, seed) for seed in seeds]
                ours, peer = (ask_all(server, bodies, owners) for server in servers)
                yield {
                    self.AGGREGATE: Pair(
                        aggregate_tokens_per_s(ours), aggregate_tokens_per_s(peer)
                    ),
                    self.GAP: Pair(_p95_gap_s(ours), _p95_gap_s(peer)),
                }


class IdleChats(Scenario):
    """One person writes while the chats of others lie in the cache: two servers of our own."""

    name = "idle_chats"
    title = "1 stream while 8 idle 2k-token chats are cached"
    path: ClassVar[str] = SEVERAL_OVER_HTTP
    bars = (at_least(DECODE, 0.95, "the same with nothing cached"),)
    has_peer: ClassVar[bool] = False
    NUM_CHATS = 8

    @override
    def shape(self, threads: int | None) -> Shape:
        return Shape(threads, num_streams=self.NUM_CHATS + 1, context_length=2560)

    @override
    def run(self, contest: Contest) -> Iterator[Mapping[str, Pair]]:
        options = self.shape(contest.threads).load_options()
        num_owners = self.NUM_CHATS + 1
        with (
            own_server(contest.model, options, num_owners=num_owners) as filled,
            own_server(contest.model, options, num_owners=num_owners) as empty,
        ):
            others = range(1, num_owners)
            bodies = [chat_body(prompt(LONG_PROMPT, seed), 4, seed) for seed in others]
            ask_all(filled, bodies, others)
            # One question again and again takes its own slot again and moves no chat out.
            body = chat_body(prompt(64, 99), 128, 99)
            _warm_up((filled, empty), body)
            for _ in range(contest.num_pairs):
                ours, alone = (ask(server, body) for server in (filled, empty))
                yield {DECODE: Pair(ours.tokens_per_s, alone.tokens_per_s)}


class Newcomer(Scenario):
    """Three streams run; what they feel of a fourth one's long prompt."""

    name = "newcomer"
    title = "3 streams running, a fourth sends 4k tokens"
    path: ClassVar[str] = SEVERAL_OVER_HTTP
    GAP = "victims' longest gap s"
    NUM_VICTIMS = 3
    bars = (at_most(GAP, 0.1, PEER), at_most(FIRST_TOKEN, 1.25, PEER))

    @override
    def shape(self, threads: int | None) -> Shape:
        return Shape(threads, num_streams=4, context_length=5120)

    @override
    def run(self, contest: Contest) -> Iterator[Mapping[str, Pair]]:
        shape, num_owners = self.shape(contest.threads), self.NUM_VICTIMS + 1
        with contest.both(shape, num_owners=num_owners) as servers:
            _warm_up(servers, num_owners=num_owners)
            for pair in range(1, contest.num_pairs + 1):
                (our_gap, our_first), (peer_gap, peer_first) = (
                    self._disturb(server, 100 * pair) for server in servers
                )
                yield {self.GAP: Pair(our_gap, peer_gap), FIRST_TOKEN: Pair(our_first, peer_first)}

    @staticmethod
    def _disturb(server: Served, seed: int) -> tuple[float, float]:
        """Return the victims' longest gap and the newcomer's time to its first token, seconds."""
        victims = [
            Stream(server, chat_body(prompt(64, seed + owner), 4800, seed + owner), owner)
            for owner in range(Newcomer.NUM_VICTIMS)
        ]
        try:
            for victim in victims:
                victim.wait_tokens(16)
            last = Newcomer.NUM_VICTIMS
            newcomer = ask(server, chat_body(prompt(4000, seed + last), 8, seed), last)
            for victim in victims:
                victim.wait_tokens(victim.num_stamps + 1)
        finally:
            replies = [victim.cancel() for victim in victims]
        end_s = newcomer.stamps_s[0]
        gaps = (reply.longest_gap_s(newcomer.started_s, end_s) for reply in replies)
        return max(gaps), newcomer.first_token_s


class SecondTurn(Scenario):
    """A long chat goes on after as many others talked as there are slots."""

    name = "second_turn"
    title = "second turn of a 2k-token chat, 4 others having talked in between"
    path: ClassVar[str] = SEVERAL_OVER_HTTP
    CACHED = "cached share of the prompt"
    NUM_OTHERS = 4
    bars = (at_least(CACHED, 0.95), at_most(FIRST_TOKEN, 1.0, PEER))

    @override
    def shape(self, threads: int | None) -> Shape:
        return Shape(threads, num_streams=4, context_length=4096)

    @override
    def run(self, contest: Contest) -> Iterator[Mapping[str, Pair]]:
        shape, num_owners = self.shape(contest.threads), self.NUM_OTHERS + 1
        with contest.both(shape, num_owners=num_owners) as servers:
            _warm_up(servers, num_owners=num_owners)
            for pair in range(1, contest.num_pairs + 1):
                ours, peer = (self._talk(server, 100 * pair) for server in servers)
                yield {
                    self.CACHED: Pair(ours.cached_tokens / ours.prompt_tokens),
                    FIRST_TOKEN: Pair(ours.first_token_s, peer.first_token_s),
                }

    @staticmethod
    def _talk(server: Served, seed: int) -> Reply:
        text = prompt(LONG_PROMPT, seed)
        first = ask(server, chat_body(text, 32, seed))
        for owner in range(1, SecondTurn.NUM_OTHERS + 1):
            ask(server, chat_body(prompt(500, seed + owner), 8, seed + owner), owner)
        return ask(server, second_turn(text, first.text, seed))


class Restart(Scenario):
    """The same chat goes on after Hearthside was ended and started again."""

    name = "restart"
    title = "second turn of a 2k-token chat after restarting Hearthside"
    bars = (at_most(FIRST_TOKEN, 0.05, "reading the prompt anew"),)
    has_peer: ClassVar[bool] = False

    @override
    def shape(self, threads: int | None) -> Shape:
        return Shape(threads, num_streams=1, context_length=4096)

    @override
    def run(self, contest: Contest) -> Iterator[Mapping[str, Pair]]:
        options = self.shape(contest.threads).load_options()
        text = prompt(LONG_PROMPT, 1)
        for _ in range(contest.num_pairs):
            with tempfile.TemporaryDirectory() as folder:
                with own_server(contest.model, options, Path(folder)) as before:
                    _warm_up([before])
                    anew = ask(before, chat_body(text, 32, 1))
                    keys = before.keys
                with own_server(contest.model, options, Path(folder), keys=keys) as after:
                    _warm_up([after])
                    again = ask(after, second_turn(text, anew.text, 1))
            yield {FIRST_TOKEN: Pair(again.first_token_s, anew.first_token_s)}


class BusyCore(Scenario):
    """Another program takes a core all the time; both sides run as nobody has tuned them."""

    name = "busy_core"
    title = "another process busy on one core, default threads of both"
    bars = (at_least(DECODE, 3.0, PEER),)
    is_by_threads: ClassVar[bool] = False

    @override
    def shape(self, threads: int | None) -> Shape:
        return Shape(threads, num_streams=1, context_length=2048)

    @override
    def run(self, contest: Contest) -> Iterator[Mapping[str, Pair]]:
        with contest.both(self.shape(contest.threads)) as servers:
            _warm_up(servers)
            with _busy_process():
                for seed in range(1, contest.num_pairs + 1):
                    body = chat_body(prompt(64, seed), 64, seed)
                    ours, peer = (ask(server, body) for server in servers)
                    yield {DECODE: Pair(ours.tokens_per_s, peer.tokens_per_s)}


def second_turn(question: str, answer: str, seed: int) -> dict[str, object]:
    """Return the request that goes on with a chat."""
    before = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer},
    ]
    return chat_body("And then?", 8, seed, before=before)


@contextlib.contextmanager
def _busy_process() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def _warm_up(
    servers: Iterable[Served], body: Mapping[str, object] = WARM_UP, *, num_owners: int = 1
) -> None:
    """Have each owner ask once; the server then knows their keys."""
    for server in servers:
        ask_all(server, [body] * num_owners, range(num_owners))


def _p95_gap_s(replies: list[Reply]) -> float:
    return percentile([gap for reply in replies for gap in reply.gaps_s], 0.95)
