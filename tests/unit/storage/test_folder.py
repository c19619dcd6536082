"""The data folder: private, and one process's at a time."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from webui.errors import StorageUnusable
from webui.storage.folder import FolderInUse, FolderLock, is_in_use, make_file, make_private

if TYPE_CHECKING:
    from pathlib import Path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_new_folder_is_its_owners_alone(tmp_path: Path) -> None:
    make_private(tmp_path / "a" / "b")
    assert mode(tmp_path / "a" / "b") == 0o700


def test_empty_folder_becomes_its_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o755)
    make_private(folder)
    assert mode(folder) == 0o700


def test_folder_with_other_things_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "letter.txt").write_text("hi")
    make_private(folder)
    assert mode(folder) == 0o755


def test_file_is_made_private_and_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    make_file(path)
    assert (mode(path), path.read_bytes()) == (0o600, b"")
    path.write_bytes(b"content")
    path.chmod(0o644)
    make_file(path)
    assert (mode(path), path.read_bytes()) == (0o600, b"content")


def test_second_lock_is_refused_until_the_first_is_released(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    first, second = FolderLock(path), FolderLock(path)
    with first:
        with pytest.raises(StorageUnusable, match=str(tmp_path)) as caught:
            second.acquire()
        assert "--data-dir" in caught.value.hint
    with second:
        assert mode(tmp_path / "hearthside.lock") == 0o600
    second.release()


def test_lock_is_waited_for_where_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hearthside.db"
    mine, other = FolderLock(path), FolderLock(path)
    other.acquire()
    with pytest.raises(FolderInUse):
        mine.acquire()
    monkeypatch.setattr("filelock._api.time.sleep", lambda _seconds: other.release())
    mine.acquire(20)
    assert is_in_use(path)
    mine.release()
    assert not is_in_use(path)
    assert not is_in_use(tmp_path / "elsewhere" / "hearthside.db")
