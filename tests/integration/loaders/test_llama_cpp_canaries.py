"""What one person says reaches nobody else, though slots, memory and disk serve them in turn.

The same turns on a worker that never saw the other one give the same logits, to the bit. The model
is quantised to Q4_1 and computed by one thread; `WEBUI_TEST_MODEL` names a larger one.
"""

from __future__ import annotations

import os
import queue
import random
from collections import Counter
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.integration.loaders.conftest import TEST_MODEL
from tests.integration.loaders.watched_runner import (
    CANARIES,
    WORDS,
    WatchedRunner,
    ask,
    is_finished,
    send,
    step,
    text_of,
)
from tests.tiny_gguf import write_tiny_gguf
from webui.engine.disk_states import DiskStates
from webui.engine.interface import Finish
from webui.engine.prefix_cache import PrefixCache
from webui.engine.states import MIN_STATE_TOKENS

if TYPE_CHECKING:
    from webui.engine.interface import Delta
    from webui.engine.mail import StateMail
    from webui.engine.sequence import Sequence
    from webui.engine.states import State

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

OPENING_TOKENS = MIN_STATE_TOKENS + 12  # what is shorter is not kept
FIRST_TOKEN = 33
MAX_PROMPT_TOKENS = 180
TURNS_A_LIFE = 16
TIERS = ("slot", "memory", "disk")  # as `CacheCounts` has them
DISK_BYTES = 1 << 28
PLENTY_BYTES = 1 << 30


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if named := os.environ.get(TEST_MODEL):
        return Path(named)
    return write_tiny_gguf(tmp_path_factory.mktemp("model") / "noise.gguf", is_quantized=True)


class Worker:
    """A runner, its loop and the tiers behind its slots; the loop lives several times.

    Args:
        model: GGUF file.
        folder: Of the states on disk.
        flash_attn: How attention is computed.
        has_plenty: No state ever has to go to disk for want of memory.

    Attributes:
        runner: Notes all logits.
        got: What was told, by request.
        served: Prompt tokens that need not be read, by owner and tier.
    """

    def __init__(
        self, model: Path, folder: Path, flash_attn: Literal["on", "off"], *, has_plenty: bool
    ) -> None:
        self.runner = WatchedRunner(model, slots=2, flash_attn=flash_attn)
        self._folder = folder
        kv_bytes = self.runner.info.memory.kv_bytes
        self._ram_bytes = PLENTY_BYTES if has_plenty else kv_bytes * 3 // 4
        self.got: dict[str, list[Delta]] = {}
        self.served: Counter[tuple[str, str]] = Counter()
        self.begin()

    def begin(self) -> None:
        """Live on with what lies on disk, as after a restart."""
        for slot in range(self.runner.info.num_slots):
            self.runner.forget(slot, 0)
        self._mail: queue.SimpleQueue[StateMail] = queue.SimpleQueue()
        self._disk = DiskStates(
            self._folder, DISK_BYTES, self.runner.info.state_key, self._mail.put
        )
        self._disk.start()
        self.loop = self.runner.new_loop(PrefixCache(self._ram_bytes, self._disk))
        self.loop.take(self._mail.get(timeout=60))  # what lies there
        self._count()

    def end(self) -> None:
        """Leave on disk what was read."""
        while self.loop._scheduler.everybody:
            self.step()
        self.runner.check_nothing_is_left()
        self.loop.close()
        self._disk._thread.join(60)

    def step(self) -> None:
        """Make a step; where all wait for the disk, wait too."""
        while not self._mail.empty() or not self.loop.has_work:
            assert self.loop.take(self._mail.get(timeout=60)) == []
        step(self.loop, self.got)

    def finish(self, name: str) -> str:
        """Make steps until a reply has ended; return its text."""
        for _ in range(20_000):
            if is_finished(self.got.get(name, [])):
                return text_of(self.got[name])
            self.step()
        raise AssertionError(f"{name} does not end")

    def _count(self) -> None:
        """Note for whom each tier serves."""
        keeper, counts = self.loop._keeper, self.loop._cache.counts
        restore = keeper.restore

        def counted(sequence: Sequence, fetched: State | None = None) -> None:
            before = astuple(counts)
            restore(sequence, fetched)
            for tier, now, then in zip(TIERS, astuple(counts), before, strict=False):
                self.served[sequence.owner, tier] += now - then

        keeper.restore = counted


