"""What the rest of the house may ask of a loaded model.

Knows requests, deltas and figures; knows nothing of processes, sockets or llama.cpp.
All values are msgspec structs because they cross the pipe to the worker unchanged.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Protocol

import msgspec

from webui.engine.adapters import Adapter, Scales
from webui.engine.token_logprob import TokenLogprob
from webui.messages import Message
from webui.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from webui.engine.stats import EngineStats

MAX_GAP_MS = 300  # between two tokens of a reply while somebody else's prompt is read


class Priority(IntEnum):
    """Who goes first when not all can; smaller is sooner."""

    CHAT = 0
    API = 1
    BACKGROUND = 2


class FinishReason(StrEnum):
    """Why a sequence ended."""

    STOP = "stop"  # an end-of-generation token or a stop string
    LENGTH = "length"  # max_tokens are written, or the model had no memory left for more
    CONTEXT = "context"  # the context is full
    ABORT = "abort"  # somebody pressed Stop
    QUOTA = "quota"  # whoever asked has no more tokens today; no engine says it


class GrammarTrigger(msgspec.Struct, frozen=True):
    """What a lazy grammar waits for, and begins with; a word or a token.

    Attributes:
        word: Text of the reply, wherever it stands; not looked at where there is a token.
        token: Id of a token of the model; None where it is a word.
    """

    word: str = ""
    token: int | None = None


class GenerateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One reply to be written.

    Attributes:
        request_id: Unique among live requests.
        owner: Opaque id by which work is shared fairly and caches are kept apart.
        conversation_id: Opaque id for purging caches; None for an ephemeral request.
        priority: Chat before API before background work.
        messages: The conversation, oldest first, at least one unless there is a text.
        continue_last: True writes on at the end of the last message (an assistant's)
            instead of opening a new turn.
        plain_text: In place of messages: what to write on from, without a chat template; what looks
            like a control token in it is one.
        params: How to sample.
        grammar: What the reply must keep to, see `answer_form`; empty leaves it free.
        json_schema: The same as a schema.
        grammar_triggers: What either waits for, see `answer_form`.
        is_seed_drawn: The seed was drawn, not asked for: a reply whose state cannot be kept gives
            way to others as soon as any; one with a seed that was asked for does so late. Either
            is not what the seed would give again, and tells it by `Reseeded`.
        keep_state: What was read may be kept for the next request of the same owner, in memory
            and on disk; False leaves no trace.
        num_shared_messages: So many messages at the beginning are the administrator's and the
            same for everybody; what was read of them serves all owners.
        num_shared_chars: So many characters at the beginning of the next message are, too.
        lora_scales: How strongly each adapter works; None takes what is set for the model.
    """

    request_id: str
    owner: str
    conversation_id: str | None
    priority: Priority
    messages: tuple[Message, ...]
    params: SamplingParams
    continue_last: bool = False
    plain_text: str | None = None
    grammar: str = ""
    json_schema: str = ""
    grammar_triggers: tuple[GrammarTrigger, ...] = ()
    is_seed_drawn: bool = False
    keep_state: bool = True
    num_shared_messages: int = 0
    num_shared_chars: int = 0
    lora_scales: Scales | None = None


