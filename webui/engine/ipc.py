"""The messages between the web process and a worker, and how they lie on the wire.

A frame is 4 bytes of length, big-endian, and one msgpack message. Both sides decode into the
closed unions below, so that nothing unknown gets through; nothing is ever unpickled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from webui.engine.interface import (
    MAX_GAP_MS,
    Delta,
    Embedded,
    EmbedRequest,
    GenerateRequest,
    ModelInfo,
    VectorPart,
)
from webui.engine.stats import EngineStats
from webui.errors import Busy, WebuiError
from webui.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER_BYTES: Final = 4
MAX_FRAME_TO_WORKER_BYTES: Final = 64 << 20
MAX_FRAME_TO_PARENT_BYTES: Final = 8 << 20


class CacheSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a worker keeps what it has read.

    Attributes:
        ram_bytes: Of states in memory; 0 keeps none.
        disk_bytes: Of the states of all models on disk; 0 keeps none.
        folder: Of the states on disk; empty keeps none.
    """

    ram_bytes: int = 1 << 30
    disk_bytes: int = 0
    folder: str = ""


class Load(msgspec.Struct, frozen=True, tag="load", forbid_unknown_fields=True):
    """Open this model; the first message of every worker."""

    model_id: str
    name: str
    path: str
    options: dict[str, Any]
    max_gap_ms: int = MAX_GAP_MS
    cache: CacheSpec = CacheSpec()


class Purge(msgspec.Struct, frozen=True, tag="purge", forbid_unknown_fields=True):
    """Forget what was read for an owner, or only for one of its conversations."""

    owner: str
    conversation_id: str | None


class Expire(msgspec.Struct, frozen=True, tag="expire", forbid_unknown_fields=True):
    """Forget what belongs to no conversation and was last used before a time of the wall clock."""

    before_ns: int


class Add(msgspec.Struct, frozen=True, tag="add", forbid_unknown_fields=True):
    """Write a reply."""

    request: GenerateRequest


class Embed(msgspec.Struct, frozen=True, tag="embed", forbid_unknown_fields=True):
    """Turn texts into vectors."""

    request: EmbedRequest


class Abort(msgspec.Struct, frozen=True, tag="abort", forbid_unknown_fields=True):
    """Stop a request; unknown ids are ignored, because it may just have ended."""

    request_id: str


class Quit(msgspec.Struct, frozen=True, tag="quit", forbid_unknown_fields=True):
    """Free the model and exit."""


class LoadProgress(msgspec.Struct, frozen=True, tag="load_progress", forbid_unknown_fields=True):
    """How much of the model is read, 0 to 1."""

    fraction: float


class Loaded(msgspec.Struct, frozen=True, tag="loaded", forbid_unknown_fields=True):
    """The model is open and has shown that it can make a token."""

    info: ModelInfo


class LoadError(msgspec.Struct, frozen=True, tag="load_error", forbid_unknown_fields=True):
    """The model cannot be opened; the worker exits."""

    message: str
    hint: str
    field: str | None = None


class Output(msgspec.Struct, frozen=True, array_like=True):
    """One delta of one request."""

    request_id: str
    delta: Delta | VectorPart | Embedded


class Outputs(msgspec.Struct, frozen=True, tag="outputs", forbid_unknown_fields=True):
    """All deltas of a step, in one send."""

    items: list[Output]


class RequestError(msgspec.Struct, frozen=True, tag="request_error", forbid_unknown_fields=True):
    """A request ended with an error; `code` names the class in `errors.py`."""

    request_id: str
    code: str
    message: str
    hint: str
    retry_after_s: float = 0.0
    field: str | None = None

    @classmethod
    def of(cls, request_id: str, error: WebuiError) -> RequestError:
        """Return what tells an error to the web process."""
        retry_after_s = error.retry_after_s if isinstance(error, Busy) else 0.0
        return cls(request_id, error.code, error.message, error.hint, retry_after_s, error.field)


class Begun(msgspec.Struct, frozen=True, tag="begun", forbid_unknown_fields=True):
    """Work on these requests begins: if the worker ends from now on, one of them may be why."""

    request_ids: list[str]


class Waits(msgspec.Struct, frozen=True, tag="waits", forbid_unknown_fields=True):
    """What a request asks is made ready; it waits, and nothing that happens is its fault."""

    request_id: str


class Heartbeat(msgspec.Struct, frozen=True, tag="heartbeat", forbid_unknown_fields=True):
    """The worker lives.

    Attributes:
        busy_s: How long its present step already takes, or how long it has computed for the
            prompt or the texts that are being made ready.
        stats: Its figures, where they are new.
    """

    busy_s: float
    stats: EngineStats | None = None


ToWorker = Load | Add | Embed | Abort | Purge | Expire | Quit
OfRequests = Outputs | RequestError | Begun | Waits
ToParent = LoadProgress | Loaded | LoadError | OfRequests | Heartbeat


class BadFrame(Exception):  # noqa: N818 - it says what is so, as the names in errors.py do
    """The other side sent what the protocol does not allow."""


def _encode_foreign(value: object) -> object:
    if isinstance(value, SamplingParams):
        return value.model_dump()
    raise NotImplementedError(f"{type(value).__name__} does not travel")


def _decode_foreign(kind: type, value: object) -> object:
    if kind is SamplingParams:
        return SamplingParams.model_validate(value)
    raise NotImplementedError(f"{kind.__name__} does not travel")


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode_foreign)


def encode(message: ToWorker | ToParent) -> bytes:
    """Return the frame of a message."""
    body = _encoder.encode(message)
    return len(body).to_bytes(HEADER_BYTES, "big") + body


class _Frames:
    """Cut a byte stream into frame bodies."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Yield the bodies that are complete now.

        Raises:
            BadFrame: A frame is longer than allowed.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= HEADER_BYTES:
                length = int.from_bytes(buffer[start : start + HEADER_BYTES], "big")
                if length > self._max_bytes:
                    raise BadFrame(f"a message of {length} bytes; {self._max_bytes} are allowed")
                end = start + HEADER_BYTES + length
                if len(buffer) < end:
                    break
                body = bytes(buffer[start + HEADER_BYTES : end])
                start = end
                yield body
        finally:
            del buffer[:start]


class ToParentDecoder:
    """Turn bytes from a worker into messages."""

    def __init__(self, max_bytes: int = MAX_FRAME_TO_PARENT_BYTES) -> None:
        self._frames = _Frames(max_bytes)
        self._decode = msgspec.msgpack.Decoder(ToParent).decode

    def feed(self, data: bytes | memoryview) -> Iterator[ToParent]:
        """Yield the messages that are complete now.

        Raises:
            BadFrame: Too long, or not one of `ToParent`.
        """
        for body in self._frames.feed(data):
            try:
                message = self._decode(body)
            except msgspec.MsgspecError as error:
                raise BadFrame(str(error)) from error
            yield message


class ToWorkerDecoder:
    """Turn bytes from the web process into messages."""

    def __init__(self, max_bytes: int = MAX_FRAME_TO_WORKER_BYTES) -> None:
        self._frames = _Frames(max_bytes)
        self._decode = msgspec.msgpack.Decoder(ToWorker, dec_hook=_decode_foreign).decode

    def feed(self, data: bytes) -> Iterator[ToWorker]:
        """Yield the messages that are complete now.

        Raises:
            BadFrame: Too long, or not one of `ToWorker`.
        """
        for body in self._frames.feed(data):
            try:
                message = self._decode(body)
            except msgspec.MsgspecError as error:
                raise BadFrame(str(error)) from error
            yield message
