"""Completions on their way out: one object, or a stream of chunks.

Knows deltas and the dialect's JSON. A token costs one small encode: everything around the text
of a chunk is the same bytes each time. The completion ends when its client goes.
"""

from __future__ import annotations

import logging
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response
from typing_extensions import override

from webui.api.errors import ServerEnding, error_body, error_response, internal_error
from webui.api.sse import STREAM_HEADERS, BodyWriter, Ending
from webui.engine.interface import Finish, FinishReason, Text
from webui.errors import EngineError, WebuiError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Message, Receive, Scope, Send

    from webui.api.sse import Streams
    from webui.engine.interface import Delta, Usage

logger = logging.getLogger(__name__)

DONE = b"data: [DONE]\n\n"
MARK = "\0"  # stands for the text while the bytes around it are made

encode = msgspec.json.encode


class Completion(Response):
    """An ASGI answer that runs a completion and writes it as one object.

    Args:
        streams: Where it is at work.
        deltas: From `Generations.complete`; not started yet.
        completion_id: Its id in the dialect.
        model: Name of the model that answers.
    """

    def __init__(
        self,
        streams: Streams,
        deltas: AsyncGenerator[Delta, None],
        *,
        completion_id: str,
        model: str,
    ) -> None:
        self.background = None  # FastAPI asks every answer for it
        self._streams = streams
        self._deltas = deltas
        self._id = completion_id
        self._model = model

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the completion."""
        answer: list[Response] = []
        if await self._streams.run(receive, self._read(scope, answer)) is Ending.SERVER_ENDS:
            answer.append(error_response(server_ending(), scope))
        for response in answer:
            await response(scope, receive, send)

    async def _read(self, scope: Scope, answer: list[Response]) -> None:
        try:
            answer.append(await self._whole())
        except WebuiError as error:
            answer.append(error_response(error, scope))

    async def _whole(self) -> Response:
        parts: list[str] = []
        async with aclosing(self._deltas) as deltas:
            async for delta in deltas:
                if isinstance(delta, Text):
                    parts.append(delta.text)
                elif isinstance(delta, Finish):
                    return self._object("".join(parts), delta)
        raise EngineError("the engine ended the reply without saying why", "Try again.")

    def _object(self, text: str, finish: Finish) -> Response:
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": finish_reason(finish),
        }
        body = {
            "id": self._id,
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self._model,
            "choices": [choice],
            "usage": usage(finish.usage),
        }
        return Response(encode(body), media_type="application/json")


class CompletionStream(Response):
    """An ASGI answer that runs a completion and writes each step as it comes.

    Args:
        streams: Where it is at work.
        deltas: From `Generations.complete`; not started yet.
        completion_id: Its id in the dialect.
        model: Name of the model that answers.
        with_usage: Whether a chunk of token counts comes last.
    """

    def __init__(
        self,
        streams: Streams,
        deltas: AsyncGenerator[Delta, None],
        *,
        completion_id: str,
        model: str,
        with_usage: bool,
    ) -> None:
        self.background = None  # FastAPI asks every answer for it
        self._streams = streams
        self._has_begun = False
        self._deltas = deltas
        self._with_usage = with_usage
        self._common: dict[str, Any] = {
            "id": completion_id,
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
        }

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream."""
        ending = await self._streams.run(receive, self._write(scope, send))
        if ending is Ending.SERVER_ENDS:
            await self._fail(server_ending(), scope, send)
        if self._has_begun and ending is not Ending.CLIENT_GONE:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, scope: Scope, send: Send) -> None:
        try:
            body = BodyWriter(send)
            async with aclosing(self._deltas) as deltas, body:
                await self._write_all(deltas, send, body)
        except WebuiError as error:
            await self._fail(error, scope, send)
        except TimeoutError:
            raise
        except Exception as error:
            if not self._has_begun:
                raise
            # The answer has begun, so that the gate cannot tell any more.
            request_id = scope.get("state", {}).get("request_id", "")
            logger.exception("request %s failed: %s", request_id, type(error).__name__)
            await self._fail(internal_error(request_id), scope, send)

    async def _fail(self, error: WebuiError, scope: Scope, send: Send) -> None:
        """Tell an error: with a status of its own before the first word, else in the stream."""
        if self._has_begun:
            async with BodyWriter(send) as body:
                await body.write(_data(error_body(error, scope["path"])) + DONE)
        else:
            await error_response(error, scope)(scope, _never, send)

    async def _write_all(
        self, deltas: AsyncGenerator[Delta, None], send: Send, body: BodyWriter
    ) -> None:
        head, tail = self._chunk({"content": MARK}).rsplit(encode(MARK), 1)
        async for delta in deltas:
            if not self._has_begun:
                self._has_begun = True
                await send(
                    {"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS}
                )
                await body.write(self._chunk({"role": "assistant", "content": ""}))
            if isinstance(delta, Text):
                if delta.text:
                    await body.write(head + encode(delta.text) + tail)
            elif isinstance(delta, Finish):
                await body.write(self._ending(delta))
                return
        raise EngineError("the engine ended the reply without saying why", "Try again.")

    def _ending(self, finish: Finish) -> bytes:
        last = self._chunk({}, finish_reason(finish))
        if self._with_usage:
            last += _data({**self._common, "choices": [], "usage": usage(finish.usage)})
        return last + DONE

    def _chunk(self, delta: dict[str, str], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        chunk = {**self._common, "choices": [choice]}
        if self._with_usage:
            chunk["usage"] = None
        return _data(chunk)


def server_ending() -> ServerEnding:
    """Return what clients hear whose completion the end of the server cuts off."""
    return ServerEnding("the server is being stopped", "Try again when it is back.")


def finish_reason(finish: Finish) -> str:
    """Return why a completion ended, in the dialect, which has no word for our aborting."""
    return "length" if finish.reason is FinishReason.LENGTH else "stop"


def usage(counts: Usage) -> dict[str, object]:
    """Return token counts in the dialect."""
    return {
        "prompt_tokens": counts.prompt_tokens,
        "completion_tokens": counts.completion_tokens,
        "total_tokens": counts.prompt_tokens + counts.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": counts.cached_tokens},
    }


def _data(value: object) -> bytes:
    return b"data: " + encode(value) + b"\n\n"


async def _never() -> Message:
    return {"type": "http.disconnect"}
