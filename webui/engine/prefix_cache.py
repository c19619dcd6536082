"""What was read once and need not be read again: the tiers behind the slots.

Knows prefixes, states and the index of the disk; the loop that owns the model asks it and does
what touches cells. First come the slots that still hold what they read (`resident_slots`), then
states in memory, then states on disk. A prefix serves its owner alone, but for what the
administrator gave everybody to read, which is kept under an owner of its own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from webui.engine.ram_states import RamStates
from webui.engine.states import SHARED_OWNER, Prefix, State, num_common

if TYPE_CHECKING:
    from collections.abc import Sequence as Several
    from pathlib import Path

    from webui.engine.disk_states import DiskStates
    from webui.engine.mail import StateWritten
    from webui.engine.sequence import Sequence
    from webui.engine.state_files import StateFile

DEFAULT_RAM_BYTES = 1 << 30


@dataclass(slots=True)
class CacheCounts:
    """What the cache was good for so far, and what it holds.

    Attributes:
        num_slot_tokens: Prompt tokens that lay in a slot, or in another one of the owner.
        num_ram_tokens: Prompt tokens whose state came from memory.
        num_disk_tokens: Prompt tokens whose state came from disk.
        num_shared_tokens: Of those from memory or disk, the administrator's.
    """

    num_slot_tokens: int = 0
    num_ram_tokens: int = 0
    num_disk_tokens: int = 0
    num_shared_tokens: int = 0


class PrefixCache:
    """States in memory and on disk.

    Args:
        max_ram_bytes: Of the states in memory.
        disk: Where states outlive the process; None keeps none there.
    """

    def __init__(
        self, max_ram_bytes: int = DEFAULT_RAM_BYTES, disk: DiskStates | None = None
    ) -> None:
        self._ram = RamStates(max_ram_bytes)
        self._disk = disk
        self._files: dict[Path, StateFile] = {}
        self._pending: list[Prefix] = []  # of states that wait to be written
        self.counts = CacheCounts()

    @property
    def has_disk(self) -> bool:
        """Whether states outlive the process."""
        return self._disk is not None and not self._disk.is_refused

    @property
    def is_writing(self) -> bool:
        """Whether a state is being written, or waits for it."""
        return self._disk is not None and self._disk.is_writing

    @property
    def in_ram(self) -> list[State]:
        """The states in memory, used longest ago first."""
        return self._ram.states

    @property
    def num_ram_bytes(self) -> int:
        """Bytes of the states in memory."""
        return self._ram.num_bytes

    @property
    def num_disk_bytes(self) -> int:
        """Bytes of this model's states on disk."""
        return sum(file.num_bytes for file in self._files.values())

    def find(self, sequence: Sequence) -> tuple[State | None, int]:
        """Return the state in memory that spares a sequence most of its reading.

        Returns:
            The state and how many tokens of it serve; the last token is always read again.
        """
        most = len(sequence.tokens) - 1
        tokens, scales = sequence.tokens, sequence.scales
        found = [self._ram.find(sequence.owner, tokens, most, scales)]
        if sequence.num_shared:
            found.append(self._ram.find(SHARED_OWNER, tokens, sequence.num_shared, scales))
        return max(found, key=lambda item: item[1])

    def find_file(self, sequence: Sequence) -> tuple[StateFile | None, int]:
        """Return the state on disk that spares a sequence most, and how many tokens."""
        best, most = None, 0
        for file in self._files.values():
            num = num_usable(sequence, file.prefix)
            if num > most:
                best, most = file, num
        return best, most

    def fetch(self, file: StateFile) -> None:
        """Have a state on disk read; it comes as mail."""
        assert self._disk is not None
        if file.path in self._files:  # it is not purged
            prefix = replace(file.prefix, used_ns=time.time_ns())
            self._files[file.path] = replace(file, prefix=prefix)
        self._disk.fetch(file)

    def fetched(self, file: StateFile, state: State | None) -> State | None:
        """Return a state that came from disk, None where it may not be used any more."""
        if state is None:
            self._files.pop(file.path, None)
        return state if file.path in self._files else None  # else it was purged meanwhile

    def keep(self, state: State) -> None:
        """Keep a state in memory; what has to go for it is kept on disk."""
        for gone in self._ram.put(state):
            self.write(gone)

    def is_written(self, prefix: Prefix) -> bool:
        """Return whether all of a prefix lies on disk, or waits to be written."""
        held = [*self._pending, *(file.prefix for file in self._files.values())]
        return any(other.contains(prefix) for other in held)

    def write(self, state: State, *, timeout_s: float = 0.0) -> bool:
        """Have a state written to disk, unless it lies there already; False if that cannot be.

        Args:
            state: What to write.
            timeout_s: So long it may be waited until there is less to write.
        """
        if self._disk is None:
            return False
        prefix = state.prefix
        if self.is_written(prefix):
            return True
        replaced = tuple(path for path, file in self._files.items() if prefix.contains(file.prefix))
        if not self._disk.write(state, replaced, timeout_s=timeout_s):
            return False
        self._pending.append(prefix)
        return True

    def write_all(self) -> bool:
        """Have all states in memory written to disk; False where there are too many at once."""
        return all(self.write(state) for state in reversed(self._ram.states))

    def hurry(self) -> list[State]:
        """Let what waits to be written come after all that is written from now on; return it."""
        if self._disk is None:
            return []
        late = self._disk.hurry()
        self._pending = [p for p in self._pending if not any(p is s.prefix for s in late)]
        return late

    def has_shared(self, sequence: Sequence) -> bool:
        """Return whether all of the administrator's tokens of a sequence are kept."""
        num_shared = sequence.num_shared
        _, num = self._ram.find(SHARED_OWNER, sequence.tokens, num_shared, sequence.scales)
        return num >= num_shared

    def keep_shared(self, sequence: Sequence, data: memoryview) -> None:
        """Keep the state of a sequence that has read what everybody reads, and nothing else."""
        assert sequence.num_read == sequence.num_shared
        tokens = sequence.tokens[: sequence.num_shared]
        prefix = Prefix(SHARED_OWNER, None, tokens, scales=sequence.scales)
        self.keep(State(prefix, data))

    def listed(self, files: Several[StateFile], max_tokens: int) -> None:
        """Note what lies on disk.

        Args:
            files: What is there.
            max_tokens: What a slot holds; states of more, from a time when it held more, stay
                where they are.
        """
        fitting = (file for file in files if len(file.prefix.tokens) <= max_tokens)
        self._files.update((file.path, file) for file in fitting)

    def lose(self, state: State) -> None:
        """Drop a state that cannot be used, on disk too, so that nobody tries it again."""
        self._ram.drop(state)
        for path, file in list(self._files.items()):
            if file.prefix.contains(state.prefix) and state.prefix.contains(file.prefix):
                del self._files[path]
                assert self._disk is not None
                self._disk.remove(path)

    def written(self, mail: StateWritten) -> None:
        """Note a new file, and those that are gone."""
        pending = [prefix for prefix in self._pending if prefix is not mail.file.prefix]
        if len(pending) < len(self._pending):  # else it was purged meanwhile, the file too
            self._files[mail.file.path] = mail.file
        self._pending = pending
        for path in mail.gone:
            self._files.pop(path, None)

    def purge(self, owner: str, conversation_id: str | None) -> None:
        """Drop what belongs to an owner, or only to one conversation, in memory and on disk."""
        self._ram.purge(owner, conversation_id)
        self._pending = [p for p in self._pending if not p.belongs_to(owner, conversation_id)]
        for path, file in list(self._files.items()):
            if file.prefix.belongs_to(owner, conversation_id):
                del self._files[path]
        if self._disk is not None:
            self._disk.purge(owner, conversation_id)

    def expire(self, before_ns: int) -> None:
        """Drop what belongs to no conversation and was last used before a time, on disk too."""
        self._ram.expire(before_ns)
        self._pending = [prefix for prefix in self._pending if not prefix.is_expired(before_ns)]
        for path, file in list(self._files.items()):
            if file.prefix.is_expired(before_ns):
                del self._files[path]
        if self._disk is not None:
            self._disk.expire(before_ns)

    def close(self, timeout_s: float) -> None:
        """Let the disk finish what waits, at most for so long."""
        if self._disk is not None:
            self._disk.close(timeout_s)


def num_usable(sequence: Sequence, prefix: Prefix) -> int:
    """Return how many tokens of a prefix a sequence may have."""
    most = len(sequence.tokens) - 1
    if prefix.owner == SHARED_OWNER:
        most = min(most, sequence.num_shared)
    elif prefix.owner != sequence.owner:
        return 0
    if prefix.scales != sequence.scales:
        return 0
    return min(num_common(prefix.tokens, sequence.tokens), most)
