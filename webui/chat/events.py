"""What can happen to a person's conversations, as it is told to their pages and programs.

Knows what is told; not to whom, nor how.
"""

from __future__ import annotations

import msgspec

from webui.chat.views import (
    ConversationView,
    FiguresView,
    JobView,
    LeftOutView,
    MessageView,
    ModelStatus,
)


class OfGeneration(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """An event of one running reply; `seq` counts within the reply."""

    generation_id: str
    conversation_id: str
    message_id: str
    seq: int


class Queued(OfGeneration, frozen=True, kw_only=True, tag="queued"):
    """The reply waits; `place` 1 is next."""

    place: int
    eta_s: float | None


class Loading(OfGeneration, frozen=True, kw_only=True, tag="loading"):
    """The reply waits for a model that is being loaded."""

    fraction: float


class Prefill(OfGeneration, frozen=True, kw_only=True, tag="prefill"):
    """The prompt is being read, in tokens."""

    done: int
    total: int
    cached: int


class Reasoning(OfGeneration, frozen=True, kw_only=True, tag="reasoning"):
    """More of what the model thinks before it answers."""

    text: str


class Text(OfGeneration, frozen=True, kw_only=True, tag="text"):
    """More of the answer."""

    text: str


class ToolCall(OfGeneration, frozen=True, kw_only=True, tag="tool_call"):
    """The model calls a function; `arguments` is the JSON text as the model wrote it."""

    call_id: str
    name: str
    arguments: str


class Notice(OfGeneration, frozen=True, kw_only=True, tag="notice"):
    """Something to know while the reply goes on."""

    code: str
    message: str


class LeftOut(OfGeneration, frozen=True, kw_only=True, tag="left_out"):
    """The model does not see the whole conversation."""

    left_out: LeftOutView


class Done(OfGeneration, frozen=True, kw_only=True, tag="done"):
    """The reply ended and is saved."""

    message: MessageView


class Failed(OfGeneration, frozen=True, kw_only=True, tag="error"):
    """The reply ended early and is saved with what there is of it."""

    code: str
    message: str
    hint: str
    message_view: MessageView


class ConversationChanged(msgspec.Struct, frozen=True, tag_field="type", tag="conversations"):
    """A conversation is new or changed, or is gone."""

    conversation: ConversationView | None = None
    deleted_id: str | None = None


class ModelsChanged(msgspec.Struct, frozen=True, tag_field="type", tag="models"):
    """The loaded model changed; `changed` says that the list of files did too."""

    status: ModelStatus
    changed: bool = False


class FiguresChanged(msgspec.Struct, frozen=True, tag_field="type", tag="figures"):
    """The engine works; at most once a second, and never while it rests."""

    figures: FiguresView


class JobChanged(msgspec.Struct, frozen=True, tag_field="type", tag="jobs"):
    """Long work moved on."""

    job: JobView


class SharesChanged(msgspec.Struct, frozen=True, tag_field="type", tag="shares"):
    """What one shares, or is shown by others, changed."""


class MeChanged(msgspec.Struct, frozen=True, tag_field="type", tag="me"):
    """Who one is, what one may, or what everybody is told changed; `GET /api/me` says to what."""


class Hello(msgspec.Struct, frozen=True, tag_field="type", tag="hello"):
    """The first event of every subscription: where it starts."""

    cursor: str


class Reset(msgspec.Struct, frozen=True, tag_field="type", tag="reset"):
    """Events were missed: the client fetches everything anew."""


GenerationEvent = (
    Queued | Loading | Prefill | Reasoning | Text | ToolCall | Notice | LeftOut | Done | Failed
)
Event = (
    GenerationEvent
    | ConversationChanged
    | ModelsChanged
    | FiguresChanged
    | JobChanged
    | SharesChanged
    | MeChanged
    | Hello
    | Reset
)
