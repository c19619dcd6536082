"""Patterns that libraries write for their own types and that look ahead, which no grammar does.

Knows them letter by letter, and what has the same form without looking ahead; that is tested.

Source: pydantic up to 2.12 (decimal numbers as text) and zod 4 (formats).
"""

from __future__ import annotations

import re

DECIMAL_BEGINS = r"^(?!^[-+.]*$)[+-]?0*"
DECIMAL_ENDS = re.compile(
    r"\\d\*\\\.\?\\d(?P<places>\*|\{0,\d+\})(0\*)?\$"
    r"|\(\?:\\d\{0,(?P<digits>\d+)\}\|\(\?=\[\\d\.\]\{1,\d+\}0\*\$\)"
    r"\\d(\*|\{0,\d+\})\\\.\\d(\*|(?P<least>\{0,\d+\}))0\*\$\)"
)
# The format of which all texts match the pattern.
FORMAT_OF = {
    r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]"
    r"@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$": "email",
    r"^P(?:(\d+W)|(?!.*W)(?=\d|T\d)(\d+Y)?(\d+M)?(\d+D)?"
    r"(T(?=\d)(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?)$": "duration",
    r"^(?=.{1,253}\.?$)[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
    r"(?:\.[a-zA-Z0-9](?:[-0-9a-zA-Z]{0,61}[0-9a-zA-Z])?)*\.?$": "hostname",
}


def without_looking_ahead(pattern: str) -> str:
    """Return the same pattern; for a decimal number of pydantic one that says less."""
    ends = DECIMAL_ENDS.fullmatch(pattern.removeprefix(DECIMAL_BEGINS))
    if ends is None or not pattern.startswith(DECIMAL_BEGINS):
        return pattern
    num_digits = ends["digits"]
    whole = r"\d+" if num_digits is None else rf"\d{{1,{num_digits}}}"
    places = (ends["places"] or ends["least"] or "").replace("*", "+").replace("{0,", "{1,")
    fraction = rf"(\.\d{places})?" if places not in ("", "{1,0}") else ""
    return f"^[+-]?{'0' if num_digits == '0' else whole}{fraction}$"
