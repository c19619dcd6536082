"""One reply while it is being written: all there is of it, also what is not saved yet.

Knows deltas, events and views; does no I/O. `Generations` owns every reply and alone calls what
changes it; the text of a token is appended in constant time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypedDict, assert_never

import msgspec

from webui.chat import events
from webui.chat.prompt import NOTHING_SHARED
from webui.chat.reply_parser import Kind, ReplyParser
from webui.chat.running import Doing, Running, doing_after
from webui.chat.views import ErrorView, LeftOutView, MessageView, TimingsView, UsageView
from webui.chat.written_with import UNKNOWN_SEED
from webui.engine.interface import (
    Finish,
    FinishReason,
    Prefill,
    Queued,
    Reseeded,
    Shifted,
    Text,
    Timings,
    Trimmed,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from webui.chat.prompt import SharedHead
    from webui.chat.reply_parser import Piece
    from webui.engine.interface import Delta
    from webui.messages import Message
    from webui.sampling_params import SamplingParams


Phase: TypeAlias = events.Queued | events.Loading | events.Prefill


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A reply to be written; its row is saved already.

    Attributes:
        message: The row as it is before: empty, or with the text that is written on.
        prompt: What the model reads.
        is_continuation: Whether the last message of the prompt is the reply itself.
        sources: Of which saved messages each of the prompt is made.
        is_seed_drawn: Nobody asked for the seed in the parameters.
        models: Ids of the models that may write it; None means any.
        shared: How much of the prompt is the administrator's.
    """

    generation_id: str
    owner: str
    conversation_id: str
    message: MessageView
    prompt: tuple[Message, ...]
    params: SamplingParams
    is_continuation: bool = False
    sources: tuple[tuple[str, ...], ...] = ()
    is_seed_drawn: bool = False
    models: frozenset[str] | None = None
    shared: SharedHead = NOTHING_SHARED


class _Ids(TypedDict):
    generation_id: str
    conversation_id: str
    message_id: str
    seq: int


