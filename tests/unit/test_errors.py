"""The error tree: stable codes, and words that reach a person."""

from __future__ import annotations

import inspect

import pytest

from webui import errors
from webui.errors import Busy, ContextLengthExceeded, InvalidRequest, WebuiError

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


def test_error_names_the_field_it_is_about() -> None:
    assert InvalidRequest("top_p is 7", field="top_p").field == "top_p"


def test_context_length_exceeded_is_an_invalid_request() -> None:
    assert issubclass(ContextLengthExceeded, InvalidRequest)


def test_busy_says_when_to_try_again() -> None:
    assert Busy("full", retry_after_s=3).retry_after_s == 3
