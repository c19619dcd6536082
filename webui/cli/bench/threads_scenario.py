"""What it costs to look for the best number of threads, on a machine with nothing else to do.

All sides are Hearthside's engine: once free to choose, and once for each fixed number; only one
is open at a time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from webui.cli.bench.own_engine import ask_as, own_engine
from webui.cli.bench.peers import Shape
from webui.cli.bench.scenario import BELOW_HTTP, Contest, Scenario, at_least, prompt
from webui.cli.bench.statistics import Pair
from webui.engine.cores import num_cores

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DECODE = "decode tok/s"
WARM_UP_TOKENS = 384  # of every side; the search for the best number has ended by then
REPLY_TOKENS = 512  # long enough to hold some of the trials that go on for ever
READ = "prompt tok/s"
PROMPT_TOKENS = 4000


class AdaptiveThreads(Scenario):
    """One stream with threads as the engine chooses, against the best fixed number."""

    name = "adaptive_threads"
    title = (
        f"default threads, idle machine, both after {WARM_UP_TOKENS} tokens of warm-up, "
        "against the best fixed number"
    )
    path: ClassVar[str] = BELOW_HTTP
    metric: ClassVar[str] = DECODE
    bars = (at_least(DECODE, 0.97, "the best fixed number of threads"),)
    has_peer: ClassVar[bool] = False
    is_by_threads: ClassVar[bool] = False

    @override
    def shape(self, threads: int | None) -> Shape:
        return Shape(threads, num_streams=1, context_length=2048)

    @override
    def run(self, contest: Contest) -> Iterator[Mapping[str, Pair]]:
        numbers = fixed_numbers(num_cores())
        rates = {number: asyncio.run(self._rate(contest, number, 0)) for number in numbers}
        best = max(numbers, key=rates.__getitem__)
        for pair in range(1, contest.num_pairs + 1):
            order = (None, best) if pair % 2 else (best, None)
            rated = {number: asyncio.run(self._rate(contest, number, pair)) for number in order}
            yield {self.metric: Pair(rated[None], rated[best])}

    async def _rate(self, contest: Contest, threads: int | None, seed: int) -> float:
        """Return the tokens a second of a reply, once the engine has found its number."""
        async with own_engine(contest.model, self.shape(threads), speculation="off") as engine:
            await ask_as(engine, "a", prompt(64, 0), WARM_UP_TOKENS)
            return (await ask_as(engine, "a", prompt(64, seed), REPLY_TOKENS)).tokens_per_s


class AdaptiveReading(AdaptiveThreads):
    """The first long prompt after the load, with threads as the engine chooses."""

    name = "adaptive_threads_reading"
    title = (
        "default threads, idle machine: the first 4k prompt, without warm-up, "
        "against the best fixed number"
    )
    metric: ClassVar[str] = READ
    bars = (at_least(READ, 0.97, "the best fixed number of threads"),)

    @override
    def shape(self, threads: int | None) -> Shape:
        return Shape(threads, num_streams=1, context_length=6144)

    @override
    async def _rate(self, contest: Contest, threads: int | None, seed: int) -> float:
        """Return the prompt tokens read in a second, from the first on."""
        async with own_engine(contest.model, self.shape(threads), speculation="off") as engine:
            reply = await ask_as(engine, "a", prompt(PROMPT_TOKENS, seed), 1)
            return reply.prompt_tokens / reply.first_token_s


def fixed_numbers(most: int) -> list[int]:
    """Return the numbers of threads worth a try: 1, 2, 4 and so on, up to all that may compute."""
    doubled = [1 << power for power in range(most.bit_length())]
    return sorted({*doubled, most, max(1, most - 1)})
