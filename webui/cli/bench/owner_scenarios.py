"""Scenarios with several owners on one model, of whom one asks for much.

Owners come over HTTP, each with an API key; the peer knows no owners. Only an administrator's
prompt is given to `LocalEngine` itself.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from webui.cli.bench.own_engine import ask_as, ask_behind, own_engine
from webui.cli.bench.own_server import own_server
from webui.cli.bench.peers import Shape
from webui.cli.bench.scenario import (
    BELOW_HTTP,
    SEVERAL_OVER_HTTP,
    Contest,
    Scenario,
    at_least,
    at_most,
    chat_body,
    prompt,
)
from webui.cli.bench.statistics import Pair
from webui.cli.bench.streams import Stream, aggregate_tokens_per_s, ask_all
from webui.errors import Busy, WebuiError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from webui.cli.bench.served import Served
    from webui.cli.bench.streams import Reply

REPLY_TOKENS = 96
RETRY_S = 1.0
LOOK_S = 0.5  # at whether it is all over


class OwnerShare(Scenario):
    """One owner with 8 requests beside 3 with 1, a slot for each request."""

    name = "owner_share"
    title = "1 owner with 8 requests beside 3 owners with 1"
    path: ClassVar[str] = SEVERAL_OVER_HTTP
    SINGLE = "slowest single owner's tok/s"
    AGGREGATE = "aggregate tok/s"
    bars = (
        at_least(SINGLE, 0.8, "the fourth owner sends one too"),
        at_least(AGGREGATE, 0.7, "11 owners with 1 each"),
    )
    has_peer: ClassVar[bool] = False
    NUM_MANY = 8
    MANY = 0
    SINGLES = (1, 2, 3)
    APART = range(4, 4 + NUM_MANY + 3)  # who never crowd and are never crowded

    @override
    def shape(self, threads: int | None) -> Shape:
        return Shape(threads, num_streams=len(self.APART), context_length=1024)

    @override
    def run(self, contest: Contest) -> Iterator[Mapping[str, Pair]]:
        options, num_owners = self.shape(contest.threads).load_options(), self.APART.stop
        with own_server(contest.model, options, num_owners=num_owners) as server:
            _ask_together(server, range(num_owners), 1)  # the server then knows their keys
            for pair in range(1, contest.num_pairs + 1):
                seed = 1000 * pair
                even = _ask_together(server, [self.MANY, *self.SINGLES], seed)
                many = [self.MANY] * self.NUM_MANY
                crowded = _ask_together(server, [*many, *self.SINGLES], seed + 100)
                apart = _ask_together(server, self.APART, seed + 200)
                shares = [
                    Pair(now.tokens_per_s, before.tokens_per_s)
                    for now, before in zip(crowded[self.NUM_MANY :], even[1:], strict=True)
                ]
                yield {
                    self.SINGLE: min(shares, key=lambda share: share.quotient),
                    self.AGGREGATE: Pair(
                        aggregate_tokens_per_s(crowded), aggregate_tokens_per_s(apart)
                    ),
                }


class SharedPrompt(Scenario):
    """The first of 16 owners reads an administrator's long prompt; 15 come while it answers."""

    name = "shared_prompt"
    title = "16 owners, one 1k-token administrator prompt: the 2nd to 16th"
    path: ClassVar[str] = BELOW_HTTP
    MEDIAN_FIRST = "median first token s"
    bars = (at_most(MEDIAN_FIRST, 0.15, "llama-server"),)
    NUM_OWNERS = 16

    @override
    def shape(self, threads: int | None) -> Shape:
        return Shape(threads, num_streams=self.NUM_OWNERS, context_length=2048)

    @override
    def run(self, contest: Contest) -> Iterator[Mapping[str, Pair]]:
        return iter(asyncio.run(self._measure(contest)))

    async def _measure(self, contest: Contest) -> list[Mapping[str, Pair]]:
        pairs: list[Mapping[str, Pair]] = []
        shape = self.shape(contest.threads)
        owners = [f"owner {number}" for number in range(self.NUM_OWNERS)]
        with contest.peer_alone(shape) as peer:
            async with own_engine(contest.model, shape) as engine:
                await ask_as(engine, owners[0], "Hello", 8)
                for pair in range(1, contest.num_pairs + 1):
                    seed = 100 * pair
                    system = prompt(1000, seed)
                    texts = [prompt(16, seed + 1 + index) for index in range(self.NUM_OWNERS)]
                    ours = await ask_behind(engine, owners, texts, REPLY_TOKENS, system)
                    theirs = await asyncio.to_thread(_ask_peer_behind, peer, texts, system)
                    first_s = [
                        statistics.median(r.first_token_s for r in replies[1:])
                        for replies in (ours, theirs)
                    ]
                    pairs.append({self.MEDIAN_FIRST: Pair(*first_s)})
        return pairs


