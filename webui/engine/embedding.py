"""What a loaded model may be asked, and the vectors of an answer put together again.

Pure: knows requests and what a model can do; the engines share it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.engine.interface import EmbedResult, Pooling
from webui.errors import InvalidRequest

if TYPE_CHECKING:
    from webui.engine.interface import EmbedRequest, ModelInfo, VectorPart

MAX_NUMBERS = 8_388_608  # of vectors of tokens: as many as 2,048 texts have with 4,096 each


class Vectors:
    """The vectors of one request, growing part by part.

    Args:
        num_inputs: How many texts it has.
    """

    def __init__(self, num_inputs: int) -> None:
        self._data = [bytearray() for _ in range(num_inputs)]

    def add(self, part: VectorPart) -> None:
        """Take a part; those of one input come in order."""
        self._data[part.input_index] += part.data

    def result(self, num_tokens: int) -> EmbedResult:
        """Return all of them."""
        return EmbedResult(vectors=tuple(map(bytes, self._data)), num_tokens=num_tokens)


def check_can_generate(info: ModelInfo) -> None:
    """Refuse to write with a model that cannot.

    Raises:
        InvalidRequest: It cannot.
    """
    if not info.can_generate:
        does = "ranks documents" if info.can_rerank else "makes embeddings"
        raise InvalidRequest(
            f"{info.name} {does}; it cannot chat", "Load a chat model to write with."
        )


def check_can_embed(request: EmbedRequest, info: ModelInfo) -> None:
    """Refuse what a model cannot do with texts.

    Raises:
        InvalidRequest: It cannot do this, or there is no text.
    """
    if not request.inputs:
        raise InvalidRequest("There is no text", field="input")
    if request.query is not None and not info.can_rerank:
        raise InvalidRequest(
            f"{info.name} cannot rank documents", "Load a reranker, such as bge-reranker."
        )
    if request.query is None and not info.can_embed:
        does = "ranks documents; it makes" if info.can_rerank else "makes"
        raise InvalidRequest(f"{info.name} {does} no embeddings", "Load an embedding model.")
    if (request.pooling is Pooling.RANK) and request.query is None:
        raise InvalidRequest("Pooling 'rank' needs a query", field="pooling")
    if request.pooling is Pooling.NONE and not info.can_embed_tokens:
        raise InvalidRequest(
            f"{info.name} makes vectors of whole texts alone; pooling none needs those of tokens",
            "Choose mean, cls or last, or leave pooling out.",
            field="pooling",
        )
    if request.query is not None and request.pooling not in (None, Pooling.RANK):
        raise InvalidRequest("Documents are ranked with pooling 'rank' only", field="pooling")


def check_size(request: EmbedRequest, num_tokens: int, size: int) -> None:
    """Refuse more vectors of tokens than an answer may hold.

    Args:
        request: What is asked.
        num_tokens: Of all its texts.
        size: Numbers of a vector.

    Raises:
        InvalidRequest: Each token would have a vector, and there are too many.
    """
    if request.pooling is Pooling.NONE and num_tokens * size > MAX_NUMBERS:
        raise InvalidRequest(
            f"With pooling none the vectors of {num_tokens:,} tokens have {num_tokens * size:,} "
            f"numbers; {MAX_NUMBERS:,} are allowed",
            "Send the texts in several requests.",
            field="pooling",
        )
