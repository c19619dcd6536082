"""One request at work: its tokens, how far they are read, and what it has to tell.

Knows no other sequence and no clock; whoever calls says what time it is.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

from webui.engine.banned_strings import BannedStrings
from webui.engine.detokenizer import Detokenizer
from webui.engine.interface import (
    Finish,
    FinishReason,
    Prefill,
    Priority,
    Reseeded,
    Shifted,
    Text,
    Timings,
    Usage,
)
from webui.engine.rewinds import Rewinds
from webui.engine.seed_watch import SeedWatch
from webui.engine.states import Prefix
from webui.engine.written import Written

if TYPE_CHECKING:
    from collections.abc import Sequence as Several

    from webui.engine.drafting import Draft
    from webui.engine.interface import Delta, GenerateRequest
    from webui.engine.runner import Sampled
    from webui.engine.token_logprob import TokenLogprob
    from webui.sampling_params import SamplingParams

NUM_SEEDS = 2**32 - 1
MAX_SHIFTED_CONTEXTS = 8  # a shifted reply ends there, as it holds its slot


class Vocabulary(Protocol):
    """What a sequence asks of a model about its tokens."""

    def token_bytes(self, token: int) -> bytes: ...
    def is_eog(self, token: int) -> bool: ...


class Phase(Enum):
    """Where a sequence stands."""

    WAITING = "waiting"
    PREFILL = "prefill"
    DECODE = "decode"
    ENDED = "ended"


class Sequence:
    """A prompt and the reply that grows behind it.

    Args:
        request: What was asked.
        prompt: Its token ids, at least one.
        context_length: Tokens that prompt and reply may have together; a prompt that fills
            it alone still gets one token.
        arrived_s: When the request came.
        num_shared: How many tokens at the beginning depend on nothing but what the administrator
            gave everybody to read.
        num_kept: So many tokens at the beginning are not left out by a shift of the context.

    Attributes:
        shared_mark: Equal where the shared tokens are equal.
        keeps_state: What it reads may serve later; see `GenerateRequest.keep_state`.
        scales: How strongly adapters work on it; in one step they work alike on all.
        is_rewound: It took tokens back: whoever runs it drops the cells behind `num_read`,
            opens a new sampler and sets this to False before the next step.
        is_held: It has a slot and waits for a state from disk; `Fetching` sets it.
        arrival: Its number among all requests; the queue sets it.
        picked_at: Larger for who took part in a step of decoding later; `DecodeShares` sets it.
        doubted_until: A step that held its tokens up to here failed; until they are read it
            runs alone.
        num_given_up: How often it had to give up its slot.
        draft: What its next tokens are guessed from; `Drafting` sets it.
        rewinds: What it took back.
        seed: Whether that still holds.
    """

    def __init__(
        self,
        request: GenerateRequest,
        prompt: list[int],
        *,
        context_length: int,
        arrived_s: float,
        num_shared: int = 0,
        num_kept: int = 0,
    ) -> None:
        assert prompt
        assert 0 <= num_shared <= len(prompt)
        self.request = request
        self.request_id = request.request_id
        self.owner = request.owner
        self.tokens = list(prompt)
        self.num_prompt = len(prompt)
        self.num_shared = min(num_shared, len(prompt) - 1)
        self.shared_mark = hash(tuple(prompt[: self.num_shared]))
        self.keeps_state = request.keep_state
        self.scales = request.lora_scales or ()
        self.num_read = 0  # tokens that lie in the KV cache
        self.num_cached = self.num_given_up = 0
        self.slot = -1
        self.arrival = self.picked_at = self.doubted_until = 0
        self.draft: Draft | None = None
        self._num_drafted = self._num_accepted = self._num_untold = 0
        self.phase = Phase.WAITING
        self.finish_reason: FinishReason | None = None
        self._context_length = context_length
        self.num_kept = num_kept
        # Tokens that are no longer among `tokens`, and those of them that nobody was told of.
        self._num_shifted, self._num_untold_shifted = 0, 0
        self._max_reply = min(request.params.max_tokens, MAX_SHIFTED_CONTEXTS * context_length)
        # A grammar must be able to read its whole reply again.
        self._may_shift = request.params.context_overflow == "shift" and not request.grammar
        if not self._may_shift:
            self._max_reply = min(self._max_reply, max(1, context_length - len(prompt)))
        self.is_rewound = self.is_held = False
        self.seed = SeedWatch(request)
        self._detokenizer = Detokenizer(request.params.stop)
        self._banned_strings = BannedStrings(request.params.banned_strings)
        self.rewinds = Rewinds()
        self._held: list[Written] = []  # may begin a banned string: the last of `tokens`
        self._text, self._prefill_told = "", -1
        self._logprobs: list[TokenLogprob] = []
        self.arrived_s = arrived_s
        self._started_s: float | None = None
        self._num_at_place = self._num_read_at_place = 0
        self._first_token_s = self._last_token_s = arrived_s

    @property
    def num_reply(self) -> int:
        """Tokens sampled so far, without the one that ended the reply."""
        return self._num_shifted + len(self.tokens) - self.num_prompt

    @property
    def num_unread(self) -> int:
        """Tokens that the model has not read yet."""
        return len(self.tokens) - self.num_read

    @property
    def max_left(self) -> int:
        """Tokens that may still be sampled."""
        return self._max_reply - self.num_reply

    @property
    def is_background(self) -> bool:
        """Whether it is work that nobody waits for."""
        return self.request.priority is Priority.BACKGROUND

    @property
    def is_doubted(self) -> bool:
        """Whether it must run alone to find out if it made a step fail."""
        return self.num_read < self.doubted_until

    @property
    def would_break_seed(self) -> bool:
        """Whether a seed that was asked for would not hold, did it give up its slot."""
        return self.seed.is_asked and self.num_reply > 0 and not self.keeps_state

    @property
    def num_since_place(self) -> int:
        """Tokens sampled since it got its slot."""
        return len(self.tokens) - self._num_at_place

    @property
    def num_read_since_place(self) -> int:
        """Tokens read since it got its slot, or its state was put there."""
        return self.num_read - self._num_read_at_place

    def belongs_to(self, owner: str, conversation_id: str | None) -> bool:
        """Return whether it is of an owner and, unless that is None, of a conversation."""
        return self.owner == owner and conversation_id in {None, self.request.conversation_id}

    def prefix(self) -> Prefix | None:
        """Return what its cells hold, if that may be used again."""
        if not self.keeps_state:
            return None
        tokens = self.tokens[: self.num_read]
        return Prefix(self.owner, self.request.conversation_id, tokens, scales=self.scales)

    def restore(self, num_tokens: int) -> None:
        """Note that a state was put into its slot, which holds so many of its tokens."""
        assert self.phase is Phase.PREFILL
        assert 0 < num_tokens < len(self.tokens)
        self.num_read = self._num_read_at_place = num_tokens
        if not self.num_reply:
            self.num_cached = num_tokens

    def place(self, slot: int, num_cached: int, now_s: float) -> None:
        """Give it a slot whose first `num_cached` cells already hold its tokens."""
        assert self.phase is Phase.WAITING
        assert 0 <= num_cached < len(self.tokens)
        self.slot = slot
        self.num_read = self._num_read_at_place = num_cached
        self.phase = Phase.PREFILL
        self._num_at_place = len(self.tokens)
        if self._started_s is None:
            self._started_s = now_s
            self.num_cached = num_cached

    def lose_cache(self) -> None:
        """Read all tokens after all."""
        assert self.phase in {Phase.PREFILL, Phase.DECODE}
        self.phase = Phase.PREFILL
        self.seed.lose(self.num_read, is_shifted=self._num_shifted > 0)
        self.num_read = self._num_read_at_place = 0
        if not self.num_reply:
            self.num_cached = 0

    def give_up_slot(self) -> None:
        """Wait again; what was read counts no more."""
        assert self.phase in {Phase.PREFILL, Phase.DECODE}
        self.seed.lose(self.num_read, is_shifted=self._num_shifted > 0)
        self.slot, self.num_read = -1, 0
        self.num_given_up += 1
        self.phase = Phase.WAITING
        self._prefill_told = -1

    @property
    def num_places(self) -> int:
        """Tokens that the context has room for."""
        return self._context_length - len(self.tokens)

    @property
    def has_first(self) -> bool:
        """Whether its first words wait to be told."""
        return bool(self._text) and self._num_untold == self.num_reply - len(self._held)

    @property
    def num_told(self) -> int:
        """Tokens that are never taken back."""
        return len(self.tokens) - len(self._held)

    def shift(self, start: int, stop: int) -> None:
        """Note that a range of its tokens left the cells; the rest is of no use to others now."""
        assert self.phase is Phase.DECODE
        assert 0 <= start < stop < len(self.tokens)
        num = stop - start
        del self.tokens[start:stop]
        self.num_read -= num
        self._num_at_place -= num
        self._num_shifted += num
        self._num_untold_shifted += num
        self.rewinds.shift(num, stop)
        self.num_shared = self.doubted_until = 0
        self.keeps_state = False
        self.draft = None

    def end_full(self) -> None:
        """End because no cell is left for its next token: its context is full, or the pool is."""
        self._end(FinishReason.LENGTH if self.num_places > 0 else FinishReason.CONTEXT)

    def read(self, num_tokens: int) -> None:
        """Note that the next tokens lie in the KV cache."""
        self.seed.read(self.num_read, self.num_read + num_tokens, self.num_prompt)
        self.num_read += num_tokens
        assert self.num_read <= len(self.tokens)

    def take(self, sampled: Sampled, vocabulary: Vocabulary, now_s: float) -> None:
        """Take a token; may end the sequence."""
        if self.num_reply == 0:
            self._first_token_s = now_s
        self._last_token_s = now_s
        self.phase = Phase.DECODE
        is_eog = vocabulary.is_eog(sampled.token)
        # Behind the end of a grammar nothing else can come.
        if is_eog and (self.request.grammar or not self.request.params.ignore_eos):
            self._end(FinishReason.STOP)
            return
        self.tokens.append(sampled.token)
        data = b"" if is_eog else vocabulary.token_bytes(sampled.token)
        self._held.append(Written.of(sampled, data, vocabulary))
        first = self._banned_strings.feed(data)
        if first is not None:
            self._rewind(first)
            return
        self._release(self._banned_strings.release())
        if self._detokenizer.is_stopped:
            self._end(FinishReason.STOP)
        elif self.num_reply >= self._max_reply:
            is_full = self.num_places <= 0 and not self._may_shift
            is_full = is_full or self.num_reply < self.request.params.max_tokens
            self._end(FinishReason.CONTEXT if is_full else FinishReason.LENGTH)

    def take_verified(
        self, chosen: Several[Sampled], num_drafted: int, vocabulary: Vocabulary, now_s: float
    ) -> None:
        """Take the tokens of a step that checked guesses, up to one that ends it or is taken back.

        Args:
            chosen: All but the last lie in the KV cache as guesses already.
            num_drafted: Tokens that were guessed.
            vocabulary: Of the model.
            now_s: The time.
        """
        self._num_drafted += num_drafted
        self.take(chosen[0], vocabulary, now_s)
        for sampled in chosen[1:]:
            self._num_accepted += 1  # the one before it was as guessed
            if self.phase is Phase.ENDED or self.is_rewound:
                return
            self.read(1)
            self.take(sampled, vocabulary, now_s)

    def sampler_params(self) -> SamplingParams:
        """Return how to sample from here on; each rewind goes on with a seed of its own."""
        params = self.request.params
        if params.seed < 0 or not self.rewinds.num:
            return params
        return params.model_copy(update={"seed": (params.seed + self.rewinds.num) % NUM_SEEDS})

    def banned_here(self) -> frozenset[int]:
        """Return the tokens that began a banned string where the next one stands."""
        return self.rewinds.banned_at(len(self.tokens))

    def drop(self) -> None:
        """End without a word: aborted or failed."""
        self.phase = Phase.ENDED

    def deltas(self) -> list[Delta]:
        """Return what is new since the last call; a `Finish` last when it has ended."""
        told: list[Delta] = []
        done = min(self.num_read, self.num_prompt)
        if self.phase is not Phase.WAITING and not self._num_shifted and done > self._prefill_told:
            self._prefill_told = done
            told.append(Prefill(done, self.num_prompt, self.num_cached))
        if self.seed.take_news():
            told.append(Reseeded())
        if self._num_untold_shifted:
            told.append(Shifted(self._num_untold_shifted))
            self._num_untold_shifted = 0
        if self._text or (self.finish_reason and self._num_untold):
            told.append(Text(self._text, self._num_untold, tuple(self._logprobs)))
            self._text, self._num_untold, self._logprobs = "", 0, []
        if self.finish_reason is not None:
            told.append(Finish(self.finish_reason, self.usage(), self.timings()))
        return told

    def usage(self) -> Usage:
        """Return the token counts so far."""
        num_accepted = min(self._num_accepted, self.num_reply)
        counts = (self.num_prompt, self.num_reply, self.num_cached)
        return Usage(*counts, self._num_drafted, num_accepted)

    def timings(self) -> Timings:
        """Return the seconds so far."""
        started_s = self.arrived_s if self._started_s is None else self._started_s
        return Timings(
            queued_s=max(0.0, started_s - self.arrived_s),
            prefill_s=max(0.0, self._first_token_s - started_s),
            decode_s=max(0.0, self._last_token_s - self._first_token_s),
        )

    def _release(self, num: int) -> None:
        """Say the first of the held tokens; what stands behind a stop string is dropped."""
        min_tokens = self.request.params.min_tokens
        for index, written in enumerate(self._held[:num]):
            num_before = self.num_reply - len(self._held) + index
            self._num_untold += 1
            if written.logprob is not None:
                self._logprobs.append(written.logprob)
            self._text += self._detokenizer.feed(written.data, may_stop=num_before >= min_tokens)
            if self._detokenizer.is_stopped:
                self._drop_held(index + 1)
                num = index + 1
                break
        if num:
            self.rewinds.note_progress()
        del self._held[:num]

    def _rewind(self, first: int) -> None:
        """Take back the held tokens from one on; it cannot come again at its place."""
        position = len(self.tokens) - len(self._held) + first
        self.rewinds.note(position, self.tokens[position])
        self._drop_held(first)
        # The choice is made out of what reading the token before gives.
        self.num_read = min(self.num_read, position - 1)
        self.is_rewound = True

    def _drop_held(self, first: int) -> None:
        if num := len(self._held) - first:
            del self.tokens[-num:]
            del self._held[first:]

    def _end(self, reason: FinishReason) -> None:
        self._release(len(self._held))
        if self._detokenizer.is_stopped:
            reason = FinishReason.STOP
        self._text += self._detokenizer.finish()
        self.finish_reason = reason
        self.phase = Phase.ENDED
