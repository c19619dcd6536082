"""What a scenario of `bench engine` is: its bars, how both sides are loaded, its runs."""

from __future__ import annotations

import contextlib
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from webui.cli.bench.own_server import own_server
from webui.cli.bench.peers import peer_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from webui.cli.bench.peers import Shape
    from webui.cli.bench.served import Served
    from webui.cli.bench.statistics import Estimate, Pair

SLACK = 0.03
SAMPLING = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.95,
    "min_p": 0.05,
    "repeat_penalty": 1.0,
}
OVER_HTTP = "HTTP, one owner"
SEVERAL_OVER_HTTP = "HTTP, an API key for each owner"
# For what cannot be had over HTTP: an administrator's prompt, other ways to guess, memory by kind.
BELOW_HTTP = "LocalEngine, one owner each"
WORDS = (
    "time year people way day man thing woman life child world school state family student group "
    "country problem hand part place case week company system program question work government "
    "number night point home water room mother area money story fact month lot right study book"
)


@dataclass(frozen=True, slots=True)
class Bar:
    """What a figure must reach.

    Attributes:
        metric: What is measured, with its unit.
        limit: The least (`is_floor`) or the most that is good.
        is_floor: True where more is better.
        reference: What the figure is divided by, in words; empty where it stands alone.
        slack: How far the worse end of the interval may miss the limit.
    """

    metric: str
    limit: float
    is_floor: bool
    reference: str = ""
    slack: float = SLACK

    def is_met(self, estimate: Estimate) -> bool:
        """Judge by the worse end of the interval."""
        if self.is_floor:
            return estimate.low >= self.limit - self.slack
        return estimate.high <= self.limit + self.slack


def at_least(metric: str, limit: float, reference: str = "", *, slack: float = SLACK) -> Bar:
    """Return the bar of a figure of which more is better."""
    return Bar(metric, limit, is_floor=True, reference=reference, slack=slack)


def at_most(metric: str, limit: float, reference: str = "", *, slack: float | None = None) -> Bar:
    """Return the bar of a figure of which less is better.

    Of a small limit the usual slack would be a large part: below 1 it is 3 % of the limit.
    """
    slack = SLACK * min(1.0, limit) if slack is None else slack
    return Bar(metric, limit, is_floor=False, reference=reference, slack=slack)


@dataclass(frozen=True, slots=True)
class Contest:
    """What all scenarios share.

    Attributes:
        model: The file that both sides load.
        peer: The `llama-server` to run.
        threads: Compute threads of both sides; None leaves each its default.
        num_pairs: A B pairs to run.
        soak_s: Length of the scenarios that only last.
        draft: File of a draft model, for the scenario that guesses; None has none.
    """

    model: Path
    peer: Path
    threads: int | None
    num_pairs: int
    soak_s: float
    draft: Path | None = None

    @contextlib.contextmanager
    def both(self, shape: Shape, *, num_owners: int = 1) -> Iterator[tuple[Served, Served]]:
        """Start Hearthside, with so many owners, and the peer; the one that is not asked idles."""
        options = shape.load_options()
        with (
            own_server(self.model, options, num_owners=num_owners) as ours,
            self.peer_alone(shape) as peer,
        ):
            yield ours, peer

    @contextlib.contextmanager
    def peer_alone(self, shape: Shape) -> Iterator[Served]:
        """Start the peer."""
        with peer_server(self.peer, self.model, shape) as served:
            yield served


class Scenario(ABC):
    """One row of the table; a class holds what it is, `run` measures.

    Attributes:
        name: For `--scenario`.
        title: One line for people.
        path: Where Hearthside was entered.
        bars: What is judged.
        has_peer: Whether llama-server takes part.
        is_by_threads: Whether it is run once for each number of threads, else with defaults.
    """

    name: str
    title: str
    path: ClassVar[str] = OVER_HTTP
    bars: ClassVar[tuple[Bar, ...]]
    has_peer: ClassVar[bool] = True
    is_by_threads: ClassVar[bool] = True

    @abstractmethod
    def shape(self, threads: int | None) -> Shape:
        """Return how both sides are loaded."""

    @abstractmethod
    def run(self, contest: Contest) -> Iterator[Mapping[str, Pair]]:
        """Measure; yields one figure for each bar's metric, pair by pair.

        Raises:
            LoadFailed: A side did not start.
            EngineError: A stream broke off.
        """


def prompt(num_tokens: int, seed: int) -> str:
    """Return text of about so many tokens that no other seed's begins like."""
    draw = random.Random(seed)  # noqa: S311 - load, not secrets
    return " ".join([f"{seed}", *draw.choices(WORDS.split(), k=max(1, num_tokens - 4))])


def chat_body(
    text: str, max_tokens: int, seed: int, *, before: list[dict[str, str]] | None = None
) -> dict[str, object]:
    """Return a streaming chat request that both sides sample alike."""
    return {
        "messages": [*(before or []), {"role": "user", "content": text}],
        "max_tokens": max_tokens,
        "seed": seed,
        **SAMPLING,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
