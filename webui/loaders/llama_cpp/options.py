"""What can be set when llama.cpp loads a model.

Knows no llama_cpp: the web process draws and checks these values, only the child uses them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from webui.engine.adapters import MAX_ADAPTERS
from webui.engine.cores import num_cores
from webui.errors import WebuiError
from webui.loaders.llama_cpp.cache_types import CACHE_TYPES, CacheTypeName
from webui.loaders.llama_cpp.lora_adapter import MAX_PATH_CHARS, LoraAdapter
from webui.sampling_params import Control

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FlashAttention = Literal["auto", "on", "off"]
MAX_THREADS = 256
MAX_CONTEXT_LENGTH = 16_777_216
MIN_CONTEXT_LENGTH = 32  # a question of one word in a chat template takes about as many
MIN_ROPE_SCALE = 1 / 512  # smaller ones stretch a context beyond what llama.cpp counts in 32 bits
MIN_ROPE_BASE = 1.0  # below it positions would turn the faster the less they should
DEFAULT_CONTEXT_LENGTH = 8192
MAX_GPUS = 16
MAX_DRAFT = 62  # with the token before it a step stays below 64 tokens, see `engine.drafting`


def _listed(value: object) -> object:
    """Return the parts of a text with commas, as the page and command lines write lists."""
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, str):
        return value
    return tuple(_number(part.strip()) for part in value.split(",")) if value.strip() else ()


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # the field says what is wrong with it


def _nought_or(least: float) -> AfterValidator:
    """Return what refuses a value between 0, which stands for a choice of ours, and the least."""

    def check(value: float) -> float:
        if 0 < value < least:
            raise ValueError(f"{value:g} is below the least, {least:.9g}; 0 takes what is usual")
        return value

    return AfterValidator(check)


Share = Annotated[float, Field(ge=0, le=1_000_000)]


class LlamaCppOptions(BaseModel):
    """How llama.cpp loads and runs one model; every bound is inclusive.

    The Model tab draws those with a `Control`, and the others as one text; the API takes all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    context_length: Annotated[
        int, Control("Memory", step=256, soft_max=32_768), _nought_or(MIN_CONTEXT_LENGTH)
    ] = Field(
        default=0,
        ge=0,
        le=MAX_CONTEXT_LENGTH,
        title="Context length",
        description="How many tokens of one conversation the model can see, at least 32; 0 takes "
        "up to 8192, or 4096 where memory is short.",
    )
    slots: Annotated[int, Control("Memory", step=1, soft_max=16)] = Field(
        default=4,
        ge=1,
        le=64,
        title="Parallel replies",
        description="How many replies are written at the same time; each takes memory for a "
        "whole context.",
    )
    cache_type_k: Annotated[CacheTypeName, Control("Memory")] = Field(
        default="f16",
        title="Type of cached keys",
        description="How keys of read tokens are kept; q8_0 takes half the memory of f16.",
    )
    cache_type_v: Annotated[CacheTypeName, Control("Memory")] = Field(
        default="f16",
        title="Type of cached values",
        description="How values of read tokens are kept; smaller than f16 needs flash attention.",
    )
    gpu_layers: Annotated[int, Control("Compute", step=1, soft_max=100)] = Field(
        default=-1,
        ge=-1,
        le=1024,
        title="GPU layers",
        description="How many layers go to the graphics card; -1 takes as many as fit, 0 none.",
    )
    threads: Annotated[int, Control("Compute", step=1, soft_max=32)] = Field(
        default=0,
        ge=0,
        le=MAX_THREADS,
        title="Threads",
        description="Processor threads that write the reply; 0 lets the engine find the best number, "
        "beginning with all cores but one, unless the threads for the prompt are set.",
    )
    threads_batch: Annotated[int, Control("Compute", step=1, soft_max=32)] = Field(
        default=0,
        ge=0,
        le=MAX_THREADS,
        title="Threads for the prompt",
        description="Processor threads that read the prompt; 0 takes as many as write the reply, "
        "or lets the engine find the best number where neither is set.",
    )
    batch_size: Annotated[int, Control("Compute", step=64, soft_max=4096)] = Field(
        default=2048,
        ge=32,
        le=16_384,
        title="Batch size",
        description="The most tokens that one step takes in, of all replies together; at least one "
        "for each of them.",
    )
    ubatch_size: Annotated[int, Control("Compute", step=64, soft_max=2048)] = Field(
        default=512,
        ge=32,
        le=16_384,
        title="Micro-batch size",
        description="The most tokens computed at once; larger reads prompts faster and takes "
        "more memory.",
    )
    flash_attn: Annotated[FlashAttention, Control("Compute")] = Field(
        default="auto",
        title="Flash attention",
        description="Compute attention in pieces; auto does so on a graphics card, and on the "
        "processor, where it makes long conversations slow, only if another option needs it.",
    )
    lora: Annotated[tuple[LoraAdapter, ...], Control("Adapters", lines=2)] = Field(
        default=(),
        max_length=MAX_ADAPTERS,
        title="LoRA adapters",
        description="Files in the models folder that change what the model says, one a line, "
        "with a scale behind a colon where it is not 1.",
    )
    # Rarely needed options have no `Control`: the page has one text box for all of them.
    mmap: bool = Field(
        default=True,
        title="Map the file",
        description="Read weights from the file as they are needed, instead of copying them.",
    )
    mlock: bool = Field(
        default=False,
        title="Lock in memory",
        description="Keep the system from moving weights out to disk, where it permits that.",
    )
    swa_full: bool = Field(
        default=True,
        title="Whole cache for sliding windows",
        description="Keep all tokens for models that see only the last ones; off saves memory, "
        "and then an edited conversation is read anew.",
    )
    check_tensors: bool = Field(
        default=False,
        title="Check the weights",
        description="Look for damaged numbers while loading; takes longer.",
    )
    offload_kqv: bool = Field(
        default=True,
        title="Cache on the graphics card",
        description="Keep keys and values of the layers that are on the graphics card there too.",
    )
    op_offload: bool = Field(
        default=True,
        title="Read prompts on the graphics card",
        description="Compute large steps on the graphics card, with weights that lie elsewhere.",
    )
    split_mode: Literal["none", "layer", "row"] = Field(
        default="layer",
        title="Split over graphics cards",
        description="Give whole layers to each card, rows of every layer, or all to one card "
        "(none).",
    )
    tensor_split: Annotated[tuple[Share, ...], BeforeValidator(_listed)] = Field(
        default=(),
        max_length=MAX_GPUS,
        title="Shares of the graphics cards",
        description="How much each card gets, such as 3, 1 for three quarters and one; empty "
        "goes by their free memory.",
    )
    main_gpu: int = Field(
        default=0,
        ge=0,
        le=MAX_GPUS - 1,
        title="Main graphics card",
        description="Number of the card that gets all where the model is not split, from 0.",
    )
    cpu_moe: bool = Field(
        default=False,
        title="Experts on the processor",
        description="Keep the experts of all layers (mixture of experts) off the graphics card.",
    )
    n_cpu_moe: int = Field(
        default=0,
        ge=0,
        le=512,
        title="Layers with experts on the processor",
        description="Keep the experts of so many first layers off the graphics card.",
    )
    kv_unified: bool = Field(
        default=False,
        title="One cache for all replies",
        description="Let all replies share one pool of memory; each then looks at the cells of "
        "all, which is slower with several and lets rounding depend on who else is there.",
    )
    kv_cells: Annotated[int, _nought_or(MIN_CONTEXT_LENGTH)] = Field(
        default=0,
        ge=0,
        le=MAX_CONTEXT_LENGTH,
        title="Tokens of the one cache",
        description="How many tokens one cache for all replies holds, all taken together, at least "
        "one context; so many long replies share less memory, and wait for each other where it "
        "is full. 0 takes a context for each reply.",
    )
    numa: Literal["disabled", "distribute", "isolate", "numactl"] = Field(
        default="disabled",
        title="NUMA",
        description="On a machine with several processors spread the threads over all, keep them "
        "on one, or do as numactl says.",
    )
    rope_scaling: Literal["auto", "none", "linear", "yarn"] = Field(
        default="auto",
        title="RoPE scaling",
        description="How positions are stretched for a longer context; auto does as the model "
        "file says.",
    )
    rope_freq_base: Annotated[float, _nought_or(MIN_ROPE_BASE)] = Field(
        default=0,
        ge=0,
        le=10_000_000_000,
        title="RoPE base",
        description="Base of the position frequencies, at least 1; 0 takes that of the model.",
    )
    rope_freq_scale: Annotated[float, _nought_or(MIN_ROPE_SCALE)] = Field(
        default=0,
        ge=0,
        le=1,
        title="RoPE scale",
        description="Factor of the position frequencies, at least 1/512: 0.5 doubles the context; "
        "0 takes that of the model.",
    )
    yarn_orig_ctx: Annotated[int, _nought_or(MIN_CONTEXT_LENGTH)] = Field(
        default=0,
        ge=0,
        le=4_194_304,
        title="YaRN original context",
        description="Context length that the model was trained with, at least 32; 0 takes that of "
        "the model.",
    )
    yarn_ext_factor: float = Field(
        default=-1,
        ge=-1,
        le=1,
        title="YaRN extrapolation",
        description="Share of extrapolation, 0 interpolates only; -1 takes that of the model.",
    )
    yarn_attn_factor: float = Field(
        default=-1,
        ge=-1,
        le=10,
        title="YaRN attention factor",
        description="Factor of the attention's size; -1 takes that of the model.",
    )
    yarn_beta_fast: float = Field(
        default=-1,
        ge=-1,
        le=1024,
        title="YaRN beta fast",
        description="Turns from which on frequencies stay as they are; -1 takes that of the model.",
    )
    yarn_beta_slow: float = Field(
        default=-1,
        ge=-1,
        le=1024,
        title="YaRN beta slow",
        description="Turns up to which frequencies are stretched; -1 takes that of the model.",
    )
    speculation: Annotated[Literal["auto", "ngram", "draft", "off"], Control("Speculation")] = (
        Field(
            default="auto",
            title="Speculation",
            description="Guess how a reply goes on and check several tokens in one step: ngram looks "
            "up what stood there before, draft asks the draft model, off guesses nothing. auto does "
            "both, the first only on a graphics card or beside a draft model. All need flash attention, "
            "which a processor does without otherwise. A guess is kept only where the model itself says "
            "the same; but numbers are rounded otherwise, so that now and then a reply goes another "
            "way than without. Where it does not pay it is left out.",
        )
    )
    draft_model: Annotated[str, Control("Speculation")] = Field(
        default="",
        max_length=MAX_PATH_CHARS,
        title="Draft model",
        description="A smaller model of the same family in the models folder, which guesses how "
        "replies go on; empty for none.",
    )
    draft_max: int = Field(
        default=31,
        ge=1,
        le=MAX_DRAFT,
        title="Longest guess",
        description="The most tokens that are guessed at once.",
    )

    def located(
        self, find_adapter: Callable[[str], Path], find_model: Callable[[str], Path]
    ) -> LlamaCppOptions:
        """Return these options with the whole paths of the files they name.

        Args:
            find_adapter: Returns the adapter that a name means; its errors go through, with the
                field that named it.
            find_model: The same for a model.
        """
        lora = tuple(
            one.model_copy(update={"path": _found(find_adapter, one.path, f"lora[{index}].path")})
            for index, one in enumerate(self.lora)
        )
        draft = self.draft_model
        if has_draft_model(self):
            draft = _found(find_model, draft, "draft_model")
        return self.model_copy(update={"lora": lora, "draft_model": draft})


