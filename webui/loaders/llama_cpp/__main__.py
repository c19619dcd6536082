"""The child process that runs a GGUF file; started by `engine.process`, never by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import llama_cpp
import msgspec
from pydantic import ValidationError

from webui.engine.interface import Memory, ModelInfo, Pooling
from webui.engine.runner import OpenedModel
from webui.engine.worker import run
from webui.errors import LoadFailed
from webui.hub.gguf import read_header
from webui.loaders.llama_cpp.adapters import Adapters
from webui.loaders.llama_cpp.devices import gpus
from webui.loaders.llama_cpp.draft_model import DraftModel, check_draft_file
from webui.loaders.llama_cpp.embedder import LlamaCppEmbedder
from webui.loaders.llama_cpp.gpu_fit import fitted
from webui.loaders.llama_cpp.metadata import metadata
from webui.loaders.llama_cpp.opening import open_model
from webui.loaders.llama_cpp.options import (
    LlamaCppOptions,
    has_draft_model,
    max_draft,
    num_threads_batch,
)
from webui.loaders.llama_cpp.part_embedder import PartEmbedder
from webui.loaders.llama_cpp.parts import parts_of
from webui.loaders.llama_cpp.runner import LlamaCppRunner
from webui.refusals import path_of, predicate

if TYPE_CHECKING:
    from collections.abc import Callable

    from webui.engine.runner import RunnerSpec
    from webui.hub.gguf import GGUFHeader


def open_spec(spec: RunnerSpec, on_progress: Callable[[float], None]) -> OpenedModel:
    """Open the model that the parent names.

    Raises:
        LoadFailed: The options are wrong, or llama.cpp refuses the file.
    """
    try:
        options = LlamaCppOptions.model_validate(spec["options"])
    except ValidationError as error:
        problems = error.errors()
        name = path_of(problems[0])
        raise LoadFailed(f"The load option {name} {predicate(problems)}") from error
    path = Path(spec["path"])
    header = read_header(path)  # whoever asked has done so too; the file may have changed since
    llama_cpp.llama_backend_init()  # it may be what loads the backends
    options = fitted(options, path, [card.free_bytes for card in gpus()])
    if header.is_embedding:
        return _open_embedder(path, spec["name"], options, header, on_progress)
    if has_draft_model(options):
        check_draft_file(Path(options.draft_model))
    report, report_draft = _shares(path, options, on_progress)
    runner = LlamaCppRunner(path, spec["name"], options, report)
    drafter = _open_draft(runner, options, report_draft)
    length = runner.info.context_length
    embedder = PartEmbedder(runner.model, options, runner.adapters, context_length=length)
    info = msgspec.structs.replace(
        runner.info,
        can_embed=True,
        embedding_size=embedder.size,
        max_text_tokens=embedder.max_text_tokens,
        memory=_together(runner.info.memory, drafter.memory) if drafter else runner.info.memory,
    )

    def close() -> None:
        embedder.close()
        if drafter:
            drafter.close()
        runner.close()

    return OpenedModel(
        info,
        runner,
        embedder,
        close,
        max_draft(options, has_gpu=bool(llama_cpp.llama_supports_gpu_offload())),
        looks_up=options.speculation != "draft",
        drafter=drafter,
    )


def _open_draft(
    runner: LlamaCppRunner, options: LlamaCppOptions, on_progress: Callable[[float], object]
) -> DraftModel | None:
    """Open the draft model, if one is wanted; without it the other is closed, too."""
    if not has_draft_model(options):
        return None
    path, length = Path(options.draft_model), runner.info.context_length
    try:
        return DraftModel(path, runner.vocabulary, length, options, on_progress)
    except BaseException:
        runner.close()
        raise


def _shares(
    path: Path, options: LlamaCppOptions, on_progress: Callable[[float], object]
) -> tuple[Callable[[float], object], Callable[[float], object]]:
    """Return what to tell of the model and of its draft model, each by the size of its files."""
    if not has_draft_model(options):
        return on_progress, on_progress
    sizes = [
        sum(part.stat().st_size for part in parts_of(first))
        for first in (path, Path(options.draft_model))
    ]
    share = sizes[0] / sum(sizes)
    return (
        lambda fraction: on_progress(share * fraction),
        lambda fraction: on_progress(share + (1 - share) * fraction),
    )


def _together(one: Memory, other: Memory) -> Memory:
    return Memory(
        one.weights_bytes + other.weights_bytes,
        one.kv_bytes + other.kv_bytes,
        one.compute_bytes + other.compute_bytes,
    )


def _open_embedder(
    path: Path,
    name: str,
    options: LlamaCppOptions,
    header: GGUFHeader,
    on_progress: Callable[[float], None],
) -> OpenedModel:
    """Open a model that makes vectors or ranks, and nothing else."""
    model, log = open_model(path, options, on_progress)
    pooling = Pooling(header.pooling) if header.pooling else None
    try:
        adapters = Adapters(model, path, options.lora, log)
    except LoadFailed:
        llama_cpp.llama_model_free(model)
        raise
    embedder = _embedder_of(model, options, pooling, adapters, header)
    embedder.warm_up()
    weights_bytes: int = llama_cpp.llama_model_size(model) + adapters.num_bytes
    info = ModelInfo(
        name=name,
        context_length=embedder.max_text_tokens,
        num_slots=embedder.max_batch_texts,
        num_threads=num_threads_batch(options),
        memory=Memory(weights_bytes, log.kv_bytes or 0, log.compute_bytes),
        can_generate=False,
        can_embed=not embedder.can_rerank,
        can_rerank=embedder.can_rerank,
        embedding_size=0 if embedder.can_rerank else embedder.size,
        can_embed_tokens=embedder.can_embed_tokens,
        max_text_tokens=embedder.max_text_tokens,
    )

    def close() -> None:
        embedder.close()
        llama_cpp.llama_model_free(model)

    return OpenedModel(info, None, embedder, close)


def _embedder_of(
    model: int,
    options: LlamaCppOptions,
    pooling: Pooling | None,
    adapters: Adapters,
    header: GGUFHeader,
) -> LlamaCppEmbedder:
    """Return what reads texts in parts, where the network allows that, else what reads them whole.

    Raises:
        EngineError: There is no memory for its context.
    """
    is_causal = metadata(model, f"{header.architecture}.attention.causal") != "false"
    if is_causal and not header.is_encoder and pooling is not Pooling.RANK:
        parts = PartEmbedder(model, options, adapters, pooling=pooling)
        if parts.can_embed_tokens and parts.has_memory:
            return parts
        parts.close()
    return LlamaCppEmbedder(model, options, pooling, adapters, is_encoder=header.is_encoder)


if __name__ == "__main__":
    run(open_spec)
