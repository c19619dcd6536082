"""How many tokens texts have, without tokenising much more than could fit, and nothing twice.

Knows one tokenizer. Tokenising a megabyte takes seconds, so that more than `COUNTED_CHARS` are
first counted from their beginning; nothing that would fit is taken for too long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.engine.chat_template import Tokenize

# So much text takes less than a second: 250,000 characters of prose 0.4 s, of one letter 0.75 s
# (llama.cpp's tokenizer with SmolLM2's vocabulary on one core). It is counted to the end.
COUNTED_CHARS = 250_000
LIKELY_CHARS_PER_TOKEN = 12
PROBE_GROWTH = 4
CUT_TOKENS = 16  # by so many a cut may make a text longer: its last word is torn
REMEMBERED_CHARS = 1000  # a shorter text is tokenised again sooner than it is found


class TextLength:
    """Tokens of the texts of one request at a time; used by one thread.

    Args:
        tokenize: Of the model.
        max_tokens: Beyond so many nothing fits.
    """

    def __init__(self, tokenize: Tokenize, max_tokens: int) -> None:
        self._tokenize = tokenize
        self._max_tokens = max_tokens
        self._known: dict[tuple[str, bool], list[int]] = {}

    @property
    def max_counted_chars(self) -> int:
        """So much text is counted to its end."""
        return max(COUNTED_CHARS, self._max_tokens * LIKELY_CHARS_PER_TOKEN)

    def forget(self) -> None:
        """Forget the texts of the request before."""
        self._known.clear()

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Return the tokens of a text, which are remembered where it is long."""
        if len(text) < REMEMBERED_CHARS:
            return self._tokenize(text, special=special)
        key = text, special
        if key not in self._known:
            self._known[key] = self._tokenize(text, special=special)
        return self._known[key]

    def count(self, text: str) -> int:
        """Return the tokens of a text, however long."""
        return len(self.tokenize(text, special=False))

    def excess(self, said: Sequence[str]) -> int | None:
        """Return the tokens that texts have at least, if more than fit; None if they may fit."""
        size = self.max_counted_chars
        texts = [text.strip() for text in said]  # templates may trim
        num_chars = sum(map(len, texts))
        while size < num_chars:
            num_tokens = self._least(texts, size)
            if num_tokens > self._max_tokens:
                return num_tokens
            size *= PROBE_GROWTH
        return None

    def _least(self, texts: Sequence[str], size: int) -> int:
        """Return how many tokens the first `size` characters have at least."""
        num_tokens = -CUT_TOKENS
        for text in texts:
            num_tokens += self.count(text[:size])
            size -= len(text)
            if size <= 0:
                break
        return num_tokens
