"""One file for each state on disk: how it is named, laid out, checked and removed.

Knows paths and bytes. A file is `MAGIC`, the length and the bytes of a header, the SHA-256 of
that header, and the state, whose own SHA-256 stands in the header. The name begins with hashes
of owner and conversation, so that whoever deletes a conversation finds its files unread, those
of models that are not loaded too.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from webui.engine.states import SHARED_OWNER, Prefix, State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAGIC = b"HSSTATE1"
SUFFIX = ".state"
MAX_HEADER_BYTES = 64 << 20
MARK_CHARS = 20
LENGTH_BYTES = 4
DIGEST_BYTES = 32


class BadStateFile(Exception):  # noqa: N818 - it says what is so, as the names in errors.py do
    """A file is damaged, cut off, or none of ours."""


@dataclass(frozen=True, slots=True, eq=False)
class StateFile:
    """A state that lies on disk.

    Attributes:
        path: Of the file.
        prefix: What it holds.
        num_bytes: Of the state.
    """

    path: Path
    prefix: Prefix
    num_bytes: int


class _Header(msgspec.Struct, array_like=True):
    state_key: str
    owner: str
    conversation_id: str | None
    tokens: bytes  # int32 of this machine
    num_bytes: int
    digest: bytes
    scales: tuple[float, ...] = ()


def folder_of(root: Path, state_key: str) -> Path:
    """Return where the states of one model with one set of options lie."""
    return root / _mark(state_key)


def write(folder: Path, state_key: str, state: State) -> StateFile:
    """Write a state so that it is there whole or not at all.

    Raises:
        OSError: The disk is full or may not be written.
    """
    prefix = state.prefix
    header = msgspec.msgpack.encode(
        _Header(
            state_key,
            prefix.owner,
            prefix.conversation_id,
            array("i", prefix.tokens).tobytes(),
            state.num_bytes,
            hashlib.sha256(state.data).digest(),
            prefix.scales,
        )
    )
    name = f"{_mark(prefix.owner)}-{_mark(prefix.conversation_id or '')}-{secrets.token_hex(8)}"
    part, path = folder / f"{name}.part", folder / f"{name}{SUFFIX}"
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(MAGIC + len(header).to_bytes(LENGTH_BYTES, "little") + header)
            file.write(hashlib.sha256(header).digest())
            file.write(state.data)
            file.flush()
            os.utime(file.fileno(), ns=(prefix.used_ns, prefix.used_ns))
            os.fsync(file.fileno())
        part.replace(path)
        _sync(folder)
    finally:
        part.unlink(missing_ok=True)
    return StateFile(path, prefix, state.num_bytes)


def read_header(path: Path, state_key: str | None) -> StateFile:
    """Return what a file holds without reading the state.

    Args:
        path: Of the file.
        state_key: Of the model it must be of; None takes any.

    Raises:
        BadStateFile: It is no whole file of this model.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        header, start = _header(file, state_key)
        about = os.fstat(file.fileno())
    if about.st_size != start + header.num_bytes:
        raise BadStateFile("its length is wrong")
    tokens = array("i")
    tokens.frombytes(header.tokens)
    prefix = Prefix(
        header.owner,
        header.conversation_id,
        tokens.tolist(),
        about.st_mtime_ns,
        scales=header.scales,
    )
    return StateFile(path, prefix, header.num_bytes)


def read(path: Path, state_key: str) -> State:
    """Return a state that was checked to the last byte.

    Raises:
        BadStateFile: It is damaged.
        OSError: It cannot be read.
    """
    found = read_header(path, state_key)
    with path.open("rb") as file:
        header, _ = _header(file, state_key)
        data = file.read()
    if hashlib.sha256(data).digest() != header.digest:
        raise BadStateFile("its contents are damaged")
    state = State(found.prefix, memoryview(data)).used_now()
    used_ns = state.prefix.used_ns  # files go by this time when there are too many bytes
    os.utime(path, ns=(used_ns, used_ns))
    return state


def purge(root: Path, owner: str, conversation_id: str | None) -> None:
    """Remove the files of an owner, or only those of one conversation, of all models.

    Raises:
        OSError: One cannot be removed.
    """
    conversation = "*" if conversation_id is None else _mark(conversation_id)
    for path in root.glob(f"*/{_mark(owner)}-{conversation}-*"):
        path.unlink(missing_ok=True)


def expire(root: Path, before_ns: int) -> None:
    """Remove what was read for no conversation and was last used before a time, of all models.

    What everybody may read stays: nobody's words are in it.

    Raises:
        OSError: One cannot be removed.
    """
    shared = _mark(SHARED_OWNER)
    for path in root.glob(f"*/*-{_mark('')}-*{SUFFIX}"):
        try:
            is_old = path.stat().st_mtime_ns < before_ns
        except FileNotFoundError:
            continue
        if is_old and not path.name.startswith(shared):
            path.unlink(missing_ok=True)


def tidy(root: Path, max_bytes: int) -> None:
    """Remove what writers that died have left, what cannot be read, and what is too much.

    Nobody may be writing meanwhile. A file that the disk does not give today is left.

    Raises:
        OSError: One cannot be removed.
    """
    for path in root.glob("*/*"):
        try:
            if path.suffix != SUFFIX:
                raise BadStateFile("a writer died over it")
            read_header(path, None)
        except BadStateFile:
            path.unlink(missing_ok=True)
        except OSError:
            continue
    trim(root, max_bytes)


def trim(root: Path, max_bytes: int) -> list[Path]:
    """Remove what was used longest ago until the rest is no more than so many bytes.

    Returns:
        What is gone.

    Raises:
        OSError: One cannot be removed.
    """
    files = sorted(_sized(root), key=lambda file: file[0])
    num_bytes = sum(size for _, size, _ in files)
    gone: list[Path] = []
    for _, size, path in files:
        if num_bytes <= max_bytes:
            break
        path.unlink(missing_ok=True)
        num_bytes -= size
        gone.append(path)
    return gone


def _sync(folder: Path) -> None:
    """Make a new name outlive a power cut."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _sized(root: Path) -> Iterator[tuple[int, int, Path]]:
    for path in root.glob("*/*"):
        try:
            about = path.stat()
        except FileNotFoundError:
            continue
        yield about.st_mtime_ns, about.st_size, path


def _header(file: BinaryIO, state_key: str | None) -> tuple[_Header, int]:
    begin = file.read(len(MAGIC) + LENGTH_BYTES)
    if begin[: len(MAGIC)] != MAGIC:
        raise BadStateFile("it is none of ours")
    length = int.from_bytes(begin[len(MAGIC) :], "little")
    if length > MAX_HEADER_BYTES:
        raise BadStateFile("its header is too long")
    body = file.read(length)
    if hashlib.sha256(body).digest() != file.read(DIGEST_BYTES):
        raise BadStateFile("its header is damaged")
    try:
        header = msgspec.msgpack.decode(body, type=_Header)
    except msgspec.MsgspecError as error:
        raise BadStateFile("its header cannot be read") from error
    if state_key not in {None, header.state_key} or len(header.tokens) % array("i").itemsize:
        raise BadStateFile("it is of another model")
    return header, len(MAGIC) + LENGTH_BYTES + length + DIGEST_BYTES


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:MARK_CHARS]
