"""Simulated machines: guesses are checked where that pays, and trying costs next to nothing."""

from __future__ import annotations

import random

import pytest

from webui.engine.speculation import MAX_ROWS, Acceptance, Guess, SpeculationControl


def dear(num_rows, num_extra):
    return 0.01 + 0.01 * (num_rows + num_extra)  # a small processor


def full_price(num_rows, num_extra):
    return 0.001 + 0.013 * (num_rows + num_extra)


def cheap(num_rows, num_extra):
    return 0.02 + 0.0002 * (num_rows + num_extra)  # a graphics card


def play(step_s, chance, *, num_rows=1, steps=4000, num_guessed=31, noise=0.0, owners=1):
    """Return seconds per token with the control, as a share of those without it, and its lengths.

    Args:
        chance: Probability that a guess holds: a number, or a function of the step.
    """
    rng = random.Random(1)
    control = SpeculationControl()
    acceptances = [Acceptance() for _ in range(num_rows)]
    spent_s, made, lengths = 0.0, 0, []
    for step in range(steps):
        now = chance(step) if callable(chance) else chance
        length = control.choose(
            [Guess(num_guessed, a, f"o{i % owners}") for i, a in enumerate(acceptances)]
        )
        length = min(length, num_guessed)
        took_s = step_s(num_rows, length * num_rows) * rng.uniform(1 - noise, 1 + noise)
        made_now = num_rows
        for acceptance in acceptances:
            held = 0
            while held < length and rng.random() < now:
                held += 1
            if length:
                acceptance.note(length, held)
            made_now += held
        control.note(num_rows, length * num_rows, made_now, took_s)
        spent_s += took_s
        made += made_now
        lengths.append(length)
    return spent_s / made / (step_s(num_rows, 0) / num_rows), lengths


@pytest.mark.parametrize("step_s", [dear, full_price, cheap])
@pytest.mark.parametrize("chance", [0.0, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("num_rows", [1, 4])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_never_slower_by_more_than_a_few_percent(step_s, chance, num_rows, noise):
    ratio, _ = play(step_s, chance, num_rows=num_rows, noise=noise, steps=1500)
    assert ratio < 1.035


def test_chance_that_turns_every_hundred_steps_costs_little():
    ratio, _ = play(dear, lambda step: 0.98 if step // 100 % 2 else 0.0)
    assert ratio < 1.035


def test_copy_on_a_small_processor_is_faster():
    ratio, lengths = play(dear, 0.99)
    assert ratio < 0.75
    assert max(lengths) >= 7


def test_good_guesses_on_a_cheap_machine_are_much_faster():
    ratio, _ = play(cheap, 0.9)
    assert ratio < 0.25


def test_wrong_guesses_end_up_unchecked():
    _, lengths = play(dear, 0.05)
    assert sum(1 for length in lengths[1000:] if length) < 0.03 * 3000


def test_what_became_good_is_found_again():
    _, lengths = play(dear, lambda step: 0.0 if step < 2000 else 0.99, steps=4000)
    assert sum(1 for length in lengths[3000:] if length >= 7) > 500


def test_other_owner_is_not_slowed():
    def gap(owners):
        _, lengths = play(dear, 0.3, num_rows=2, owners=owners)
        return sum(lengths)

    control = SpeculationControl()
    certain, hopeless = Acceptance(), Acceptance()
    for _ in range(200):
        certain.note(8, 8)
        hopeless.note(8, 0)
    for _ in range(3):
        control.note(2, 0, 2, dear(2, 0))
        control.note(2, 7, 9, dear(2, 7))
    assert control.choose([Guess(7, certain, "a"), Guess(0, hopeless, "a")])
    assert not control.choose([Guess(7, certain, "a"), Guess(0, hopeless, "b")])
    assert gap(1) >= gap(2)


def test_step_that_checks_makes_nobody_wait_long():
    def slow(num_rows, num_extra):
        return 0.2 * dear(num_rows, num_extra) / dear(1, 0)

    _, lengths = play(slow, 0.99)
    assert max(slow(1, length) for length in lengths[500:]) < 0.7
    assert max(lengths)


def test_nothing_is_checked_with_many_rows_or_before_a_plain_step():
    control = SpeculationControl()
    sure = Guess(31, Acceptance(), "a")
    assert control.choose([sure]) == 0
    for num in range(1, MAX_ROWS + 2):
        control.note(num, 0, num, 0.01)
    assert control.choose([sure]) > 0
    assert control.choose([sure] * (MAX_ROWS + 1)) == 0
    assert control.choose([Guess(0, Acceptance(), "a")]) == 0
