"""A draft model that counts: it knows what the counting runner would say, as well as it is told.

Checks what it is asked against what it has read of each slot, as the counting runner does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.engine.states import num_common
from webui.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.unit.engine.fake_runner import FakeRunner
    from webui.engine.drafter import DraftRow

WRONG = 98


class FakeDrafter:
    """Obeys `Drafter`.

    Args:
        runner: Whose replies it guesses.
        right_for: Every so manieth guess is wrong: 1 is always wrong, 0 never.
        fails_at: The call of `read` or `propose` that fails; 0 never.
        error: How it fails.
        context_length: Tokens of a row with its guesses.
    """

    def __init__(
        self,
        runner: FakeRunner,
        right_for: int = 0,
        *,
        fails_at: int = 0,
        error: Exception | None = None,
        context_length: int | None = None,
    ) -> None:
        self.runner = runner
        self.right_for = right_for
        self.fails_at = fails_at
        self.error = error or EngineError("the draft model has no luck")
        self.context_length = context_length or runner.options.context_length
        self.num_calls = 0
        self.num_guessed = 0
        self.reads: list[int] = []  # tokens of each call of `read`
        self.num_rows: list[int] = []  # of each call of `propose`
        self.threads: list[tuple[int, int]] = []
        self._cells: dict[int, list[int]] = {}

    def num_missing(self, row: DraftRow) -> int:
        assert 0 <= row.slot < self.runner.options.slots
        return (
            len(row.tokens) - 1 - min(num_common(self._known(row), row.tokens), len(row.tokens) - 1)
        )

    def read(self, rows: Sequence[DraftRow], max_tokens: int) -> int:
        self._call(rows)
        assert max_tokens > 0
        left = max_tokens
        for row in rows:
            num = min(left, self.num_missing(row))
            known = self._cut(row)
            known += row.tokens[len(known) : len(known) + num]
            left -= num
        self.reads.append(max_tokens - left)
        return max_tokens - left

    def propose(self, rows: Sequence[DraftRow]) -> list[list[int]]:
        self._call(rows)
        self.num_rows.append(len(rows))
        return [self._guess(row) for row in rows]

    def forget(self, slot: int) -> None:
        self._cells.pop(slot, None)

    def set_threads(self, decode: int, batch: int) -> None:
        self.threads.append((decode, batch))

    def _guess(self, row: DraftRow) -> list[int]:
        assert row.max_tokens > 0
        assert len(row.tokens) + row.max_tokens <= self.context_length
        known = self._cut(row)
        known[:] = row.tokens
        guesses: list[int] = []
        params = self.runner._samplers[row.slot]
        for _ in range(row.max_tokens):
            self.num_guessed += 1
            token = self.runner._choose([*row.tokens, *guesses], params)
            if self.right_for and self.num_guessed % self.right_for == 0:
                token = WRONG
            guesses.append(token)
        known += guesses[:-1]  # the last one is guessed and not read
        return guesses

    def _cut(self, row: DraftRow) -> list[int]:
        known = self._known(row)
        del known[min(num_common(known, row.tokens), len(row.tokens) - 1) :]
        return known

    def _known(self, row: DraftRow) -> list[int]:
        return self._cells.setdefault(row.slot, [])

    def _call(self, rows: Sequence[DraftRow]) -> None:
        assert rows
        assert len({row.slot for row in rows}) == len(rows), "a slot twice in one step"
        self.num_calls += 1
        if self.num_calls == self.fails_at:
            raise self.error
        assert not self.fails_at or self.num_calls < self.fails_at, "asked again after a failure"
