"""From the saved history to what the engine is asked.

Knows messages and parameters; knows neither storage nor engines at work. The conversation is
given as a path from its root to the message that is answered or written on.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from webui.chat.reply_parser import CLOSE, OPEN
from webui.messages import Message, Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.sampling_params import SamplingParams

BETWEEN = "\n\n"  # joins turns that became neighbours of the same role


class Said(Protocol):
    """What a prompt needs of a saved message."""

    @property
    def id(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def reasoning(self) -> str: ...


@dataclass(frozen=True, slots=True)
class SharedHead:
    """So much at the beginning of a prompt is the same for everybody, see `GenerateRequest`."""

    num_messages: int = 0
    num_chars: int = 0


NOTHING_SHARED = SharedHead()


def build_prompt(path: Sequence[Said], system_prompt: str) -> tuple[Message, ...]:
    """Return the messages that ask for a new reply to the end of `path`.

    Reasoning is not sent again. Replies that stayed empty are left out; neighbours of one role
    are joined, because most chat templates want roles to take turns.
    """
    return tuple(turn.message for turn in _turns(path, system_prompt))


def build_continuation(path: Sequence[Said], system_prompt: str) -> tuple[Message, ...]:
    """Return the messages whose last one, a reply cut short, is to be written on.

    The reply goes out without the white space at its end: a tokenizer puts it at the head of
    the next word, so that models do not write on well behind it.
    """
    reply = path[-1]
    before = build_prompt(path[:-1], system_prompt)
    return (*before, Message(Role.ASSISTANT, _so_far(reply).rstrip()))


def sources(path: Sequence[Said], system_prompt: str) -> tuple[tuple[str, ...], ...]:
    """Return of which saved messages each message of `build_prompt` is made; the prompt of none.

    The same for `build_continuation`, whose last message is one of its own.
    """
    return tuple(tuple(turn.ids) for turn in _turns(path, system_prompt))


def joined(server_prompt: str, own: str) -> str:
    """Return what a conversation begins with: the administrator's words, then its owner's.

    They are one text, because many chat templates take one system message alone.
    """
    return BETWEEN.join(part for part in (server_prompt, own) if part.strip())


def shared_head(prompt: Sequence[Message], server_prompt: str) -> SharedHead:
    """Return how much of a prompt is the administrator's: what it begins with word for word."""
    first = prompt[0] if prompt else None
    if not server_prompt or first is None or first.role is not Role.SYSTEM:
        return NOTHING_SHARED
    if first.text == server_prompt:
        return SharedHead(num_messages=1)
    if first.text.startswith(server_prompt):
        return SharedHead(num_chars=len(server_prompt))
    return NOTHING_SHARED


def api_prompt(messages: Sequence[Message], system_prompt: str) -> tuple[Message, ...]:
    """Return the messages of an API caller as they are, behind the system prompt if there is one.

    A caller who sends a system message of his own has said what he wants.
    """
    if not system_prompt.strip() or any(m.role is Role.SYSTEM for m in messages):
        return tuple(messages)
    return (Message(Role.SYSTEM, system_prompt), *messages)


def engine_params(params: SamplingParams) -> SamplingParams:
    """Return the parameters without the system prompt, which travels as a message."""
    return params.model_copy(update={"system_prompt": ""})


def _so_far(reply: Said) -> str:
    if not reply.reasoning:
        return reply.text
    if not reply.text:
        return f"{OPEN}\n{reply.reasoning}"
    return f"{OPEN}\n{reply.reasoning}\n{CLOSE}\n\n{reply.text}"


@dataclass(slots=True)
class _Turn:
    """A message of a prompt and the saved messages it is made of."""

    message: Message
    ids: list[str]


def _turns(path: Sequence[Said], system_prompt: str) -> list[_Turn]:
    turns: list[_Turn] = []
    if system_prompt.strip():
        turns.append(_Turn(Message(Role.SYSTEM, system_prompt), []))
    for said in path:
        if not said.text.strip():
            continue
        role, before = Role(said.role), turns[-1] if turns else None
        if before is not None and before.message.role is role:
            before.message = Message(role, before.message.text + BETWEEN + said.text)
            before.ids.append(said.id)
        else:
            turns.append(_Turn(Message(role, said.text), [said.id]))
    assert all(a.message.role is not b.message.role for a, b in pairwise(turns))
    return turns
