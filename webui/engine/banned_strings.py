"""Which of a reply's latest tokens may yet turn out to begin a banned string.

Knows the bytes of tokens; knows no vocabulary and no sampler. Text is held back while it could
begin a banned string, so that a token which began one can be taken back and chosen anew.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class BannedStrings:
    """The tokens of one sequence that are held back.

    Args:
        strings: What must not be said; letters count as they stand.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        self._banned = tuple(string.encode() for string in strings)
        self._longest = max(map(len, self._banned), default=0)
        self._held: list[bytes] = []
        self._let_go = b""  # as much of its end as can be part of a banned string

    def feed(self, data: bytes) -> int | None:
        """Hold one more token.

        Returns:
            The index of the held token in which a banned string begins, the earliest of
            several; that token and what follows are forgotten. None when there is none.
            Where it began in what was let go before other tokens were taken back, it is the
            first held token that goes on with it.
        """
        self._held.append(data)
        said = self._let_go + b"".join(self._held)
        begins = [begin for string in self._banned if (begin := said.find(string)) >= 0]
        if not begins:
            return None
        begin = max(min(begins), len(self._let_go))
        index = next(index for index, end in enumerate(self._ends()) if end > begin)
        del self._held[index:]
        return index

    def release(self) -> int:
        """Let go of the tokens that cannot be part of a banned string any more; return how many.

        They are the first ones that are held.
        """
        said = self._let_go + b"".join(self._held)
        certain = len(said) - self._num_undecided(said)
        num = sum(end <= certain for end in self._ends())
        if num and self._longest:
            gone = self._let_go + b"".join(self._held[:num])
            self._let_go = gone[max(0, len(gone) - self._longest + 1) :]
        del self._held[:num]
        return num

    def _ends(self) -> Iterator[int]:
        """Return where each held token ends, counted from the beginning of `_let_go`."""
        ends = accumulate(map(len, self._held), initial=len(self._let_go))
        next(ends)
        return ends

    def _num_undecided(self, said: bytes) -> int:
        """Return the length of the longest tail that may yet grow into a banned string."""
        for length in range(min(len(said), self._longest - 1), 0, -1):
            if any(string.startswith(said[-length:]) for string in self._banned):
                return length
        return 0
