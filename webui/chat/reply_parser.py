"""The stream of a reply, parted into what the model thinks and what it answers.

Knows the marks `<think>` and `</think>`; knows nothing of engines, events or storage. A mark
may come in any number of pieces: what could still become one is held back until it is clear.
Only a reply that opens with the mark has reasoning: later ones are text, so that people can
talk about the marks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

OPEN = "<think>"
CLOSE = "</think>"


class Kind(StrEnum):
    """What a piece of a reply is."""

    TEXT = "text"
    REASONING = "reasoning"


@dataclass(frozen=True, slots=True)
class Piece:
    """Some of the reply, never empty."""

    kind: Kind
    text: str


class _State(StrEnum):
    OPENING = "opening"  # nothing but white space and part of a mark so far
    REASONING_OPENING = "reasoning_opening"  # just behind the mark: white space is dropped
    REASONING = "reasoning"
    TEXT_OPENING = "text_opening"  # just behind the closing mark: white space is dropped
    TEXT = "text"


class ReplyParser:
    """Takes the reply as it comes and gives it back in pieces.

    A reply that is continued takes up where the saved one ended. The prompt went out without
    the white space at its end, which models do not write on from well; what they repeat of it
    is swallowed here.

    Args:
        text: The answer so far, when a reply is continued.
        reasoning: Its reasoning so far.
    """

    def __init__(self, *, text: str = "", reasoning: str = "") -> None:
        self._held = ""
        if text:
            self._state = _State.TEXT
        elif reasoning:
            self._state = _State.REASONING
        else:
            self._state = _State.OPENING
        so_far = text or reasoning
        self._repeated = so_far[len(so_far.rstrip()) :]

    def feed(self, text: str) -> list[Piece]:
        """Take more of the stream; returns what is clear by now."""
        if self._repeated:
            text = self._swallow(text)
        if self._state is _State.TEXT and text:
            return [Piece(Kind.TEXT, text)]
        self._held += text
        pieces: list[Piece] = []
        while self._step(pieces):
            pass
        return pieces

    def close(self) -> list[Piece]:
        """End the stream; returns what was held back."""
        held, self._held = self._held, ""
        if self._state is _State.OPENING and held:
            return [Piece(Kind.TEXT, held)]
        if self._state in (_State.REASONING, _State.REASONING_OPENING) and held.strip():
            return [Piece(Kind.REASONING, held.rstrip())]
        return []

    def _step(self, pieces: list[Piece]) -> bool:
        """Move on by one state; False when more of the stream is needed."""
        match self._state:
            case _State.OPENING:
                return self._open(pieces)
            case _State.REASONING_OPENING | _State.TEXT_OPENING:
                return self._drop_space()
            case _State.REASONING:
                return self._reason(pieces)
            case _State.TEXT:
                if self._held:
                    pieces.append(Piece(Kind.TEXT, self._held))
                    self._held = ""
                return False

    def _open(self, pieces: list[Piece]) -> bool:
        start = self._held.lstrip()
        if start.startswith(OPEN):
            self._held = start[len(OPEN) :]
            self._state = _State.REASONING_OPENING
            return True
        if OPEN.startswith(start):
            return False
        pieces.append(Piece(Kind.TEXT, self._held))
        self._held = ""
        self._state = _State.TEXT
        return False

    def _drop_space(self) -> bool:
        self._held = self._held.lstrip()
        if not self._held:
            return False
        opening = self._state is _State.REASONING_OPENING
        self._state = _State.REASONING if opening else _State.TEXT
        return True

    def _reason(self, pieces: list[Piece]) -> bool:
        end = self._held.find(CLOSE)
        if end >= 0:
            clear, self._held = self._held[:end].rstrip(), self._held[end + len(CLOSE) :]
            self._state = _State.TEXT_OPENING
        else:
            clear, self._held = _split_end(self._held)
        if clear:
            pieces.append(Piece(Kind.REASONING, clear))
        return end >= 0

    def _swallow(self, text: str) -> str:
        """Drop from `text` what repeats the white space the reply already ends with."""
        for index, letter in enumerate(text):
            if not self._repeated or letter != self._repeated[0]:
                self._repeated = ""
                return text[index:]
            self._repeated = self._repeated[1:]
        return ""


def _split_end(text: str) -> tuple[str, str]:
    """Part what is certain from white space and the start of a closing mark at the end."""
    end = len(text)
    for length in range(min(len(CLOSE) - 1, end), 0, -1):
        if CLOSE.startswith(text[end - length :]):
            end -= length
            break
    end = len(text[:end].rstrip())
    return text[:end], text[end:]
