"""What a name may be, and which are one."""

from __future__ import annotations

import pytest

from webui.accounts.names import checked, is_same, key_of
from webui.errors import InvalidRequest


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("Ann", "Ann"),
        ("  Ann   Lee ", "Ann Lee"),
        ("o'neil-smith_2@home.org", "o'neil-smith_2@home.org"),
        ("José", "José"),
        ("Жанна", "Жанна"),
        ("李小龙", "李小龙"),
        ("x" * 40, "x" * 40),
    ],
)
def test_name_is_kept_in_its_composed_form(given: str, kept: str) -> None:
    assert checked(given) == kept


@pytest.mark.parametrize(
    "given",
    [
        "",
        "   ",
        "x" * 41,
        "a\u202eb",
        "a\u200bb",
        "a\x00b",
        "<b>",
        "a/b",
        "a:b",
        "...",
        "🙂",
        "a\ud800",
    ],
)
def test_name_that_hides_or_imitates_is_refused(given: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        checked(given)
    assert refusal.value.field == "name"
    assert refusal.value.hint


@pytest.mark.parametrize(
    ("one", "other"), [("Ann", "aNN"), ("ﬁn", "fin"), ("José", "JOSE\u0301"), ("straße", "STRASSE")]
)
def test_names_that_look_alike_are_one(one: str, other: str) -> None:
    assert key_of(one) == key_of(other)


@pytest.mark.parametrize(
    "given",
    ["command line", "Command-Line", "COMMAND  LINE", "commandline", "\uff43ommand_line", "You"],
)
def test_nobody_is_named_as_what_is_no_account(given: str) -> None:
    with pytest.raises(InvalidRequest, match="something else") as refusal:
        checked(given)
    assert refusal.value.field == "name"
    assert checked(f"{given} Lee")


def test_names_that_differ_are_two() -> None:
    assert key_of("Ann") != key_of("Anna")


@pytest.mark.parametrize(
    ("name", "other", "is_one"),
    [
        ("Ann", "ann", True),
        ("Zoë", "Zoë", True),
        ("Zoë", "zoë", False),
        ("straße", "strasse", False),
        ("ann", "\uff41nn", False),
        ("Kai", "\u212aai", False),
        ("Ann", "Bob", False),
    ],
)
def test_name_that_only_looks_alike_is_another_persons_elsewhere(name, other, is_one) -> None:
    assert is_same(name, other) is is_one
    assert is_same(other, name) is is_one
