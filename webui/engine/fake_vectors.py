"""What the made-up model makes of texts: unit vectors and scores that depend on the words alone.

Pure: texts that share words have like vectors, and the same text has always the same.
"""

from __future__ import annotations

import hashlib
import math
import re
from array import array
from typing import TYPE_CHECKING

from webui.engine.interface import Pooling

if TYPE_CHECKING:
    from collections.abc import Sequence

EMBEDDING_SIZE = 32
_WORD = re.compile(r"\w+")


def pooled(tokens: Sequence[str], pooling: Pooling | None, *, normalise: bool = True) -> bytes:
    """Return the vector of a text by its tokens, with pooling `none` one of each of them."""
    match pooling:
        case Pooling.NONE:
            return b"".join(vector(token, normalise=normalise) for token in tokens)
        case Pooling.CLS:
            tokens = tokens[:1]
        case Pooling.LAST:
            tokens = tokens[-1:]
        case _:
            pass
    return vector("".join(tokens), normalise=normalise)


def vector(text: str, *, normalise: bool = True) -> bytes:
    """Return the vector of a text as float32: the sum of its words' own, of length 1 if wanted."""
    total = [0.0] * EMBEDDING_SIZE
    for word in _words(text) or [""]:
        digest = hashlib.sha256(word.encode("utf-8", "replace")).digest()
        total = [sum(pair) for pair in zip(total, (byte - 127.5 for byte in digest), strict=True)]
    length = math.sqrt(sum(number * number for number in total)) if normalise else 1.0
    return array("f", (number / length for number in total)).tobytes()


def score(query: str, document: str) -> bytes:
    """Return the share of the query's words that the document has, as one float32."""
    wanted = set(_words(query))
    found = wanted & set(_words(document))
    return array("f", [len(found) / max(1, len(wanted))]).tobytes()


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
