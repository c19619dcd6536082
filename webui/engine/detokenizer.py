"""Bytes of tokens to text that may be shown: whole characters, nothing of a stop string.

Knows neither tokens nor vocabularies. Fed by one sequence, in order.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Detokenizer:
    """Incremental; the text it gives out never has to be taken back.

    Args:
        stop: Strings that end the text; neither they nor what follows is given out.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._stop = tuple(stop)
        self._longest = max((len(s) for s in self._stop), default=0)
        self._held = ""
        self.is_stopped = False

    def feed(self, data: bytes, *, may_stop: bool = True) -> str:
        """Return the text that became certain; empty once a stop string was met.

        Args:
            data: Of the next token.
            may_stop: False lets its text out whatever it says; not after a feed with True.
        """
        if self.is_stopped:
            return ""
        text = self._decode(data)
        if not self._stop or not may_stop:
            return text
        self._held += text
        return self._release()

    def finish(self) -> str:
        """Return what was held back; an unfinished character at the end is dropped."""
        text, self._held = self._held, ""
        return "" if self.is_stopped else text

    def _release(self) -> str:
        """Give out all that cannot be part of a stop string any more."""
        held = self._held
        begins = [begin for s in self._stop if (begin := held.find(s)) >= 0]
        if begins:
            self.is_stopped = True
            self._held = ""
            return held[: min(begins)]
        keep = self._num_undecided(held)
        cut = len(held) - keep
        self._held = held[cut:]
        return held[:cut]

    def _num_undecided(self, held: str) -> int:
        """Return the length of the longest tail that may yet grow into a stop string."""
        for length in range(min(len(held), self._longest - 1), 0, -1):
            tail = held[-length:]
            if any(s.startswith(tail) for s in self._stop):
                return length
        return 0
