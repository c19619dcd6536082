"""Guesses change neither text nor logits: with the real llama.cpp, alone and in company.

With flash attention on either side, without which nothing is guessed, and computed by one thread.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typing_extensions import override

from tests.integration.loaders.conftest import opened, request_of, text_of
from tests.tiny_gguf import write_tiny_gguf
from webui.engine.drafting import Drafting
from webui.engine.generation_loop import GenerationLoop
from webui.engine.interface import Finish, GenerateRequest, Text
from webui.engine.ipc import Outputs
from webui.engine.mail import Announced, Prepared
from webui.engine.prefill_budget import PrefillBudget
from webui.engine.speculation import Choice, SpeculationControl
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.loaders.llama_cpp.options import max_draft
from webui.loaders.llama_cpp.runner import LlamaCppRunner

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from webui.engine.runner import Row, RowResult, Sampled
    from webui.engine.speculation import Guess

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

NUM = 40
SLOTS = 4
LONGEST = 31  # guesses at once, as long as nothing else is asked for
FEW = dict.fromkeys(b"abcd", 100.0)  # nothing else is said, so that it repeats itself
Logits = dict[tuple[int, int], bytes]


class Recorder(LlamaCppRunner):
    """Keeps the logits that each token was chosen from, by slot and number of the choice."""

    def __init__(self, path: Path, **options: object) -> None:
        given = {"context_length": 256, "slots": SLOTS, "batch_size": 256, "threads": 1}
        self.options = LlamaCppOptions.model_validate(given | options)
        super().__init__(path, "recorder", self.options, lambda _: None)
        self.seen: Logits = {}
        self.counts: dict[int, int] = {}
        self.most = 0

    @override
    def _sample(self, slot: int, index: int) -> Sampled:
        number = self.counts[slot] = self.counts.get(slot, -1) + 1
        logits: NDArray[np.float32] = self._logits(index)
        self.seen[slot, number] = logits.tobytes()
        result = super()._sample(slot, index)
        assert not isinstance(result, type(None))
        return result

    @override
    def forward(self, rows: Sequence[Row]) -> list[RowResult]:
        self.most = max(self.most, sum(row.num_draft for row in rows))
        return super().forward(rows)


class Eager(SpeculationControl):
    """Checks whatever is guessed, and asks a draft model for what was not looked up."""

    @override
    def choose(self, guesses: Sequence[Guess]) -> Choice:
        return Choice(62, is_modelled=any(guess.is_modelled for guess in guesses))

    @override
    def readable(self, num_rows: int, num_missing: int, *, is_shared: bool) -> int:
        return 16

    @override
    def note(self, *_step: float) -> None:
        pass

    @override
    def note_reading(self, *_read: float) -> None:
        pass

    @override
    def note_guessing(self, *_guessed: float) -> None:
        pass


class Knowing(Drafting):
    """Guesses from replies written before, wrongly at every fifth token."""

    def __init__(self, runner: LlamaCppRunner, written: dict[str, list[int]]) -> None:
        super().__init__(runner, 62, Eager())
        self.written = written
        self.numbers = itertools.count()

    @override
    def _propose(self, sequence, most):
        done = sequence.num_reply
        right = self.written[sequence.request_id][done : done + most]
        return [7 if next(self.numbers) % 5 == 4 else token for token in right]


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("q") / "q.gguf", is_quantized=True)


@pytest.fixture
def runner(quantized: Path) -> Iterator[Recorder]:
    runner = Recorder(quantized, speculation="ngram", flash_attn="on")
    assert max_draft(runner.options, has_gpu=False) == LONGEST
    yield runner
    runner.close()


def write(
    runner: Recorder, drafting: Drafting | None, requests: Sequence[GenerateRequest]
) -> tuple[dict[str, str], Logits, dict[str, Finish]]:
    """Write replies at once; return texts, logits and ends."""
    runner.seen, runner.counts, runner.most = {}, {}, 0
    for slot in range(SLOTS):
        runner.forget(slot, 0)
    clock = itertools.count()
    loop = GenerationLoop(
        runner, PrefillBudget(32, 0.1), lambda: next(clock) / 100, drafting=drafting
    )
    for request in requests:
        loop.take(Announced(request.request_id))
        loop.take(Prepared(request, runner.tokenize(request.request_id, special=False), 0.0))
    texts = {request.request_id: "" for request in requests}
    ends: dict[str, Finish] = {}
    while loop.has_work:
        for message in loop.step():
            assert isinstance(message, Outputs)
            for output in message.items:
                if isinstance(output.delta, Text):
                    texts[output.request_id] += output.delta.text
                elif isinstance(output.delta, Finish):
                    ends[output.request_id] = output.delta
    return texts, runner.seen, ends


def tokens_of(runner: Recorder, logits: Logits, slot: int) -> list[int]:
    size = runner._vocabulary.size
    numbers = sorted(number for where, number in logits if where == slot)
    return [
        int(np.frombuffer(logits[slot, number], np.float32).reshape(size).argmax())
        for number in numbers
    ]


@pytest.mark.parametrize("num", [1, 3, SLOTS])
def test_greedy_text_and_logits_are_equal_to_the_bit(runner: Recorder, num: int) -> None:
    names = ["The quick brown", "A hearth", "abc", "Once upon a time there was"][:num]
    requests = [
        request_of("", name, temperature=0, max_tokens=NUM, ignore_eos=True) for name in names
    ]
    texts, logits, _ = write(runner, None, requests)
    slots = dict(zip(names, range(num), strict=True))
    written = {name: tokens_of(runner, logits, slot) for name, slot in slots.items()}
    again, logits_again, ends = write(runner, Knowing(runner, written), requests)
    assert again == texts
    assert logits_again == logits
    assert runner.most >= 30 // num
    for end in ends.values():
        assert 0 < end.usage.accepted_tokens < end.usage.drafted_tokens


@pytest.mark.parametrize("num", [1, 3, SLOTS])
@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0},
        {"temperature": 1.5, "seed": 3, "repeat_penalty": 1.3},
        {"temperature": 1.0, "seed": 4, "dry_multiplier": 0.8, "xtc_probability": 0.5},
        {"temperature": 1.0, "seed": 5, "mirostat": 2, "min_tokens": 9},
        {"temperature": 0.0, "banned_strings": ("ab", "dd")},
    ],
    ids=str,
)
def test_what_is_looked_up_changes_no_text_and_no_bit(
    runner: Recorder, params: dict[str, object], num: int
) -> None:
    names = ["abcdabcdabcd", "aaaabbbbaaaabbbb", "dcbadcba", "abacadabacad"][:num]
    asked = {"max_tokens": 120, "ignore_eos": True, "logit_bias": FEW} | params
    requests = [request_of("", name, **asked) for name in names]
    texts, logits, ends = write(runner, None, requests)
    assert not any(end.usage.drafted_tokens for end in ends.values())
    again, logits_again, ends = write(runner, Drafting(runner, LONGEST, Eager()), requests)
    assert again == texts
    if "banned_strings" not in params:  # what is taken back is chosen from again
        assert logits_again == logits
    for end in ends.values():
        assert 0 < end.usage.accepted_tokens <= end.usage.drafted_tokens


async def test_worker_tells_what_it_guessed(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "p.gguf", says=[b"on ", b"and ", b"so "], ends=False)
    asked = {"temperature": 0, "max_tokens": 200, "ignore_eos": True}
    async with opened(path, speculation="off", flash_attn="on", context_length=1024) as engine:
        plain, end = await text_of(engine, request_of("Hello", **asked))
        assert end.usage.drafted_tokens == 0
    async with opened(path, speculation="ngram", context_length=1024) as engine:
        text, end = await text_of(engine, request_of("Hello", **asked))
    assert text == plain
    assert end.usage.drafted_tokens > 0
    assert 0 < end.usage.accepted_tokens <= end.usage.completion_tokens
