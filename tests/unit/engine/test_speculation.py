"""Simulated machines: guesses are checked where that pays, and trying costs next to nothing."""

from __future__ import annotations

import random

import pytest

from webui.engine.speculation import MAX_ROWS, Acceptance, Choice, Guess, SpeculationControl


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
        choice = control.choose(
            [Guess(num_guessed, a, f"o{i % owners}") for i, a in enumerate(acceptances)]
        )
        assert not choice.is_modelled
        length = min(choice.length, num_guessed)
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
    assert control.choose([Guess(7, certain, "a"), Guess(0, hopeless, "a")]).length
    assert not control.choose([Guess(7, certain, "a"), Guess(0, hopeless, "b")]).length
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
    assert control.choose([sure]) == Choice(0)
    for num in range(1, MAX_ROWS + 2):
        control.note(num, 0, num, 0.01)
    assert control.choose([sure]).length > 0
    assert control.choose([sure] * (MAX_ROWS + 1)) == Choice(0)
    assert control.choose([Guess(0, Acceptance(), "a")]) == Choice(0)


def play_model(chance, *, missing=(0,), pass_share=0.1, read_share=0.02, owners=1, step_s=dear):
    """Write replies with a draft model; return seconds per token as a share of those without it.

    Args:
        chance: Probability that a guess holds; a function of the reply.
        missing: Tokens that the draft model must read first, for each reply.
        pass_share: What one of its passes takes, in plain steps.
        read_share: What it takes to read a token, in plain steps.
    """
    rng = random.Random(2)
    control = SpeculationControl()
    plain_s = step_s(owners, 0)
    spent_s, made, most_s = 0.0, 0, 0.0
    for reply, num_missing in enumerate(missing):
        left = num_missing
        acceptances = [Acceptance() for _ in range(owners)]
        for _ in range(400):
            guesses = [Guess(31, a, f"o{i}", is_modelled=True) for i, a in enumerate(acceptances)]
            choice = control.choose(guesses)
            reading_s = guessing_s = 0.0
            if choice.length and left > 4:
                num = min(left, control.readable(owners, left, is_shared=owners > 1))
                left -= num
                reading_s = num * read_share * plain_s
                control.note_reading(owners, num, reading_s)
            length = choice.length if left <= 4 else 0
            if length:
                guessing_s = length * pass_share * plain_s
                control.note_guessing(owners, length, guessing_s)
            made_now = owners
            for acceptance in acceptances:
                held = 0
                while held < length and rng.random() < chance(reply):
                    held += 1
                if length:
                    acceptance.note(length, held)
                made_now += held
            took_s = step_s(owners, length * owners) + guessing_s
            control.note(owners, length * owners, made_now, took_s, guessing_s)
            spent_s += took_s + reading_s
            most_s = max(most_s, took_s + reading_s)
            made += made_now
    return spent_s / made / (plain_s / owners), most_s / plain_s


@pytest.mark.parametrize("step_s", [dear, cheap])
@pytest.mark.parametrize("chance", [0.0, 0.4])
@pytest.mark.parametrize("missing", [(0,) * 10, (300,) * 10, (4000,) * 10])
@pytest.mark.parametrize("owners", [1, 3])
def test_useless_draft_model_costs_a_few_percent(step_s, chance, missing, owners):
    ratio, _ = play_model(lambda _: chance, missing=missing, owners=owners, step_s=step_s)
    assert ratio < 1.05


@pytest.mark.parametrize(("pass_share", "best"), [(0.02, 0.45), (0.1, 0.6), (0.3, 0.8)])
def test_good_draft_model_pays_what_it_costs_back(pass_share, best):
    ratio, _ = play_model(lambda _: 0.9, missing=(500,) * 10, pass_share=pass_share, step_s=cheap)
    assert ratio < best


def test_reading_makes_a_step_at_most_twice_as_long_and_others_wait_for_it_less():
    _, most = play_model(lambda _: 0.0, missing=(3000,), pass_share=0.01, step_s=cheap)
    assert most <= 2.05
    _, most = play_model(lambda _: 0.0, missing=(3000,), pass_share=0.01, owners=2, step_s=cheap)
    assert most < 1.5


def test_draft_model_that_became_good_is_found_again():
    early, _ = play_model(lambda _: 0.0, missing=(100,) * 10, step_s=cheap)
    ratio, _ = play_model(lambda reply: 0.95 * (reply >= 10), missing=(100,) * 20, step_s=cheap)
    assert ratio < early * 0.75


def test_what_is_too_long_to_be_read_is_not_begun():
    control = SpeculationControl()
    control.note(1, 0, 1, 0.01)
    assert control.readable(1, 10_000, is_shared=False) > 0  # nobody knows yet what it costs
    control.note_reading(1, 10, 0.1)  # the first time is slow
    control.note_reading(1, 10, 0.001)
    assert control.readable(1, 10_000, is_shared=False) == 0
    assert (
        0 < control.readable(1, 1000, is_shared=True) < control.readable(1, 1000, is_shared=False)
    )


def test_looked_up_guess_does_not_wait_for_a_dear_draft_model():
    control = SpeculationControl()
    sure = Acceptance()
    sure.note(60, 60)
    control.note(2, 0, 2, 0.01)
    control.note_guessing(2, 1, 0.02)
    looked_up = Guess(7, sure, "a")
    modelled = Guess(7, Acceptance(), "a", is_modelled=True)
    assert control.choose([looked_up, modelled]) == Choice(7)
    control = SpeculationControl()
    control.note(2, 0, 2, 0.01)
    control.note(2, 14, 16, 0.0105)
    control.note_guessing(2, 1, 0.0001)
    assert control.choose([looked_up, modelled]).is_modelled
