"""How strongly each LoRA adapter of a model works.

Values only. Scales come one for each adapter, in the order of loading; none for a model without.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from webui.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

Scales: TypeAlias = tuple[float, ...]
MAX_ADAPTERS = 16
MAX_LORA_SCALE = 100.0
FIELD = "lora"


class Adapter(msgspec.Struct, frozen=True):
    """A LoRA adapter of a loaded model.

    Attributes:
        name: Of its file.
        scale: How strongly it works where a request does not say; 0 leaves it out.
    """

    name: str
    scale: float


class ChosenScale(msgspec.Struct, frozen=True):
    """How strongly one adapter is to work; `id` counts adapters from 0."""

    id: int
    scale: float


def scales_of(adapters: Sequence[Adapter], chosen: Sequence[ChosenScale]) -> Scales:
    """Return the scales of all adapters of which some are chosen; the others are left out.

    Raises:
        InvalidRequest: There is no such adapter, one is chosen twice, or out of bounds.
    """
    scales: dict[int, float] = {}
    for index, one in enumerate(chosen):
        place = f"{FIELD}[{index}]"
        if not 0 <= one.id < len(adapters):
            raise InvalidRequest(
                f"{place}.id: the loaded model has no adapter {one.id}",
                _hint(adapters),
                field=FIELD,
            )
        if one.id in scales:
            raise InvalidRequest(
                f"{place}.id: adapter {one.id} is named twice", "Name it once.", field=FIELD
            )
        if not (isfinite(one.scale) and abs(one.scale) <= MAX_LORA_SCALE):
            raise InvalidRequest(
                f"{place}.scale: must be from -{MAX_LORA_SCALE:g} to {MAX_LORA_SCALE:g}",
                "Send 1 for its full strength, 0 to leave it out.",
                field=FIELD,
            )
        scales[one.id] = float(one.scale) or 0.0  # not -0.0, which is written in another way
    return tuple(scales.get(index, 0.0) for index in range(len(adapters)))


def rescaled(adapters: Sequence[Adapter], scales: Scales) -> tuple[Adapter, ...]:
    """Return the same adapters, each with another scale; there is one for each."""
    return tuple(
        Adapter(adapter.name, scale) for adapter, scale in zip(adapters, scales, strict=True)
    )


def _hint(adapters: Sequence[Adapter]) -> str:
    if not adapters:
        return "Name adapters in the load option lora, or leave it out."
    known = ", ".join(f"{index} is {adapter.name}" for index, adapter in enumerate(adapters))
    return f"Its adapters: {known}."
