"""Scenarios with several owners, and those that look at the worker process.

Ours are asked through `LocalEngine`, where each request names its owner; the peer, which knows
no owners, over HTTP.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING, ClassVar

import psutil
from typing_extensions import override

from webui.cli.bench.own_engine import ask_as, ask_behind, own_engine
from webui.cli.bench.peers import Shape
from webui.cli.bench.scenario import (
    BELOW_HTTP,
    Contest,
    Scenario,
    at_least,
    at_most,
    chat_body,
    prompt,
)
from webui.cli.bench.statistics import Pair
from webui.cli.bench.streams import Stream, aggregate_tokens_per_s
from webui.errors import WebuiError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from webui.cli.bench.streams import Reply
    from webui.engine.interface import Engine

REPLY_TOKENS = 96
RETRY_S = 1.0


class OwnerShare(Scenario):
    """One owner with 8 requests beside 3 with 1, a slot for each request."""

    name = "owner_share"
    title = "1 owner with 8 requests beside 3 owners with 1"
    path: ClassVar[str] = BELOW_HTTP
    SINGLE = "slowest single owner's tok/s"
    AGGREGATE = "aggregate tok/s"
    bars = (
        at_least(SINGLE, 0.8, "the fourth owner sends one too"),
        at_least(AGGREGATE, 0.7, "11 owners with 1 each"),
    )
    has_peer: ClassVar[bool] = False
    NUM_MANY = 8

    @override
    def shape(self, threads: int | None) -> Shape:
        return Shape(threads, num_streams=self.NUM_MANY + 3, context_length=1024)

    @override
    def run(self, contest: Contest) -> Iterator[Mapping[str, Pair]]:
        return iter(asyncio.run(self._measure(contest)))

    async def _measure(self, contest: Contest) -> list[Mapping[str, Pair]]:
        pairs: list[Mapping[str, Pair]] = []
        singles = ["b", "c", "d"]
        async with own_engine(contest.model, self.shape(contest.threads)) as engine:
            await ask_as(engine, "a", "Hello", 8)
            for pair in range(contest.num_pairs):
                seed = 1000 * (pair + 1)
                even = await _ask_together(engine, ["a", *singles], seed)
                crowded = await _ask_together(engine, ["a"] * self.NUM_MANY + singles, seed + 100)
                owners = [f"owner {number}" for number in range(self.NUM_MANY + len(singles))]
                apart = await _ask_together(engine, owners, seed + 200)
                shares = [
                    Pair(now.tokens_per_s, before.tokens_per_s)
                    for now, before in zip(crowded[-3:], even[-3:], strict=True)
                ]
                pairs.append(
                    {
                        self.SINGLE: min(shares, key=lambda share: share.quotient),
                        self.AGGREGATE: Pair(
                            aggregate_tokens_per_s(crowded), aggregate_tokens_per_s(apart)
                        ),
                    }
                )
        return pairs


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
                    theirs = await asyncio.to_thread(_ask_peer_behind, peer.port, texts, system)
                    first_s = [
                        statistics.median(r.first_token_s for r in replies[1:])
                        for replies in (ours, theirs)
                    ]
                    pairs.append({self.MEDIAN_FIRST: Pair(*first_s)})
        return pairs


class PoolFilled(Scenario):
    """One owner keeps every slot and the queue full; three others ask again and again."""

    name = "pool_filled"
    title = "pool filled by one owner all the time"
    path: ClassVar[str] = BELOW_HTTP
    ERRORS = "errors of others"
    bars = (at_most(ERRORS, 0, slack=0),)
    has_peer: ClassVar[bool] = False
    NUM_FLOODING = 32
    OTHERS = ("b", "c", "d")

    @override
    def shape(self, threads: int | None) -> Shape:
        return Shape(threads, num_streams=4, context_length=2048)

    @override
    def run(self, contest: Contest) -> Iterator[Mapping[str, Pair]]:
        num_errors = asyncio.run(self._count_errors(contest))
        return iter([{self.ERRORS: Pair(num_errors)}])

    async def _count_errors(self, contest: Contest) -> int:
        """Return errors of the others; one who got no reply in all that time counts as one."""
        end_s = time.monotonic() + contest.soak_s
        async with own_engine(contest.model, self.shape(contest.threads)) as engine:
            flood = [
                asyncio.create_task(_flood(engine, "a", 1000 * number, end_s))
                for number in range(1, self.NUM_FLOODING + 1)
            ]
            try:
                counts = await asyncio.gather(
                    *(_ask_again_and_again(engine, owner, end_s) for owner in self.OTHERS)
                )
            finally:
                for task in flood:
                    task.cancel()
                await asyncio.wait(flood)
        return sum(counts)


class WorkerMemory(Scenario):
    """What the worker process takes besides weights, KV cache and compute buffers."""

    name = "worker_memory"
    title = "memory of the worker beyond weights + KV + compute buffers"
    path: ClassVar[str] = BELOW_HTTP
    MEGABYTES = "MB"
    bars = (at_most(MEGABYTES, 150, slack=0),)
    has_peer: ClassVar[bool] = False

    @override
    def shape(self, threads: int | None) -> Shape:
        return Shape(threads, num_streams=4, context_length=4096)

    @override
    def run(self, contest: Contest) -> Iterator[Mapping[str, Pair]]:
        return iter([{self.MEGABYTES: Pair(asyncio.run(self._measure(contest)))}])

    async def _measure(self, contest: Contest) -> float:
        async with own_engine(contest.model, self.shape(contest.threads)) as engine:
            await _ask_together(engine, ["a", "b", "c", "d"], 1, prompt_tokens=1000)
            memory = engine.info.memory
            known_bytes = memory.weights_bytes + memory.kv_bytes + memory.compute_bytes
            resident_bytes: int = psutil.Process(engine.pid).memory_info().rss
            return (resident_bytes - known_bytes) / 1e6


async def _ask_together(
    engine: Engine, owners: list[str], seed: int, *, prompt_tokens: int = 64
) -> list[Reply]:
    asked = (
        ask_as(engine, owner, prompt(prompt_tokens, seed + index), REPLY_TOKENS)
        for index, owner in enumerate(owners)
    )
    return list(await asyncio.gather(*asked))


def _ask_peer_behind(port: int, texts: list[str], system: str) -> list[Reply]:
    """Ask the peer as `ask_behind` asks our engine."""
    before = [{"role": "system", "content": system}]
    bodies = [chat_body(text, REPLY_TOKENS, seed, before=before) for seed, text in enumerate(texts)]
    first = Stream(port, bodies[0])
    first.wait_tokens(1)
    others = [Stream(port, body) for body in bodies[1:]]
    return [stream.result() for stream in (first, *others)]


async def _flood(engine: Engine, owner: str, seed: int, end_s: float) -> None:
    """Ask for long replies one after another, whatever happens to them."""
    while time.monotonic() < end_s:
        seed += 1
        try:
            await ask_as(engine, owner, prompt(300, seed), 1600)
        except WebuiError:
            await asyncio.sleep(RETRY_S)


async def _ask_again_and_again(engine: Engine, owner: str, end_s: float) -> int:
    """Return how many short requests of an owner failed."""
    num_errors = num_replies = 0
    while time.monotonic() < end_s:
        try:
            await ask_as(engine, owner, prompt(64, num_replies), 32)
            num_replies += 1
        except WebuiError:
            num_errors += 1
            await asyncio.sleep(RETRY_S)
    return num_errors or int(num_replies == 0)
