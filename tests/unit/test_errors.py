"""The error tree: stable codes, and words that reach a person."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from webui import errors
from webui.errors import Busy, ContextLengthExceeded, InvalidRequest, WebuiError, in_one_line

CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, WebuiError) and cls is not WebuiError
]


def test_code_of_every_error_is_its_own() -> None:
    codes = [cls.code for cls in CLASSES]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("cls", CLASSES)
def test_error_carries_message_and_hint(cls: type[WebuiError]) -> None:
    error = cls("what is so", "what to do")
    assert (error.message, error.hint, str(error)) == ("what is so", "what to do", "what is so")


@pytest.mark.parametrize("message", ["It ended", "It ended."])
def test_message_and_hint_have_one_full_stop_between_them(message: str) -> None:
    assert in_one_line(message, "Try again.") == "It ended. Try again."
    assert in_one_line(message, "") == message


def said_by(path: Path) -> list[str]:
    """Return the texts of the errors that a module raises."""
    tree = ast.parse(path.read_text("utf-8"))
    names = {cls.__name__ for cls in CLASSES} | {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and "WebuiError" in map(ast.unparse, node.bases)
    }
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and names & set(ast.unparse(node.func).split("."))
    ]
    return [
        part.value
        for call in calls
        for argument in call.args
        for part in ast.walk(argument)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]


def test_no_error_speaks_markup() -> None:
    root = Path(errors.__file__).parent
    said = {text: path.name for path in root.rglob("*.py") for text in said_by(path)}
    assert len(said) > 200, "they are found"
    assert {text: name for text, name in said.items() if "`" in text} == {}


def test_error_names_the_field_it_is_about() -> None:
    assert InvalidRequest("top_p is 7", field="top_p").field == "top_p"


def test_context_length_exceeded_is_an_invalid_request() -> None:
    assert issubclass(ContextLengthExceeded, InvalidRequest)


def test_busy_says_when_to_try_again() -> None:
    assert Busy("full", retry_after_s=3).retry_after_s == 3


@pytest.mark.parametrize(
    ("wait_s", "hint", "retry_after_s"),
    [
        (None, "Wait.", 1.0),
        (0.2, "Wait, in about 1 s.", 1.0),
        (11.2, "Wait, in about 12 s.", 11.2),
        (120.0, "Wait, in about 120 s.", 120.0),
        (121.0, "Wait, in about 3 min.", 121.0),
    ],
)
def test_busy_says_how_long_it_may_take_where_that_is_known(wait_s, hint, retry_after_s) -> None:
    error = Busy.about("full", "Wait.", wait_s)
    assert (error.message, error.hint, error.retry_after_s) == ("full", hint, retry_after_s)