class Reply:
    """The state of one reply.

    Args:
        order: What was asked.
        clock: Monotonic seconds.
    """

    def __init__(self, order: Order, clock: Callable[[], float] = time.monotonic) -> None:
        self.order = order
        self.has_begun = False  # the engine has said something
        self.is_waiting = True  # and nothing but that it waits
        self.is_dirty = False  # there is text that no tick has saved
        self.phase: Phase | None = None  # what was told of its waiting, until there is text
        self._text = [order.message.text]
        self._reasoning = [order.message.reasoning]
        self._parser = ReplyParser(text=order.message.text, reasoning=order.message.reasoning)
        self._seq = 0
        self._model = order.message.model
        self._finish: Finish | None = None
        self._final: MessageView | None = None
        self._is_saved = False
        self._clock = clock
        self._started_at = clock()
        self._first_step_at: float | None = None
        self._first_token_at: float | None = None
        self._last_token_at: float | None = None
        self._reasoning_began_at: float | None = None
        self._reasoning_ended_at: float | None = None
        self._num_tokens = 0
        self._doing = Doing.WAITING
        self._prefill = Prefill(0, 0)
        self._left_out: LeftOutView | None = None
        self._seeds = order.message.seeds

    @property
    def is_finished(self) -> bool:
        """Whether the engine said its last word."""
        return self._finish is not None

    @property
    def has_text(self) -> bool:
        """Whether anything is written, thoughts included."""
        return any(self._text) or any(self._reasoning)

    @property
    def model(self) -> str | None:
        """Return the name of the model that writes; None as long as it is not known."""
        return self._model

    @property
    def finished_status(self) -> str:
        """Return the status of a reply that the engine ended itself."""
        is_aborted = self._finish is not None and self._finish.reason is FinishReason.ABORT
        return "stopped" if is_aborted else "complete"

    def running(self) -> Running:
        """Return how it stands now."""
        return Running(
            owner=self.order.owner,
            is_api=False,
            doing=self._doing,
            num_tokens=self._num_tokens,
            since_s=self._clock() - self._started_at,
        )

    def asked(self, model: str) -> None:
        """Note which model writes, and that it is asked now."""
        self._model = model
        self._first_step_at = self._clock()

    def take(self, delta: Delta) -> list[events.GenerationEvent]:
        """Take one delta of the engine; returns what there is to tell."""
        self.has_begun = True
        self._doing = doing_after(self._doing, delta)
        self.is_waiting = self.is_waiting and isinstance(delta, Queued)
        match delta:
            case Text():
                self.phase = None
                now = self._last_token_at = self._clock()
                if self._first_token_at is None:
                    self._first_token_at = now
                self._num_tokens += delta.num_tokens
                return self._take_pieces(self._parser.feed(delta.text))
            case Finish():
                self._finish = delta
                return self.flush()
            case Reseeded():
                self._seeds = (*self._seeds[:-1], UNKNOWN_SEED)
                return []
            case _:
                return [self._note(delta)]

    def _note(self, delta: Queued | Trimmed | Shifted | Prefill) -> events.GenerationEvent:
        match delta:
            case Queued():
                self._first_step_at = None  # not yet: it is told when it is read
                self.phase = events.Queued(**self._ids(), place=delta.place, eta_s=delta.eta_s)
                return self.phase
            case Trimmed():
                return self._note_left_out(_messages_left_out(self.order, delta))
            case Shifted():
                so_far = self._left_out or LeftOutView()
                num_tokens = so_far.tokens + delta.num_tokens
                left_out = msgspec.structs.replace(so_far, tokens=num_tokens)
                return self._note_left_out(left_out)
            case Prefill():
                if self._first_step_at is None:
                    self._first_step_at = self._clock()
                self._prefill = delta
                self.phase = events.Prefill(
                    **self._ids(), done=delta.done, total=delta.total, cached=delta.cached
                )
                return self.phase
            case _:
                assert_never(delta)

    def flush(self) -> list[events.GenerationEvent]:
        """Give out what the parser held back; nothing follows it."""
        return self._take_pieces(self._parser.close())

    def loading(self, fraction: float) -> events.Loading:
        """Tell that the model is on its way."""
        self.phase = events.Loading(**self._ids(), fraction=fraction)
        return self.phase

    def notice(self, code: str, message: str) -> events.Notice:
        """Tell something while the reply goes on."""
        return events.Notice(**self._ids(), code=code, message=message)

    def end(self, status: str, error: ErrorView | None = None) -> MessageView:
        """Fix the reply as it will be saved for good."""
        if not self._num_tokens:  # a run that wrote nothing has no seed that matters
            self._seeds = self.order.message.seeds[:-1]
        live = self._live(status)
        if error is not None and not self._num_tokens:
            before = self.order.message
            self._final = msgspec.structs.replace(
                live, usage=before.usage, timings=before.timings, error=error
            )
            return self._final
        finish = self._finish or self._estimate()
        usage, timings = _added(self.order, finish)
        reason = None if error else finish.reason.value
        self._final = msgspec.structs.replace(
            live, finish_reason=reason, usage=usage, timings=timings, error=error
        )
        return self._final

    def saved(self) -> events.Done | events.Failed:
        """Note that what `end` fixed is saved, and tell it."""
        assert self._final is not None
        self._is_saved = True
        error = self._final.error
        if error is None:
            return events.Done(**self._ids(), message=self._final)
        return events.Failed(
            **self._ids(),
            code=error.code,
            message=error.message,
            hint=error.hint,
            message_view=self._final,
        )

    def view(self) -> MessageView:
        """Return the message with everything told so far."""
        if self._final is not None and self._is_saved:
            return self._final
        is_streaming = self.has_begun or self.order.is_continuation
        return self._live("streaming" if is_streaming else "pending")

    def _live(self, status: str) -> MessageView:
        self._text = ["".join(self._text)]
        self._reasoning = ["".join(self._reasoning)]
        return msgspec.structs.replace(
            self.order.message,
            text=self._text[0],
            reasoning=self._reasoning[0],
            status=status,
            model=self._model,
            finish_reason=None,
            usage=None,
            timings=None,
            error=None,
            reasoning_s=self._reasoning_s(),
            left_out=self._left_out,
            seeds=self._seeds,
        )

    def _note_left_out(self, left_out: LeftOutView) -> events.LeftOut:
        self._left_out = left_out
        return events.LeftOut(**self._ids(), left_out=left_out)

    def _take_pieces(self, pieces: list[Piece]) -> list[events.GenerationEvent]:
        told: list[events.GenerationEvent] = []
        for piece in pieces:
            self.is_dirty = True
            if piece.kind is Kind.TEXT:
                self._text.append(piece.text)
                told.append(events.Text(**self._ids(), text=piece.text))
            else:
                self._note_reasoning()
                self._reasoning.append(piece.text)
                told.append(events.Reasoning(**self._ids(), text=piece.text))
        return told

    def _note_reasoning(self) -> None:
        now = self._reasoning_ended_at = self._clock()
        if self._reasoning_began_at is None:
            self._reasoning_began_at = now

    def _reasoning_s(self) -> float | None:
        """Return how long the model thought, in the parts written before too."""
        before = self.order.message.reasoning_s
        if self._reasoning_began_at is None or self._reasoning_ended_at is None:
            return before
        return (before or 0.0) + self._reasoning_ended_at - self._reasoning_began_at

    def _ids(self) -> _Ids:
        self._seq += 1
        return {
            "generation_id": self.order.generation_id,
            "conversation_id": self.order.conversation_id,
            "message_id": self.order.message.id,
            "seq": self._seq,
        }

    def _estimate(self) -> Finish:
        """Return the figures of a reply that was cut off, measured from here."""
        now = self._clock()
        first_token = now if self._first_token_at is None else self._first_token_at
        first_step = first_token if self._first_step_at is None else self._first_step_at
        last_token = first_token if self._last_token_at is None else self._last_token_at
        return Finish(
            FinishReason.ABORT,
            Usage(self._prefill.total, self._num_tokens, self._prefill.cached),
            Timings(
                first_step - self._started_at, first_token - first_step, last_token - first_token
            ),
        )


def _messages_left_out(order: Order, trimmed: Trimmed) -> LeftOutView:
    end = trimmed.first + trimmed.num_messages
    num = sum(len(ids) for ids in order.sources[trimmed.first : end])
    behind = [message_id for ids in order.sources[end:] for message_id in ids]
    return LeftOutView(num, behind[0] if behind else order.message.id)


def _added(order: Order, finish: Finish) -> tuple[UsageView, TimingsView]:
    """Return the figures of the whole reply, parts written before included.

    Prompt and waiting are those of the first part: they tell how long the reply took to begin.
    """
    usage = UsageView(*msgspec.structs.astuple(finish.usage))
    timings = TimingsView(
        finish.timings.queued_s, finish.timings.prefill_s, finish.timings.decode_s
    )
    before, times_before = order.message.usage, order.message.timings
    if not order.is_continuation or before is None or times_before is None:
        return usage, timings
    decode_s = times_before.decode_s + timings.decode_s
    return (
        msgspec.structs.replace(
            before,
            completion_tokens=before.completion_tokens + usage.completion_tokens,
            drafted_tokens=before.drafted_tokens + usage.drafted_tokens,
            accepted_tokens=before.accepted_tokens + usage.accepted_tokens,
        ),
        msgspec.structs.replace(times_before, decode_s=decode_s),
    )
