"""What other programs do to a database: hold it for themselves, or fill the disk that it is on."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
NO_MOUNT = 77


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Be in the middle of writing to a database for as long as the block runs."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


def run_on_small_disk(folder: Path, program: str, *, size: str, timeout_s: float = 120) -> str:
    """Return what a program says that is given a folder on a file system of its own.

    Skips the test where the system does not allow that.

    Args:
        folder: A free place for it and its program.
        program: In Python; the folder is its argument.
        size: Of the file system, such as `3m`.
        timeout_s: How long it may run.
    """
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("needs the program unshare")
    disk, source = folder / "disk", folder / "program.py"
    disk.mkdir()
    source.write_text(program)
    script = (
        f"mount -t tmpfs -o size={size},mode=0700 tmpfs '{disk}' || exit {NO_MOUNT}\n"
        f"exec '{sys.executable}' '{source}' '{disk}'"
    )
    found = subprocess.run(
        [unshare, "-Urm", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if found.returncode in (1, NO_MOUNT) and "Traceback" not in found.stderr:
        pytest.skip(f"needs a file system of its own: {found.stderr.strip()}")
    assert found.returncode == 0, found.stderr
    return found.stdout
