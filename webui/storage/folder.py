"""The data folder: made for its owner alone, and used by one process at a time.

Knows files and the lock; knows no SQL. A folder that was there already and holds other things is
not made private over the head of its owner; the files in it are.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Self

from filelock import FileLock, Timeout

from webui.errors import StorageUnusable

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

FOLDER_MODE = 0o700
FILE_MODE = 0o600
LOCK_NAME = "hearthside.lock"
POLL_S = 0.05


class FolderInUse(StorageUnusable):
    """Another process has the data folder."""


class FolderLock:
    """The right to use a data folder; the system takes it back when the process ends.

    Args:
        path: The database file in the folder.
    """

    def __init__(self, path: Path) -> None:
        self._folder = path.parent
        self._lock = FileLock(self._folder / LOCK_NAME, mode=FILE_MODE, thread_local=False)

    def acquire(self, wait_s: float = 0.0) -> None:
        """Take the folder; blocks for so many seconds while another process has it.

        Raises:
            FolderInUse: It has it still.
        """
        try:
            self._lock.acquire(timeout=wait_s, poll_interval=POLL_S)
        except Timeout as error:
            raise FolderInUse(
                f"Another Hearthside already uses the data folder {self._folder}",
                "Use that one or close it, or start this one with another --data-dir.",
            ) from error

    def release(self) -> None:
        """Give the folder back; idempotent."""
        self._lock.release()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def is_in_use(path: Path) -> bool:
    """Whether a process has the folder of a database; takes the lock for a moment when none has."""
    if not (path.parent / LOCK_NAME).exists():
        return False
    try:
        with FolderLock(path):
            return False
    except FolderInUse:
        return True


def make_private(folder: Path) -> None:
    """Make the folder, for its owner alone when it is new or empty.

    Raises:
        OSError: The system does not allow it.
    """
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    is_ours = folder.stat().st_uid == os.getuid()
    if is_ours and next(folder.iterdir(), None) is None:
        folder.chmod(FOLDER_MODE)


def make_file(path: Path) -> None:
    """Make sure that a file is there and its owner's alone; its content is not touched.

    Raises:
        OSError: The system does not allow it.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        if stat.S_IMODE(os.fstat(file).st_mode) & ~FILE_MODE:
            os.fchmod(file, FILE_MODE)
    finally:
        os.close(file)
