"""Let those who ask at the same time begin at the same time.

Where nobody writes yet, a reply that began while the prompts beside it are still being read
would go on in the pace of that reading, and each of its steps would be dearer than a step of all
together. So whoever has read all but the last token of a prompt waits there for those who asked
before that moment: their first tokens come in one step. Nobody is held for more than
`MAX_HELD_SHARE` times what reading its own prompt took, nor for one of which much more than that
is left, so that a short question does not wait for a long document; nobody for the second prompt of
somebody else, and nobody at all once somebody writes.

Pure: knows sequences and counts of tokens, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Sequence as Several

    from webui.engine.sequence import Sequence

MAX_HELD_SHARE = 16
MAX_LONGER = 4  # times its own prompt


@dataclass(slots=True)
class _Held:
    """One who waits at the last token of its prompt.

    Attributes:
        since: The latest arrival before it was ready; who came later is not waited for.
        num_left: Tokens of others that may still be read before it begins.
        num_each: Of each of them.
    """

    since: int
    num_left: int
    num_each: int


class Gathering:
    """Remembers who waits for whom."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    def begin(
        self, reading: Several[Sequence], *, is_anyone_writing: bool
    ) -> tuple[list[Sequence], list[Sequence]]:
        """Return who reads its last token now, and who has more to read; the others wait.

        Args:
            reading: All whose tokens are not read to the end.
            is_anyone_writing: Whether a reply that somebody waits for is being written.
        """
        ready = [sequence for sequence in reading if sequence.num_unread == 1]
        unread = [sequence for sequence in reading if sequence.num_unread > 1]
        company = [] if is_anyone_writing else [s for s in unread if not s.is_background]
        owners = {sequence.owner for sequence in ready}
        self._hold(ready, company)
        if all(self._is_waiting(sequence, company, owners) for sequence in ready):
            return [], unread
        self._held = {}  # one goes, all go: being together is the point of it
        return ready, unread

    def note(self, sequence: Sequence, num_tokens: int) -> None:
        """Note that tokens of a sequence are read while others wait."""
        for name, held in self._held.items():
            if name != sequence.request_id:
                held.num_left -= num_tokens

    def _hold(self, ready: Several[Sequence], company: Several[Sequence]) -> None:
        """Take in who has become ready, forget who is gone."""
        latest = max((sequence.arrival for sequence in company), default=0)
        self._held = {
            sequence.request_id: self._held.get(sequence.request_id) or _held(sequence, latest)
            for sequence in ready
        }

    def _is_waiting(
        self, sequence: Sequence, company: Several[Sequence], owners: Collection[str]
    ) -> bool:
        if sequence.is_background or sequence.num_reply:
            return False
        held = self._held[sequence.request_id]
        return any(
            other.arrival <= held.since
            and other.num_unread <= min(held.num_left, held.num_each)
            and (other.owner == sequence.owner or other.owner not in owners)
            for other in company
        )


def _held(sequence: Sequence, latest: int) -> _Held:
    num_own = len(sequence.tokens) - sequence.num_cached
    return _Held(latest, MAX_HELD_SHARE * num_own, MAX_LONGER * num_own)
