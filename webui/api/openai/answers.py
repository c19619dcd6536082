"""Completions on their way out: one object, or a stream of chunks.

Knows deltas; how a reply looks is the business of `shapes`. A token costs one small encode:
everything around the text of a chunk is the same bytes each time. The completion ends when its
client goes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response
from typing_extensions import override

from webui.api.errors import error_body, error_response, internal_error
from webui.api.openai.shapes import Places
from webui.api.openai.whole import WholeAnswer, server_ending
from webui.api.sse import KEEP_ALIVE, STREAM_HEADERS, BodyWriter, Ending
from webui.chat.event_log import KEEP_ALIVE_S
from webui.engine.interface import Finish, FinishReason, Queued, Shifted, Text, Trimmed
from webui.errors import EngineError, WebuiError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from starlette.types import Message, Receive, Scope, Send

    from webui.api.openai.shapes import Shape
    from webui.api.sse import Streams
    from webui.engine.interface import Delta
    from webui.engine.token_logprob import TokenLogprob

logger = logging.getLogger(__name__)

DONE = b"data: [DONE]\n\n"
LOOKS = 4  # for a word, in the time after which a comment is due
MARK = "\0"  # stands for the text while the bytes around it are made

encode = msgspec.json.encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """What all parts of an answer have in common.

    Attributes:
        shape: How replies look.
        completion_id: Its id in the dialect.
        model: Name of the model that answers.
        num_choices: How many replies there are, those to one prompt side by side.
        with_logprobs: Whether the log-probabilities of tokens are told.
        with_usage: Whether a stream ends with a chunk of token counts.
        echoes: For each prompt the text that replies to it begin with.
        service_tier: How urgent it is, where the client asked for that.
    """

    shape: Shape
    completion_id: str
    model: str
    num_choices: int
    with_logprobs: bool
    with_usage: bool
    echoes: tuple[str, ...] = ("",)
    service_tier: str | None = None

    @property
    def num_each(self) -> int:
        """How many replies each prompt gets."""
        return self.num_choices // len(self.echoes)

    def echo(self, index: int) -> str:
        """Return what a reply begins with."""
        return self.echoes[index // self.num_each]

    def common(self, kind: str) -> dict[str, Any]:
        """Return the fields that begin every object."""
        tier = {} if self.service_tier is None else {"service_tier": self.service_tier}
        return {
            "id": self.completion_id,
            "object": kind,
            "created": int(time.time()),
            "model": self.model,
            **tier,
        }


class LeftOut:
    """What the model did not see of what was sent, for lack of room in its context."""

    def __init__(self) -> None:
        self._messages = 0
        self._tokens = 0

    def take(self, delta: Delta) -> None:
        """Note what a delta says of it."""
        if isinstance(delta, Trimmed):
            self._messages += delta.num_messages
        elif isinstance(delta, Shifted):
            self._tokens += delta.num_tokens

    def told(self) -> dict[str, Any]:
        """Return a field of the choice, beyond the dialect; none where all was seen."""
        if not (self._messages or self._tokens):
            return {}
        return {"left_out": {"messages": self._messages, "tokens": self._tokens}}


class Reply:
    """One of the replies, as far as it is written.

    Args:
        echo: Text that it begins with.
    """

    def __init__(self, echo: str) -> None:
        self.text = echo
        self.left_out = LeftOut()
        self.logprobs: list[TokenLogprob] = []
        self.finish: Finish | None = None


class Completion(WholeAnswer):
    """An ASGI answer that runs a completion and writes it as one object.

    Args:
        streams: Where it is at work.
        deltas: From `fan.numbered`; not started yet.
        heading: What it is.
    """

    def __init__(
        self,
        streams: Streams,
        deltas: AsyncGenerator[tuple[int, Delta], None],
        heading: Heading,
    ) -> None:
        super().__init__(streams, self._whole)
        self._deltas = deltas
        self._heading = heading

    async def _whole(self) -> Response:
        heading = self._heading
        replies = [Reply(heading.echo(index)) for index in range(heading.num_choices)]
        async with aclosing(self._deltas) as deltas:
            async for index, delta in deltas:
                if isinstance(delta, Text):
                    replies[index].text += delta.text
                    replies[index].logprobs += delta.logprobs
                elif isinstance(delta, Finish):
                    replies[index].finish = delta
                else:
                    replies[index].left_out.take(delta)
        choices = [self._choice(index, reply) for index, reply in enumerate(replies)]
        finishes = [reply.finish for reply in replies if reply.finish]
        body = {
            **heading.common(heading.shape.whole),
            "choices": choices,
            "usage": usage(finishes, heading.num_each),
        }
        return Response(encode(body), media_type="application/json")

    def _choice(self, index: int, reply: Reply) -> dict[str, Any]:
        if reply.finish is None:
            raise no_reason()
        shape = self._heading.shape
        logprobs = shape.logprobs(reply.logprobs, Places()) if self._heading.with_logprobs else None
        choice = shape.choice(index, reply.text, logprobs, finish_reason(reply.finish))
        return choice | reply.left_out.told() | limited(reply.finish)


class CompletionStream(Response):
    """An ASGI answer that runs a completion and writes each step as it comes.

    Args:
        streams: Where it is at work.
        deltas: From `fan.numbered`; not started yet.
        heading: What it is.
        keep_alive_s: After so long without a word a comment is written, lest somebody on the way
            takes the connection for dead; it begins the answer.
    """

    def __init__(
        self,
        streams: Streams,
        deltas: AsyncGenerator[tuple[int, Delta], None],
        heading: Heading,
        *,
        keep_alive_s: float = KEEP_ALIVE_S,
    ) -> None:
        self.background = None  # FastAPI asks every answer for it
        self._streams = streams
        self._keep_alive_s = keep_alive_s
        self._has_begun = False
        self._is_open = False  # all that comes before the text is written
        self._opening = asyncio.Lock()
        self._deltas = deltas
        self._heading = heading
        self._shape = heading.shape
        self._common = heading.common(heading.shape.chunk)
        self._places = [Places() for _ in range(heading.num_choices)]
        self._left_out = [LeftOut() for _ in range(heading.num_choices)]
        self._finishes: dict[int, Finish] = {}

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
            async with aclosing(self._deltas) as deltas, body, self._kept_alive(send, body):
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

    @asynccontextmanager
    async def _kept_alive(self, send: Send, body: BodyWriter) -> AsyncIterator[None]:
        """Write a comment whenever nothing else was written for a while."""

        async def write_comments() -> None:
            num_written = num_quiet = 0
            while True:
                await asyncio.sleep(self._keep_alive_s / LOOKS)
                is_quiet = num_written == body.num_written and not body.is_writing
                num_quiet = num_quiet + 1 if is_quiet else 0
                if num_quiet == LOOKS:
                    await self._open(send, body)
                    await body.write(KEEP_ALIVE)
                    num_quiet = 0
                num_written = body.num_written

        task = asyncio.create_task(write_comments())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _fail(self, error: WebuiError, scope: Scope, send: Send) -> None:
        """Tell an error: with a status of its own before the first word, else in the stream."""
        if self._has_begun:
            async with BodyWriter(send) as body:
                await body.write(_data(error_body(error, scope["path"])) + DONE)
        else:
            await error_response(error, scope)(scope, _never, send)

    async def _write_all(
        self, deltas: AsyncGenerator[tuple[int, Delta], None], send: Send, body: BodyWriter
    ) -> None:
        around = [self._around(index) for index in range(self._heading.num_choices)]
        async for index, delta in deltas:
            if not self._is_open:
                await self._open(send, body)
            if isinstance(delta, Text):
                if delta.logprobs:
                    await body.write(self._piece(index, delta))
                elif delta.text:
                    head, tail = around[index]
                    await body.write(head + encode(delta.text) + tail)
            elif isinstance(delta, Finish):
                self._finishes[index] = delta
                ending = self._shape.ending(index, finish_reason(delta))
                told = self._left_out[index].told() | limited(delta)
                await body.write(self._chunk(ending | told))
            elif isinstance(delta, Queued):
                await body.write(self._place(index, delta))
            else:
                self._left_out[index].take(delta)
        if len(self._finishes) < self._heading.num_choices:
            raise no_reason()
        await body.write(self._ending())

    async def _open(self, send: Send, body: BodyWriter) -> None:
        """Write what comes before the text, once."""
        async with self._opening:
            if self._is_open:
                return
            self._has_begun = True
            await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
            for index in range(self._heading.num_choices):
                opening = self._shape.opening(index)
                if opening is not None:
                    await body.write(self._chunk(opening))
                if echo := self._heading.echo(index):
                    await body.write(self._chunk(self._shape.piece(index, echo, None)))
            self._is_open = True

    def _around(self, index: int) -> tuple[bytes, bytes]:
        """Return the bytes before and behind the text of a chunk."""
        head, tail = self._chunk(self._shape.piece(index, MARK, None)).rsplit(encode(MARK), 1)
        return head, tail

    def _place(self, index: int, queued: Queued) -> bytes:
        """Return a comment, which clients pass over, of the place of a reply that waits."""
        whose = f" index={index}" if self._heading.num_choices > 1 else ""
        eta = "" if queued.eta_s is None else f" eta_s={queued.eta_s:g}"
        return f": queued{whose} place={queued.place}{eta}\n\n".encode()

    def _piece(self, index: int, text: Text) -> bytes:
        logprobs = self._shape.logprobs(text.logprobs, self._places[index])
        return self._chunk(self._shape.piece(index, text.text, logprobs))

    def _ending(self) -> bytes:
        if not self._heading.with_usage:
            return DONE
        finishes = [self._finishes[index] for index in range(self._heading.num_choices)]
        counts = usage(finishes, self._heading.num_each)
        return _data({**self._common, "choices": [], "usage": counts}) + DONE

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        chunk = {**self._common, "choices": [choice]}
        if self._heading.with_usage:
            chunk["usage"] = None
        return _data(chunk)


def finish_reason(finish: Finish) -> str:
    """Return why a completion ended, in the dialect: it knows neither our aborting nor contexts."""
    is_cut = finish.reason in {FinishReason.LENGTH, FinishReason.CONTEXT, FinishReason.QUOTA}
    return "length" if is_cut else "stop"


def limited(finish: Finish) -> dict[str, Any]:
    """Return a field of the choice, beyond the dialect, where a limit of the asker ended it."""
    is_limited = finish.reason is FinishReason.QUOTA
    return {"limited_by": "tokens_per_day"} if is_limited else {}


def no_reason() -> EngineError:
    """Return what is said of a reply that stops without an end."""
    return EngineError("the engine ended the reply without saying why", "Try again.")


def usage(finishes: Sequence[Finish], num_each: int) -> dict[str, object]:
    """Return token counts in the dialect; a prompt that several replies share counts once.

    Of such a prompt those tokens count as cached that none of its replies had read for it.

    Args:
        finishes: Of all replies, those to one prompt side by side.
        num_each: How many replies each prompt got.
    """
    counts = [finish.usage for finish in finishes]
    prompt_tokens = sum(count.prompt_tokens for count in counts[::num_each])
    cached_tokens = sum(
        min(count.cached_tokens for count in counts[first : first + num_each])
        for first in range(0, len(counts), num_each)
    )
    completion_tokens = sum(count.completion_tokens for count in counts)
    drafted_tokens = sum(count.drafted_tokens for count in counts)
    accepted_tokens = sum(count.accepted_tokens for count in counts)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
        "completion_tokens_details": {
            "accepted_prediction_tokens": accepted_tokens,
            "rejected_prediction_tokens": drafted_tokens - accepted_tokens,
        },
    }


def _data(value: object) -> bytes:
    return b"data: " + encode(value) + b"\n\n"


async def _never() -> Message:
    return {"type": "http.disconnect"}
