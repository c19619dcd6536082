"""Clients that time a stream: one thread each, `http.client`, nothing else.

Knows the OpenAI dialect as both servers speak it. A token costs one small JSON parse, so that the
load hardly takes from the cores that are measured.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from webui.errors import Busy, EngineError, WebuiError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from webui.cli.bench.served import Served

TIMEOUT_S = 900
READ_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply as its client saw it.

    Attributes:
        started_s: When it was asked, on the clock of `time.perf_counter`.
        stamps_s: When each piece of text came.
        text: All of it.
        prompt_tokens: As the server counts; 0 where the stream was cancelled, as below.
        completion_tokens: As the server counts.
        cached_tokens: Of the prompt, not read anew.
    """

    started_s: float
    stamps_s: tuple[float, ...]
    text: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    @property
    def first_token_s(self) -> float:
        """Seconds from asking to the first text."""
        return self.stamps_s[0] - self.started_s

    @property
    def tokens_per_s(self) -> float:
        """Tokens after the first over the time from first to last; of one piece, over all time."""
        if self.stamps_s[-1] == self.stamps_s[0]:
            return self.completion_tokens / (self.stamps_s[-1] - self.started_s)
        return (self.completion_tokens - 1) / (self.stamps_s[-1] - self.stamps_s[0])

    @property
    def gaps_s(self) -> tuple[float, ...]:
        """Seconds between one piece of text and the next."""
        following = zip(self.stamps_s[1:], self.stamps_s, strict=False)
        return tuple(later - earlier for later, earlier in following)

    def longest_gap_s(self, begin_s: float, end_s: float) -> float:
        """Return the longest gap that has a part within `begin_s` … `end_s`; 0 without any."""
        following = zip(self.stamps_s[1:], self.stamps_s, strict=False)
        return max((b - a for b, a in following if b > begin_s and a < end_s), default=0.0)


class Stream:
    """A reply on its way, read by a thread of its own.

    Args:
        server: Who is asked.
        body: A streaming chat request.
        owner_index: Which of its owners asks.
    """

    def __init__(self, server: Served, body: Mapping[str, object], owner_index: int = 0) -> None:
        self._port = server.port
        self._headers = server.headers(owner_index)
        self._body = json.dumps(body)
        self._changed = threading.Condition()
        self._stamps_s: list[float] = []
        self._parts: list[str] = []
        self._usage: dict[str, Any] = {}
        self._error: Exception | None = None
        self._is_cancelled = False
        self._is_over = False
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S)
        self._started_s = time.perf_counter()
        self._thread = threading.Thread(target=self._read, name="bench stream", daemon=True)
        self._thread.start()

    def wait_tokens(self, num: int) -> None:
        """Wait until so many pieces of text have come.

        Raises:
            EngineError: The stream ended before.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or len(self._stamps_s) >= num, TIMEOUT_S)
        if len(self._stamps_s) < num:
            raise EngineError(f"a stream ended after {len(self._stamps_s)} tokens") from self._error

    @property
    def num_stamps(self) -> int:
        """Pieces of text so far."""
        return len(self._stamps_s)

    def has_ended(self, timeout_s: float = 0.0) -> bool:
        """Return whether the stream is over, well or badly; waits so long for that."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_over, timeout_s)

    def cancel(self) -> Reply:
        """Hang up and return what came."""
        self._is_cancelled = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        return Reply(self._started_s, tuple(self._stamps_s), "".join(self._parts))

    def result(self) -> Reply:
        """Wait for the end and return the reply.

        Raises:
            Busy: There is no room for another one.
            EngineError: The server refused or the stream broke off.
        """
        self._thread.join(TIMEOUT_S)
        if isinstance(self._error, Busy):
            raise self._error
        if self._error is not None:
            raise EngineError(f"a stream failed: {self._error}") from self._error
        if not self._usage or not self._stamps_s:
            raise EngineError("a stream ended without its figures")
        return Reply(
            self._started_s,
            tuple(self._stamps_s),
            "".join(self._parts),
            prompt_tokens=self._usage["prompt_tokens"],
            completion_tokens=self._usage["completion_tokens"],
            cached_tokens=(self._usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0),
        )

    def _read(self) -> None:
        try:
            with self._socket:
                self._read_events()
        except (OSError, http.client.HTTPException, ValueError, WebuiError) as error:
            if not self._is_cancelled:
                self._error = error
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def _read_events(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        connection.sock = self._socket
        connection.request("POST", "/v1/chat/completions", self._body, self._headers)
        with connection.getresponse() as response:
            if response.status == http.HTTPStatus.TOO_MANY_REQUESTS:
                raise Busy(f"the server is busy: {response.read()!r}")
            if response.status != http.HTTPStatus.OK:
                raise EngineError(f"the server answered {response.status}: {response.read()!r}")
            for event in events(iter(lambda: response.read1(READ_BYTES), b"")):
                self._take(event)

    def _take(self, event: Mapping[str, Any]) -> None:
        error = event.get("error")
        if isinstance(error, dict) and error.get("code") == Busy.code:  # told after a while
            raise Busy(f"the server is busy: {error}")
        if error is not None:
            raise EngineError(f"the server said {error}")
        choices = event.get("choices")
        text = choices[0]["delta"].get("content") if choices else None
        if text:
            with self._changed:
                self._stamps_s.append(time.perf_counter())
                self._parts.append(text)
                self._changed.notify_all()
        if event.get("usage"):
            self._usage = event["usage"]


def events(pieces: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the JSON object of each `data:` line, however the stream is cut."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            data = line.removeprefix(b"data:").strip()
            if line.startswith(b"data:") and data != b"[DONE]":
                yield json.loads(data)


def ask(server: Served, body: Mapping[str, object], owner_index: int = 0) -> Reply:
    """Ask for one reply and wait for its end."""
    return Stream(server, body, owner_index).result()


def ask_all(
    server: Served,
    bodies: Sequence[Mapping[str, object]],
    owner_indexes: Sequence[int] | None = None,
) -> list[Reply]:
    """Ask for several replies at once and wait for all.

    Args:
        server: Who is asked.
        bodies: For what.
        owner_indexes: Which owner asks for each; None: the first one for all.
    """
    asked = zip(bodies, owner_indexes or [0] * len(bodies), strict=True)
    return [stream.result() for stream in [Stream(server, body, owner) for body, owner in asked]]


def aggregate_tokens_per_s(replies: Sequence[Reply]) -> float:
    """Return all tokens over the time from the first question to the last token."""
    begin_s = min(reply.started_s for reply in replies)
    end_s = max(reply.stamps_s[-1] for reply in replies)
    return sum(reply.completion_tokens for reply in replies) / (end_s - begin_s)
