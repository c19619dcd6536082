"""The sampling parameters a body of the dialect may hold, under all names that clients use.

Knows names and forms; what a value may be is checked by `SamplingParams` alone. Ours come first,
then those of llama-server, text-generation-webui and vLLM, where they differ.
"""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeGuard

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictStr,
    ValidationError,
)

from webui.api.errors import invalid_input
from webui.api.openai.sampler_names import read_order
from webui.errors import InvalidRequest
from webui.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Mapping

ALL_TOKENS = 1_000_000
MAX_ID_DIGITS = 10
NO_SENDERS: Mapping[str, str] = MappingProxyType({})
# Asked for by name; the ones of `SamplingParams` that are not here cannot be set by a body.
OWN_NAMES = tuple(SamplingParams.model_fields.keys() - {"system_prompt", "logprobs"})
ALIASES = {
    "max_completion_tokens": "max_tokens",
    "max_new_tokens": "max_tokens",
    "n_predict": "max_tokens",
    "repetition_penalty": "repeat_penalty",
    "repetition_penalty_range": "repeat_last_n",
    "typ_p": "typical_p",
    "mirostat_mode": "mirostat",
    "ban_eos_token": "ignore_eos",
    "custom_token_bans": "banned_tokens",
    "samplers": "sampler_order",
    "sampler_priority": "sampler_order",
}
RANDOM_SEED = 2**32 - 1
# What others write for what: -1 or the greatest seed where we write something else.
OTHER_NUMBERS: Mapping[tuple[str, float], int] = {
    ("top_n_sigma", -1): 0,
    ("adaptive_target", -1): 0,
    ("repeat_last_n", -1): ALL_TOKENS,
    ("max_tokens", -1): ALL_TOKENS,
    ("seed", RANDOM_SEED): -1,
}
MAX_SENT_SEED = 2**63 - 1  # OpenAI's seeds have 64 bits; the sampler's have 32
MAX_XTC_THRESHOLD = 0.5  # above it XTC has nothing to do; others take that for a switch


class Known(BaseModel):
    """A part of a body; fields that are not declared are ignored and bound to nothing."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class SamplerFields(Known):
    """Parameters of a reply; null stands for the default, as for OpenAI."""

    temperature: Any = None
    dynatemp_range: Any = None
    dynatemp_exponent: Any = None
    top_p: Any = None
    top_k: Any = None
    min_p: Any = None
    typical_p: Any = None
    top_n_sigma: Any = None
    xtc_probability: Any = None
    xtc_threshold: Any = None
    mirostat: Any = None
    mirostat_tau: Any = None
    mirostat_eta: Any = None
    adaptive_target: Any = None
    adaptive_decay: Any = None
    repeat_penalty: Any = None
    repeat_last_n: Any = None
    frequency_penalty: Any = None
    presence_penalty: Any = None
    dry_multiplier: Any = None
    dry_base: Any = None
    dry_allowed_length: Any = None
    dry_penalty_last_n: Any = None
    dry_sequence_breakers: Any = None
    logit_bias: Any = None
    banned_tokens: Any = None
    banned_strings: Any = None
    max_tokens: Any = None
    context_overflow: Any = None
    min_tokens: Any = None
    ignore_eos: Any = None
    seed: Any = None
    stop: StrictStr | list[Any] | None = None
    sampler_order: Any = None
    top_logprobs: Any = None
    # Other names of the same.
    max_completion_tokens: Any = None
    max_new_tokens: Any = None
    n_predict: Any = None
    repetition_penalty: Any = None
    repetition_penalty_range: Any = None
    typ_p: Any = None
    mirostat_mode: Any = None
    ban_eos_token: Any = None
    custom_token_bans: Any = None
    samplers: Any = None
    sampler_priority: Any = None
    dynamic_temperature: StrictBool | None = None
    dynatemp_low: StrictFloat | None = Field(default=None, ge=0)
    dynatemp_high: StrictFloat | None = Field(default=None, ge=0)

    def sampling(self, senders: Mapping[str, str] = NO_SENDERS, **more: object) -> SamplingParams:
        """Return how to sample; what is not asked takes our default.

        Args:
            senders: Under which names those parameters were sent.
            **more: Parameters that the caller has found out by himself.

        Raises:
            InvalidRequest: A value is out of its range; names the field as the sender did.
        """
        asked, names = self._asked()
        names |= senders
        asked |= _forms(asked, names) | more
        if temperature := self._dynamic_temperature():
            asked |= temperature
            names["temperature"] = "dynatemp_high"
        try:
            # Strictly, and as JSON, in which a list may be a tuple and the name of a token text.
            return SamplingParams.model_validate_json(json.dumps(_whole(asked)), strict=True)
        except ValidationError as error:
            problem = invalid_input(error.errors(include_url=False, include_input=False))
            raise _as_sent(problem, names) from error

    def _asked(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return values by our names, and under which name each was sent."""
        asked: dict[str, Any] = {}
        senders: dict[str, str] = {}
        for name, ours in (dict(zip(OWN_NAMES, OWN_NAMES, strict=True)) | ALIASES).items():
            value = getattr(self, name)
            # OpenAI's newer name wins over the older one; ours wins over other people's.
            if value is not None and (ours not in asked or name == "max_completion_tokens"):
                asked[ours] = value
                senders[ours] = name
        return asked, senders

    def _dynamic_temperature(self) -> dict[str, object]:
        """Return text-generation-webui's two ends of the temperature as middle and range.

        Raises:
            InvalidRequest: There is but one end, or they are the wrong way round.
        """
        low, high = self.dynatemp_low, self.dynatemp_high
        if not self.dynamic_temperature or low is high is None:
            return {}
        if low is None or high is None:
            missing = "dynatemp_low" if low is None else "dynatemp_high"
            raise InvalidRequest(f"{missing} is missing", "Send both ends.", field=missing)
        if low > high:
            raise InvalidRequest(
                f"dynatemp_low: {low:g} is more than dynatemp_high, {high:g}",
                "Send the lower end as dynatemp_low.",
                field="dynatemp_low",
            )
        return {"temperature": (low + high) / 2, "dynatemp_range": (high - low) / 2}


