"""Log lines are one line each, and cannot be forged by what they quote."""

from __future__ import annotations

import logging

import pytest

from webui.cli.log import KeyValue, quoted


def record(message: str, *args: object, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("webui.chat", logging.WARNING, "x.py", 1, message, args, None)
    vars(made).update(fields)
    return made


def test_record_is_laid_out_as_pairs() -> None:
    line = KeyValue().format(record("the %s ended", "worker", request_id="r1"))
    time, rest = line.split(" ", 1)
    assert time.startswith("time=20")
    assert time.endswith("Z")
    assert rest == 'level=warning logger=webui.chat msg="the worker ended" request_id=r1'


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("plain", "plain"),
        ("two words", '"two words"'),
        ("", '""'),
        ("a=b", '"a=b"'),
        ("a\nlevel=error", '"a\\nlevel=error"'),
        ("\x1b[2J", '"\\u001b[2J"'),
        ("\u202eevil", '"\\u202eevil"'),
    ],
)
def test_value_stays_on_its_line(value: str, line: str) -> None:
    assert quoted(value) == line


def test_traceback_stays_inside_the_line() -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError as error:
        made = record("failed")
        made.exc_info = (type(error), error, error.__traceback__)
    line = KeyValue().format(made)
    assert "\n" not in line
    assert "ValueError" in line
