"""Challenges: good once, for a time, and bounded in number."""

from __future__ import annotations

import pytest

from tests.unit.accounts.conftest import Clock
from webui.accounts.challenges import LASTS_S, MAX_OF_ONE, MAX_OPEN, ChallengeOver, Challenges
from webui.accounts.relying_party import RelyingParty

PARTY = RelyingParty("localhost", "http://localhost")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def challenges(clock: Clock) -> Challenges:
    return Challenges(clock)


def test_challenge_is_good_once(challenges: Challenges) -> None:
    value = challenges.open("a", PARTY, of="x", about="this")
    taken = challenges.take("a")
    assert (taken.value, taken.party, taken.about) == (value, PARTY, "this")
    with pytest.raises(ChallengeOver):
        challenges.take("a")
    with pytest.raises(ChallengeOver):
        challenges.take("b")


def test_challenge_is_good_for_five_minutes(challenges: Challenges, clock: Clock) -> None:
    challenges.open("a", PARTY, of="x")
    challenges.open("b", PARTY, of="x")
    clock.now_s += LASTS_S - 1
    challenges.take("a")
    clock.now_s += 1
    with pytest.raises(ChallengeOver):
        challenges.take("b")
    assert not challenges._open


def test_new_one_takes_the_place_of_the_old_one(challenges: Challenges) -> None:
    old = challenges.open("a", PARTY, of="x")
    new = challenges.open("a", PARTY, of="x")
    assert old != new
    assert challenges.take("a").value == new


def test_who_asks_for_many_loses_their_own_alone(challenges: Challenges) -> None:
    challenges.open("other", PARTY, of="y")
    for n in range(MAX_OF_ONE + 5):
        challenges.open(f"x{n}", PARTY, of="x")
    assert len(challenges._open) == MAX_OF_ONE + 1
    challenges.take("other")
    challenges.take(f"x{MAX_OF_ONE + 4}")
    with pytest.raises(ChallengeOver):
        challenges.take("x4")


def test_there_are_never_more_than_so_many(challenges: Challenges, clock: Clock) -> None:
    for n in range(MAX_OPEN + 10):
        challenges.open(f"{n}", PARTY, of=f"{n}")
    assert len(challenges._open) == MAX_OPEN
    clock.now_s += LASTS_S
    challenges.open("a", PARTY, of="x")
    assert len(challenges._open) == 1
