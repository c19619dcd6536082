"""QR codes of addresses: for a page as SVG, for a terminal as text.

Knows segno; knows no page and no terminal.
"""

from __future__ import annotations

import io

import segno

BORDER = 2  # modules; the norm says 4, and every camera reads 2
WHITE_ON_BLACK, PLAIN = "\x1b[97;40m", "\x1b[0m"


def svg(url: str) -> str:
    """Return the code as one SVG element, black on white, as large as it is told to be."""
    out = io.BytesIO()
    segno.make_qr(url, error="m").save(
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
    segno.make_qr(url, error="m").terminal(out, border=BORDER, compact=True)
    return [f"{WHITE_ON_BLACK}{line}{PLAIN}" for line in out.getvalue().splitlines()]


def width(url: str) -> int:
    """Return how many columns `lines` takes."""
    return int(segno.make_qr(url, error="m").symbol_size(border=BORDER)[0])
