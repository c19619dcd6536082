"""The text of a GBNF grammar: its characters, as they stand or escaped, and places in it.

Knows no rules. Refuses what llama.cpp takes though no text can hold it: halves of surrogate
pairs, and numbers beyond the last character.

Source: llama.cpp, src/llama-grammar.cpp, parse_char.
"""

from __future__ import annotations

import string

from webui.errors import InvalidRequest

HEX_DIGITS = frozenset(string.hexdigits)
ESCAPES = {"t": "\t", "r": "\r", "n": "\n"} | {char: char for char in '\\"[]-'}
HEX_ESCAPES = {"x": 2, "u": 4, "U": 8}
HALVES = range(0xD800, 0xE000)
LAST_CODE = 0x10FFFF
NUL = "a NUL character, which no token of any model matches"


def refuse(text: str, offset: int, reason: str) -> InvalidRequest:
    """Return the complaint about a place of a grammar."""
    before = text[:offset].replace("\r\n", "\n").replace("\r", "\n")
    line = before.count("\n") + 1
    column = len(before) - before.rfind("\n")
    return InvalidRequest(
        f"grammar: line {line}, column {column}: {reason}", "Correct the grammar.", field="grammar"
    )


def read_char(text: str, at: int) -> tuple[int, int]:
    """Read the character at an offset, which is not behind the end.

    Returns:
        Its code point, and the offset behind it.

    Raises:
        InvalidRequest: It is no escape, or one of no character; names line, column and reason.
    """
    if text[at] != "\\":
        return ord(text[at]), at + 1
    kind = text[at + 1 : at + 2]
    if kind in ESCAPES:
        return ord(ESCAPES[kind]), at + 2
    if kind not in HEX_ESCAPES:
        raise refuse(text, at, f"unknown escape \\{kind}")
    end = at + 2 + HEX_ESCAPES[kind]
    digits = text[at + 2 : end]
    if len(digits) < HEX_ESCAPES[kind] or not HEX_DIGITS.issuperset(digits):
        wanted = f"expected {HEX_ESCAPES[kind]} hexadecimal digits after \\{kind}"
        raise refuse(text, at, wanted)
    code = int(digits, 16)
    if code in HALVES:
        how = "write the character itself, or \\U and 8 digits"
        raise refuse(text, at, f"{text[at:end]} is half of a surrogate pair; {how}")
    if code > LAST_CODE:
        raise refuse(text, at, f"{text[at:end]} is no character; the last one is \\U0010FFFF")
    return code, end
