"""What the worker's loop needs of a backend that makes vectors: batches of texts, read in passes.

Knows tokens; knows neither requests nor owners nor sockets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.engine.interface import Pooling


@dataclass(frozen=True, slots=True)
class TextRow:
    """One text of a batch.

    Attributes:
        tokens: All of it, at least one.
        normalise: Scale its vectors to length 1.
    """

    tokens: Sequence[int]
    normalise: bool


@dataclass(frozen=True, slots=True)
class TextsRead:
    """What one pass came to.

    Attributes:
        num_tokens: It read so many.
        vectors: For each text of the batch its numbers as float32, with `Pooling.NONE` those of
            all its tokens; None as long as something is left to read.
    """

    num_tokens: int
    vectors: list[bytes] | None


class Embedder(Protocol):
    """An open model that turns texts into vectors. All calls block.

    The loop's thread calls `begin` and `read`; one other thread calls the tokenizers.
    """

    @property
    def max_text_tokens(self) -> int:
        """Tokens the longest text may have."""
        ...

    @property
    def longest_text_tokens(self) -> int:
        """The same, were it loaded with the longest context there is."""
        ...

    @property
    def size(self) -> int:
        """Numbers of a vector."""
        ...

    @property
    def max_batch_tokens(self) -> int:
        """Tokens several texts of one batch may have together; a text alone may have more."""
        ...

    @property
    def max_batch_texts(self) -> int:
        """Texts that one batch may have."""
        ...

    def tokenize_text(self, text: str, max_tokens: int | None) -> list[int]:
        """Return all tokens the network reads for a text, those around it too.

        Args:
            text: Any text.
            max_tokens: Leave out what is more, of the text itself; None leaves out nothing.
        """
        ...

    def tokenize_pair(self, query: str, document: str, max_tokens: int | None) -> list[int]:
        """Return all tokens the network reads to rank a document; `max_tokens` cuts that."""
        ...

    def begin(self, texts: Sequence[TextRow], pooling: Pooling | None) -> None:
        """Take the texts of a batch, at least one; what was not read of those before is dropped.

        Args:
            texts: In all not more than one batch may have, or one text.
            pooling: None takes the model's own.

        Raises:
            EngineError: There is no memory for this pooling.
        """
        ...

    def read(self, max_tokens: int | None) -> TextsRead:
        """Read more of the batch, in one pass.

        Args:
            max_tokens: No more than so many at once, of a model that can read a text in parts;
                None takes as many as it can.

        Raises:
            EngineError: It could not be computed; the batch is dropped.
        """
        ...