class Usage(msgspec.Struct, frozen=True):
    """Token counts of one request.

    Attributes:
        prompt_tokens: Of what was asked.
        completion_tokens: Of the reply.
        cached_tokens: Of the prompt, not read anew.
        drafted_tokens: Guessed while the reply was written.
        accepted_tokens: Of those, what held; they are part of the reply.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0


class Timings(msgspec.Struct, frozen=True):
    """Seconds, measured where the work is done.

    Attributes:
        queued_s: From arrival to the first step.
        prefill_s: Reading the prompt: first step to first token.
        decode_s: First token to last token.
    """

    queued_s: float
    prefill_s: float
    decode_s: float


class Queued(msgspec.Struct, frozen=True, tag="queued"):
    """The request waits; `place` 1 is next, `eta_s` None is unknown."""

    place: int
    eta_s: float | None = None


class Trimmed(msgspec.Struct, frozen=True, tag="trimmed"):
    """Messages are left out of the prompt: `num_messages` from index `first` on."""

    num_messages: int
    first: int


class Shifted(msgspec.Struct, frozen=True, tag="shifted"):
    """The context was full: `num_tokens` of the oldest were left out so that the reply goes on."""

    num_tokens: int


class Reseeded(msgspec.Struct, frozen=True, tag="reseeded"):
    """From here on the reply is not what its seed would give again."""


class Prefill(msgspec.Struct, frozen=True, tag="prefill"):
    """`done` of `total` prompt tokens are read; `cached` of them came from the cache."""

    done: int
    total: int
    cached: int = 0


class Text(msgspec.Struct, frozen=True, tag="text", omit_defaults=True):
    """New text, whole characters only.

    Attributes:
        text: May be empty: a token may say nothing, or a part of a character.
        num_tokens: Sampled since the last delta.
        logprobs: One for each of them, where the request asks for them.
    """

    text: str
    num_tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()


class Finish(msgspec.Struct, frozen=True, tag="finish"):
    """The last delta of every request that did not raise."""

    reason: FinishReason
    usage: Usage
    timings: Timings


Delta = Queued | Trimmed | Shifted | Reseeded | Prefill | Text | Finish


class Pooling(StrEnum):
    """How the vectors of a text's tokens become one; llama.cpp's words."""

    NONE = "none"  # they stay as many
    MEAN = "mean"
    CLS = "cls"  # the first token's
    LAST = "last"  # the last token's
    RANK = "rank"  # a number: how well the text answers a query


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts to be turned into vectors, or documents to be ranked.

    Attributes:
        request_id: Unique among live requests.
        owner: Opaque id by which work is shared fairly.
        priority: Chat before API before background work, among requests of this kind; all of
            them give way to replies.
        inputs: The texts, at least one.
        query: With it, each input is a document, and its vector one number: how well it answers.
        pooling: None takes the model's own.
        normalise: Scale each vector to length 1; numbers of ranking stay as they are.
        truncate: Cut off what is too long instead of refusing it.
    """

    request_id: str
    owner: str
    priority: Priority
    inputs: tuple[str, ...]
    query: str | None = None
    pooling: Pooling | None = None
    normalise: bool = True
    truncate: bool = False


class VectorPart(msgspec.Struct, frozen=True, tag="vector"):
    """More of the vectors of one input: float32, little-endian, behind what came before."""

    input_index: int
    data: bytes


class Embedded(msgspec.Struct, frozen=True, tag="embedded"):
    """The last that is told of an `EmbedRequest` that did not fail."""

    num_tokens: int


class EmbedResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an `EmbedRequest`.

    Attributes:
        vectors: For each input its numbers as float32, little-endian; with pooling `none`
            those of all its tokens, one after the other.
        num_tokens: Tokens that were read for all inputs together.
    """

    vectors: tuple[bytes, ...]
    num_tokens: int


class EngineState(StrEnum):
    """Where a loaded model stands."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"  # the worker died; the next one is on its way
    FAILED = "failed"  # the crash breaker is open; the next request may have it tried again
    CLOSED = "closed"


