from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from webui.cli.bench import threads_scenario
from webui.cli.bench.scenario import Contest
from webui.cli.bench.threads_scenario import (
    DECODE,
    READ,
    REPLY_TOKENS,
    WARM_UP_TOKENS,
    AdaptiveReading,
    AdaptiveThreads,
    fixed_numbers,
)

RATES = {None: 60.0, 1: 42.0, 2: 61.0, 3: 30.0, 4: 20.0}  # by the threads that were asked for


@pytest.mark.parametrize(
    ("num_cores", "numbers"),
    [(1, [1]), (2, [1, 2]), (4, [1, 2, 3, 4]), (6, [1, 2, 4, 5, 6]), (16, [1, 2, 4, 8, 15, 16])],
)
def test_numbers_double_up_to_all_cores(num_cores, numbers):
    assert fixed_numbers(num_cores) == numbers


@pytest.mark.parametrize(
    ("scenario", "metric", "of_each"),
    [
        (AdaptiveThreads(), DECODE, [WARM_UP_TOKENS, REPLY_TOKENS]),
        (AdaptiveReading(), READ, [1]),
    ],
)
def test_pairs_are_of_the_free_choice_and_the_best_number_in_turns(
    monkeypatch, scenario, metric, of_each
):
    opened: list[int | None] = []
    asked: list[int] = []

    @asynccontextmanager
    async def own_engine(model, shape, *, speculation):
        assert speculation == "off"
        opened.append(shape.threads)
        yield shape.threads

    async def ask_as(engine, owner, text, max_tokens):
        asked.append(max_tokens)
        if metric == READ:
            return SimpleNamespace(prompt_tokens=RATES[engine] * 2, first_token_s=2.0)
        return SimpleNamespace(tokens_per_s=RATES[engine])

    monkeypatch.setattr(threads_scenario, "own_engine", own_engine)
    monkeypatch.setattr(threads_scenario, "ask_as", ask_as)
    monkeypatch.setattr(threads_scenario, "num_cores", lambda: 4)
    contest = Contest(Path("m.gguf"), Path("peer"), None, num_pairs=2, soak_s=0)
    pairs = [pair[metric] for pair in scenario.run(contest)]
    assert [(pair.ours, pair.reference) for pair in pairs] == [(60.0, 61.0)] * 2
    assert opened == [1, 2, 3, 4, None, 2, 2, None]
    assert asked == of_each * len(opened)  # no side is spared what the other is not


@pytest.mark.parametrize("scenario", [AdaptiveThreads(), AdaptiveReading()])
def test_free_choice_may_cost_three_percent_and_the_title_says_of_what(scenario):
    (bar,) = scenario.bars
    assert bar.limit == 0.97
    assert "warm-up" in scenario.title
