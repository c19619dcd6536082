"""Orders of samplers as other servers name them, in our names.

Knows names alone. Samplers that others have and we do not are left out; a name that nobody has,
and one that stands there twice, is refused.

Source: llama.cpp, common/sampling.cpp, common_sampler_types_from_names and _from_chars.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.errors import InvalidRequest
from webui.sampling_params import SAMPLER_ORDER

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_SHOWN_CHARS = 40
SEPARATORS = "\n,"
# llama-server takes one string of letters; older ones knew f.
LETTERS = {
    "e": "penalties",
    "d": "dry",
    "s": "top_n_sigma",
    "k": "top_k",
    "y": "typical_p",
    "p": "top_p",
    "m": "min_p",
    "x": "xtc",
    "f": "tfs",
    "t": "temperature",
    "i": "infill",
    "a": "adaptive_p",
}
SAME = {
    "typ_p": "typical_p",
    "typ": "typical_p",
    "typical": "typical_p",
    "typp": "typical_p",
    "nucleus": "top_p",
    "temp": "temperature",
    **{name.replace("_", ""): name for name in SAMPLER_ORDER},
}
# What others run apart and we as one.
PARTS = {
    "dynamic_temperature": "temperature",
    "repetition_penalty": "penalties",
    "presence_penalty": "penalties",
    "frequency_penalty": "penalties",
}
NOT_OURS = frozenset(
    {
        "adaptive_p",
        "encoder_repetition_penalty",
        "epsilon_cutoff",
        "eta_cutoff",
        "infill",
        "mirostat",
        "no_repeat_ngram",
        "quadratic_sampling",
        "tfs",
        "top_a",
    }
)


def read_order(asked: list[object] | str, field: str) -> tuple[str, ...]:
    """Return an order of samplers in our names.

    Args:
        asked: Names as a list or with commas or line breaks between them; as `samplers` also
            llama-server's letters.
        field: Under which name it was sent.

    Raises:
        InvalidRequest: It holds something that is no sampler, or one twice.
    """
    names = [_same(name, field) for name in _split(asked, field)]
    for name in names:
        if names.count(name) > 1:
            raise InvalidRequest(
                f"{field}: {name} stands there twice", "Leave one of them out.", field=field
            )
    ours = (PARTS.get(name, name) for name in names)
    return tuple(dict.fromkeys(name for name in ours if name in SAMPLER_ORDER))


def _split(asked: list[object] | str, field: str) -> Iterable[object]:
    if not isinstance(asked, str):
        return asked
    if field == "samplers" and asked and set(asked) <= LETTERS.keys():
        return [LETTERS[letter] for letter in asked]
    for separator in SEPARATORS:
        asked = asked.replace(separator, SEPARATORS[0])
    return filter(None, map(str.strip, asked.split(SEPARATORS[0])))


def _same(asked: object, field: str) -> str:
    """Return a name as we write it."""
    if isinstance(asked, str):
        name = asked.strip().lower().replace("-", "_")
        name = SAME.get(name, name)
        if name in SAMPLER_ORDER or name in PARTS or name in NOT_OURS:
            return name
        shown = repr(asked[:MAX_SHOWN_CHARS])
    else:
        shown = "what is no text"
    raise InvalidRequest(
        f"{field}: {shown} is no sampler",
        f"There are {', '.join(SAMPLER_ORDER)}.",
        field=field,
    )
