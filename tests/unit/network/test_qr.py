"""Codes that are drawn: as SVG that a page may hold, and as lines that fit a terminal."""

from __future__ import annotations

from xml.etree import ElementTree

from webui.network import qr

URL = "https://192.168.100.100:7860/"


def test_svg_is_one_element_without_a_fixed_size() -> None:
    root = ElementTree.fromstring(qr.svg(URL))  # noqa: S314 - our own text
    assert root.tag.endswith("svg")
    assert "viewBox" in root.attrib
    assert "width" not in root.attrib
    assert {child.tag.rpartition("}")[2] for child in root.iter()} <= {"svg", "g", "path"}


def test_lines_are_as_wide_as_is_said_and_have_colours_of_their_own() -> None:
    lines = qr.lines(URL)
    for line in lines:
        inner = line.removeprefix(qr.WHITE_ON_BLACK).removesuffix(qr.PLAIN)
        assert len(inner) == qr.width(URL)
    assert len(lines) == (qr.width(URL) + 1) // 2
