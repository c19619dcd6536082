"""Cuts a conversation that is longer than the context, as its owner wished.

Knows messages, the template and the tokenizer of one model; which turns go is chosen in
`overflow`. Runs on the worker's template thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from webui.engine.interface import Priority, Trimmed
from webui.engine.overflow import ContextOverflow, CountedMessage, choose_left_out, prompt_room
from webui.errors import ContextLengthExceeded, InvalidRequest
from webui.messages import Message, Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.engine.interface import GenerateRequest
    from webui.engine.text_length import TextLength

GUESSED_PARTS = 4  # what is guessed grows in steps, so that a cut is not elsewhere at every turn
GUESSED_CHARS_PER_TOKEN = 4
GUESSED_FRAME_TOKENS = 8
MAX_TRIES = 8
LEAST_REPLY_SHARE = 16  # a conversation is cut that leaves less of the context for the reply
OVERFLOW_FIELD = "context_overflow"
OVERFLOW_CONTROL = "Parameters, “When the context is full”"
FAR_TOO_LONG = 2  # as a multiple of the context
SHORTEN_SHARED = "have an administrator shorten the server prompt"


class Render(Protocol):
    """Returns the tokens of a conversation, open for a reply or at the end of its last one."""

    def __call__(
        self, messages: Sequence[Message], *, continue_last: bool = False
    ) -> list[int]: ...


class PromptCut:
    """Leaves out whole turns.

    Args:
        context_length: Of the model.
        render: Makes the tokens of a conversation.
        length: Counts the tokens of texts.
    """

    def __init__(self, context_length: int, render: Render, length: TextLength) -> None:
        self._context_length = context_length
        self._render = render
        self._length = length
        self._frame_tokens: int | None = None

    def cut(self, request: GenerateRequest) -> GenerateRequest:
        """Return the request without what does not fit.

        A conversation that fits, and one whose owner wants no cut, comes back as it is.

        Raises:
            ContextLengthExceeded: What no cut leaves out is too long, or is a reply behind which
                there is no room to go on.
        """
        policy = ContextOverflow(request.params.context_overflow)
        if policy is ContextOverflow.STOP or request.plain_text is not None:
            return request
        head, last = _always_kept(request.messages)
        kept = request.messages[:head] + request.messages[last:]
        if (least := self._length.excess([message.text for message in kept])) is not None:
            raise self._refusal(request, f"at least {least}")
        counted = self._counted(request.messages)
        num_tokens = sum(message.num_tokens for message in counted)
        least_room = self._least_room(request, policy)
        # Counts are a little high: what is not far too long is rendered whole to be sure.
        is_near = num_tokens <= FAR_TOO_LONG * self._context_length
        if is_near and self._num_tokens(request, request.messages) <= least_room:
            return request
        bounds = [prompt_room(self._context_length, request.params.max_tokens), least_room]
        if not request.continue_last:
            # A last message that leaves no room for a long reply gets a short one.
            bounds.append(self._context_length)
        for bound in bounds:
            cut = self._cut_to(request, counted, policy, bound)
            if cut is not None:
                return cut
        raise self._refusal(request, str(self._num_tokens(request, kept)))

    def _least_room(self, request: GenerateRequest, policy: ContextOverflow) -> int:
        """Return how many tokens a conversation may have that is sent whole."""
        if policy is ContextOverflow.SHIFT:  # which makes room while it is written
            return self._context_length
        share = self._context_length // LEAST_REPLY_SHARE
        return self._context_length - min(request.params.max_tokens, share)

    def _refusal(self, request: GenerateRequest, num_tokens: str) -> ContextLengthExceeded:
        what, ways = "The last message and the system prompt", ["Shorten it"]
        if request.continue_last:
            what = "The last message, the system prompt and the reply so far"
            ways = ["Begin a new conversation"]
        if _has_much_shared(request, self._context_length):
            ways.append(SHORTEN_SHARED)
        return ContextLengthExceeded(
            f"{what} alone have {num_tokens} tokens; the context of this model holds "
            f"{self._context_length}",
            f"{', '.join(ways)}, or load the model with a longer context.",
            field="messages",
        )

    def _num_tokens(self, request: GenerateRequest, messages: Sequence[Message]) -> int:
        return len(self._render(messages, continue_last=request.continue_last))

    def _cut_to(
        self,
        request: GenerateRequest,
        counted: Sequence[CountedMessage],
        policy: ContextOverflow,
        room: int,
    ) -> GenerateRequest | None:
        tighter = 0
        for _ in range(MAX_TRIES):
            left_out = choose_left_out(counted, room - tighter, policy)
            if left_out is None:
                return None
            kept = request.messages[: left_out.start] + request.messages[left_out.stop :]
            too_many = self._num_tokens(request, kept) - room
            if too_many <= 0:
                is_head_kept = left_out.start > request.num_shared_messages
                return msgspec.structs.replace(
                    request,
                    messages=kept,
                    num_shared_messages=min(request.num_shared_messages, left_out.start),
                    num_shared_chars=request.num_shared_chars if is_head_kept else 0,
                )
            tighter += too_many
        return None

    def _counted(self, messages: Sequence[Message]) -> list[CountedMessage]:
        """Return the tokens of each message; of old ones that are left out in any case a guess."""
        frame = self._frame()
        num_guessed = self._num_guessed_chars(messages)
        head, last = _always_kept(messages)
        counted: list[CountedMessage] = []
        start = 0
        for at, message in enumerate(messages):
            if start >= num_guessed or at < head or at >= last:
                num = self._length.count(message.text)
            else:
                num = len(message.text) // GUESSED_CHARS_PER_TOKEN + 1
            counted.append(CountedMessage(message.role.value, num + frame))
            start += len(message.text)
        return counted

    def _num_guessed_chars(self, messages: Sequence[Message]) -> int:
        """Return how much text from the beginning is too far from the end to be sent."""
        max_counted = self._length.max_counted_chars
        excess = sum(len(message.text) for message in messages) - max_counted
        step = max_counted // GUESSED_PARTS
        return -(-max(0, excess) // step) * step

    def _frame(self) -> int:
        """Return the tokens that the template writes around a message, measured once."""
        if self._frame_tokens is None:
            word = "a"
            one = [Message(Role.USER, word)]
            try:
                longer = self._render([*one, Message(Role.ASSISTANT, word), *one])
                added = len(longer) - len(self._render(one)) - 2 * self._length.count(word)
                self._frame_tokens = max(0, -(-added // 2))
            except InvalidRequest:  # a template that wants another beginning
                self._frame_tokens = GUESSED_FRAME_TOKENS
        return self._frame_tokens


def _always_kept(messages: Sequence[Message]) -> tuple[int, int]:
    """Return where what no cut leaves out ends at the beginning, and where it begins again."""
    head = num_leading_system(messages)
    users = [at for at, message in enumerate(messages) if message.role is Role.USER]
    return head, max(users[-1] if users else head, head)


def too_long(
    request: GenerateRequest, num_tokens: str, context_length: int
) -> ContextLengthExceeded:
    """Return what is said of a prompt that does not fit, in the words of whoever sent it.

    Args:
        request: What was sent.
        num_tokens: How many it has, as text.
        context_length: Of the model.
    """
    is_plain = request.plain_text is not None
    ways = ["Shorten the prompt" if is_plain else "Shorten the message"]
    num_turns = sum(message.role is Role.USER for message in request.messages)
    if request.priority is Priority.CHAT:
        ways.append("start a new conversation")
    ways.append("load the model with a longer context")
    if not is_plain and num_turns > 1:
        where = OVERFLOW_FIELD if request.priority is Priority.API else OVERFLOW_CONTROL
        ways.append(f"let older turns be left out ({where})")
    if _has_much_shared(request, context_length):
        ways.append(SHORTEN_SHARED)
    return ContextLengthExceeded(
        f"The {'prompt' if is_plain else 'conversation'} has {num_tokens} tokens; the context of "
        f"this model holds {context_length}",
        f"{', '.join(ways[:-1])} or {ways[-1]}.",
        field="prompt" if is_plain else "messages",
    )


def _has_much_shared(request: GenerateRequest, context_length: int) -> bool:
    """Return whether the administrator's words take a good part of the context, about a quarter."""
    shared = request.messages[: request.num_shared_messages]
    num_chars = sum(len(message.text) for message in shared) + request.num_shared_chars
    return num_chars > context_length


def num_leading_system(messages: Sequence[Message]) -> int:
    """Return how many system messages a conversation begins with."""
    others = (at for at, message in enumerate(messages) if message.role is not Role.SYSTEM)
    return next(others, len(messages))


def trimmed(asked: GenerateRequest, made: GenerateRequest) -> Trimmed | None:
    """Return which messages of a request are not in what was made of it; None if all are."""
    num = len(asked.messages) - len(made.messages)
    if num <= 0:
        return None
    pairs = zip(asked.messages, made.messages, strict=False)
    first = next((at for at, (one, other) in enumerate(pairs) if one is not other), None)
    return Trimmed(num, len(made.messages) if first is None else first)
