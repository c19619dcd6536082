"""What a client of the OpenAI dialect may ask, and what it comes to in ours.

A value file. Fields that we do not know are ignored and bound to nothing; those we know are
checked by the one schema of sampling.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr

from webui.api.openai.sampler_fields import Known, SamplerFields
from webui.api.openai.service_tier import Tiered
from webui.api.openai.unsupported import Unsupported, no_tools
from webui.engine.adapters import MAX_ADAPTERS, MAX_LORA_SCALE, ChosenScale
from webui.engine.answer_form import AnswerForm
from webui.engine.interface import GrammarTrigger
from webui.engine.trigger_watch import MAX_TRIGGERS
from webui.errors import InvalidRequest
from webui.messages import Message, Role

if TYPE_CHECKING:
    from webui.sampling_params import SamplingParams

MAX_MESSAGES = 10_000
MAX_CHOICES = 8
NUM_SEEDS = 2**32 - 1
ANY_OBJECT = {"type": "object"}
MAX_TOKEN_ID = 2**31 - 1
TOKEN_TRIGGER, WORD_TRIGGER = 0, 1  # llama.cpp's common_grammar_trigger_type; 2 and 3 are patterns


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

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[TextPart] | None = None
    tool_calls: Any = None
    function_call: Any = None

    def ours(self, index: int) -> Message:
        """Return the turn as the engine reads it.

        Raises:
            InvalidRequest: It is about a tool.
        """
        if self.role in ("tool", "function"):
            raise no_tools(f"messages.{index}.role")
        if self.tool_calls or self.function_call:
            raise no_tools(
                f"messages.{index}.{'tool_calls' if self.tool_calls else 'function_call'}"
            )
        role = Role.SYSTEM if self.role == "developer" else Role(self.role)
        if self.content is None or isinstance(self.content, str):
            return Message(role, self.content or "")
        return Message(role, "".join(part.text for part in self.content))


class StreamOptions(Known):
    """How to stream."""

    include_usage: StrictBool = False


class NamedSchema(Known):
    """A schema as OpenAI's clients wrap it; its name is bound to nothing."""

    schema_: Any = Field(alias="schema")


class ResponseFormat(Known):
    """What a reply must look like, in the words of the dialect."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None
    schema_: Any = Field(default=None, alias="schema")

    def wanted(self) -> object:
        """Return the schema to keep to; None leaves the reply free.

        Raises:
            InvalidRequest: One is announced and not there.
        """
        if self.type == "text":
            return None
        if self.type == "json_object":
            return ANY_OBJECT if self.schema_ is None else self.schema_  # llama-server takes one
        if self.json_schema is None:
            raise InvalidRequest(
                "response_format.json_schema: is missing",
                'Send it as {"schema": ...}.',
                field="response_format.json_schema",
            )
        return self.json_schema.schema_


class Trigger(Known):
    """What a lazy grammar waits for, in llama-server's words."""

    type: StrictInt
    value: StrictStr = ""
    token: StrictInt | None = Field(default=None, ge=0, le=MAX_TOKEN_ID)

    def ours(self, index: int) -> GrammarTrigger:
        """Return it as the engine reads it.

        Raises:
            InvalidRequest: It is a pattern, or a token without an id.
        """
        place = f"grammar_triggers[{index}]"
        if self.type == WORD_TRIGGER:
            return GrammarTrigger(self.value)
        if self.type != TOKEN_TRIGGER:
            raise InvalidRequest(
                f"{place}.type: {self.type} is not supported; a search for patterns could take "
                "for ever",
                f"Send words (type {WORD_TRIGGER}) or tokens (type {TOKEN_TRIGGER}).",
                field="grammar_triggers",
            )
        if self.token is None:
            raise InvalidRequest(
                f"{place}.token: is missing", "Send the id of the token.", field="grammar_triggers"
            )
        return GrammarTrigger(token=self.token)


class LoraScale(Known):
    """How strongly one adapter works, in llama-server's words."""

    id: StrictInt
    scale: Annotated[StrictFloat | StrictInt, Field(ge=-MAX_LORA_SCALE, le=MAX_LORA_SCALE)]


