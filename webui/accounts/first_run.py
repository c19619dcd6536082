"""The code that makes the first administrator: whoever reads the terminal has it.

Knows one code; nothing of accounts.
"""

from __future__ import annotations

import hmac
import secrets

ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # without those that look alike
NUM_CHARS = 12


def new_code() -> str:
    """Return a code of 60 random bits, in groups of four."""
    chars = [secrets.choice(ALPHABET) for _ in range(NUM_CHARS)]
    return "-".join("".join(chars[begin : begin + 4]) for begin in range(0, NUM_CHARS, 4))


def is_same(code: str, given: str) -> bool:
    """Whether somebody wrote the code, however they wrote it."""
    plain = "".join(given.upper().replace("-", "").split())
    return hmac.compare_digest(code.replace("-", "").encode(), plain.encode())
