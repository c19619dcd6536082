"""What running sequences have to tell, gathered until it is worth a message.

Knows sequences and what they say of themselves; knows neither the model nor who hears of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.engine.ipc import Output

if TYPE_CHECKING:
    from collections.abc import Iterable

    from webui.engine.sequence import Sequence

# Every message wakes the web process, which costs it more than the tokens in it do; 14 changes a
# second of a lone reply still read as fluently. The more rows share a message the more often it
# is sent, so that a token costs about the same; slow steps are told one by one. The first words of
# a reply wait for nothing: somebody looks at an empty place.
TELL_S = 0.07


class Untold:
    """Sequences with something to tell.

    Args:
        now_s: The time.
    """

    def __init__(self, now_s: float) -> None:
        self._sequences: dict[str, Sequence] = {}
        self._told_s = now_s

    def __len__(self) -> int:
        return len(self._sequences)

    def note(self, sequences: Iterable[Sequence]) -> None:
        """Take sequences that have something new to tell."""
        self._sequences.update((sequence.request_id, sequence) for sequence in sequences)

    def forget(self, request_id: str) -> None:
        """Tell nothing of a request, which nobody wants any more."""
        self._sequences.pop(request_id, None)

    def is_due(self, now_s: float, step_s: float, num_rows: int) -> bool:
        """Return whether to tell it after a step that took so long, of so many rows."""
        # Half a step earlier, so that it is the nearest step.
        is_time = now_s - self._told_s + step_s / 2 >= TELL_S / num_rows
        return is_time or any(sequence.has_first for sequence in self._sequences.values())

    def take(self, now_s: float) -> list[Output]:
        """Return what came since the last time."""
        self._told_s = now_s
        untold, self._sequences = self._sequences, {}
        return [
            Output(request_id, delta)
            for request_id, sequence in untold.items()
            for delta in sequence.deltas()
        ]
