"""One forward pass of llama.cpp for many sequences; obeys `engine.runner.ModelRunner`.

Owns model, context and sampler chains. Only the loop thread calls it, but for the methods
that `Vocabulary` answers. A slot is a sequence id of llama.cpp with a cache part of its own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import llama_cpp
import numpy as np

from webui.engine.interface import Memory, ModelInfo
from webui.engine.runner import Row, RowFailed, Sampled, Verified
from webui.errors import EngineError, GrammarTooAmbiguous, NothingAllowed
from webui.loaders.llama_cpp import cells
from webui.loaders.llama_cpp.abort_flag import AbortFlag
from webui.loaders.llama_cpp.adapters import Adapters
from webui.loaders.llama_cpp.banned_tokens import SpelledTokens
from webui.loaders.llama_cpp.batch import Batch, apart
from webui.loaders.llama_cpp.chain import Chain
from webui.loaders.llama_cpp.devices import gpus
from webui.loaders.llama_cpp.dry import DrySamplers
from webui.loaders.llama_cpp.gpu_fit import num_on_cards
from webui.loaders.llama_cpp.grammar import GrammarSampler
from webui.loaders.llama_cpp.grammars import Grammars
from webui.loaders.llama_cpp.lazy_grammar import LazyGrammarSampler
from webui.loaders.llama_cpp.logprobs import logprobs_of
from webui.loaders.llama_cpp.made_ahead import MadeAhead
from webui.loaders.llama_cpp.opening import open_context, open_model
from webui.loaders.llama_cpp.options import LlamaCppOptions, max_threads, num_threads
from webui.loaders.llama_cpp.sampler import Recipe, Vocab, choose_seed, dry_wish, has_dry
from webui.loaders.llama_cpp.shifting import can_shift, shift
from webui.loaders.llama_cpp.state_key import state_key
from webui.loaders.llama_cpp.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from webui.engine.interface import GrammarTrigger
    from webui.engine.runner import OpenSampler, RowResult
    from webui.loaders.llama_cpp.native_log import NativeLog
    from webui.sampling_params import SamplingParams


@dataclass(frozen=True, slots=True)
class _Sampler:
    """How the tokens of one slot are chosen.

    Attributes:
        chain: llama.cpp's samplers.
        params: What it was made from.
        grammar: What the reply keeps to.
    """

    chain: Chain
    params: SamplingParams
    grammar: GrammarSampler | LazyGrammarSampler | None

    def close(self) -> None:
        """Free the chain; idempotent."""
        self.chain.close()


class LlamaCppRunner:
    """A model that is loaded, with its context.

    Args:
        path: GGUF file, of a split model the first.
        name: Name for people.
        options: How to load it.
        on_progress: Told the share that is read, 0 to 1; False ends the load, as an exception does.

    Raises:
        LoadFailed: llama.cpp refuses the file, or there is not enough memory.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        options: LlamaCppOptions,
        on_progress: Callable[[float], object],
    ) -> None:
        self._log: NativeLog
        self._model, self._log = open_model(path, options, on_progress)
        self._context = 0
        self._samplers: dict[int, _Sampler] = {}
        self._abort = AbortFlag()
        self._spoilt: dict[int, int] = {}  # by slot, how many cells may hold what is no number
        self._dry = DrySamplers(llama_cpp, llama_cpp.llama_model_get_vocab(self._model))
        try:
            self.adapters = Adapters(self._model, path, options.lora, self._log)
            opened = open_context(self._model, self._log, options)
            self._context = opened.context
            self._scales = self.adapters.scales
            self.adapters.apply(self._context, self._scales)
            self._abort.watch(self._context)
            self._vocabulary = Vocabulary(self._model)
            spelled = self._vocabulary.spelled()
            self._grammars = Grammars(self._vocabulary, spelled)
            self._spelled = SpelledTokens(spelled)
            self._bans = MadeAhead(self._spelled.holding)
            self._memory: int = llama_cpp.llama_get_memory(self._context)
            self._window: int = llama_cpp.llama_model_n_swa(self._model)
            self._can_shift = can_shift(self._model, self._memory, options)
            self.max_batch_tokens: int = llama_cpp.llama_n_batch(self._context)
            self._num_at_once: int = llama_cpp.llama_n_ubatch(self._context)
            self._batch = Batch(self.max_batch_tokens)
            template: bytes | None = llama_cpp.llama_model_chat_template(self._model, None)
        except BaseException:
            self.close()
            raise
        self.chat_template = (template or b"").decode("utf-8", "replace")
        self.add_bos = self._vocabulary.add_bos
        self.bos_id = self._vocabulary.bos_id
        num_layers = llama_cpp.llama_model_n_layer(self._model) + 1
        self.info = ModelInfo(
            name=name,
            context_length=opened.context_length,
            num_slots=options.slots,
            kv_cells=opened.kv_cells,
            num_threads=num_threads(options),
            memory=Memory(
                weights_bytes=llama_cpp.llama_model_size(self._model) + self.adapters.num_bytes,
                kv_bytes=opened.kv_bytes,
                compute_bytes=self._log.compute_bytes,
            ),
            state_key=state_key(path, options, is_long=opened.is_long),
            chat_template_sha256=hashlib.sha256(template).hexdigest() if template else "",
            max_threads=max_threads(options),
            num_prompt_threads=options.threads_batch,
            num_layers=num_layers,
            num_gpu_layers=num_on_cards(options, num_layers, num_cards=len(gpus())),
            adapters=self.adapters.loaded,
        )

    @property
    def model(self) -> int:
        """Handle of the loaded model, good until `close`."""
        return self._model

    @property
    def vocabulary(self) -> Vocabulary:
        """That of the model, good until `close`."""
        return self._vocabulary

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Return the ids of a text; see `Vocabulary.tokenize`."""
        return self._vocabulary.tokenize(text, special=special)

    def is_sampler_prepared(self, params: SamplingParams, grammar: str) -> bool:
        """Return whether `prepare_sampler` has nothing to do."""
        return (
            (not grammar or self._grammars.has(grammar))
            and (not params.banned_strings or self._bans.has(params.banned_strings))
            and (not has_dry(params) or self._dry.has(dry_wish(params, self.info.context_length)))
        )

    def prepare_sampler(self, params: SamplingParams, grammar: str) -> None:
        """Make what takes long in `open_sampler`; called by a thread of its own.

        Raises:
            GrammarTooAmbiguous: The grammar can be kept in too many ways at once.
            InvalidRequest: It names a token that the model does not have, or the breakers of DRY
                stand in too many.
        """
        if grammar:
            self._grammars.read(grammar)
        self._bans.prepare(params.banned_strings)
        if has_dry(params):
            self._dry.prepare(dry_wish(params, self.info.context_length), self._spelled)

    def bos_eos(self) -> tuple[str, str]:
        """Return how the begin and end tokens are written in a template."""
        vocabulary = self._vocabulary
        return vocabulary.token_text(vocabulary.bos_id), vocabulary.token_text(vocabulary.eos_id)

    def token_bytes(self, token: int) -> bytes:
        """Return what a token says; control tokens say nothing."""
        return self._vocabulary.token_bytes(token)

    def is_eog(self, token: int) -> bool:
        """Return whether the model ends its turn with this token."""
        return self._vocabulary.is_eog(token)

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
        """Give a slot its own sampler chain and grammar, in place of those it had.

        Raises:
            EngineError: llama.cpp made no sampler.
            GrammarTooAmbiguous: Following the reply through the grammar takes too much work.
            InvalidRequest: A token that is named does not exist, or the grammar cannot begin
                with a trigger.
            NothingAllowed: No token can come next, as far as that is seen without the model.
        """
        self.close_sampler(slot)
        vocab = Vocab(self._vocabulary.size, self._vocabulary.eog, self.info.context_length)
        holding = self._bans.get(params.banned_strings)
        recipe = Recipe(llama_cpp, params, vocab, self._dry, choose_seed(params), holding)
        chain = Chain(recipe, tokens, num_reply=num_reply, banned=banned)
        self._samplers[slot] = _Sampler(chain, params, None)
        if grammar:
            reply = tokens[len(tokens) - num_reply :]
            keeper = self._open_grammar(grammar, triggers, reply, chain.banned)
            self._samplers[slot] = _Sampler(chain, params, keeper)

    def close_sampler(self, slot: int) -> None:
        """Free the chain of a slot and drop its grammar; idempotent."""
        if sampler := self._samplers.pop(slot, None):
            sampler.close()

    def take_sampler(self, slot: int) -> OpenSampler | None:
        """Take chain and grammar out of a slot, as they stand."""
        return self._samplers.pop(slot, None)

    def put_sampler(self, slot: int, sampler: OpenSampler) -> None:
        """Let chain and grammar that were taken go on in a slot."""
        assert isinstance(sampler, _Sampler)
        self.close_sampler(slot)
        self._samplers[slot] = sampler

    def forward(self, rows: Sequence[Row]) -> list[RowResult]:
        """Compute one step and sample where a row asks for it.

        A row that asks must have an open sampler, and the token is accepted by it; it fails
        alone where its logits are no numbers. Blocks for the whole computation, with the
        interpreter lock released.

        Raises:
            EngineError: Nothing was sampled; the cache of these rows is unsure from their
                positions on, so `forget` from there before going on.
            StepAborted: `set_abort` ended it; the same holds.
        """
        groups, rest = apart(rows, self._num_at_once)
        for group in groups:
            self._decode(group)
        results: list[RowResult] = [None] * len(rows)
        if rest:
            last = self._decode([rows[place] for place in rest])
            for place, index in zip(rest, last, strict=True):
                row = rows[place]
                results[place] = result = self._choose(row, index) if row.sample else None
                if isinstance(result, RowFailed) and isinstance(result.error, EngineError):
                    self._spoilt[row.slot] = row.position + len(row.tokens)
        return results

    def _decode(self, rows: Sequence[Row]) -> list[int]:
        """Compute rows in one call; return the index of each row's last token."""
        try:
            return self._batch.decode(self._context, rows)
        finally:
            self._abort.hold(is_held=False)

    def set_abort(self, *, is_set: bool) -> None:
        """End the step that runs between two operations of the CPU, or let steps run.

        llama.cpp drops what the part that ran left in the cache; parts before it stay.
        """
        self._abort.is_set = is_set

    def forget(self, slot: int, from_position: int) -> bool:
        """Drop what a slot remembers from a position on; False if the model cannot go on there.

        From position 0 it always can.
        """
        if not from_position and (num_spoilt := self._spoilt.pop(slot, 0)):
            self._scrub(slot, num_spoilt)
        return cells.forget(self._memory, slot, from_position, self._window)

    def shift(self, slot: int, start: int, stop: int) -> bool:
        """Drop the cells from `start` to `stop` and close the gap; False if that cannot be."""
        # The next call moves the cells of this slot, whoever it is made for: half done it would
        # be done again, once more for a part of the layers (`llama_kv_cache::update`).
        self._abort.hold(is_held=True)
        return self._can_shift and shift(self._memory, slot, start, stop)

    def save_state(self, slot: int) -> memoryview | None:
        """Copy keys and values of a slot; None where llama.cpp gives none."""
        return cells.save_state(self._context, slot)

    def load_state(self, slot: int, data: memoryview, num_tokens: int) -> bool:
        """Put keys and values of so many tokens into a slot; False where they do not fit."""
        return cells.load_state(self._context, slot, data, num_tokens)

    def close(self) -> None:
        """Free everything; idempotent."""
        for slot in list(self._samplers):
            self.close_sampler(slot)
        self._dry.close()
        if self._context:
            llama_cpp.llama_free(self._context)
            self._context = 0
        if self._model:
            llama_cpp.llama_model_free(self._model)
            self._model = 0

    def set_threads(self, decode: int, batch: int) -> None:
        """Set the compute threads of steps of one token and of more, from the next one on."""
        llama_cpp.llama_set_n_threads(self._context, decode, batch)

    def set_lora(self, scales: Sequence[float]) -> None:
        """Let adapters work so strongly from the next step on; the same as before costs nothing."""
        scales = tuple(scales)
        if scales != self._scales and len(scales) == len(self._scales):
            self.adapters.apply(self._context, scales)
            self._scales = scales

    def _choose(self, row: Row, last: int) -> RowResult:
        """Choose from the token before the guesses on, until one is not as guessed."""
        first = last - row.num_draft
        result = self._sample(row.slot, first)
        if not row.num_draft or isinstance(result, RowFailed):
            return result
        chosen = [result]
        for index, guess in enumerate(row.tokens[-row.num_draft :], first + 1):
            if chosen[-1].token != guess:
                break
            result = self._sample(row.slot, index)
            if isinstance(result, RowFailed):
                break  # it fails by itself when it comes to that
            chosen.append(result)
        return Verified(tuple(chosen))

    def _scrub(self, slot: int, num_tokens: int) -> None:
        """Overwrite cells whose values are no numbers: masked as they are, they spoil what follows.

        Without flash attention a cell that is not looked at still counts nought times its value.
        """
        llama_cpp.llama_memory_seq_rm(self._memory, slot, -1, -1)
        clean = max(self.bos_id, 0)
        for begin in range(0, num_tokens, self.max_batch_tokens):
            num = min(self.max_batch_tokens, num_tokens - begin)
            self._decode([Row(slot, [clean] * num, begin, sample=False)])

    def _sample(self, slot: int, index: int) -> Sampled | RowFailed:
        sampler = self._samplers[slot]
        try:
            if sampler.grammar is None:
                token = sampler.chain.sample(self._context, index)
            else:
                token = sampler.grammar.sample(sampler.chain, self._logits(index))
            if token is None:
                return RowFailed(self._no_choice(sampler, index))
        except (EngineError, GrammarTooAmbiguous) as error:  # the other rows have theirs
            return RowFailed(error)
        if not sampler.params.logprobs:
            return Sampled(token)
        return Sampled(token, *logprobs_of(self._logits(index), token, sampler.params.top_logprobs))

    def _no_choice(self, sampler: _Sampler, index: int) -> EngineError | NothingAllowed:
        """Return why no token was chosen: the model's fault, or that of what was asked for."""
        # The greatest of logits among which one is no number is none either.
        if np.isfinite(self._logits(index).max()):
            if sampler.grammar is not None:
                return sampler.grammar.refusal()
            if sampler.chain.banned:
                return sampler.chain.refusal()
        return EngineError(
            "The model gave no usable probabilities",
            "Try other sampling parameters; or the model file may be damaged.",
        )

    def _logits(self, index: int) -> NDArray[np.float32]:
        """Return what the latest step gave for a position, shape (vocab_size,); not a copy."""
        logits = llama_cpp.llama_get_logits_ith(self._context, index)
        return np.ctypeslib.as_array(logits, (self._vocabulary.size,))

    def _open_grammar(
        self,
        text: str,
        triggers: Sequence[GrammarTrigger],
        reply: Sequence[int],
        banned: frozenset[int],
    ) -> GrammarSampler | LazyGrammarSampler:
        grammar = self._grammars.get(text)
        if triggers:
            return LazyGrammarSampler(grammar, triggers=triggers, reply=reply)
        keeper = GrammarSampler(grammar, reply)
        if not reply:
            keeper.check_begins(banned)
        return keeper
