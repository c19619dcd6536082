"""The thread that reads and writes states on disk: the third tier of the prefix cache.

Knows files and a queue of work. The loop that owns the model never waits for it: what comes of a
piece of work is mail. When the disk refuses once, nothing more is written.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, assert_never

from webui.engine import state_files
from webui.engine.mail import StateFetched, StatesListed, StateWritten
from webui.engine.state_files import SUFFIX, BadStateFile, StateFile
from webui.engine.states import Prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from webui.engine.mail import StateMail
    from webui.engine.states import State


MAX_PENDING_BYTES = 512 << 20  # of states that wait to be written
LIST_S = 2.0  # for finding out what lies there, before somebody may ask for it


@dataclass(frozen=True, slots=True)
class _Write:
    state: State
    replaced: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _Fetch:
    file: StateFile


@dataclass(frozen=True, slots=True)
class _Remove:
    path: Path


@dataclass(frozen=True, slots=True)
class _Purge:
    owner: str
    conversation_id: str | None


@dataclass(frozen=True, slots=True)
class _Expire:
    before_ns: int


_Work: TypeAlias = _Write | _Fetch | _Remove | _Purge | _Expire


class DiskStates:
    """States of one model in one folder.

    Args:
        root: Folder of the states of all models.
        max_bytes: Of all of them together.
        state_key: Of the model that is loaded.
        put: Takes the mail for the loop.
    """

    def __init__(
        self, root: Path, max_bytes: int, state_key: str, put: Callable[[StateMail], None]
    ) -> None:
        self._root = root
        self._folder = state_files.folder_of(root, state_key)
        self._max_bytes = max_bytes
        self._key = state_key
        self._put = put
        self._work: deque[_Work | None] = deque()
        self._late: list[_Write | _Fetch] = []  # what may wait until the end
        self._num_pending_bytes = 0
        self._changed = threading.Condition()  # guards the three above
        self._is_refused = False
        self._is_listed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="states", daemon=True)

    @property
    def is_refused(self) -> bool:
        """Whether the disk refused, so that nothing is written any more."""
        return self._is_refused

    @property
    def is_writing(self) -> bool:
        """Whether a state is being written, or waits for it."""
        return self._num_pending_bytes > 0

    def start(self) -> None:
        """Begin to work; what lies in the folder comes as mail."""
        self._thread.start()

    def wait_listed(self, timeout_s: float = LIST_S) -> None:
        """Wait until the mail that tells what lies in the folder is on its way."""
        self._is_listed.wait(timeout_s)

    def write(
        self, state: State, replaced: tuple[Path, ...] = (), *, timeout_s: float = 0.0
    ) -> bool:
        """Write a state some time; False when too much waits already.

        Args:
            state: What to write.
            replaced: Files that are of no use once it is written.
            timeout_s: So long it may be waited until less waits.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._has_room(state), timeout_s)
            if self._is_refused or not self._has_room(state):
                return False
            self._num_pending_bytes += state.num_bytes
            self._late = [work for work in self._late if not _is_of(work, state)]
            self._work.append(_Write(state, replaced))
            self._changed.notify_all()
        return True

    def fetch(self, file: StateFile) -> None:
        """Read a state; it comes as mail, or None if it is gone or damaged.

        Somebody waits for it: it comes before what is to be written, but after purges.
        """
        with self._changed:
            is_write = (isinstance(work, _Write) for work in self._work)
            place = next((at for at, later in enumerate(is_write) if later), len(self._work))
            self._work.insert(place, _Fetch(file))
            self._changed.notify_all()

    def remove(self, path: Path) -> None:
        """Remove a file that turned out to be of no use."""
        self._give(_Remove(path))

    def purge(self, owner: str, conversation_id: str | None) -> None:
        """Remove the files of an owner or a conversation; what waits to be written never is."""
        is_gone = partial(Prefix.belongs_to, owner=owner, conversation_id=conversation_id)
        self._give_up(is_gone, _Purge(owner, conversation_id))

    def expire(self, before_ns: int) -> None:
        """Remove what belongs to no conversation and was last used before a time, as `purge`."""
        self._give_up(partial(Prefix.is_expired, before_ns=before_ns), _Expire(before_ns))

    def _give_up(self, is_gone: Callable[[Prefix], bool], work: _Purge | _Expire) -> None:
        """Write no state that is gone, and have it removed where it lies."""
        with self._changed:
            for waiting in list(self._work):
                if isinstance(waiting, _Write) and is_gone(waiting.state.prefix):
                    self._work.remove(waiting)
                    self._num_pending_bytes -= waiting.state.num_bytes
            # First: it must be done even when there is little time, as before the end.
            self._work.appendleft(work)
            self._changed.notify_all()

    def hurry(self) -> list[State]:
        """Let what waits come after all that is given from now on, but for purges.

        Returns:
            States that were to be written and now wait; one that is being written is none.
        """
        with self._changed:
            self._late = [work for work in self._work if isinstance(work, _Write | _Fetch)]
            for work in self._late:
                self._work.remove(work)
            self._num_pending_bytes -= _num_bytes(self._late)
            return [work.state for work in self._late if isinstance(work, _Write)]

    def close(self, timeout_s: float) -> None:
        """Finish what waits, at most for so long."""
        with self._changed:
            self._work.extend(self._late)
            self._num_pending_bytes += _num_bytes(self._late)
            self._late = []
        self._give(None)
        self._thread.join(timeout_s)

    def _give(self, work: _Remove | None) -> None:
        with self._changed:
            self._work.append(work)
            self._changed.notify_all()

    def _take(self) -> _Work | None:
        with self._changed:
            self._changed.wait_for(lambda: self._work)
            return self._work.popleft()

    def _has_room(self, state: State) -> bool:
        """Return whether a state may wait; one that is too large for that waits alone."""
        pending_bytes = self._num_pending_bytes
        return not pending_bytes or pending_bytes + state.num_bytes <= MAX_PENDING_BYTES

    def _run(self) -> None:
        self._tidy()
        self._put(StatesListed(self._list()))
        self._is_listed.set()
        while (work := self._take()) is not None:
            match work:
                case _Write():
                    self._write(work)
                    with self._changed:
                        self._num_pending_bytes -= work.state.num_bytes
                        self._changed.notify_all()
                case _Fetch():
                    self._put(StateFetched(work.file, self._read(work.file)))
                case _Remove():
                    _unlink(work.path)
                case _Purge() | _Expire():
                    self._purge(work)
                case _:
                    assert_never(work)

    def _tidy(self) -> None:
        try:
            state_files.tidy(self._root, self._max_bytes)
        except OSError as error:
            sys.stderr.write(f"prompt states on disk cannot be removed: {error}\n")

    def _list(self) -> list[StateFile]:
        """Return what is whole and of this model; remove the rest."""
        found: list[StateFile] = []
        for path in sorted(self._folder.glob("*"), key=lambda path: path.name):
            try:
                if path.suffix != SUFFIX:
                    raise BadStateFile("a writer died over it")
                found.append(state_files.read_header(path, self._key))
            except BadStateFile:
                _unlink(path)
            except OSError as error:  # it may be readable again another time
                sys.stderr.write(f"a prompt state on disk cannot be read: {error}\n")
        return found

    def _write(self, work: _Write) -> None:
        if self._is_refused:
            return
        try:
            for folder in (self._root, self._folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = state_files.write(self._folder, self._key, work.state)
        except FileNotFoundError:
            return  # it was purged from outside while it was written
        except OSError as error:
            self._is_refused = True
            # Standard error is what the web process logs; this thread has no other way out.
            sys.stderr.write(f"prompt states are not kept on disk any more: {error}\n")
            return
        for path in work.replaced:
            _unlink(path)
        self._put(StateWritten(file, (*work.replaced, *self._trim())))

    def _trim(self) -> list[Path]:
        try:
            return state_files.trim(self._root, self._max_bytes)
        except OSError as error:
            sys.stderr.write(f"prompt states on disk cannot be removed: {error}\n")
            return []

    def _read(self, file: StateFile) -> State | None:
        try:
            return state_files.read(file.path, self._key)
        except FileNotFoundError:
            return None
        except OSError as error:
            sys.stderr.write(f"a prompt state on disk cannot be read: {error}\n")
            return None
        except BadStateFile as error:
            sys.stderr.write(f"a prompt state on disk cannot be used: {error}\n")
            _unlink(file.path)
            return None

    def _purge(self, work: _Purge | _Expire) -> None:
        try:
            if isinstance(work, _Expire):
                state_files.expire(self._root, work.before_ns)
            else:
                state_files.purge(self._root, work.owner, work.conversation_id)
        except OSError as error:
            sys.stderr.write(f"prompt states on disk cannot be removed: {error}\n")


def _num_bytes(works: Iterable[_Write | _Fetch]) -> int:
    return sum(work.state.num_bytes for work in works if isinstance(work, _Write))


def _is_of(work: _Write | _Fetch, state: State) -> bool:
    return isinstance(work, _Write) and work.state.data is state.data


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        sys.stderr.write(f"a prompt state on disk cannot be removed: {error}\n")
