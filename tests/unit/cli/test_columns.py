"""Tables for a terminal."""

from __future__ import annotations

from webui.cli.columns import columns, printable


def test_rows_stand_under_their_headings_without_blanks_at_the_end() -> None:
    assert columns(("A", "LONG"), [("wider", "b"), ("c", "")]) == "A      LONG\nwider  b\nc"


def test_what_others_named_cannot_move_the_cursor() -> None:
    assert printable("a\x1b[2Jb\n\u202ec é") == "a\\x1b[2Jb\\n\\u202ec é"
    assert "\x1b" not in columns(("A",), [("\x1b[31m",)])
