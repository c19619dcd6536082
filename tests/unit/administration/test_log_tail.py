"""The last lines of the log, bounded, in the layout of whoever writes it."""

from __future__ import annotations

import logging

import pytest

from webui.administration.log_tail import MAX_LINE_CHARS, MAX_LINES, LogTail
from webui.cli.log import KeyValue

logger = logging.getLogger("tests.tail")


@pytest.fixture
def tail():
    tail = LogTail(KeyValue())
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)
    root.addHandler(tail)
    yield tail
    tail.close()
    root.setLevel(level)


def test_last_lines_are_kept_in_their_order(tail: LogTail) -> None:
    for n in range(MAX_LINES + 10):
        logger.info("line %d", n)
    lines = tail.last(3)
    assert [line.split("msg=")[1] for line in lines] == [
        f'"line {n}"' for n in range(MAX_LINES + 7, MAX_LINES + 10)
    ]
    assert len(tail.last(10 * MAX_LINES)) == MAX_LINES


def test_line_is_bounded_and_one(tail: LogTail) -> None:
    logger.info("x\n" * MAX_LINE_CHARS)
    (line,) = tail.last(1)
    assert len(line) == MAX_LINE_CHARS
    assert "\n" not in line


def test_closed_tail_hears_nothing(tail: LogTail) -> None:
    tail.close()
    logger.info("too late")
    assert tail.last(5) == []


def test_layout_is_that_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    written = logging.StreamHandler()
    written.setFormatter(KeyValue())
    monkeypatch.setattr(logging.getLogger(), "handlers", [written])
    tail = LogTail()
    tail.open()
    logger.warning("hello")
    tail.close()
    assert tail.last(1)[0].startswith("time=")