class Memory(msgspec.Struct, frozen=True):
    """Bytes a loaded model takes, as its runner reports them."""

    weights_bytes: int
    kv_bytes: int
    compute_bytes: int


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a runner knows of the model it opened.

    Attributes:
        name: Name for people and for `/v1/models`.
        context_length: Tokens one sequence may hold.
        num_slots: Sequences that may run at once.
        kv_cells: Tokens that all slots may hold together, at least `context_length`; None
            when each slot has cells for `context_length` of its own.
        num_threads: Compute threads of the first steps.
        memory: Bytes taken.
        chat_template_sha256: Hex digest of the template text; empty when there is none.
        can_generate: Whether it can write; false for models that only make vectors.
        can_embed: Whether it makes vectors of texts.
        can_rerank: Whether it ranks documents by a query; such a model makes no vectors.
        embedding_size: Numbers of a vector; 0 when it makes none.
        can_embed_tokens: Whether it tells those of single tokens too, with pooling `none`.
        max_text_tokens: Tokens of the longest text it makes a vector of, or of query and document.
        state_key: What states of sequences depend on, besides their tokens: file, library and
            options; empty when they must not outlive the process.
        max_threads: Up to how many compute threads the engine may choose by itself; 0 keeps
            `num_threads`.
        num_prompt_threads: Compute threads of steps that read prompts, where somebody set them
            apart; 0 takes those of all other steps.
        num_layers: Layers, the output being one; 0 where that says nothing.
        num_gpu_layers: How many of them lie on graphics cards; None where there is no card.
        adapters: Its LoRA adapters, as they are set now.
    """

    name: str
    context_length: int
    num_slots: int
    num_threads: int
    memory: Memory
    chat_template_sha256: str = ""
    can_generate: bool = True
    can_embed: bool = False
    can_rerank: bool = False
    embedding_size: int = 0
    can_embed_tokens: bool = True
    max_text_tokens: int = 0
    kv_cells: int | None = None
    state_key: str = ""
    max_threads: int = 0
    num_prompt_threads: int = 0
    num_layers: int = 0
    num_gpu_layers: int | None = None
    adapters: tuple[Adapter, ...] = ()


class Engine(Protocol):
    """A model that is loaded and answers; one loop task uses it, nobody blocks it."""

    @property
    def info(self) -> ModelInfo:
        """What is loaded."""
        ...

    @property
    def state(self) -> EngineState:
        """Where it stands now; advisory."""
        ...

    @property
    def stats(self) -> EngineStats:
        """What was done since the model was loaded, and what is so now; a second old or so."""
        ...

    def generate(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        """Write one reply; yields any number of deltas and one `Finish` last.

        Closing the generator aborts the sequence and frees its slot. While the worker is
        being restarted the call waits for it.

        Raises:
            ContextLengthExceeded: Prompt longer than `info.context_length`; both numbers named.
            InvalidRequest: The model cannot write, the chat template refuses these messages, or
                what the reply is to keep to cannot be kept.
            NothingAllowed: No token can come next; before the first text, or behind some.
            Busy: The queue is full.
            EngineDied: The worker ended over it, or too often; what was yielded so far stands.
            ModelNotLoaded: A worker that is being started does not come.
        """
        ...

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        """Turn texts into vectors, or rank documents; cancelling the call ends the work.

        Raises:
            ContextLengthExceeded: A text longer than `info.max_text_tokens`; both numbers named.
            InvalidRequest: The model cannot do this.
            Busy: The queue is full.
            EngineDied: The worker ended over it, or too often.
            ModelNotLoaded: A worker that is being started does not come.
        """
        ...

    def check_room(self, owner: str) -> None:
        """Raise `Busy` where `generate` would refuse a reply of an owner, as far as is known here."""

    async def purge(self, owner: str, conversation_id: str | None) -> None:
        """Forget what was read for an owner, or only for one of its conversations."""

    async def expire(self, before_ns: int) -> None:
        """Forget what belongs to no conversation and was last used before a time in nanoseconds."""

    def set_lora_scales(self, scales: Scales) -> None:
        """Let the adapters work so strongly in requests that come from now on.

        Replies that are being written go on as they began. `info` says it at once.
        """

    async def drain(self) -> None:
        """Wait until no request is at work or waiting; new ones are not kept out."""

    async def close(self, *, is_replaced: bool = False) -> None:
        """End the model and its process within 5 s; idempotent.

        Args:
            is_replaced: Another one comes in its place, as replies that it cuts off are told.
        """