def _found(find: Callable[[str], Path], name: str, field: str) -> str:
    try:
        return str(find(name))
    except WebuiError as error:
        error.field = field
        raise


def flash_attention(options: LlamaCppOptions, *, has_gpu: bool) -> FlashAttention:
    """Return how attention is computed; `auto` leaves it to llama.cpp.

    On a processor, with SmolLM2 Q4_1 and 1,000 tokens read, flash attention takes 43 ms for the
    next token and 520 ms for the next 15, without it they take 20 and 145 ms.
    """
    if options.flash_attn != "auto":
        return options.flash_attn
    is_on_gpu = has_gpu and options.gpu_layers != 0
    is_needed = (
        CACHE_TYPES[options.cache_type_v].is_quantized
        or options.speculation in ("ngram", "draft")
        or has_draft_model(options)
    )
    return "auto" if is_on_gpu or is_needed else "off"


def max_draft(options: LlamaCppOptions, *, has_gpu: bool) -> int:
    """Return the most tokens that are guessed at once; 0 guesses none.

    Without flash attention several tokens are always computed in another order than one.
    """
    if options.speculation == "off" or flash_attention(options, has_gpu=has_gpu) == "off":
        return 0
    return options.draft_max


def has_draft_model(options: LlamaCppOptions) -> bool:
    """Return whether a draft model is loaded; one that is named but not used is not."""
    return bool(options.draft_model) and options.speculation in ("auto", "draft")


def num_threads(options: LlamaCppOptions) -> int:
    """Return the threads that write the reply: as asked, else all cores we may use but one."""
    return options.threads or max(1, num_cores() - 1)


def max_threads(options: LlamaCppOptions) -> int:
    """Return up to how many threads the engine may choose by itself; 0 where the user chose."""
    if options.threads or options.threads_batch:
        return 0
    return num_cores()


def num_threads_batch(options: LlamaCppOptions) -> int:
    """Return the threads that read the prompt."""
    return options.threads_batch or num_threads(options)
