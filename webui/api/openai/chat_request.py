"""What a client of the OpenAI dialect may ask, and what it comes to in ours.

A value file. Fields that we do not know are ignored and bound to nothing; those we know are
checked by the one schema of sampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, StrictBool, StrictStr

from webui.api.openai.sampler_fields import Known, SamplerFields
from webui.errors import InvalidRequest
from webui.messages import Message, Role

if TYPE_CHECKING:
    from webui.sampling_params import SamplingParams

MAX_MESSAGES = 10_000
MAX_CHOICES = 8
NUM_SEEDS = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the replies of one request go on from.

    Attributes:
        messages: A conversation; empty when there is a text.
        text: Plain text, for the model as it stands.
        continue_last: Write on at the end of the last message.
    """

    messages: tuple[Message, ...] = ()
    text: str | None = None
    continue_last: bool = False


class TextPart(Known):
    """One part of a message's content."""

    type: Literal["text"]
    text: str


class ChatMessage(Known):
    """One turn, in the words of the dialect."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None = None

    def ours(self) -> Message:
        """Return the turn as the engine reads it."""
        role = Role.SYSTEM if self.role == "developer" else Role(self.role)
        if self.content is None or isinstance(self.content, str):
            return Message(role, self.content or "")
        return Message(role, "".join(part.text for part in self.content))


class StreamOptions(Known):
    """How to stream."""

    include_usage: StrictBool = False


class Asked(SamplerFields):
    """What chats and texts have in common."""

    model: str | None = None
    n: int | None = Field(default=None, ge=1, le=MAX_CHOICES)
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk of token counts."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def num_choices(self) -> int:
        """How many replies to write."""
        return self.n or 1

    def choices(self, params: SamplingParams) -> list[SamplingParams]:
        """Return how to sample each reply: with a seed, each takes the one after the last."""
        return [
            params
            if params.seed < 0
            else params.model_copy(update={"seed": (params.seed + index) % NUM_SEEDS})
            for index in range(self.num_choices)
        ]


class ChatRequest(Asked):
    """Body of `POST /v1/chat/completions`."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    logprobs: StrictBool | None = None
    n_probs: Any = None
    continue_final_message: StrictBool | None = None
    continue_: StrictBool | None = None

    def prompt(self) -> Prompt:
        """Return the conversation as the engine reads it.

        Raises:
            InvalidRequest: It is to be gone on with, but does not end with the assistant.
        """
        messages = tuple(message.ours() for message in self.messages)
        continue_last = bool(self.continue_final_message or self.continue_)
        if continue_last and messages[-1].role is not Role.ASSISTANT:
            raise InvalidRequest(
                "continue_final_message: the last message is not the assistant's",
                "Send the beginning of the reply as the last message.",
                field="continue_final_message",
            )
        return Prompt(messages, continue_last=continue_last)

    def params(self) -> SamplingParams:
        """Return how to sample.

        Raises:
            InvalidRequest: A value is out of its range; names the field.
        """
        if self.n_probs:  # llama-server's word for it
            return self.sampling(logprobs=True, top_logprobs=self.n_probs)
        if self.top_logprobs and not self.logprobs:
            raise InvalidRequest(
                "top_logprobs: needs logprobs", "Set logprobs to true.", field="top_logprobs"
            )
        return self.sampling(logprobs=bool(self.logprobs))


class TextRequest(Asked):
    """Body of `POST /v1/completions`."""

    prompt_text: StrictStr = Field(alias="prompt")
    logprobs: Any = None
    echo: StrictBool | None = None
    suffix: Any = None

    def prompt(self) -> Prompt:
        """Return the text as the engine reads it.

        Raises:
            InvalidRequest: Something is asked for that we do not do.
        """
        if self.suffix:
            raise InvalidRequest(
                "suffix: filling in between two texts is not supported",
                "Leave it out.",
                field="suffix",
            )
        if self.echo and self.logprobs is not None:
            raise InvalidRequest(
                "echo: log-probabilities of a prompt are not computed",
                "Leave out echo or logprobs.",
                field="echo",
            )
        return Prompt(text=self.prompt_text)

    def params(self) -> SamplingParams:
        """Return how to sample; `logprobs` is a number here.

        Raises:
            InvalidRequest: A value is out of its range; names the field.
        """
        if self.logprobs is None or self.logprobs is False:
            return self.sampling(top_logprobs=0)
        try:
            return self.sampling(logprobs=True, top_logprobs=self.logprobs)
        except InvalidRequest as error:
            if error.field != "top_logprobs":
                raise
            said = error.message.removeprefix("top_logprobs")
            raise InvalidRequest(f"logprobs{said}", field="logprobs") from error