class Asked(SamplerFields, Unsupported, Tiered):
    """What chats and texts have in common."""

    model: str | None = None
    n: StrictInt | None = Field(default=None, ge=1, le=MAX_CHOICES)
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    grammar: StrictStr | None = None
    json_schema: Any = None
    grammar_lazy: StrictBool | None = None
    grammar_triggers: list[Trigger] | None = Field(default=None, max_length=MAX_TRIGGERS)
    lora: list[LoraScale] | None = Field(default=None, max_length=MAX_ADAPTERS)
    n_probs: Any = None
    post_sampling_probs: StrictBool | None = None

    def form(self) -> AnswerForm:
        """Return what the reply must keep to.

        Raises:
            InvalidRequest: More than one of the three fields asks for something, or it is to wait
                for nothing, or for what we cannot find.
        """
        wanted = None if self.response_format is None else self.response_format.wanted()
        schemas = [schema for schema in (wanted, self.json_schema) if schema is not None]
        if len(schemas) + bool(self.grammar) > 1:
            raise InvalidRequest(
                "response_format: only one of response_format, grammar and json_schema can be kept",
                "Leave out the others.",
                field="response_format",
            )
        schema = json.dumps(schemas[0]) if schemas else ""
        return AnswerForm(self.grammar or "", schema, self._triggers())

    def lora_scales(self) -> tuple[ChosenScale, ...] | None:
        """Return how strongly adapters work; None where the request does not say."""
        if self.lora is None:
            return None
        return tuple(ChosenScale(one.id, float(one.scale)) for one in self.lora)

    def with_probs(self) -> SamplingParams:
        """Return how to sample, with as many log-probabilities as llama-server's field asks for.

        Raises:
            InvalidRequest: A value is out of its range, or not supported; names the field.
        """
        params = self.sampling({"top_logprobs": "n_probs"}, top_logprobs=self.n_probs)
        has_any = params.top_logprobs > 0  # none, not even that of the token itself, with 0
        return self.checked(params.model_copy(update={"logprobs": has_any}))

    def checked(self, params: SamplingParams) -> SamplingParams:
        """Return the same, of which the probabilities that are asked for can be told.

        Raises:
            InvalidRequest: They are those behind the samplers.
        """
        if params.logprobs and self.post_sampling_probs:
            raise InvalidRequest(
                "post_sampling_probs: only the model's own probabilities are told",
                "Leave it out.",
                field="post_sampling_probs",
            )
        return params

    def _triggers(self) -> tuple[GrammarTrigger, ...]:
        if not self.grammar_lazy:
            return ()  # llama-server does not look at them either
        if not self.grammar_triggers:
            raise InvalidRequest(
                "grammar_triggers: a lazy grammar waits for one, and there is none",
                "Send triggers, or leave out grammar_lazy.",
                field="grammar_triggers",
            )
        return tuple(trigger.ours(i) for i, trigger in enumerate(self.grammar_triggers))

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk of token counts."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def num_choices(self) -> int:
        """How many replies to write to each prompt."""
        return self.n or 1

    def choices(self, params: SamplingParams) -> list[SamplingParams]:
        """Return how to sample the replies to a prompt: each takes the seed after the last one's."""
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
    continue_final_message: StrictBool | None = None
    continue_: StrictBool | None = None

    def prompts(self) -> tuple[Prompt, ...]:
        """Return the one conversation as the engine reads it.

        Raises:
            InvalidRequest: It is to be gone on with, but does not end with the assistant, or asks
                for something that we do not do.
        """
        self.check_supported()
        messages = tuple(message.ours(index) for index, message in enumerate(self.messages))
        continue_last = bool(self.continue_final_message or self.continue_)
        if continue_last and messages[-1].role is not Role.ASSISTANT:
            raise InvalidRequest(
                "continue_final_message: the last message is not the assistant's",
                "Send the beginning of the reply as the last message.",
                field="continue_final_message",
            )
        return (Prompt(messages, continue_last=continue_last),)

    def params(self) -> SamplingParams:
        """Return how to sample.

        Raises:
            InvalidRequest: A value is out of its range; names the field.
        """
        if not self.logprobs and self.top_logprobs is None and self.n_probs is not None:
            return self.with_probs()
        if self.top_logprobs and not self.logprobs:
            raise InvalidRequest(
                "top_logprobs: needs logprobs", "Set logprobs to true.", field="top_logprobs"
            )
        return self.checked(self.sampling(logprobs=bool(self.logprobs)))
