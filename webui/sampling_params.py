"""The one schema of sampling: bounds, default and help of each parameter, once.

A value file. The Parameters tab, the API body, the docs table and the worker all read it from
here. `Control` holds only what a drawing needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

MAX_STOP_STRINGS = 16
MAX_SYSTEM_PROMPT_CHARS = 200_000
MAX_TOP_LOGPROBS = 20
MAX_BANNED_STRINGS = 64
MAX_BIASES = 1024
MAX_BREAKERS = 16
MAX_BREAKER_CHARS = 40


@dataclass(frozen=True, slots=True)
class Control:
    """How a field is drawn.

    Attributes:
        group: Heading under which it stands.
        step: Smallest change of a slider; None draws a number box or text.
        soft_max: Right end of the slider when smaller than the bound.
        lines: Rows of a text box.
    """

    group: str
    step: float | None = None
    soft_max: float | None = None
    lines: int = 1


StopString = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Breaker = Annotated[str, StringConstraints(min_length=1, max_length=MAX_BREAKER_CHARS)]
OverflowPolicy = Literal["stop", "drop_oldest", "cut_middle", "shift"]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
Bias = Annotated[float, Field(ge=-100, le=100)]
SamplerName = Literal[
    "penalties",
    "dry",
    "top_n_sigma",
    "top_k",
    "typical_p",
    "top_p",
    "min_p",
    "xtc",
    "temperature",
]
# Source: llama.cpp, common/common.h, common_params_sampling.samplers.
SAMPLER_ORDER: tuple[SamplerName, ...] = get_args(SamplerName)


class SamplingParams(BaseModel):
    """How the next token is chosen, and when to stop.

    Every bound is inclusive; NaN and infinity are refused by `allow_inf_nan=False`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    system_prompt: Annotated[str, Control("Instructions", lines=4)] = Field(
        default="",
        max_length=MAX_SYSTEM_PROMPT_CHARS,
        title="System prompt",
        description="Said to the model before every conversation: who it is and how to answer.",
    )
    temperature: Annotated[float, Control("Sampling", step=0.05)] = Field(
        default=0.7,
        ge=0,
        le=2,
        title="Temperature",
        description="Higher is more varied, lower more focused; 0 always takes the likeliest "
        "token, so the same question gives the same answer.",
    )
    top_p: Annotated[float, Control("Sampling", step=0.01)] = Field(
        default=0.95,
        ge=0,
        le=1,
        title="Top-p",
        description="Chooses among the likeliest tokens that together reach this probability; "
        "1 switches it off.",
    )
    top_k: Annotated[int, Control("Sampling", step=1, soft_max=200)] = Field(
        default=40,
        ge=0,
        le=100_000,
        title="Top-k",
        description="Chooses among this many of the likeliest tokens; 0 switches it off.",
    )
    min_p: Annotated[float, Control("Sampling", step=0.01)] = Field(
        default=0.05,
        ge=0,
        le=1,
        title="Min-p",
        description="Drops tokens less likely than this share of the likeliest one; "
        "0 switches it off.",
    )
    repeat_penalty: Annotated[float, Control("Repetition", step=0.01)] = Field(
        default=1.0,
        ge=0.1,
        le=2,
        title="Repeat penalty",
        description="Above 1 makes tokens that were used lately less likely; 1 switches it off.",
    )
    repeat_last_n: Annotated[int, Control("Repetition", step=1, soft_max=2048)] = Field(
        default=64,
        ge=0,
        le=1_000_000,
        title="Penalty range",
        description="How many of the latest tokens the three penalties look at.",
    )
    frequency_penalty: Annotated[float, Control("Repetition", step=0.05)] = Field(
        default=0.0,
        ge=-2,
        le=2,
        title="Frequency penalty",
        description="Makes a token less likely each time it was used; 0 switches it off.",
    )
    presence_penalty: Annotated[float, Control("Repetition", step=0.05)] = Field(
        default=0.0,
        ge=-2,
        le=2,
        title="Presence penalty",
        description="Makes every token that was used at all less likely; 0 switches it off.",
    )
    max_tokens: Annotated[int, Control("Length", step=1, soft_max=8192)] = Field(
        default=2048,
        ge=1,
        le=1_000_000,
        title="Max tokens",
        description="The longest reply, in tokens; it also ends where the context is full.",
    )
    context_overflow: Annotated[OverflowPolicy, Control("Length")] = Field(
        default="stop",
        title="When the context is full",
        description="What happens to a conversation that is longer than the model can see: stop "
        "refuses, drop_oldest leaves out the oldest turns, cut_middle keeps the first one too, "
        "shift also lets go of the oldest tokens while the reply is being written.",
    )
    min_tokens: Annotated[int, Control("Length", step=1, soft_max=1024)] = Field(
        default=0,
        ge=0,
        le=1_000_000,
        title="Min tokens",
        description="Neither the model nor a stop string ends the reply before this many tokens.",
    )
    seed: Annotated[int, Control("Length")] = Field(
        default=-1,
        ge=-1,
        le=2**32 - 2,
        title="Seed",
        description="The same seed and question give the same answer, as far as numbers are "
        "rounded alike; -1 takes a new one each time.",
    )
    stop: Annotated[tuple[StopString, ...], Control("Length", lines=2)] = Field(
        default=(),
        max_length=MAX_STOP_STRINGS,
        title="Stop strings",
        description="The reply ends before any of these; one per line.",
    )
    ignore_eos: Annotated[bool, Control("Length")] = Field(
        default=False,
        title="Never end by itself",
        description="The model cannot end its reply; only a stop string or the length does.",
    )
    dynatemp_range: Annotated[float, Control("Dynamic temperature", step=0.05)] = Field(
        default=0.0,
        ge=0,
        le=2,
        title="Temperature range",
        description="Moves the temperature by up to this much, down where the model is sure "
        "and up where it is not; 0 switches it off.",
    )
    dynatemp_exponent: Annotated[float, Control("Dynamic temperature", step=0.05, soft_max=5)] = (
        Field(
            default=1.0,
            ge=0.1,
            le=10,
            title="Temperature exponent",
            description="How the uncertainty of the model becomes temperature; above 1 the "
            "temperature stays low for longer.",
        )
    )
    typical_p: Annotated[float, Control("More ways to drop tokens", step=0.01)] = Field(
        default=1.0,
        ge=0,
        le=1,
        title="Typical-p",
        description="Chooses among the tokens that are about as surprising as the model "
        "expects, up to this probability together; 1 switches it off.",
    )
    top_n_sigma: Annotated[float, Control("More ways to drop tokens", step=0.05, soft_max=5)] = (
        Field(
            default=0.0,
            ge=0,
            le=10,
            title="Top-n-sigma",
            description="Drops tokens whose score lies more than this many standard deviations "
            "below the best; 0 switches it off.",
        )
    )
    xtc_probability: Annotated[float, Control("More ways to drop tokens", step=0.01)] = Field(
        default=0.0,
        ge=0,
        le=1,
        title="XTC probability",
        description="How often the likeliest tokens are dropped in favour of a less likely "
        "one; 0 switches it off.",
    )
    xtc_threshold: Annotated[float, Control("More ways to drop tokens", step=0.01)] = Field(
        default=0.1,
        ge=0,
        le=0.5,
        title="XTC threshold",
        description="XTC drops all tokens at least this likely but the least likely of them.",
    )
    mirostat: Annotated[int, Control("Steady surprise", step=1)] = Field(
        default=0,
        ge=0,
        le=2,
        title="Mirostat",
        description="Keeps the text equally surprising, by version 1 or 2, in place of all "
        "samplers that drop tokens; 0 switches it off.",
    )
    mirostat_tau: Annotated[float, Control("Steady surprise", step=0.1)] = Field(
        default=5.0,
        ge=0,
        le=10,
        title="Mirostat target",
        description="How surprising the text shall be, in bits a token.",
    )
    mirostat_eta: Annotated[float, Control("Steady surprise", step=0.01)] = Field(
        default=0.1,
        ge=0,
        le=1,
        title="Mirostat rate",
        description="How quickly Mirostat corrects itself.",
    )
    adaptive_target: Annotated[float, Control("Steady surprise", step=0.01)] = Field(
        default=0.0,
        ge=0,
        le=1,
        title="Adaptive-p target",
        description="Prefers tokens about this likely, so that the mean comes out there; "
        "0 switches it off.",
    )
    adaptive_decay: Annotated[float, Control("Steady surprise", step=0.01)] = Field(
        default=0.9,
        ge=0,
        le=0.99,
        title="Adaptive-p decay",
        description="How long adaptive-p remembers the tokens it chose; higher is longer.",
    )
    dry_multiplier: Annotated[float, Control("Repeated passages (DRY)", step=0.05)] = Field(
        default=0.0,
        ge=0,
        le=5,
        title="DRY multiplier",
        description="How strongly going on with a passage that stood there before is made "
        "unlikely; 0 switches it off, 0.8 is usual.",
    )
    dry_base: Annotated[float, Control("Repeated passages (DRY)", step=0.05)] = Field(
        default=1.75,
        ge=1,
        le=4,
        title="DRY base",
        description="How quickly that grows with the length of the passage.",
    )
    dry_allowed_length: Annotated[int, Control("Repeated passages (DRY)", step=1, soft_max=20)] = (
        Field(
            default=2,
            ge=1,
            le=1000,
            title="DRY allowed length",
            description="Passages up to this many tokens may be repeated freely.",
        )
    )
    dry_penalty_last_n: Annotated[
        int, Control("Repeated passages (DRY)", step=1, soft_max=8192)
    ] = Field(
        default=-1,
        ge=-1,
        le=1_000_000,
        title="DRY range",
        description="How many of the latest tokens DRY looks at; -1 takes the whole context, "
        "0 switches it off.",
    )
    dry_sequence_breakers: Annotated[
        tuple[Breaker, ...], Control("Repeated passages (DRY)", lines=4)
    ] = Field(
        default=("\n", ":", '"', "*"),
        max_length=MAX_BREAKERS,
        title="DRY breakers",
        description="A passage ends at any of these; one per line, \\n is a line break.",
    )
    logit_bias: Annotated[dict[TokenId, Bias], Control("Words", lines=2)] = Field(
        default_factory=dict,
        max_length=MAX_BIASES,
        title="Logit bias",
        description="Makes tokens more or less likely, each a line with its id and a number "
        "from -100 to 100, such as 15: -2.5.",
    )
    banned_tokens: Annotated[tuple[TokenId, ...], Control("Words", lines=2)] = Field(
        default=(),
        max_length=MAX_BIASES,
        title="Banned tokens",
        description="Ids of tokens that never come; one per line.",
    )
    banned_strings: Annotated[tuple[StopString, ...], Control("Words", lines=2)] = Field(
        default=(),
        max_length=MAX_BANNED_STRINGS,
        title="Banned strings",
        description="What the reply never says, in just these letters; one per line.",
    )
    sampler_order: Annotated[tuple[SamplerName, ...], Control("Order", lines=9)] = Field(
        default=SAMPLER_ORDER,
        max_length=len(SAMPLER_ORDER),
        title="Order of samplers",
        description="The samplers run in this order, one per line; one that is left out does "
        "not run.",
    )
    logprobs: bool = Field(
        default=False,
        title="Log-probabilities",
        description="Tells how likely each token of the reply was; in the API only.",
    )
    top_logprobs: int = Field(
        default=0,
        ge=0,
        le=MAX_TOP_LOGPROBS,
        title="Top alternatives",
        description="How many of the likeliest tokens are told with each token; needs `logprobs`.",
    )

    @field_validator("sampler_order")
    @classmethod
    def _each_once(cls, order: tuple[SamplerName, ...]) -> tuple[SamplerName, ...]:
        for name in order:
            if order.count(name) > 1:
                raise ValueError(f"{name} stands there twice")
        return order
