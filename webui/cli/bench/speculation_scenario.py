"""What guessing tokens gains where a reply is a copy, and costs where it is free prose.

Both sides are Hearthside's engine, with and without speculation; only one is open at a time. A
draft model that is named guesses, too, where nothing is looked up.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Literal

from typing_extensions import override

from webui.cli.bench.own_engine import ask_as, own_engine, time_reply
from webui.cli.bench.peers import Shape
from webui.cli.bench.scenario import BELOW_HTTP, Contest, Scenario, at_least, prompt
from webui.cli.bench.statistics import Pair
from webui.engine.interface import GenerateRequest, Priority
from webui.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from webui.engine.interface import Engine

REPLY_TOKENS = 256
COPY_WORDS = 24  # few, and said several times: a small model, too, then goes on with them
COPY_TIMES = 8
SEED = 1
PROSE_BEGIN = "Once upon a time, in a small house at the edge of the forest,"


class Speculation(Scenario):
    """One stream that repeats a text it was shown, and one that writes freely."""

    name = "speculation"
    title = "guessed tokens: a reply that is a copy, and free prose"
    path: ClassVar[str] = BELOW_HTTP
    COPY = "copy tok/s"
    PROSE = "prose tok/s"
    bars = (at_least(COPY, 1.0, "without speculation"), at_least(PROSE, 0.97, "without"))
    has_peer: ClassVar[bool] = False

    @override
    def shape(self, threads: int | None) -> Shape:
        return Shape(threads, num_streams=1, context_length=2048, flash_attn="on")

    @override
    def run(self, contest: Contest) -> Iterator[Mapping[str, Pair]]:
        return iter(asyncio.run(self._measure(contest)))

    async def _measure(self, contest: Contest) -> list[Mapping[str, Pair]]:
        """Ask two engines in turns: one that is opened anew may be a tenth faster or slower."""
        shape = self.shape(contest.threads)
        with_guesses: Literal["auto", "ngram"] = "auto" if contest.draft else "ngram"
        pairs: list[Mapping[str, Pair]] = []
        async with (
            own_engine(
                contest.model, shape, speculation=with_guesses, draft=contest.draft
            ) as guessing,
            own_engine(contest.model, shape, speculation="off") as plain,
        ):
            for engine in (guessing, plain):
                await ask_as(engine, "a", "Hello", 8)
            for pair in range(contest.num_pairs):
                order = (guessing, plain) if pair % 2 == 0 else (plain, guessing)
                rates = {engine: await self._rates(engine, pair) for engine in order}
                pairs.append(
                    {
                        name: Pair(rates[guessing][name], rates[plain][name])
                        for name in (self.COPY, self.PROSE)
                    }
                )
        return pairs

    async def _rates(self, engine: Engine, pair: int) -> dict[str, float]:
        words = prompt(COPY_WORDS, pair + 1)
        copied = " ".join([words] * COPY_TIMES)
        prose = f"{PROSE_BEGIN} number {pair + 1},"
        return {
            self.COPY: await _rate(engine, f"copy {pair}", copied, temperature=0.0),
            self.PROSE: await _rate(engine, f"prose {pair}", prose, temperature=0.8),
        }


async def _rate(engine: Engine, name: str, begin: str, *, temperature: float) -> float:
    """Let the model write on; the same text with and without speculation."""
    request = GenerateRequest(
        request_id=f"bench {name}",
        owner="a",
        conversation_id=None,
        priority=Priority.API,
        messages=(),
        plain_text=begin,
        params=SamplingParams(
            max_tokens=REPLY_TOKENS, seed=SEED, ignore_eos=True, temperature=temperature
        ),
    )
    return (await time_reply(engine, request)).tokens_per_s
