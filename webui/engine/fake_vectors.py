"""What the made-up model makes of texts: unit vectors and scores that depend on the words alone.

Pure: texts that share words have like vectors, and the same text has always the same.
"""

from __future__ import annotations

import hashlib
import math
import re
from array import array

EMBEDDING_SIZE = 32
_WORD = re.compile(r"\w+")


def vector(text: str) -> bytes:
    """Return the vector of a text as float32: the sum of its words' own, of length 1."""
    total = [0.0] * EMBEDDING_SIZE
    for word in _words(text) or [""]:
        digest = hashlib.sha256(word.encode("utf-8", "replace")).digest()
        total = [sum(pair) for pair in zip(total, (byte - 127.5 for byte in digest), strict=True)]
    length = math.sqrt(sum(number * number for number in total))
    return array("f", (number / length for number in total)).tobytes()


def score(query: str, document: str) -> bytes:
    """Return the share of the query's words that the document has, as one float32."""
    wanted = set(_words(query))
    found = wanted & set(_words(document))
    return array("f", [len(found) / max(1, len(wanted))]).tobytes()


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
