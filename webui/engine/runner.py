"""What the worker's loop needs of a backend: one forward pass over rows of tokens.

Knows tokens and slots; knows neither requests nor owners nor sockets. One thread, the loop's,
calls everything but `tokenize` and what is said to be called by others meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.engine.drafter import Drafter
    from webui.engine.embedder import Embedder
    from webui.engine.interface import GrammarTrigger, ModelInfo
    from webui.errors import EngineError, GrammarTooAmbiguous, NothingAllowed
    from webui.sampling_params import SamplingParams


class RunnerSpec(TypedDict):
    """What the child is told to open; `options` are the fields of the loader's `Options`."""

    model_id: str
    name: str
    path: str
    options: dict[str, object]


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence's share of a step.

    Attributes:
        slot: Where its KV cells live, 0 to `info.num_slots` - 1.
        tokens: What to read, at least one.
        position: Index of `tokens[0]` in the sequence.
        sample: Choose the next token after the last of these.
        num_draft: So many of the last tokens are guesses: a token is chosen from the one before
            them on, for as long as the one chosen is the one guessed.
    """

    slot: int
    tokens: Sequence[int]
    position: int
    sample: bool
    num_draft: int = 0


@dataclass(frozen=True, slots=True)
class Sampled:
    """The token that was chosen for a row.

    Attributes:
        token: Its id.
        logprob: Natural logarithm of its probability before any sampler; None when not asked for.
        top: The likeliest tokens with theirs, likeliest first; as many as were asked for.
    """

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class RowFailed:
    """No token could be chosen for a row; the other rows are sound.

    Attributes:
        error: An `EngineError` where the cells of the row are in doubt, else what the request
            asked for too much.
    """

    error: EngineError | NothingAllowed | GrammarTooAmbiguous


@dataclass(frozen=True, slots=True)
class Verified:
    """The tokens that were chosen for a row with guesses, which may lie in the cells behind them.

    Attributes:
        chosen: At least one; all but the last are as guessed. Where nothing could be chosen
            behind a guess that held, that guess is the last.
    """

    chosen: tuple[Sampled, ...]


RowResult: TypeAlias = Sampled | Verified | RowFailed | None
"""What a step made of a row; None when it did not ask for a token."""


class StepAborted(Exception):  # noqa: N818 - it says what is so, as the names in errors.py do
    """A step was broken off because `set_abort` asked for it."""


class OpenSampler(Protocol):
    """A sampler that was taken out of its slot, as it stood after the last token."""

    def close(self) -> None:
        """Free it; idempotent."""
        ...


class ModelRunner(Protocol):
    """An open model. All calls block; the loop is their only caller unless said otherwise."""

    @property
    def info(self) -> ModelInfo:
        """Facts and figures of the open model."""
        ...

    @property
    def max_batch_tokens(self) -> int:
        """Tokens all rows of one step may have together."""
        ...

    @property
    def chat_template(self) -> str:
        """Jinja source from the model file; empty when there is none."""
        ...

    @property
    def add_bos(self) -> bool:
        """Whether every prompt begins with `bos_id`."""
        ...

    @property
    def bos_id(self) -> int:
        """Token that opens a text; negative when there is none."""
        ...

    def bos_eos(self) -> tuple[str, str]:
        """Return both tokens as the template spells them; empty where there is none."""
        ...

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Return token ids without a BOS; called by the template thread only.

        Args:
            text: Anything that is valid UTF-8.
            special: Read `<|im_start|>` and its like as control tokens, else as plain text.
        """
        ...

    def is_sampler_prepared(self, params: SamplingParams, grammar: str) -> bool:
        """Return whether `prepare_sampler` has nothing to do; the template thread asks."""
        ...

    def prepare_sampler(self, params: SamplingParams, grammar: str) -> None:
        """Do what `open_sampler` should not wait for, or refuse; on a thread of its own."""
        ...

    def token_bytes(self, token: int) -> bytes:
        """Return what a token adds to the text; nothing for control tokens."""
        ...

    def is_eog(self, token: int) -> bool:
        """Return whether a token ends the reply."""
        ...

    def open_sampler(
        self,
        slot: int,
        params: SamplingParams,
        tokens: Sequence[int],
        *,
        num_reply: int = 0,
        banned: frozenset[int] = frozenset(),
        grammar: str = "",
        triggers: Sequence[GrammarTrigger] = (),
    ) -> None:
        """Prepare choosing tokens for a sequence; replaces the sampler that the slot has.

        Args:
            slot: Of the sequence.
            params: How to choose.
            tokens: The sequence so far; penalties look back on it.
            num_reply: How many of them are reply, for `min_tokens` and the grammar.
            banned: What may not come next.
            grammar: What the reply must keep to, checked; empty leaves it free.
            triggers: What must come before the grammar is at work; empty starts with it.

        Raises:
            EngineError: It could not be made.
            InvalidRequest: The parameters do not fit this model.
        """
        ...

    def close_sampler(self, slot: int) -> None:
        """Drop the sampler of a slot; idempotent."""
        ...

    def take_sampler(self, slot: int) -> OpenSampler | None:
        """Take the sampler out of a slot, None where it has none; it is put back or closed."""
        ...

    def put_sampler(self, slot: int, sampler: OpenSampler) -> None:
        """Let a sampler that was taken go on in a slot; closes the one that the slot has."""
        ...

    def forward(self, rows: Sequence[Row]) -> list[RowResult]:
        """Read the rows in one pass and choose where they ask for it.

        Returns:
            One entry a row, in their order.

        Raises:
            EngineError: The step failed and chose nothing; the cells of all its rows are in
                doubt.
            StepAborted: It was broken off and chose nothing; as if it had failed.
        """
        ...

    def set_abort(self, *, is_set: bool) -> None:
        """Have `forward` break off as soon as it can, if it can, or not; called by any thread."""
        ...

    def forget(self, slot: int, from_position: int) -> bool:
        """Drop KV cells from `from_position` on; 0 always succeeds.

        Returns:
            False when this kind of memory cannot go on from there, for it does not hold all that
            the next token looks at; nothing was dropped then.
        """
        ...

    def shift(self, slot: int, start: int, stop: int) -> bool:
        """Drop the cells from `start` to `stop`; those behind take their positions.

        Returns:
            False when this kind of memory cannot do that; nothing was dropped then.
        """
        ...

    def save_state(self, slot: int) -> memoryview | None:
        """Copy what a slot remembers; None where that cannot be done."""
        ...

    def load_state(self, slot: int, data: memoryview, num_tokens: int) -> bool:
        """Let a slot remember what `save_state` copied, in place of what it has.

        The bytes come from `save_state` of a runner with the same `info.state_key`, unchanged.

        Returns:
            False when it does not fit or is not of so many tokens; the slot is in doubt then.
        """
        ...

    def close(self) -> None:
        """Free the model; idempotent."""
        ...

    def set_lora(self, scales: Sequence[float]) -> None:
        """Let each in `info.adapters` work so strongly from now on; else raise EngineError."""
        ...

    def set_threads(self, decode: int, batch: int) -> None:
        """Set the compute threads from the next step on; what is computed stays the same.

        Args:
            decode: For steps of one token, at least 1.
            batch: For steps of more, at least 1.
        """
        ...


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """What a loader opened.

    Attributes:
        info: Facts and figures.
        runner: Writes text; None when the model cannot.
        embedder: Makes vectors; None when the model cannot.
        close: Frees all; idempotent.
        max_draft: Tokens that may be guessed at once for a sequence; 0 guesses none.
        looks_up: Guess from what stood in the text before.
        drafter: Guesses where nothing was looked up; None has no such model.
    """

    info: ModelInfo
    runner: ModelRunner | None
    embedder: Embedder | None
    close: Callable[[], None]
    max_draft: int = 0
    looks_up: bool = True
    drafter: Drafter | None = None


OpenModel = Callable[[RunnerSpec, Callable[[float], None]], OpenedModel]
"""Open a model; the second argument is told the loaded fraction, 0 to 1. Raises LoadFailed."""
