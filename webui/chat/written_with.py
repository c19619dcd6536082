"""What a reply was written with: parameters and seeds, from which it can be written again.

Pure: knows parameters as they were saved for each run of the model; no storage and no engine.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.engine.sequence import NUM_SEEDS
from webui.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SEED = "seed"
UNKNOWN_SEED = -1
MAX_SHOWN_CHARS = 300


@dataclass(frozen=True, slots=True)
class WrittenWith:
    """What the runs of one reply were asked.

    Attributes:
        params: Parameters of the last run that are not the defaults, without the seed; None of a
            message without runs.
        seeds: Of each run, oldest first; -1 where nobody knows it.
    """

    params: dict[str, object] | None = None
    seeds: tuple[int, ...] = ()


NOTHING = WrittenWith()


def drawn(params: SamplingParams) -> SamplingParams:
    """Return the parameters with a seed: the one that was asked for, else a new one."""
    if params.seed >= 0:
        return params
    return params.model_copy(update={SEED: secrets.randbelow(NUM_SEEDS)})


def written_with(runs: Sequence[Mapping[str, object]]) -> WrittenWith:
    """Return what is shown of the parameters of a reply's runs, oldest first; long ones are cut."""
    if not runs:
        return NOTHING
    defaults = SamplingParams().model_dump(mode="json")
    changed = {
        name: _cut(value)
        for name, value in runs[-1].items()
        if name != SEED and value != defaults.get(name)
    }
    return WrittenWith(changed, tuple(_seed_of(run) for run in runs if SEED in run))


def with_seed(params: SamplingParams, seed: int | None) -> dict[str, object]:
    """Return what is saved of a run with another seed; None of one that wrote nothing."""
    values = params.model_dump(mode="json")
    del values[SEED]
    return values if seed is None else values | {SEED: seed}


def by_message(
    runs: Iterable[tuple[str, Mapping[str, object]]],
) -> dict[str, list[Mapping[str, object]]]:
    """Return the parameters of each run by the message that it wrote."""
    grouped: dict[str, list[Mapping[str, object]]] = {}
    for message_id, params in runs:
        grouped.setdefault(message_id, []).append(params)
    return grouped


def _seed_of(run: Mapping[str, object]) -> int:
    seed = run.get(SEED)
    return seed if isinstance(seed, int) else UNKNOWN_SEED


def _cut(value: object) -> object:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
