"""The sampling parameters a body of the dialect may hold, under all names that clients use.

Knows names and forms; what a value may be is checked by `SamplingParams` alone. Ours come first,
then those of llama-server, text-generation-webui and vLLM, where they differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, StrictStr, ValidationError

from webui.api.errors import invalid_input
from webui.errors import InvalidRequest
from webui.sampling_params import SAMPLER_ORDER, SamplingParams

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

UNLIMITED_TOKENS = 1_000_000
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
SAMPLER_ALIASES = {
    "typ_p": "typical_p",
    "temp": "temperature",
    "dynamic_temperature": "temperature",
    "repetition_penalty": "penalties",
    "presence_penalty": "penalties",
    "frequency_penalty": "penalties",
}
# Others write -1 where we write 0.
OFF_BELOW_0 = ("top_n_sigma", "adaptive_target")


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
    dynamic_temperature: Any = None
    dynatemp_low: Any = None
    dynatemp_high: Any = None

    def sampling(self, **more: object) -> SamplingParams:
        """Return how to sample; what is not asked takes our default.

        Args:
            **more: Parameters that the caller has found out by himself.

        Raises:
            InvalidRequest: A value is out of its range; names the field as the sender did.
        """
        asked, senders = self._asked()
        asked |= _forms(asked) | self._dynamic_temperature() | more
        try:
            return SamplingParams.model_validate(asked)
        except ValidationError as error:
            problem = invalid_input(error.errors(include_url=False, include_input=False))
            raise _as_sent(problem, senders) from error

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
        """Return text-generation-webui's two ends of the temperature as middle and range."""
        low, high = self.dynatemp_low, self.dynatemp_high
        is_number = all(isinstance(end, int | float) for end in (low, high))
        if not self.dynamic_temperature or not is_number or low > high:
            return {}
        return {"temperature": (low + high) / 2, "dynatemp_range": (high - low) / 2}


def _forms(asked: Mapping[str, Any]) -> dict[str, object]:
    """Return the values that come in other forms than ours, in ours."""
    found: dict[str, object] = {
        name: 0
        for name in OFF_BELOW_0
        if isinstance(value := asked.get(name), int | float) and value < 0
    }
    if isinstance(stop := asked.get("stop"), str):
        found["stop"] = (stop,)
    if asked.get("max_tokens") == -1:
        found["max_tokens"] = UNLIMITED_TOKENS
    if isinstance(bans := asked.get("banned_tokens"), str):
        found["banned_tokens"] = tuple(filter(None, (ban.strip() for ban in bans.split(","))))
    if isinstance(order := asked.get("sampler_order"), list | str):
        found["sampler_order"] = _order(order)
    if isinstance(biases := asked.get("logit_bias"), list):
        found |= _biases(biases, asked.get("banned_tokens"))
    return found


def _order(asked: list[Any] | str) -> tuple[str, ...]:
    """Return an order of samplers in our names; those that we do not have are left out."""
    names = asked.replace(",", "\n").split("\n") if isinstance(asked, str) else map(str, asked)
    ours = (SAMPLER_ALIASES.get(name.strip(), name.strip()) for name in names)
    return tuple(dict.fromkeys(name for name in ours if name in SAMPLER_ORDER))


def _biases(pairs: Iterable[Any], banned: object) -> dict[str, object]:
    """Return llama-server's pairs of id and bias, where false bans, in our form.

    Raises:
        InvalidRequest: They are no such pairs.
    """
    biases: dict[int, float] = {}
    bans = list(banned) if isinstance(banned, list) else []
    for pair in pairs:
        match pair:
            case [int(token), False]:
                bans.append(token)
            case [int(token), int() | float() as bias] if bias is not True:
                biases[token] = bias
            case _:
                raise InvalidRequest(
                    "logit_bias: every entry must be a token id and a number, or false",
                    field="logit_bias",
                )
    return {"logit_bias": biases, "banned_tokens": tuple(bans)} if bans else {"logit_bias": biases}


def _as_sent(problem: InvalidRequest, senders: Mapping[str, str]) -> InvalidRequest:
    """Return a complaint about our field under the name of the sender's."""
    ours, dot, rest = (problem.field or "").partition(".")
    sent = senders.get(ours, ours)
    if sent == ours:
        return problem
    field = f"{sent}{dot}{rest}"
    said = problem.message.removeprefix(problem.field or "")
    return InvalidRequest(f"{field}{said}", field=field)
