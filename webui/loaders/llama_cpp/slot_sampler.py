"""What chooses the tokens of one slot: its samplers and its grammar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from webui.loaders.llama_cpp.chain import Chain
    from webui.loaders.llama_cpp.grammar import GrammarSampler
    from webui.loaders.llama_cpp.lazy_grammar import LazyGrammarSampler
    from webui.sampling_params import SamplingParams


@dataclass(frozen=True, slots=True)
class SlotSampler:
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
