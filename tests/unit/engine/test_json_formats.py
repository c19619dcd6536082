"""Formats as grammars: what they write is read by others, what people write is taken."""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import uuid
from datetime import date, datetime, time, timedelta
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from pydantic import AnyUrl, TypeAdapter

from tests.unit.engine.gbnf_oracle import Grammar
from webui.engine.json_formats import FORMAT_RULES, FORMATS
from webui.engine.json_rules import RULES
from webui.engine.json_schema import schema_grammar

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD = {
    "date": ["2024-02-28", "1999-12-31", "2023-04-30", "2025-11-01"],
    "time": ["23:59:59Z", "08:30:00.25+02:00"],
    "date-time": ["2024-02-28T10:00:00Z"],
    "duration": ["P3D", "PT5M", "P1Y2M3DT4H5M6S", "P2W", "PT36H", "P1M", "P1DT12H"],
    "uuid": ["123e4567-e89b-12d3-a456-426614174000"],
    "uuid4": ["f47ac10b-58cc-4372-a567-0e02b2c3d479"],
    "email": ["a@b.de", "ann.lee+news@mail.example.co.uk", "x_y-z@1-2.museum"],
    "hostname": ["localhost", "www.example.org", "a-b.c1.net"],
    "ipv4": ["127.0.0.1", "255.255.255.255", "10.0.99.200", "0.0.0.0", "249.250.2.25"],
    "ipv6": ["::", "::1", "2001:db8::8a2e:370:7334", "1:2:3:4:5:6:7:8", "fe80::", "1::3:4:5:6:7:8"],
    "uri": [
        "https://example.org",
        "http://localhost:8080/a/b.html?q=1&r=%20#top",
        "mailto:ann@example.org",
        "urn:isbn:0451450523",
        "ftp://10.0.0.1/x",
        "http://h:64999/",
    ],
    "uri-reference": ["", "/a/b", "a/b.png", "?q=1", "#top", "../x", "https://example.org/x"],
    "byte": ["", "aGk=", "aGVsbG8gd29ybGQ=", "AA=="],
}
BAD = {
    "date": ["2024-02-30", "2023-13-01", "2023-00-10", "2023-04-31", "0000-01-01", "2024-1-1"],
    "time": ["24:00:00Z", "12:60:00Z", "12:00:00"],
    "date-time": ["2024-02-28 10:00:00Z", "2024-02-28"],
    "duration": ["P", "PT", "5M", "P1D2Y", "P1H", "PT1D", "P1W2D"],
    "uuid": ["123e4567e89b12d3a456426614174000"],
    "uuid4": ["f47ac10b-58cc-1372-a567-0e02b2c3d479"],
    "email": ["a", "a@b", "@b.de", "a@.de", ".a@b.de", "a..b@c.de", "a@-b.de", "a b@c.de"],
    "hostname": ["-a", "a-", "a..b", ""],
    "ipv4": ["256.0.0.1", "1.2.3", "01.2.3.4", "1.2.3.4.5", "300.1.1.1"],
    "ipv6": ["1:2:3:4:5:6:7", ":::", "1::2::3", "12345::", "1:2:3:4:5:6:7::8:9", ":1"],
    "uri": ["example.org", "//x", "https://", "https:// x", "1a:b", "http://h:70000"],
    "uri-reference": ["a b", "//", "<x>"],
    "byte": ["a", "ab=", "a===", "aGk"],
}


def _taken(kind: str, text: str) -> bool:
    grammar = Grammar(schema_grammar({"type": "string", "format": kind}))
    return grammar.matches(json.dumps(text, ensure_ascii=False))


@pytest.mark.parametrize("kind", GOOD)
def test_what_people_write_is_taken(kind: str) -> None:
    assert [text for text in GOOD[kind] if not _taken(kind, text)] == []
    assert [text for text in BAD[kind] if _taken(kind, text)] == []


def _url(text: str) -> object:
    assert urlsplit(text).scheme
    return AnyUrl(text) if "://" in text else text


READERS: dict[str, Callable[[str], object]] = {
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "date-time": datetime.fromisoformat,
    "duration": TypeAdapter(timedelta).validate_python,
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
    "uri": _url,
    "iri": _url,
    "url": _url,
    "byte": lambda text: base64.b64decode(text, validate=True),
    "base64": lambda text: base64.b64decode(text, validate=True),
    "hostname": re.compile(r"(?=.{1,253}\Z)([a-zA-Z0-9-]{1,63}\.)*[a-zA-Z0-9-]{1,63}").fullmatch,
    "email": re.compile(r"[\w.+-]{1,64}@([a-zA-Z0-9-]{1,63}\.)+[a-zA-Z0-9-]{2,63}").fullmatch,
    "uuid": uuid.UUID,
}


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_written_has_the_format_and_a_length_within_its_own(kind: str) -> None:
    grammar = Grammar(schema_grammar({"type": "string", "format": kind}))
    reader = READERS.get(kind, READERS["uuid"] if kind.startswith("uuid") else str)
    form = FORMATS[kind]
    for seed in range(60):
        for budget in (8, 30, 400):
            text: Any = json.loads(grammar.write(Random(seed), budget))
            assert reader(text) is not None, text
            assert form.shortest <= len(text) <= form.longest


@pytest.mark.parametrize("kind", FORMATS)
def test_lengths_of_a_format_are_those_of_its_grammar(kind: str) -> None:
    grammar = Grammar(schema_grammar({"type": "string", "format": kind}))
    shortest, longest = grammar.lengths()
    assert (shortest - 2, longest - 2) == (FORMATS[kind].shortest, FORMATS[kind].longest)


def test_a_grammar_holds_only_the_formats_that_it_uses() -> None:
    assert not FORMAT_RULES.keys() & RULES.keys()
    rules = schema_grammar({"type": "string", "format": "date"})
    assert "day31 ::=" in rules
    assert "uri ::=" not in rules
    assert "day31 ::=" not in schema_grammar({"type": "string"})
