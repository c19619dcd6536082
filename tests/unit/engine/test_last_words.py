"""What of a process's standard error is told when it ends."""

from __future__ import annotations

from webui.engine.last_words import LAST_S, LastWords


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_the_last_line_is_told_in_any_pieces_and_without_colours() -> None:
    words = LastWords(Clock())
    words.data_received(b"first\n\x1b[31mfake.cpp:7: ASS")
    words.data_received(b"ERT failed\x1b[0m\n\n  \n")
    assert words.last_line() == "fake.cpp:7: ASSERT failed"
    words.data_received(b"and half a line")
    words.connection_lost(None)
    assert words.ended.done()
    assert words.last_line() == "and half a line"


async def test_what_was_said_long_before_the_end_is_not_told() -> None:
    clock = Clock()
    words = LastWords(clock)
    words.data_received(b"failed to restore kv cache\n")
    clock.now_s += LAST_S + 0.1
    words.connection_lost(None)
    assert words.last_line() == ""


async def test_what_was_said_in_the_last_moments_stays_told() -> None:
    clock = Clock()
    words = LastWords(clock)
    words.data_received(b"abort\n")
    clock.now_s += LAST_S / 2
    words.connection_lost(None)
    clock.now_s += 100
    assert words.last_line() == "abort"


async def test_nothing_was_said() -> None:
    words = LastWords(Clock())
    words.connection_lost(None)
    assert words.last_line() == ""
