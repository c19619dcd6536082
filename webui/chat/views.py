"""What faces show of conversations, models and jobs: frozen values in the shape of the JSON.

A value file: field names are those of the HTTP API; `msgspec.json.encode` writes them as they
stand. Times are aware UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from webui.engine.adapters import Adapter
from webui.engine.interface import Priority
from webui.engine.stats import STEP_BOUNDS_S

if TYPE_CHECKING:
    from webui.engine.interface import ModelInfo
    from webui.engine.pool_status import PoolStatus
    from webui.engine.stats import EngineStats
    from webui.hub.catalog import ModelFile
    from webui.jobs import Job


class UsageView(msgspec.Struct, frozen=True):
    """Token counts of one reply; fields as in `engine.interface.Usage`."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    drafted_tokens: int = 0
    accepted_tokens: int = 0


class TimingsView(msgspec.Struct, frozen=True):
    """Seconds of one reply: waiting, reading the prompt, writing."""

    queued_s: float
    prefill_s: float
    decode_s: float


class ErrorView(msgspec.Struct, frozen=True):
    """What went wrong and what to do about it."""

    code: str
    message: str
    hint: str


class LeftOutView(msgspec.Struct, frozen=True):
    """What the model did not see of the conversation, because its context was full.

    Attributes:
        messages: So many messages were not sent.
        before_id: They stand before this one; None if none of them were left out.
        tokens: So many of the oldest tokens went while the reply was being written.
    """

    messages: int = 0
    before_id: str | None = None
    tokens: int = 0


class MessageView(msgspec.Struct, frozen=True, kw_only=True):
    """One message of the tree.

    Attributes:
        status: complete, pending, streaming, stopped, interrupted or error.
        finish_reason: stop, length, context or abort; None while it runs or when it failed.
        reasoning_s: Seconds the model thought so far; None where it did not or nobody measured.
        left_out: Of a reply, what the model did not see; None where it saw all.
        params: Of a reply, the sampling parameters that are not the defaults, long ones cut.
        seeds: The seed of each run that wrote it, one more for each time it was continued; -1
            where it changed while others were let pass, or nobody noted it.
    """

    id: str
    parent_id: str | None
    role: str
    text: str
    reasoning: str
    status: str
    model: str | None
    created_at: datetime
    finish_reason: str | None = None
    usage: UsageView | None = None
    timings: TimingsView | None = None
    error: ErrorView | None = None
    reasoning_s: float | None = None
    left_out: LeftOutView | None = None
    params: dict[str, object] | None = None
    seeds: tuple[int, ...] = ()


class ConversationView(msgspec.Struct, frozen=True, kw_only=True):
    """One conversation without its messages.

    Attributes:
        version: Grows with every change of title, tree or active leaf.
        running: Whether a reply is being written in it.
        context_overflow: What happens when it is longer than the context, as the parameter of that
            name; None leaves it to that.
    """

    id: str
    title: str
    active_leaf_id: str | None
    version: int
    created_at: datetime
    updated_at: datetime
    running: bool
    context_overflow: str | None = None


