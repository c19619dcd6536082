"""The socket file of a data folder: made, found, and who is at its other end.

Knows files, sockets and owners of processes; nothing of commands. Blocks; for threads.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SOCKET_NAME = "control.sock"
FILE_MODE = 0o600
BACKLOG = 16
MAX_PATH_BYTES = 103  # of `sun_path` on macOS, without the zero at its end; Linux takes 107
# Of `sys/un.h` and `sys/ucred.h` on macOS, which Python does not name.
SOL_LOCAL, LOCAL_PEERCRED, XUCRED_BYTES = 0, 1, 76


def socket_path(data_dir: Path) -> Path:
    """Return where the socket of a data folder is."""
    return data_dir / SOCKET_NAME


def listen(path: Path) -> socket.socket:
    """Make the socket in the place of one that a dead server left; nobody else can open it.

    The caller has the lock of the folder, so no living server listens there.

    Raises:
        OSError: The system does not allow it, or there is a file of another kind.
    """
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(path) as name:
            listener.bind(name)
        path.chmod(FILE_MODE)  # before `listen`: until then nobody can connect
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def connect(path: Path, timeout_s: float) -> socket.socket:
    """Connect to the server that listens there.

    Raises:
        FileNotFoundError: There is no socket.
        ConnectionRefusedError: The server that made it is gone.
        OSError: It may not be opened, or does not answer in time.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        with _short(path) as name:
            connection.connect(name)
    except BaseException:
        connection.close()
        raise
    return connection


def peer_uid(connection: socket.socket) -> int:
    """Return the id of the user whose process is at the other end, as the system knows it.

    Raises:
        OSError: It does not.
    """
    if sys.platform == "linux":
        credentials = connection.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
        )
        _pid, uid, _gid = struct.unpack("3i", credentials)
    else:
        credentials = connection.getsockopt(SOL_LOCAL, LOCAL_PEERCRED, XUCRED_BYTES)
        _version, uid = struct.unpack_from("2I", credentials)
    return int(uid)


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Return a name of the socket that is short enough for the system, for as long as is needed."""
    if len(os.fsencode(path)) <= MAX_PATH_BYTES:
        yield str(path)
        return
    with tempfile.TemporaryDirectory(prefix="hearthside-") as folder:
        link = Path(folder) / "data"
        link.symlink_to(path.parent, target_is_directory=True)
        yield str(link / path.name)
