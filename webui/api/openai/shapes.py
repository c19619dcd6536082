"""How replies look in the dialect's JSON: those of chats and those of plain texts.

Pure: knows deltas and dictionaries, no streams.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.engine.token_logprob import TokenLogprob

LEAST_LOGPROB = -9999.0  # stands for minus infinity, which JSON does not have


class Places:
    """Where tokens stand in the text that they make; fed with those of one reply, in order."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._num_chars = 0

    def take(self, data: bytes) -> int:
        """Return the character at which a token begins, or whose beginning it goes on with."""
        place = self._num_chars
        self._num_chars += len(self._decode(data))
        return place


class Shape(Protocol):
    """One of the two kinds of completion.

    Attributes:
        id_prefix: Begins the id of each.
        whole: Name of the one object.
        chunk: Name of a part of a stream.
    """

    @property
    def id_prefix(self) -> str: ...
    @property
    def whole(self) -> str: ...
    @property
    def chunk(self) -> str: ...

    def choice(self, index: int, text: str, logprobs: object, reason: str) -> dict[str, Any]:
        """Return a whole reply."""
        ...

    def opening(self, index: int) -> dict[str, Any] | None:
        """Return what a stream says of a reply before its text, if anything."""
        ...

    def piece(self, index: int, text: str, logprobs: object) -> dict[str, Any]:
        """Return a part of a reply."""
        ...

    def ending(self, index: int, reason: str) -> dict[str, Any]:
        """Return what a stream says last of a reply."""
        ...

    def logprobs(self, tokens: Sequence[TokenLogprob], places: Places) -> object:
        """Return the log-probabilities of tokens, which go on from those before them."""
        ...


class ChatShape:
    """Replies of `/v1/chat/completions`."""

    id_prefix = "chatcmpl-"
    whole = "chat.completion"
    chunk = "chat.completion.chunk"

    def choice(self, index: int, text: str, logprobs: object, reason: str) -> dict[str, Any]:
        """Return a whole reply."""
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": reason}

    def opening(self, index: int) -> dict[str, Any]:
        """Return the role."""
        return self._delta(index, {"role": "assistant", "content": ""})

    def piece(self, index: int, text: str, logprobs: object) -> dict[str, Any]:
        """Return a part of a reply."""
        return self._delta(index, {"content": text}, logprobs)

    def ending(self, index: int, reason: str) -> dict[str, Any]:
        """Return the reason."""
        return self._delta(index, {}, reason=reason)

    def logprobs(self, tokens: Sequence[TokenLogprob], places: Places) -> object:  # noqa: ARG002 - of the other shape
        """Return one object a token."""
        return {"content": _listed(tokens), "refusal": None}

    @staticmethod
    def _delta(
        index: int, delta: dict[str, str], logprobs: object = None, reason: str | None = None
    ) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}


class TextShape:
    """Replies of `/v1/completions`."""

    id_prefix = "cmpl-"
    whole = chunk = "text_completion"

    def choice(self, index: int, text: str, logprobs: object, reason: str | None) -> dict[str, Any]:
        """Return a whole reply."""
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}

    def opening(self, index: int) -> None:  # noqa: ARG002 - a text has no role
        """Return nothing: a text has no role."""
        return

    def piece(self, index: int, text: str, logprobs: object) -> dict[str, Any]:
        """Return a part of a reply."""
        return self.choice(index, text, logprobs, None)

    def ending(self, index: int, reason: str) -> dict[str, Any]:
        """Return the reason."""
        return self.choice(index, "", None, reason)

    def logprobs(self, tokens: Sequence[TokenLogprob], places: Places) -> object:
        """Return four parallel lists, as the dialect had them at first."""
        texts = [_text(token.data) for token in tokens]
        offsets = [places.take(token.data) for token in tokens]
        return {
            "tokens": texts,
            "token_logprobs": [max(token.logprob, LEAST_LOGPROB) for token in tokens],
            "top_logprobs": [
                {_text(data): max(logprob, LEAST_LOGPROB) for data, logprob in token.top}
                for token in tokens
            ],
            "text_offset": offsets,
        }


class ProbsShape(TextShape):
    """Replies of `/v1/completions` whose log-probabilities are told as llama-server tells them."""

    @override
    def logprobs(self, tokens: Sequence[TokenLogprob], places: Places) -> object:
        """Return one object a token."""
        return {"content": _listed(tokens)}


def _listed(tokens: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    return [
        {
            **_chance(token.data, token.logprob),
            "top_logprobs": [_chance(data, logprob) for data, logprob in token.top],
        }
        for token in tokens
    ]


def _chance(data: bytes, logprob: float) -> dict[str, Any]:
    return {
        "token": _text(data),
        "logprob": max(logprob, LEAST_LOGPROB),
        "bytes": list(data),
    }


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
