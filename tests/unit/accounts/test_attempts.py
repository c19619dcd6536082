"""Sign-ins that were begun elsewhere: bound to a browser, good once, for a while, and bounded."""

from __future__ import annotations

import pytest

from tests.unit.accounts.conftest import Clock
from webui.accounts.attempts import LASTS_S, MAX_ATTEMPTS, MAX_OF_SENDER, Attempts, Begun
from webui.accounts.id_token import SignInRefused


def begin(attempts: Attempts, address: str = "192.0.2.1") -> Begun:
    return attempts.begin(address, redirect_uri="http://x/", next_path="/")


def test_attempt_comes_back_once_and_to_its_browser() -> None:
    attempts = Attempts(Clock())
    begun = begin(attempts)
    assert attempts.take(begun.state, begun.browser) is begun.attempt
    with pytest.raises(SignInRefused):
        attempts.take(begun.state, begun.browser)


@pytest.mark.parametrize("browser", [None, "", "x", "other"])
def test_other_browser_burns_it(browser) -> None:
    attempts = Attempts(Clock())
    begun = begin(attempts)
    word = begin(attempts).browser if browser == "other" else browser
    for shown in (word, begun.browser):
        with pytest.raises(SignInRefused):
            attempts.take(begun.state, shown)


def test_attempt_is_over_after_a_while() -> None:
    clock = Clock()
    attempts = Attempts(clock)
    late, timely = begin(attempts), begin(attempts)
    clock.now_s += LASTS_S - 0.1
    assert attempts.take(timely.state, timely.browser) is timely.attempt
    clock.now_s += 0.1
    with pytest.raises(SignInRefused):
        attempts.take(late.state, late.browser)


def test_one_sender_pushes_nobody_else_out() -> None:
    attempts = Attempts(Clock())
    other, own = begin(attempts, "192.0.2.2"), begin(attempts)
    for number in range(MAX_OF_SENDER):
        begin(attempts, f"192.0.2.1%{number}")
    assert attempts.take(other.state, other.browser) is other.attempt
    with pytest.raises(SignInRefused):
        attempts.take(own.state, own.browser)


def test_there_are_so_many_and_no_more() -> None:
    attempts = Attempts(Clock())
    begun = [begin(attempts, f"198.51.{n // 256}.{n % 256}") for n in range(MAX_ATTEMPTS + 50)]
    assert len(attempts._open) == MAX_ATTEMPTS
    assert attempts.take(begun[-1].state, begun[-1].browser) is begun[-1].attempt


def test_words_differ_and_say_nothing_of_each_other() -> None:
    attempts = Attempts(Clock())
    words = []
    for begun in (begin(attempts), begin(attempts)):
        words += [begun.state, begun.browser, begun.attempt.nonce, begun.attempt.verifier]
    assert len(set(words)) == 8
    assert all(len(word) == 43 for word in words)
    assert begun.state not in attempts._open