class PoolFilled(Scenario):
    """One owner keeps every slot and all that it may queue full; three others ask again and again.

    That it is full shows in what is refused: requests of that owner, and nobody else's.
    """

    name = "pool_filled"
    title = "pool and queue filled by one owner all the time"
    path: ClassVar[str] = SEVERAL_OVER_HTTP
    ERRORS = "errors of others"
    REFUSED = "refused requests of that owner"
    bars = (at_most(ERRORS, 0, slack=0), at_least(REFUSED, 1, slack=0))
    has_peer: ClassVar[bool] = False
    NUM_FLOODING = 80  # of one owner 64 may wait, and 4 are written
    FLOODING = 0
    OTHERS = (1, 2, 3)

    @override
    def shape(self, threads: int | None) -> Shape:
        return Shape(threads, num_streams=4, context_length=2048)

    @override
    def run(self, contest: Contest) -> Iterator[Mapping[str, Pair]]:
        options, num_owners = self.shape(contest.threads).load_options(), 1 + len(self.OTHERS)
        is_over = threading.Event()
        with (
            own_server(contest.model, options, num_owners=num_owners) as server,
            ThreadPoolExecutor(self.NUM_FLOODING + len(self.OTHERS)) as threads,
        ):
            try:
                flood = [
                    threads.submit(_flood, server, self.FLOODING, 1000 * number, is_over)
                    for number in range(1, self.NUM_FLOODING + 1)
                ]
                others = [
                    threads.submit(_ask_again_and_again, server, owner, is_over)
                    for owner in self.OTHERS
                ]
                is_over.wait(contest.soak_s)
            finally:
                is_over.set()
            num_errors, num_refused = (
                sum(done.result() for done in several) for several in (others, flood)
            )
        yield {self.ERRORS: Pair(num_errors), self.REFUSED: Pair(num_refused)}


def _ask_together(server: Served, owners: Sequence[int], seed: int) -> list[Reply]:
    seeds = range(seed, seed + len(owners))
    return ask_all(server, [chat_body(prompt(64, one), REPLY_TOKENS, one) for one in seeds], owners)


def _ask_peer_behind(peer: Served, texts: list[str], system: str) -> list[Reply]:
    """Ask the peer as `ask_behind` asks our engine."""
    before = [{"role": "system", "content": system}]
    bodies = [chat_body(text, REPLY_TOKENS, seed, before=before) for seed, text in enumerate(texts)]
    first = Stream(peer, bodies[0])
    first.wait_tokens(1)
    others = [Stream(peer, body) for body in bodies[1:]]
    return [stream.result() for stream in (first, *others)]


def _flood(server: Served, owner: int, seed: int, is_over: threading.Event) -> int:
    """Ask for long replies one after another, whatever happens; returns how many were refused."""
    num_refused = 0
    while not is_over.is_set():
        seed += 1
        try:
            _ask_until(server, chat_body(prompt(300, seed), 1600, seed), owner, is_over)
        except Busy:
            num_refused += 1
            is_over.wait(RETRY_S)
        except (WebuiError, OSError):
            is_over.wait(RETRY_S)
    return num_refused


def _ask_again_and_again(server: Served, owner: int, is_over: threading.Event) -> int:
    """Return how many short requests failed; without a reply in all that time it is one."""
    num_errors = num_replies = 0
    while not is_over.is_set():
        try:
            body = chat_body(prompt(64, num_replies), 32, num_replies)
            num_replies += _ask_until(server, body, owner, is_over)
        except (WebuiError, OSError):
            num_errors += 1
            is_over.wait(RETRY_S)
    return num_errors or int(num_replies == 0)


def _ask_until(
    server: Served, body: Mapping[str, object], owner: int, is_over: threading.Event
) -> bool:
    """Wait for a reply, but not longer than until it is all over; returns whether it came.

    Raises:
        Busy: The server has no room for it.
        EngineError: It failed.
    """
    stream = Stream(server, body, owner)
    while not stream.has_ended(LOOK_S):
        if is_over.is_set():
            stream.cancel()
            return False
    stream.result()
    return True
