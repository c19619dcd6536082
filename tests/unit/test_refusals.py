"""Every kind of complaint that our models can make has a sentence of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from webui.refusals import place, predicate


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    share: float = Field(0, ge=0, le=1.5)
    rate: float = Field(1, gt=0, lt=9)
    count: int = 0
    on: bool = False
    text: str = Field("", max_length=3)
    name: Annotated[str, StringConstraints(min_length=1)] = "x"
    code: str = Field("a", pattern="^a+$")
    kind: Literal["a", "b"] = "a"
    stop: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = Field((), max_length=1)
    words: list[str] = Field(["x"], min_length=1)
    either: str | list[str] = ""
    place: bool | Path = False
    inner: dict[str, int] = {}
    needed: int


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("share", -1, "must be at least 0"),
        ("share", 2, "must be at most 1.5"),
        ("share", "much", "must be a number"),
        ("share", None, "must be a number"),
        ("share", float("nan"), "must be a finite number"),
        ("rate", 0, "must be more than 0"),
        ("rate", 9, "must be less than 9"),
        ("count", 1.5, "must be a whole number"),
        ("count", "1" * 5000, "has too many digits"),
        ("on", "maybe", "must be true or false"),
        ("text", "long", "can have at most 3 characters"),
        ("text", 5, "must be text"),
        ("name", "", "must not be empty"),
        ("code", "b", "has characters that are not allowed there"),
        ("kind", "c", "must be 'a' or 'b'"),
        ("stop", ["a", "b"], "can have at most 1 entries"),
        ("stop", "a", "must be a list"),
        ("words", [], "must not be empty"),
        ("either", 5, "must be text or a list"),
        ("place", 5.5, "must be true or false or a path"),
        ("inner", 5, "must be an object"),
        ("unknown", 5, "is not known"),
        ("needed", ..., "is missing"),
    ],
)
def test_complaint_becomes_our_sentence(name: str, value: Any, said: str) -> None:
    body = {"needed": 1, name: value}
    with pytest.raises(ValidationError) as caught:
        Body.model_validate({key: value for key, value in body.items() if value is not ...})
    problems = caught.value.errors()
    assert (place(problems[0]), predicate(problems)) == ((name,), said)


def test_place_of_an_entry_names_its_index() -> None:
    with pytest.raises(ValidationError) as caught:
        Body.model_validate({"needed": 1, "stop": [""]})
    assert place(caught.value.errors()[0]) == ("stop", "0")


def test_place_of_a_wrong_name_is_that_of_its_value() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(dict[int, int]).validate_python({"x": 1})
    assert place(caught.value.errors()[0]) == ("x",)


def test_complaint_that_we_do_not_know_shows_no_words_of_pydantic() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(bytes).validate_python(5)
    assert predicate(caught.value.errors()) == "is not of the right form"
