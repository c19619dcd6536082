"""Banned strings that leave nothing to say: the reply ends, soon and with the reason."""

from __future__ import annotations

import pytest

from tests.unit.engine.fake_runner import FakeOptions, FakeRunner
from tests.unit.engine.test_generation_loop import (
    Job,
    alone,
    check_nothing_is_left,
    make_loop,
    send,
    text_of,
)
from webui.engine.ipc import Outputs, RequestError
from webui.engine.rewinds import MAX_TRIES, Rewinds
from webui.errors import NothingAllowed


class Stubborn(FakeRunner):
    """Says the same few words for ever to whoever asks about `x`, with ever other tokens."""

    words = ("no",)

    def token_bytes(self, token):
        return self.words[token % len(self.words)].encode() if token >= 1000 else bytes([token])

    def _sample(self, slot, num_unseen):
        if self._cells[slot][0] != ord("x"):
            return super()._sample(slot, num_unseen)
        banned = self._banned.pop(slot, frozenset())
        num_said = len(self._cells[slot]) - num_unseen - 1
        token = 1000 + num_said
        while token in banned:
            token += len(self.words)
        return type(super()._sample(slot, num_unseen))(token)


@pytest.mark.parametrize(
    ("words", "banned", "most_held"),
    [
        (("no",), ("no",), 1),
        (("a", "b"), ("ab", "ba"), 2),
        (("a",), ("aaaaaaaa",), 8),
        (("a", "b", "c"), ("abcabc", "bc", "ca"), 6),
        (("n", "o"), ("n", "o", "no", "on", "nono"), 1),
    ],
)
@pytest.mark.parametrize("can_cut", [True, False])
def test_reply_that_only_bans_could_follow_ends_soon_and_alone(words, banned, most_held, can_cut):
    runner = Stubborn(FakeOptions(slots=2, can_cut=can_cut))
    runner.words = words
    loop = make_loop(runner)
    free = Job("bob", tuple(b"ab"), 20, (), 1)
    send(loop, Job("ann", (ord("x"),), 100, (), 1, banned=banned), "stuck")
    send(loop, free, "free")
    told = []
    while loop.has_work:
        told += loop.step()
        assert runner.num_steps < 100 + 3 * most_held * MAX_TRIES
    (error,) = [message for message in told if isinstance(message, RequestError)]
    assert (error.request_id, error.code) == ("stuck", NothingAllowed.code)
    assert str(MAX_TRIES) in error.message
    assert "fewer" in error.hint
    items = [item for message in told if isinstance(message, Outputs) for item in message.items]
    said = text_of(item.delta for item in items if item.request_id == "stuck")
    assert not any(ban in said for ban in banned)
    assert text_of(i.delta for i in items if i.request_id == "free") == text_of(alone(free, 512))
    check_nothing_is_left(loop)


def test_token_that_stays_gives_as_many_tries_again():
    rewinds = Rewinds()
    for _ in range(3):
        for token in range(MAX_TRIES - 1):
            rewinds.note(5, token)
            rewinds.check()
        rewinds.note_progress()
    for token in range(MAX_TRIES):
        rewinds.check()
        rewinds.note(6, token)
    with pytest.raises(NothingAllowed):
        rewinds.check()


def test_going_back_lifts_the_bans_behind():
    rewinds = Rewinds()
    rewinds.note(5, 1)
    rewinds.note(7, 2)
    assert (rewinds.banned_at(5), rewinds.banned_at(7)) == ({1}, {2})
    rewinds.note(5, 3)
    assert (rewinds.banned_at(5), rewinds.banned_at(7)) == ({1, 3}, frozenset())
    rewinds.shift(2, 5)
    assert rewinds.banned_at(3) == {1, 3}
