"""How things stand with replies, in figures for people.

Reads the scheduler, the cache and the pace; changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.engine.stats import EngineStats

if TYPE_CHECKING:
    from webui.engine.pace import Pace
    from webui.engine.prefix_cache import PrefixCache
    from webui.engine.scheduler import Scheduler


def present_stats(scheduler: Scheduler, cache: PrefixCache, pace: Pace) -> EngineStats:
    """Return how things stand now, and what the cache was good for."""
    counts, (decode_threads, prompt_threads) = cache.counts, pace.threads
    return EngineStats(
        num_slot_tokens=counts.num_slot_tokens,
        num_ram_tokens=counts.num_ram_tokens,
        num_disk_tokens=counts.num_disk_tokens,
        num_shared_tokens=counts.num_shared_tokens,
        num_running=scheduler.num_running,
        waiting=scheduler.waiting_by_priority(),
        decode_threads=decode_threads,
        prompt_threads=prompt_threads,
        cached_ram_bytes=cache.num_ram_bytes,
        cached_disk_bytes=cache.num_disk_bytes,
    )
