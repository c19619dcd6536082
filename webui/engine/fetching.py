"""Who waits in a slot for a state from disk, and which states are being read.

A state is asked for once its sequence has a slot, never before: nobody else's memory grows with
the queue. Sequences that want the same file share one reading, and few are on their way at once.
Nobody waits for long: a disk that hangs must not hold a slot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from webui.engine.sequence import Sequence
    from webui.engine.state_files import StateFile

MAX_READING = 2  # at once: one is put into a slot while the next is read
PATIENCE_S = 10.0  # then a sequence goes on without


class Fetching:
    """The states on disk that sequences wait for.

    Args:
        read: Has a file read; the state comes as mail.
    """

    def __init__(self, read: Callable[[StateFile], None]) -> None:
        self._read = read
        self._wanted: dict[Path, StateFile] = {}  # asked for longest ago first
        self._reading: set[Path] = set()
        self._waiting: dict[str, tuple[Path, Sequence]] = {}  # by request
        self._asked_s: dict[str, float] = {}  # of those that wait, longest ago first

    def left_s(self, now_s: float) -> float | None:
        """Return how long until somebody has waited for too long; None where nobody waits."""
        if (asked_s := next(iter(self._asked_s.values()), None)) is None:
            return None
        return max(0.0, asked_s + PATIENCE_S - now_s)

    def ask(self, sequence: Sequence, file: StateFile, now_s: float) -> None:
        """Hold a sequence until a file is read, or `PATIENCE_S` are over."""
        sequence.is_held = True
        self._asked_s[sequence.request_id] = now_s
        self._waiting[sequence.request_id] = file.path, sequence
        self._wanted.setdefault(file.path, file)
        self._begin()

    def forget(self, request_id: str) -> None:
        """Let a sequence go that waits no more; one that did not wait is left as it is."""
        if (waiting := self._waiting.pop(request_id, None)) is not None:
            waiting[1].is_held = False
            del self._asked_s[request_id]

    def take_late(self, now_s: float) -> list[Sequence]:
        """Return who has waited for too long and is not held any more."""
        late = [name for name, asked_s in self._asked_s.items() if asked_s + PATIENCE_S <= now_s]
        served = [self._waiting[name][1] for name in late]
        for name in late:
            self.forget(name)
        return served

    def take(self, path: Path) -> list[Sequence]:
        """Note that a file was read; return who waited for it and is not held any more."""
        self._reading.discard(path)
        self._wanted.pop(path, None)
        served = [sequence for wanted, sequence in self._waiting.values() if wanted == path]
        for sequence in served:
            self.forget(sequence.request_id)
        self._begin()
        return served

    def _begin(self) -> None:
        """Have further files read as far as somebody still wants them."""
        wanted_now = {path for path, _ in self._waiting.values()}
        for path, file in list(self._wanted.items()):
            if path in self._reading:
                continue
            if path not in wanted_now:
                del self._wanted[path]
            elif len(self._reading) < MAX_READING:
                self._reading.add(path)
                self._read(file)
