"""A made-up model in the web process: every page, load and API test runs against it.

Obeys the engine's contract suite. Words are its tokens; it waits between them as a model would.
A grammar or schema is checked, but its answers, which are made up, keep to none.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from webui.engine.adapters import rescaled
from webui.engine.answer_grammar import grammar_of
from webui.engine.detokenizer import Detokenizer
from webui.engine.embedding import Vectors, check_can_embed, check_size
from webui.engine.fake_answer import answer, rest_of, tokens
from webui.engine.fake_vectors import EMBEDDING_SIZE, pooled, score
from webui.engine.interface import (
    EmbedRequest,
    EmbedResult,
    EngineState,
    Finish,
    FinishReason,
    Memory,
    ModelInfo,
    Prefill,
    Queued,
    Text,
    Timings,
    Usage,
    VectorPart,
)
from webui.engine.mailbox import unloaded
from webui.engine.prompt_cut import PromptCut, too_long, trimmed
from webui.engine.stats import EngineStats
from webui.engine.tally import Tally
from webui.engine.text_length import TextLength
from webui.errors import Busy, Conflict, ContextLengthExceeded, InvalidRequest
from webui.messages import Message, Role

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from webui.engine.adapters import Adapter, Scales
    from webui.engine.interface import Delta, GenerateRequest

NAME = "Made-up model"
PREFILL_SPEEDUP = 20  # prompts are read so much faster than replies are written
PREFILL_STEPS = 4
MIN_SLEEP_S = 0.005
MAX_NAP_S = 0.25
NUM_SLOTS = 64
MAX_WAITING = 64


class FakeEngine:
    """Implements `Engine` without a model.

    Args:
        rate: Tokens a second of each reply.
        context_length: Words a conversation may have.
        num_slots: Replies written at once; the others wait in order.
        max_waiting: How many may wait.
        adapters: What it says to have.
    """

    def __init__(
        self,
        rate: float,
        context_length: int = 8192,
        *,
        num_slots: int = NUM_SLOTS,
        max_waiting: int = MAX_WAITING,
        adapters: tuple[Adapter, ...] = (),
    ) -> None:
        self._rate = rate
        self._max_waiting = max_waiting
        self._num_free = num_slots
        self._live: set[str] = set()
        self._waiting: deque[asyncio.Event] = deque()
        self._tally = Tally()
        self._state = EngineState.READY
        self._closed = asyncio.Event()
        self._is_replaced = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._info = ModelInfo(
            name=NAME,
            context_length=context_length,
            num_slots=num_slots,
            num_threads=1,
            memory=Memory(weights_bytes=0, kv_bytes=0, compute_bytes=0),
            can_embed=True,
            can_rerank=True,
            embedding_size=EMBEDDING_SIZE,
            max_text_tokens=context_length,
            adapters=adapters,
        )

    @property
    def info(self) -> ModelInfo:
        """What is loaded."""
        return self._info

    @property
    def state(self) -> EngineState:
        """Where it stands now."""
        return self._state

    @property
    def stats(self) -> EngineStats:
        """What was done so far, and what is so now."""
        running = self._info.num_slots - self._num_free
        waiting = (len(self._waiting), 0, 0)
        return self._tally.stats(
            EngineStats(num_running=running, waiting=waiting, decode_threads=1, prompt_threads=1)
        )

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        """Write one reply; see `Engine.generate`."""
        self._check_open()
        request_id = request.request_id
        if request_id in self._live:
            raise Conflict(f"The request {request_id} is already running")
        grammar_of(request)
        limit = self._info.context_length
        cutter = PromptCut(limit, _prompt_tokens, TextLength(_words, limit))
        asked, request = request, cutter.cut(request)
        num_prompt = self._num_prompt(request)
        cut = trimmed(asked, request)
        arrived_s = time.monotonic()
        turn = asyncio.Event()
        self._queue(turn, request.owner)
        self._live.add(request_id)
        self._idle.clear()
        is_ended = False
        try:
            if cut is not None:
                yield cut
            told = 0
            while not turn.is_set():
                place = self._waiting.index(turn) + 1
                if place != told:
                    told = place
                    yield Queued(place)
                await self._wait(turn, MIN_SLEEP_S * 4)
            started_s = time.monotonic()
            async for prefill in self._read(num_prompt):
                yield prefill
            async for delta in self._write(request, num_prompt, arrived_s, started_s):
                self._tally.note_delta(delta)
                is_ended = isinstance(delta, Finish)
                yield delta
        finally:
            if not is_ended:
                self._tally.note_abort(None)
            self._live.discard(request_id)
            self._leave(turn)
            if not self._live:
                self._idle.set()

    def check_room(self, owner: str) -> None:  # noqa: ARG002 - all have one queue
        """Raise `Busy` where the queue is full; see `Engine.check_room`."""
        if not self._num_free and (num := len(self._waiting)) >= self._max_waiting:
            raise Busy(
                f"The queue is full: {num} replies are waiting",
                "Try again when some of them are done.",
            )

    async def purge(self, owner: str, conversation_id: str | None) -> None:
        """Do nothing: it keeps nothing of what it reads."""

    async def expire(self, before_ns: int) -> None:
        """Do nothing: it keeps nothing of what it reads."""

    def set_lora_scales(self, scales: Scales) -> None:
        """Say so; nothing that it writes depends on them."""
        adapters = rescaled(self._info.adapters, scales)
        self._info = msgspec.structs.replace(self._info, adapters=adapters)

    async def drain(self) -> None:
        """Wait until no request is at work."""
        await self._idle.wait()

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        """Turn texts into vectors; see `Engine.embed`."""
        self._check_open()
        check_can_embed(request, self._info)
        self._live.add(request.request_id)
        self._idle.clear()
        try:
            return await self._embed(request)
        finally:
            self._live.discard(request.request_id)
            if not self._live:
                self._idle.set()

    async def _embed(self, request: EmbedRequest) -> EmbedResult:
        sizes = [self._num_text_tokens(request, index) for index in range(len(request.inputs))]
        check_size(request, sum(sizes), EMBEDDING_SIZE)
        vectors = Vectors(len(request.inputs))
        for index, (text, num) in enumerate(zip(request.inputs, sizes, strict=True)):
            await self._sleep(num / (self._rate * PREFILL_SPEEDUP))
            if request.query is None:
                words = tokens(text)[:num]
                data = pooled(words, request.pooling, normalise=request.normalise)
            else:
                data = score(request.query, text)
            vectors.add(VectorPart(index, data))
        return vectors.result(sum(sizes))

    async def close(self, *, is_replaced: bool = False) -> None:
        """End all replies with an error; idempotent."""
        self._state = EngineState.CLOSED
        self._is_replaced = is_replaced
        self._closed.set()

    async def _read(self, num_prompt: int) -> AsyncGenerator[Prefill, None]:
        step = max(1, num_prompt // PREFILL_STEPS)
        for done in range(step, num_prompt, step):
            await self._sleep(step / (self._rate * PREFILL_SPEEDUP))
            yield Prefill(done, num_prompt)
        yield Prefill(num_prompt, num_prompt)

    async def _write(
        self, request: GenerateRequest, num_prompt: int, arrived_s: float, started_s: float
    ) -> AsyncGenerator[Text | Finish, None]:
        params = request.params
        room = max(1, self._info.context_length - num_prompt)
        max_tokens = min(params.max_tokens, room)
        words = _reply(request)
        detokenizer = Detokenizer(params.stop)
        begun_s = time.monotonic()
        num_done = num_told = 0
        reason = None
        while reason is None:
            await self._sleep(max(MIN_SLEEP_S, 1 / self._rate))
            num_due = max(num_done + 1, int((time.monotonic() - begun_s) * self._rate))
            text = ""
            while num_done < num_due and reason is None:
                is_short = num_done < params.min_tokens
                word = _word(words, num_done, is_endless=params.ignore_eos or is_short)
                if word is None:
                    reason = FinishReason.STOP
                    break
                text += detokenizer.feed(word.encode(), may_stop=not is_short)
                num_done += 1
                if detokenizer.is_stopped:
                    reason = FinishReason.STOP
                elif num_done >= max_tokens:
                    is_full = num_done >= room
                    reason = FinishReason.CONTEXT if is_full else FinishReason.LENGTH
            if reason is not None:
                text += detokenizer.finish()
            if text or (reason is not None and num_done > num_told):
                yield Text(text, num_done - num_told)
                num_told = num_done
        timings = Timings(
            queued_s=started_s - arrived_s,
            prefill_s=begun_s - started_s,
            decode_s=time.monotonic() - begun_s,
        )
        yield Finish(reason, Usage(num_prompt, num_done), timings)

    def _num_prompt(self, request: GenerateRequest) -> int:
        """Return the words of the prompt.

        Raises:
            ContextLengthExceeded: They are more than the context holds.
            InvalidRequest: They are not text, or there is none.
        """
        messages = _messages(request)
        if not messages:
            raise InvalidRequest("The conversation is empty", field="messages")
        for message in messages:
            _check_text(message.text, "messages")
        num_prompt = len(_prompt_tokens(messages, continue_last=request.continue_last))
        limit = self._info.context_length
        if num_prompt > limit:
            raise too_long(request, str(num_prompt), limit)
        return num_prompt

    def _num_text_tokens(self, request: EmbedRequest, index: int) -> int:
        limit = self._info.max_text_tokens
        name, field = ("Input", "input") if request.query is None else ("Document", "documents")
        text = request.inputs[index] + (request.query or "")
        _check_text(text, field)
        num_tokens = len(tokens(text))
        if num_tokens > limit and not request.truncate:
            raise ContextLengthExceeded(
                f"{name} {index} has {num_tokens} tokens, and this model reads {limit} at once",
                "Shorten it, or split it into several.",
                field=field,
            )
        return min(num_tokens, limit)

    def _queue(self, turn: asyncio.Event, owner: str) -> None:
        self.check_room(owner)
        if self._num_free:
            self._num_free -= 1
            turn.set()
            return
        self._waiting.append(turn)
        self._tally.note_queue(len(self._waiting))

    def _leave(self, turn: asyncio.Event) -> None:
        """Hand a slot to the next one, or give up a place in the queue."""
        if not turn.is_set():
            self._waiting.remove(turn)
        elif self._waiting:
            self._waiting.popleft().set()
        else:
            self._num_free += 1

    async def _sleep(self, seconds: float) -> None:
        """Sleep in naps, so that `close` need not wait for a slow model's next word."""
        while seconds > 0:
            await asyncio.sleep(min(seconds, MAX_NAP_S))
            self._check_open()
            seconds -= MAX_NAP_S

    async def _wait(self, turn: asyncio.Event, seconds: float) -> None:
        """Wait for a turn, but not so long that a new place would not be told."""
        try:
            await asyncio.wait_for(turn.wait(), seconds)
        except TimeoutError:
            self._check_open()

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise unloaded(is_replaced=self._is_replaced)


def _check_text(text: str, field: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"The message holds something that is not text: {error}", field=field
        ) from error


def _words(text: str, *, special: bool) -> list[int]:  # noqa: ARG001 - it has no special ones
    """Return a number for each word."""
    return [0] * len(tokens(text))


def _prompt_tokens(messages: Sequence[Message], *, continue_last: bool = False) -> list[int]:
    """Return a number for each word, and one for each end of a message."""
    num_tokens = sum(len(tokens(message.text)) + 1 for message in messages)
    return [0] * (num_tokens - continue_last)


def _messages(request: GenerateRequest) -> tuple[Message, ...]:
    """Return the conversation; a plain text is taken for a question."""
    if request.plain_text is None:
        return request.messages
    return (Message(Role.USER, request.plain_text),)


def _reply(request: GenerateRequest) -> list[str]:
    whole = answer(_messages(request))
    if request.continue_last:
        whole = rest_of(whole, request.messages[-1].text)
    return tokens(whole)


def _word(words: list[str], index: int, *, is_endless: bool) -> str | None:
    """Return the word at an index; an endless reply begins again behind its end."""
    if index < len(words):
        return words[index]
    if not is_endless:
        return None
    return words[index % len(words)] if words else "… "