def _forms(asked: Mapping[str, Any], senders: Mapping[str, str]) -> dict[str, object]:
    """Return the values that come in other forms than ours, in ours.

    Raises:
        InvalidRequest: One is of no form that anybody writes; names the field as the sender did.
    """
    found: dict[str, object] = {
        name: ours
        for (name, theirs), ours in OTHER_NUMBERS.items()
        if _is_number(value := asked.get(name)) and value == theirs
    }
    threshold = asked.get("xtc_threshold")
    if _is_number(threshold) and MAX_XTC_THRESHOLD < threshold <= 1:
        found |= {"xtc_threshold": MAX_XTC_THRESHOLD, "xtc_probability": 0}
    seed = asked.get("seed")
    if isinstance(seed, int) and RANDOM_SEED < seed <= MAX_SENT_SEED:
        found["seed"] = seed % RANDOM_SEED
    if isinstance(stop := asked.get("stop"), str):
        found["stop"] = (stop,)
    if isinstance(bans := asked.get("banned_tokens"), str):
        found["banned_tokens"] = _token_ids(bans, senders["banned_tokens"])
    if isinstance(order := asked.get("sampler_order"), list | str):
        found["sampler_order"] = read_order(order, senders["sampler_order"])
    if isinstance(biases := asked.get("logit_bias"), list | dict):
        found |= _biases(biases, found.get("banned_tokens", asked.get("banned_tokens")))
    return found


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with 40.0 as 40: JSON has one kind of number, and some write all so."""
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in asked.items()
    }


def _token_ids(bans: str, field: str) -> tuple[int, ...]:
    """Return ids that stand in a text with commas.

    Raises:
        InvalidRequest: One is no id.
    """
    parts = [part for ban in bans.split(",") if (part := ban.strip())]
    for part in parts:
        if not _is_id(part):
            raise InvalidRequest(
                f"{field}: {part[:MAX_ID_DIGITS]!r} is no id of a token",
                "Send ids with commas between them.",
                field=field,
            )
    return tuple(map(int, parts))


def _biases(asked: list[Any] | dict[str, Any], banned: object) -> dict[str, object]:
    """Return llama-server's ids and biases, of which false bans, in our form.

    Args:
        asked: Pairs, or biases by id.
        banned: What is banned besides; left alone where it is no list.

    Raises:
        InvalidRequest: They are no such pairs.
    """
    by_id = isinstance(asked, dict)
    biases: dict[int | str, object] = {}
    bans: list[object] = []
    for pair in map(_with_id, asked.items()) if isinstance(asked, dict) else asked:
        match pair:
            case [int(token), False] if not isinstance(token, bool):
                bans.append(token)
            case [int() | str() as token, bias] if by_id or (
                _is_number(token) and _is_number(bias)
            ):
                biases[token] = bias
            case _:
                raise InvalidRequest(
                    "logit_bias: every entry must be a token id and a number, or false",
                    field="logit_bias",
                )
    if not bans or not (banned is None or isinstance(banned, list | tuple)):
        return {"logit_bias": biases}
    return {"logit_bias": biases, "banned_tokens": (*(banned or ()), *bans)}


def _with_id(item: tuple[str, Any]) -> tuple[int | str, Any]:
    """Return a bias with its id as a number; what is none is left to the schema."""
    name, bias = item
    return (int(name), bias) if _is_id(name) else (name, bias)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MAX_ID_DIGITS


def _as_sent(problem: InvalidRequest, senders: Mapping[str, str]) -> InvalidRequest:
    """Return a complaint about our field under the name of the sender's."""
    ours, dot, rest = (problem.field or "").partition(".")
    sent = senders.get(ours, ours)
    if sent == ours:
        return problem
    field = f"{sent}{dot}{rest}"
    said = problem.message.removeprefix(problem.field or "")
    return InvalidRequest(f"{field}{said}", problem.hint, field=field)
