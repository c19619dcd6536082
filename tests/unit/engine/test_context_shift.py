"""A reply that goes on where the context is full."""

from __future__ import annotations

import pytest

from tests.unit.engine.fake_runner import VOWELS, FakeOptions, FakeRunner
from tests.unit.engine.test_generation_loop import (
    Job,
    check_nothing_is_left,
    make_loop,
    request_of,
    run,
    text_of,
)
from webui.engine.context_shift import half_to_leave
from webui.engine.generation_loop import Announced, Prepared
from webui.engine.interface import Finish, FinishReason, Prefill, Shifted, Text

PROMPT = tuple(b"keep me. the rest may go")


def job(**fields) -> Job:
    defaults = {"overflow": "shift", "ignores_eos": True}
    return Job("ann", PROMPT, 100, (), 1, **(defaults | fields))


def play(runner, asked, num_kept=0):
    loop = make_loop(runner)
    loop.take(Announced("0"))
    loop.take(Prepared(request_of(asked, "0"), list(asked.prompt), 0.0, num_kept=num_kept))
    cells, deltas = [], []
    while loop.has_work:
        for message in loop.step():
            deltas += [output.delta for output in message.items]
        cells.append(list(runner._cells[0]))
    check_nothing_is_left(loop)
    return deltas, cells


def test_reply_goes_on_beyond_the_context_and_says_what_left_it():
    runner = FakeRunner(FakeOptions(context_length=48, slots=1))
    deltas, cells = play(runner, job(), num_kept=8)
    shifts = [delta.num_tokens for delta in deltas if isinstance(delta, Shifted)]
    assert shifts == [20] * len(shifts)
    assert len(shifts) == runner.num_shifts == 4
    assert all(bytes(held[:8]) == b"keep me." for held in cells if len(held) > 8)
    end = deltas[-1]
    assert isinstance(end, Finish)
    assert end.reason is FinishReason.LENGTH
    assert (end.usage.prompt_tokens, end.usage.completion_tokens) == (len(PROMPT), 100)
    assert sum(delta.num_tokens for delta in deltas if isinstance(delta, Text)) == 100


def test_nothing_is_read_again_and_nothing_is_left_for_others():
    runner = FakeRunner(FakeOptions(context_length=48, slots=1))
    loop = make_loop(runner)
    run(loop, [job()])
    assert runner.num_tokens_read == len(PROMPT) + 99
    assert runner._cells[0] == []
    deltas = run(loop, [job()])["0"]
    assert all(delta.cached == 0 for delta in deltas if isinstance(delta, Prefill))


@pytest.mark.parametrize("policy", ["stop", "drop_oldest", "cut_middle"])
def test_others_end_where_the_context_is_full(policy):
    runner = FakeRunner(FakeOptions(context_length=48, slots=1))
    deltas, _ = play(runner, job(overflow=policy))
    assert deltas[-1].reason is FinishReason.CONTEXT
    assert deltas[-1].usage.completion_tokens == 48 - len(PROMPT)
    assert runner.num_shifts == 0


def test_reply_ends_where_the_memory_cannot_be_shifted():
    runner = FakeRunner(FakeOptions(context_length=48, slots=1, can_shift=False))
    deltas, _ = play(runner, job())
    assert deltas[-1].reason is FinishReason.CONTEXT
    assert deltas[-1].usage.completion_tokens == 48 - len(PROMPT)


def test_reply_with_a_grammar_ends_where_the_context_is_full():
    runner = FakeRunner(FakeOptions(context_length=48, slots=1))
    deltas, _ = play(runner, job(grammar=VOWELS))
    assert runner.num_shifts == 0
    assert set(text_of(deltas)) <= set("aeiou🦀")


def test_banned_string_that_stands_across_a_shift_is_taken_back():
    runner = FakeRunner(FakeOptions(context_length=48, slots=1))
    free, _ = play(runner, job())
    at = 48 - len(PROMPT) - 1
    banned = text_of(free)[at : at + 3]
    deltas, _ = play(FakeRunner(runner.options), job(banned=(banned,)))
    assert banned not in text_of(deltas)
    assert deltas[-1].usage.completion_tokens == 100


@pytest.mark.parametrize(
    ("num_tokens", "num_kept", "num_told", "left"),
    [
        (48, 0, 48, (0, 24)),
        (48, 8, 48, (8, 28)),
        (48, 47, 48, (24, 36)),
        (48, 8, 20, (8, 19)),
        (9, 0, 1, (0, 0)),
    ],
)
def test_older_half_of_what_may_go_goes(num_tokens, num_kept, num_told, left):
    assert half_to_leave(num_tokens, num_kept=num_kept, num_told=num_told) == left
