"""Figures of an engine: what it did since it was loaded, and what it does now.

Values only. Knows neither who asked for what nor any text; the figures of several lives of a
worker add up.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

STEP_BOUNDS_S = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0)
NO_STEPS = (0,) * (len(STEP_BOUNDS_S) + 1)


class EngineStats(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Counts since the model was loaded, summed over restarts of its worker, and present figures.

    Attributes:
        num_steps: Forward passes for replies.
        num_rows: Sequences in them, all steps together.
        num_step_tokens: Tokens in them: read, written on, and guessed.
        num_prompt_tokens: Tokens of prompts that were read; what was read twice counts twice.
        num_reply_tokens: Tokens of replies that were told.
        num_embedded_tokens: Tokens of texts that were made into vectors or ranked.
        num_slot_tokens: Prompt tokens not read anew, because a slot still held them.
        num_ram_tokens: The same, from a state in memory.
        num_disk_tokens: The same, from a state on disk.
        num_shared_tokens: Of those from memory or disk, the administrator's.
        num_drafted_tokens: Guessed for replies that ended.
        num_accepted_tokens: Of those, what held.
        num_stopped: Replies that ended by themselves.
        num_full: Replies that ended with `max_tokens` or with the context.
        num_aborted: Replies that somebody took back, waiting or begun.
        num_failed: Requests that ended with an error, those of a worker that died included.
        prefill_s: Seconds of steps that read prompts, those broken off and those that failed too.
        decode_s: Seconds of steps that only wrote, the same.
        idle_s: Seconds without anything to do; told when they end.
        writing_steps: Of steps in which somebody's reply went on, how many took at most each of
            `STEP_BOUNDS_S` but more than the one before; the last number are those above all.
        writing_s: Seconds of those steps together.
        num_deaths: Workers that died.
        num_restarts: Workers that took the place of a dead one.
        num_running: Requests that have a slot.
        waiting: Requests that wait for one, by `Priority`.
        max_waiting: The most that waited at once.
        decode_threads: Compute threads of steps that write.
        prompt_threads: Compute threads of steps that read prompts.
        cached_ram_bytes: Of states in memory.
        cached_disk_bytes: Of this model's states on disk.
    """

    num_steps: int = 0
    num_rows: int = 0
    num_step_tokens: int = 0
    num_prompt_tokens: int = 0
    num_reply_tokens: int = 0
    num_embedded_tokens: int = 0
    num_slot_tokens: int = 0
    num_ram_tokens: int = 0
    num_disk_tokens: int = 0
    num_shared_tokens: int = 0
    num_drafted_tokens: int = 0
    num_accepted_tokens: int = 0
    num_stopped: int = 0
    num_full: int = 0
    num_aborted: int = 0
    num_failed: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    idle_s: float = 0.0
    writing_steps: Annotated[
        tuple[int, ...], msgspec.Meta(min_length=len(NO_STEPS), max_length=len(NO_STEPS))
    ] = NO_STEPS
    writing_s: float = 0.0
    num_deaths: int = 0
    num_restarts: int = 0
    num_running: int = 0
    waiting: tuple[int, int, int] = (0, 0, 0)
    max_waiting: int = 0
    decode_threads: int = 0
    prompt_threads: int = 0
    cached_ram_bytes: int = 0
    cached_disk_bytes: int = 0

    @property
    def num_waiting(self) -> int:
        """Requests that wait for a slot."""
        return sum(self.waiting)

    @property
    def num_reused_tokens(self) -> int:
        """Prompt tokens that were not read anew."""
        return self.num_slot_tokens + self.num_ram_tokens + self.num_disk_tokens

    def writing_step_s(self, share: float) -> float | None:
        """Return a bound that at least such a share of the writing steps keep.

        Args:
            share: 0 to 1; 0.95 for p95.

        Returns:
            Seconds, one of `STEP_BOUNDS_S`; None without steps, or where they took longer.
        """
        wanted, num = share * sum(self.writing_steps), 0
        for bound_s, more in zip(STEP_BOUNDS_S, self.writing_steps, strict=False):
            num += more
            if num and num >= wanted:
                return bound_s
        return None


PRESENT = (
    "num_running",
    "waiting",
    "decode_threads",
    "prompt_threads",
    "cached_ram_bytes",
    "cached_disk_bytes",
)


def total(past: EngineStats, present: EngineStats) -> EngineStats:
    """Return the figures of two lives of a worker together; what is so now is the latter's."""
    summed: dict[str, object] = {}
    for name in EngineStats.__struct_fields__:
        before, now = getattr(past, name), getattr(present, name)
        if name in PRESENT:
            summed[name] = now
        elif name == "max_waiting":
            summed[name] = max(before, now)
        elif name == "writing_steps":
            summed[name] = tuple(a + b for a, b in zip(before, now, strict=True))
        else:
            summed[name] = before + now
    return msgspec.convert(summed, EngineStats)
