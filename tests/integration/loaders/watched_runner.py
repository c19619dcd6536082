"""A real runner whose every choice is noted: what the logits were, to the bit."""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, Any, Literal

import llama_cpp

from tests.unit.engine.contract import make_request
from webui.engine.generation_loop import GenerationLoop
from webui.engine.interface import Finish, Text
from webui.engine.ipc import Outputs, RequestError
from webui.engine.mail import Aborted, Announced, Prepared
from webui.engine.prefill_budget import PrefillBudget
from webui.engine.scheduler import Scheduler
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.loaders.llama_cpp.runner import LlamaCppRunner

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from webui.engine.interface import Delta, GenerateRequest
    from webui.engine.prefix_cache import PrefixCache
    from webui.engine.runner import Row, RowResult

# With flash attention llama.cpp computes by tiles from 64 tokens of a sequence on, and the last
# bits change; without it a chunk may be of any length but one.
CHUNK_TOKENS = {"on": 48, "off": 200}
WORDS = [
    *("the", "fire", "burns", "low", "and", "rain", "falls", "on", "a"),
    *("roof", "of", "old", "grey", "slate", "while", "we", "read"),
]
CANARIES = ("zebrafinch-4711", "quagmire-0815")


class WatchedRunner(LlamaCppRunner):
    """Notes for each request the digest of the logits at each position it sampled."""

    def __init__(
        self,
        path: Path,
        *,
        context_length: int = 256,
        slots: int = 3,
        flash_attn: Literal["on", "off"] = "off",
    ) -> None:
        options = LlamaCppOptions(
            context_length=context_length,
            slots=slots,
            threads=1,
            batch_size=CHUNK_TOKENS[flash_attn],
            flash_attn=flash_attn,
        )
        super().__init__(path, "watched", options, lambda _: None)
        self.seen: dict[str, dict[int, str]] = {}
        self.loop = self.new_loop()
        self._now: dict[int, tuple[str, int]] = {}

    def new_loop(self, cache: PrefixCache | None = None) -> GenerationLoop:
        """Begin with a scheduler that knows nothing of before."""
        ticks = itertools.count()
        scheduler = Scheduler(
            self.info,
            max_batch_tokens=self.max_batch_tokens,
            reserved_reply_tokens=6,
            quantum_tokens=4,
        )
        budget = PrefillBudget(self.max_batch_tokens, first_token_s=0.05)
        self.loop = GenerationLoop(self, budget, lambda: next(ticks) * 0.003, scheduler, cache)
        return self.loop

    def forward(self, rows: Sequence[Row]) -> list[RowResult]:
        assert all(len(row.tokens) <= self.max_batch_tokens for row in rows)
        running = self.loop._scheduler._running
        self._now = {
            row.slot: (
                running[row.slot].request_id,
                running[row.slot]._num_shifted + row.position + len(row.tokens),
            )
            for row in rows
        }
        return super().forward(rows)

    def _sample(self, slot: int, index: int) -> Any:
        name, position = self._now[slot]
        digest = hashlib.sha256(self._logits(index).tobytes()).hexdigest()
        self.seen.setdefault(name, {})[position] = digest
        return super()._sample(slot, index)

    def last_positions(self) -> dict[int, int]:
        """Return llama.cpp's own word for how many cells each slot that has some holds."""
        ends = (
            (slot, llama_cpp.llama_memory_seq_pos_max(self._memory, slot) + 1)
            for slot in range(self.info.num_slots)
        )
        return {slot: end for slot, end in ends if end}

    def check_nothing_is_left(self) -> None:
        """Nobody runs or waits, no sampler is open, and the cells are those that may serve again."""
        scheduler = self.loop._scheduler
        assert self._samplers == {}
        assert (scheduler.num_running, scheduler.num_waiting) == (0, 0)
        assert scheduler._cells._reserved == {}
        assert scheduler._cells._slots.held() == self.last_positions()
        assert len(self.loop._untold) == 0
        assert not self.loop._preparing


def ask(name: str, owner: str, **fields: Any) -> GenerateRequest:
    """Return a request whose prompt is made elsewhere."""
    return make_request(
        "", request_id=name, owner=owner, **{"seed": 1, "temperature": 1.0} | fields
    )


def send(
    loop: GenerationLoop, request: GenerateRequest, prompt: Sequence[int], num_shared: int = 0
) -> None:
    """Hand a request and its prompt to a loop."""
    loop.take(Announced(request.request_id))
    assert loop.take(Prepared(request, list(prompt), 0.0, num_shared)) == []


def abort(loop: GenerationLoop, name: str) -> None:
    """Take a request out, wherever it stands."""
    loop.take(Aborted(name))


def step(loop: GenerationLoop, got: dict[str, list[Delta]]) -> None:
    """Make one step and sort what it tells."""
    for message in loop.step():
        assert not isinstance(message, RequestError), message
        assert isinstance(message, Outputs)
        for output in message.items:
            got.setdefault(output.request_id, []).append(output.delta)


def finish(loop: GenerationLoop, got: dict[str, list[Delta]]) -> None:
    """Make steps until nobody is left."""
    for _ in range(20_000):
        if not loop.has_work:
            return
        step(loop, got)
    raise AssertionError("it does not end")


def text_of(deltas: Sequence[Delta]) -> str:
    """Return what was said."""
    return "".join(delta.text for delta in deltas if isinstance(delta, Text))


def is_finished(deltas: Sequence[Delta]) -> bool:
    """Return whether it ended by itself."""
    return bool(deltas) and isinstance(deltas[-1], Finish)