def _turns(owner: str, num: int) -> list[str]:
    chance = random.Random(owner)
    own = CANARIES if owner == "ann" else ("hello",)
    return [
        f" {chance.choice(own)} {' '.join(chance.choices(WORDS, k=chance.randint(1, 6)))}"
        for _ in range(num)
    ]


def _opening(worker: Worker, number: int) -> list[int]:
    """Return how a conversation begins: each of one owner otherwise, alike those of another."""
    words = worker.runner.tokenize(" ".join(WORDS * 4), special=False)
    return [FIRST_TOKEN + number, *words[: OPENING_TOKENS - 1]]


def _talk(
    worker: Worker,
    turns: dict[str, list[str]],
    order: list[str],
    hasty: set[str],
    *,
    restarts: bool,
) -> None:
    """Let owners talk, each in a conversation that begins anew when it is full.

    Args:
        worker: With whom.
        turns: What each owner says.
        order: Whose turn it is.
        hasty: Who does not wait for every third reply before the next turn.
        restarts: The worker ends and begins anew now and then.
    """
    history: dict[str, list[int]] = {owner: [] for owner in turns}
    num_said: Counter[str] = Counter()
    num_begun: Counter[str] = Counter()
    for place, owner in enumerate(order, 1):
        number = num_said[owner]
        num_said[owner] += 1
        past = history[owner]
        said = worker.runner.tokenize(turns[owner][number], special=False)
        if not past or len(past) + len(said) > MAX_PROMPT_TOKENS:
            past = _opening(worker, num_begun[owner])
            num_begun[owner] += 1
        prompt = past + said
        name = f"{owner} {number}"
        send(worker.loop, ask(name, owner, seed=number, max_tokens=8, temperature=0.9), prompt)
        if number % 3 or owner not in hasty:
            text = worker.finish(name)
            history[owner] = prompt + worker.runner.tokenize(text, special=False)
        if restarts and place % TURNS_A_LIFE == 0:
            worker.end()
            worker.begin()
    worker.end()
    worker.runner.close()


def _num_cached(got: dict[str, list[Delta]], names: list[str]) -> list[int]:
    ends = [got[name][-1] for name in names]
    return [end.usage.cached_tokens for end in ends if isinstance(end, Finish)]


@pytest.mark.parametrize("flash_attn", ["on", "off"])
def test_turns_beside_another_owner_are_those_of_a_worker_that_never_saw_it(
    model: Path, tmp_path: Path, flash_attn: Literal["on", "off"], soak: bool
) -> None:
    """With flash attention what a tier has lost is read again and gives the same bits.

    Without it tokens of a reply give others when they are read in one piece. So there nothing is
    lost: there is memory enough, and bob waits for each reply, whose cells his next turn has.
    """
    num = 250 if soak else 40
    turns = {owner: _turns(owner, num) for owner in ("ann", "bob")}
    order = ["ann", "bob"] * num
    random.Random(7).shuffle(order)
    hasty = {"ann", "bob"} if flash_attn == "on" else {"ann"}
    both = Worker(model, tmp_path / "both", flash_attn, has_plenty=flash_attn == "off")
    _talk(both, turns, order, hasty, restarts=True)
    pure = Worker(model, tmp_path / "pure", flash_attn, has_plenty=True)
    _talk(pure, {"bob": turns["bob"]}, ["bob"] * num, hasty, restarts=False)
    names = [f"bob {number}" for number in range(num)]
    assert {name: both.runner.seen[name] for name in names} == pure.runner.seen
    for name in names:
        assert text_of(both.got[name]) == text_of(pure.got[name])
        assert not any(canary in repr(both.got[name]) for canary in CANARIES)
    assert all(both.served["bob", tier] > 0 for tier in TIERS), both.served
    if flash_attn == "off":
        assert _num_cached(both.got, names) == _num_cached(pure.got, names)
