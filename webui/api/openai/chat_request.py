"""What a client of the OpenAI dialect may ask, and what it comes to in ours.

A value file. Fields that we do not know are ignored and bound to nothing; those we know are
checked by the one schema of sampling.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from webui.api.errors import invalid_input
from webui.errors import InvalidRequest
from webui.messages import Message, Role
from webui.sampling_params import SamplingParams

MAX_MESSAGES = 10_000


class _Known(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class TextPart(_Known):
    """One part of a message's content."""

    type: Literal["text"]
    text: str


class ChatMessage(_Known):
    """One turn, in the words of the dialect."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None = None

    def ours(self) -> Message:
        """Return the turn as the engine reads it."""
        role = Role.SYSTEM if self.role == "developer" else Role(self.role)
        if self.content is None or isinstance(self.content, str):
            return Message(role, self.content or "")
        return Message(role, "".join(part.text for part in self.content))


class StreamOptions(_Known):
    """How to stream."""

    include_usage: StrictBool = False


class ChatRequest(_Known):
    """Body of `POST /v1/chat/completions`; null stands for the default, as for OpenAI."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    model: str | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    ignore_eos: StrictBool | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk of token counts."""
        return self.stream_options is not None and self.stream_options.include_usage

    def prompt(self) -> tuple[Message, ...]:
        """Return the conversation as the engine reads it."""
        return tuple(message.ours() for message in self.messages)

    def params(self) -> SamplingParams:
        """Return how to sample; what is not asked takes our default.

        Raises:
            InvalidRequest: A value is out of its range; names the field.
        """
        asked = {
            name: value
            for name in SamplingParams.model_fields
            if (value := getattr(self, name, None)) is not None
        }
        if self.max_completion_tokens is not None:
            asked["max_tokens"] = self.max_completion_tokens
        if isinstance(self.stop, str):
            asked["stop"] = (self.stop,)
        try:
            return SamplingParams.model_validate(asked)
        except ValidationError as error:
            problem = invalid_input(error.errors(include_url=False, include_input=False))
            if problem.field == "max_tokens" and self.max_completion_tokens is not None:
                said = problem.message.removeprefix("max_tokens")
                name = "max_completion_tokens"
                raise InvalidRequest(f"{name}{said}", field=name) from error
            raise problem from error