class DeletedView(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation in the trash; `ends_at` is when it goes for good by itself."""

    id: str
    title: str
    deleted_at: datetime
    ends_at: datetime


class TrashView(msgspec.Struct, frozen=True):
    """The conversations deleted last, and how many there are in all."""

    conversations: list[DeletedView]
    total: int


class GenerationView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A running reply and the message it writes.

    Attributes:
        phase: The latest event of a reply without new text that says what it waits for; None
            where it waits for nothing or was not told yet.
    """

    id: str
    message_id: str
    phase: msgspec.Struct | None = None


class Page(msgspec.Struct, frozen=True):
    """Conversations, newest first; `next` is the `before` of the following page."""

    conversations: list[ConversationView]
    next: str | None


class Transcript(msgspec.Struct, frozen=True):
    """A conversation as it stood at `cursor`: later events apply on top of it."""

    conversation: ConversationView
    messages: list[MessageView]
    generation: GenerationView | None
    cursor: str


class Turn(msgspec.Struct, frozen=True):
    """What one use case changed: the rows, and the reply that now runs."""

    messages: list[MessageView]
    conversation: ConversationView
    generation: GenerationView | None
    cursor: str


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """One model file; `error` says why it cannot be loaded."""

    id: str
    name: str
    size_bytes: int
    quantization: str | None
    parameters: int | None
    context_length: int | None
    architecture: str | None
    error: str | None


class AdapterCard(msgspec.Struct, frozen=True):
    """One LoRA adapter; its `id` is what the load option `lora` takes as a path."""

    id: str
    name: str
    size_bytes: int
    architecture: str


class ModelErrorView(msgspec.Struct, frozen=True):
    """Why the last load failed; `field` is the load option it is about, where it is about one."""

    message: str
    hint: str
    field: str | None = None


class MemoryView(msgspec.Struct, frozen=True):
    """Bytes a loaded model takes."""

    weights_bytes: int
    kv_bytes: int
    compute_bytes: int


class ModelInfoView(msgspec.Struct, frozen=True):
    """Figures of a loaded model.

    Attributes:
        num_layers: Layers, the output being one; 0 where that says nothing.
        num_gpu_layers: How many lie on graphics cards; None where there is no card.
        adapters: LoRA adapters as they work now; a request names one by its place, from 0.
    """

    context_length: int
    num_slots: int
    num_threads: int
    memory: MemoryView
    num_layers: int = 0
    num_gpu_layers: int | None = None
    adapters: tuple[Adapter, ...] = ()


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Which model is loaded or on its way.

    Attributes:
        state: none, loading, ready, restarting or failed.
        fraction: Progress of a load, 0 to 1; None unless loading.
        info: Of the loaded model, also while another one is on its way.
        outcome: How the latest load ended: loaded, failed or cancelled; None while one runs.
        stalled_s: Seconds for which a load has made no progress; None while it goes on.
    """

    state: str
    model_id: str | None = None
    name: str | None = None
    fraction: float | None = None
    error: ModelErrorView | None = None
    info: ModelInfoView | None = None
    outcome: str | None = None
    stalled_s: int | None = None


class StarterView(msgspec.Struct, frozen=True):
    """Whether the starter model is worth offering, and its download in bytes."""

    available: bool
    size_bytes: int


class ModelList(msgspec.Struct, frozen=True):
    """All model files and what is loaded."""

    models: list[ModelCard]
    status: ModelStatus
    starter: StarterView
    adapters: list[AdapterCard] = []


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """Long work: running, done, failed, cancelled or interrupted."""

    id: str
    kind: str
    title: str
    status: str
    done: int
    total: int | None
    unit: str
    message: str
    error: str | None


def model_card(file: ModelFile) -> ModelCard:
    """Return what people see of a model file."""
    return ModelCard(
        id=file.id,
        name=file.name,
        size_bytes=file.size_bytes,
        quantization=file.quantization or None,
        parameters=file.num_parameters,
        context_length=file.context_length,
        architecture=file.architecture or None,
        error=file.refusal,
    )


def status_view(status: PoolStatus) -> ModelStatus:
    """Return what faces see of the engine pool."""
    info, error = status.info, status.error
    return ModelStatus(
        state=status.state.value,
        model_id=status.model_id,
        name=status.name,
        fraction=status.fraction,
        error=ModelErrorView(error.message, error.hint, error.field) if error else None,
        info=_info_view(info) if info else None,
        outcome=status.outcome.value if status.outcome else None,
        stalled_s=status.stalled_s,
    )


def job_view(job: Job) -> JobView:
    """Return what faces see of a job."""
    return JobView(
        id=job.id,
        kind=job.kind,
        title=job.title,
        status=job.status.value,
        done=job.done,
        total=job.total,
        unit=job.unit,
        message=job.message,
        error=job.error,
    )


def _info_view(info: ModelInfo) -> ModelInfoView:
    memory = info.memory
    return ModelInfoView(
        info.context_length,
        info.num_slots,
        info.num_threads,
        MemoryView(memory.weights_bytes, memory.kv_bytes, memory.compute_bytes),
        info.num_layers,
        info.num_gpu_layers,
        info.adapters,
    )


class FiguresView(msgspec.Struct, frozen=True, kw_only=True):
    """What a person cares about while the engine works.

    Attributes:
        running: Replies that are being written.
        waiting: Replies that wait for their turn.
        tokens_per_s: Of all replies together; 0 while none is being written.
        reused: Share of the prompt tokens that was not read anew, 0 to 1; None without any.
        guessed: Share of the guessed tokens that held, 0 to 1; None without any.
        decode_threads: Compute threads that write.
        prompt_threads: Compute threads that read prompts.
    """

    running: int
    waiting: int
    tokens_per_s: float
    reused: float | None
    guessed: float | None
    decode_threads: int
    prompt_threads: int


def figures_view(stats: EngineStats, tokens_per_s: float = 0.0) -> FiguresView:
    """Return the figures for people, rounded so that noise changes nothing."""
    num_all = stats.num_reused_tokens + stats.num_prompt_tokens
    num_drafted, num_accepted = stats.num_drafted_tokens, stats.num_accepted_tokens
    return FiguresView(
        running=stats.num_running,
        waiting=stats.num_waiting,
        tokens_per_s=round(tokens_per_s, 1),
        reused=round(stats.num_reused_tokens / num_all, 2) if num_all else None,
        guessed=round(num_accepted / num_drafted, 2) if num_drafted else None,
        decode_threads=stats.decode_threads,
        prompt_threads=stats.prompt_threads,
    )


def stats_view(stats: EngineStats) -> dict[str, object]:
    """Return figures of an engine with a name for each number.

    Of `writing_steps`, each number is of the steps up to a bound, the last of those above all.
    """
    view: dict[str, object] = msgspec.to_builtins(stats)
    names = (priority.name.lower() for priority in Priority)
    view["waiting"] = dict(zip(names, stats.waiting, strict=True))
    view["writing_steps"] = {"bounds_s": STEP_BOUNDS_S, "counts": stats.writing_steps}
    return view
