"""Steps that are broken off while llama.cpp computes: soon over, and as if they had not been."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from webui.engine.runner import Row, Sampled, StepAborted
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.loaders.llama_cpp.runner import LlamaCppRunner
from webui.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

GREEDY = SamplingParams(temperature=0)
CHUNK = 48
NUM_CHUNKS = 5


@pytest.fixture(scope="module", params=["on", "off"])
def runner(best_model: Path, request: pytest.FixtureRequest) -> Iterator[LlamaCppRunner]:
    options = LlamaCppOptions(
        context_length=512, slots=2, batch_size=256, ubatch_size=64, flash_attn=request.param
    )
    runner = LlamaCppRunner(best_model, "best", options, lambda _: None)
    yield runner
    runner.close()


@pytest.fixture
def prompt(runner: LlamaCppRunner) -> list[int]:
    words = "It was the best of times, it was the worst of times. " * 60
    return runner.tokenize(words, special=False)[: CHUNK * NUM_CHUNKS]


def read(runner: LlamaCppRunner, slot: int, prompt: list[int], first: int, end: int) -> None:
    for index in range(first, end):
        part = prompt[index * CHUNK : (index + 1) * CHUNK]
        runner.forward([Row(slot, part, index * CHUNK, sample=False)])


def write(runner: LlamaCppRunner, slot: int, prompt: list[int]) -> list[bytes]:
    """Read the last token alone and write ten; return the logits of each, to the bit."""
    runner.open_sampler(slot, GREEDY, prompt)
    seen = []
    token, position = prompt[-1], len(prompt) - 1
    for _ in range(10):
        (result,) = runner.forward([Row(slot, [token], position, sample=True)])
        assert isinstance(result, Sampled)
        seen.append(np.copy(runner._logits(0)).tobytes())
        token, position = result.token, position + 1
    runner.close_sampler(slot)
    return seen


def whole(runner: LlamaCppRunner, slot: int, prompt: list[int]) -> list[bytes]:
    runner.forget(slot, 0)
    read(runner, slot, prompt, 0, NUM_CHUNKS - 1)
    rest = prompt[(NUM_CHUNKS - 1) * CHUNK : -1]
    runner.forward([Row(slot, rest, (NUM_CHUNKS - 1) * CHUNK, sample=False)])
    return write(runner, slot, prompt)


def forward_until_aborted(runner: LlamaCppRunner, row: Row) -> None:
    """Make a step again and again: a fast machine may be done before the flag is set."""
    while True:
        runner.forward([row])
        runner.forget(row.slot, row.position)


@pytest.mark.parametrize("num_done", [0, 3])
@pytest.mark.parametrize("delay_s", [0.0, 0.01])
def test_aborted_chunk_leaves_the_cells_as_they_were(
    runner: LlamaCppRunner, prompt: list[int], num_done: int, delay_s: float
) -> None:
    runner.forget(0, 0)
    runner.forget(1, 0)
    expected = whole(runner, 1, prompt)
    read(runner, 0, prompt, 0, num_done)
    before = runner.save_state(0)
    position = num_done * CHUNK
    # Four ubatches: what the first ones left is not dropped by llama.cpp itself.
    row = Row(0, [*prompt[position:], *prompt][:250], position, sample=False)
    setter = threading.Timer(delay_s, runner.set_abort, kwargs={"is_set": True})
    if delay_s:
        setter.start()
    else:
        runner.set_abort(is_set=True)
    try:
        with pytest.raises(StepAborted):
            forward_until_aborted(runner, row)
    finally:
        runner.set_abort(is_set=False)
        setter.cancel()
    assert runner.forget(0, position)
    after = runner.save_state(0)
    assert before is not None
    assert after is not None
    assert bytes(after) == bytes(before), "cells and their values are those of before"
    read(runner, 0, prompt, num_done, NUM_CHUNKS - 1)
    rest = prompt[(NUM_CHUNKS - 1) * CHUNK : -1]
    runner.forward([Row(0, rest, (NUM_CHUNKS - 1) * CHUNK, sample=False)])
    assert write(runner, 0, prompt) == expected


def test_neighbour_of_an_aborted_chunk_keeps_its_cells(
    runner: LlamaCppRunner, prompt: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    expected = whole(runner, 1, prompt)
    runner.forget(0, 0)
    runner.forget(1, len(prompt) - 1)
    runner.set_abort(is_set=True)
    with pytest.raises(StepAborted):
        runner.forward([Row(0, prompt, 0, sample=False)])
    runner.set_abort(is_set=False)
    runner.forget(0, 0)
    assert write(runner, 1, prompt) == expected
    assert capfd.readouterr().err == "", "what was asked for is no error"


def test_abort_waits_until_cells_have_moved(runner: LlamaCppRunner, prompt: list[int]) -> None:
    def written(*, is_aborting: bool) -> list[bytes]:
        runner.forget(0, 0)
        runner.forget(1, 0)
        read(runner, 0, prompt, 0, NUM_CHUNKS)
        runner.forget(0, len(prompt) - 1)
        assert runner.shift(0, 5, 25)
        runner.set_abort(is_set=is_aborting)
        runner.forward([Row(1, prompt[:CHUNK], 0, sample=False)])  # it moves them on its way
        if is_aborting:
            with pytest.raises(StepAborted):
                runner.forward([Row(1, prompt[:CHUNK], CHUNK, sample=False)])
            runner.set_abort(is_set=False)
        return write(runner, 0, prompt[: len(prompt) - 20])

    assert written(is_aborting=True) == written(is_aborting=False)


def test_abort_ends_a_long_step_within_a_piece_of_it(
    runner: LlamaCppRunner, prompt: list[int]
) -> None:
    runner.forget(0, 0)
    row = Row(0, prompt, 0, sample=False)
    begun_s = time.monotonic()
    runner.forward([row])
    whole_s = time.monotonic() - begun_s
    runner.forget(0, 0)
    runner.set_abort(is_set=True)
    begun_s = time.monotonic()
    with pytest.raises(StepAborted):
        runner.forward([row])
    took_s = time.monotonic() - begun_s
    runner.set_abort(is_set=False)
    runner.forget(0, 0)
    assert took_s < max(whole_s / 4, 0.05), f"{took_s:.3f} of {whole_s:.3f} s"
