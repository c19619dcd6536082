"""The one schema of sampling: bounds, default and help of each parameter, once.

A value file. The Parameters tab, the API body, the docs table and the worker all read it from
here. `Control` holds only what a drawing needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MAX_STOP_STRINGS = 16
MAX_SYSTEM_PROMPT_CHARS = 200_000
MAX_TOP_LOGPROBS = 20


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
    seed: Annotated[int, Control("Length")] = Field(
        default=-1,
        ge=-1,
        le=2**32 - 2,
        title="Seed",
        description="The same seed and question give the same answer; -1 takes a new one "
        "each time.",
    )
    stop: Annotated[tuple[StopString, ...], Control("Length", lines=2)] = Field(
        default=(),
        max_length=MAX_STOP_STRINGS,
        title="Stop strings",
        description="The reply ends before any of these; one per line.",
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
