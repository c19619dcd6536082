"""One catalogue for all texts of the page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from string import Formatter

import pytest

import webui
from webui.ui.strings import Strings

UI = Path(webui.__file__).parent / "ui"


def test_text_takes_values_for_its_placeholders() -> None:
    strings = Strings({"greet": "Hello {name}."})
    assert strings("greet", name="{you}") == "Hello {you}."


def test_unknown_key_and_missing_value_are_bugs() -> None:
    strings = Strings({"greet": "Hello {name}."})
    with pytest.raises(KeyError):
        strings("great")
    with pytest.raises(KeyError):
        strings("greet")


def test_every_key_that_python_names_is_in_the_catalogue() -> None:
    strings = Strings.read()
    source = "\n".join(path.read_text("utf-8") for path in UI.rglob("*.py"))
    keys = set(re.findall(r'"((?:form|params|options|tabs)\.\w+)"', source))
    assert len(keys) > 15
    for key in keys:
        names = ("title", "limit", "reason", "id", "name", "names", "number")
        strings(key, **dict.fromkeys(names, "x"))


def test_texts_are_plain_and_well_formed() -> None:
    for key, text in Strings.read()._texts.items():
        assert text.strip() == text != "", key
        assert "<" not in text, key
        list(Formatter().parse(text))


def test_no_key_is_there_twice() -> None:
    pairs: list[tuple[str, str]] = []
    text = (UI / "static" / "strings.en.json").read_text("utf-8")
    json.loads(text, object_pairs_hook=pairs.extend)
    keys = [key for key, _ in pairs]
    assert len(keys) > 500
    assert [key for key in set(keys) if keys.count(key) > 1] == []
