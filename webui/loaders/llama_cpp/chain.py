"""The samplers of one sequence in a chain of llama.cpp, and what they may not choose.

Which samplers there are and in what order they run is said by `sampler`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from webui.errors import EngineError, InvalidRequest, NothingAllowed
from webui.loaders.llama_cpp.sampler import LEAST_CHANCE, MIN_KEEP, STEPS, build_choice

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from webui.loaders.llama_cpp.grammar import Candidates
    from webui.loaders.llama_cpp.sampler import Handle, Recipe
    from webui.sampling_params import SamplingParams


BIAS = np.dtype([("token", np.int32), ("bias", np.float32)])


@dataclass(slots=True)
class _Ban:
    """Tokens that cannot be chosen; `num_left` counts the choices for which that holds."""

    tokens: frozenset[int]
    num_left: int


class Chain:
    """The samplers of one sequence, in order, and what they may not choose.

    Args:
        recipe: What it is made from.
        tokens: The sequence so far; penalties and DRY look back on it.
        num_reply: How many of them the model wrote.
        banned: Tokens that cannot come next, though later.

    Raises:
        EngineError: llama.cpp made no sampler.
        InvalidRequest: A token that is named does not exist.
        NothingAllowed: All tokens there are are banned.
    """

    def __init__(
        self,
        recipe: Recipe,
        tokens: Sequence[int],
        *,
        num_reply: int = 0,
        banned: frozenset[int] = frozenset(),
    ) -> None:
        params, vocab = recipe.params, recipe.vocab
        _check_tokens(params, vocab.size)
        bans = [_Ban(banned, 1), _Ban(vocab.eog, params.min_tokens - num_reply)]
        always = vocab.eog if params.ignore_eos else frozenset[int]()
        self._banned = always.union(params.banned_tokens, recipe.banned)
        self._bans = [ban for ban in bans if ban.tokens and ban.num_left > 0]
        if len(self.banned) >= vocab.size:
            raise self.refusal()
        self._llama = recipe.llama
        self._handle: Handle = self._llama.llama_sampler_chain_init(
            self._llama.llama_sampler_chain_default_params()
        )
        if not self._handle:
            raise EngineError("llama.cpp made no sampler chain")
        try:
            for ban in self._bans:
                self._add_bias(recipe, {}, ban.tokens)
            self._add_bias(recipe, params.logit_bias, self._banned)
            self._has_biases = bool(params.logit_bias or self._banned)
            self._add_steps(recipe, tokens)
            if params.mirostat == 1:  # it guesses from how much likelier each is than the next
                self._drop_without_chance()
            self._add("choice", build_choice(recipe))
        except BaseException:
            self.close()
            raise

    @property
    def banned(self) -> frozenset[int]:
        """The tokens that cannot be chosen next."""
        return self._banned.union(*(ban.tokens for ban in self._bans))

    def refusal(self) -> NothingAllowed:
        """Return what is wrong where bans leave no token."""
        return NothingAllowed(
            "All tokens that could come here are banned", "Ban fewer tokens and strings."
        )

    def sample(self, context: int, index: int) -> int | None:
        """Choose the token after a position of the latest step, and accept it.

        Returns:
            None when there is nothing to choose from: logits that are no numbers, or only
            tokens that are banned.
        """
        token: int = self._llama.llama_sampler_sample(self._handle, context, index)
        logits = self._llama.llama_get_logits_ith(context, index)
        if not self._is_usable(token, logits[token]):
            return None
        self._lift_bans()
        return token

    def choose(self, candidates: Candidates) -> int | None:
        """Choose out of some tokens, and accept nothing; None as for `sample`."""
        candidates.apply(self._handle)
        token, logit = candidates.selected()
        return token if self._is_usable(token, logit) else None

    def choose_among(self, candidates: Candidates, tokens: NDArray[np.int32]) -> int | None:
        """Choose out of some of all tokens; for others as `choose`.

        The biases come before the rest is left out: where a token does not stand at the place of
        its id, llama.cpp looks for it, tokens times biases, which is half a second for many.

        Source: llama.cpp, src/llama-sampler.cpp, llama_sampler_logit_bias_apply.
        """
        llama = self._llama
        num_biases = len(self._bans) + self._has_biases
        for place in range(llama.llama_sampler_chain_n(self._handle)):
            if place == num_biases:
                candidates.keep(tokens)
                if not candidates.has_chance():
                    return None
            candidates.apply(llama.llama_sampler_chain_get(self._handle, place))
        token, logit = candidates.selected()
        return token if self._is_usable(token, logit) else None

    def accept(self, token: int) -> None:
        """Note the token that was chosen in the end."""
        self._llama.llama_sampler_accept(self._handle, token)
        self._lift_bans()

    def close(self) -> None:
        """Free the samplers; idempotent."""
        if self._handle:
            self._llama.llama_sampler_free(self._handle)
            self._handle = None

    def _add_steps(self, recipe: Recipe, tokens: Sequence[int]) -> None:
        for name in recipe.params.sampler_order:
            step = STEPS[name]
            if not step.is_needed(recipe.params):
                continue
            if step.needs_chance:
                self._drop_without_chance()
            handle = step.build(recipe)
            self._add(name, handle)
            if step.looks_back is not None:
                for token in tokens[-step.looks_back(recipe) :]:
                    self._llama.llama_sampler_accept(handle, token)

    def _drop_without_chance(self) -> None:
        self._add("min_p", self._llama.llama_sampler_init_min_p(LEAST_CHANCE, MIN_KEEP))

    def _add_bias(
        self, recipe: Recipe, biases: Mapping[int, float], banned: frozenset[int]
    ) -> None:
        given = {token: bias for token, bias in biases.items() if token not in banned}
        num = len(given) + len(banned)
        if not num:
            return
        llama = self._llama
        data = np.empty(num, BIAS)  # of 40,000 bans, each as an object would take 60 ms
        data["token"] = np.fromiter((*given, *banned), np.int32, num)
        data["bias"] = -np.inf
        data["bias"][: len(given)] = list(given.values())
        array = (llama.llama_logit_bias * num).from_buffer(data)
        handle = llama.llama_sampler_init_logit_bias(recipe.vocab.size, num, array)
        self._add("logit_bias", handle)

    def _add(self, name: str, handle: Handle) -> None:
        if not handle:  # a null link would be followed at the next token
            raise EngineError(f"llama.cpp made no sampler for {name}")
        self._llama.llama_sampler_chain_add(self._handle, handle)

    def _is_usable(self, token: int, logit: float) -> bool:
        """Return whether a choice is one: out of no chance llama.cpp chooses something as well."""
        is_banned = token in self._banned or any(token in ban.tokens for ban in self._bans)
        return math.isfinite(logit) and not is_banned

    def _lift_bans(self) -> None:
        """Count a choice; take out the bans that are over, which stand first in the chain."""
        for ban in self._bans:
            ban.num_left -= 1
        for place in reversed(range(len(self._bans))):
            if self._bans[place].num_left <= 0:
                del self._bans[place]
                gone = self._llama.llama_sampler_chain_remove(self._handle, place)
                self._llama.llama_sampler_free(gone)


def _check_tokens(params: SamplingParams, vocab_size: int) -> None:
    named: dict[str, Iterable[int]] = {
        "logit_bias": params.logit_bias,
        "banned_tokens": params.banned_tokens,
    }
    for field, tokens in named.items():
        for token in tokens:
            if token >= vocab_size:
                raise InvalidRequest(
                    f"{field}: this model has no token {token}; its vocabulary has {vocab_size}",
                    "Token ids belong to one model: leave them out after changing it.",
                    field=field,
                )
