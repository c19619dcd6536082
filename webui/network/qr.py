"""QR codes of addresses: for a page as SVG, for a terminal as text.

Knows segno, which is loaded when the first code is drawn; knows no page and no terminal.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segno import QRCode

BORDER = 2  # modules; the norm says 4, and every camera reads 2
WHITE_ON_BLACK, PLAIN = "\x1b[97;40m", "\x1b[0m"


def svg(url: str) -> str:
    """Return the code as one SVG element, black on white, as large as it is told to be."""
    out = io.BytesIO()
    _code(url).save(
        out,
        kind="svg",
        border=BORDER,
        dark="#000",
        light="#fff",
        xmldecl=False,
        nl=False,
        omitsize=True,
        svgclass=None,
        lineclass=None,
    )
    return out.getvalue().decode()


def lines(url: str) -> list[str]:
    """Return the code as lines of half blocks, readable on dark and on light terminals."""
    out = io.StringIO()
    _code(url).terminal(out, border=BORDER, compact=True)
    return [f"{WHITE_ON_BLACK}{line}{PLAIN}" for line in out.getvalue().splitlines()]


def width(url: str) -> int:
    """Return how many columns `lines` takes."""
    return int(_code(url).symbol_size(border=BORDER)[0])


def _code(url: str) -> QRCode:
    import segno  # a tenth of a second; most starts draw none

    return segno.make_qr(url, error="m")
