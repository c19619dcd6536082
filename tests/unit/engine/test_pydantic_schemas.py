"""Schemas of everyday models as pydantic makes them: what the grammar writes is such a model."""

from __future__ import annotations

import json
import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from random import Random
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import (
    UUID4,
    AnyUrl,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    SecretStr,
    WithJsonSchema,
)

from tests.unit.engine.gbnf_oracle import Grammar
from webui.engine.json_schema import schema_grammar

# Until pydantic 2.12 a decimal number had such a pattern, which looks ahead.
Price = Annotated[
    Decimal,
    Field(decimal_places=2),
    WithJsonSchema(
        {
            "anyOf": [
                {"minimum": 0.0, "type": "number", "multipleOf": 0.01},
                {"type": "string", "pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d{0,2}0*$"},
            ]
        }
    ),
]


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Address(BaseModel):
    street: str = Field(
        min_length=1, max_length=40, description="With the number", examples=["A 1"]
    )
    zip: str = Field(pattern=r"^\d{5}$")
    country: Literal["DE", "FR"] = "DE"


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int = Field(ge=0, le=130)
    size_m: float = Field(gt=0, lt=2.75)
    home: Address
    work: Address | None = None
    colours: set[Colour] = set()
    nickname: str | None = Field(None, min_length=2)


class Product(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: UUID
    price: Price
    weight: PositiveFloat
    stock: NonNegativeInt
    rating: float = Field(ge=0, le=5, multiple_of=0.5)
    box: int = Field(multiple_of=12, gt=0, le=1000)
    tags: list[str] = Field(min_length=1, max_length=3)
    size: tuple[float, float, Literal["cm", "in"]]


class Event(BaseModel):
    at: datetime
    day: date
    clock: time
    lasts: timedelta
    key: UUID4
    host: IPv4Address
    host6: IPv6Address
    link: AnyUrl
    word: SecretStr
    text: Base64Bytes
    code: bytes


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = Field(ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    pets: list[Cat | Dog]


class Tree(BaseModel):
    value: int
    left: Tree | None = None
    right: Tree | None = None


class Add(BaseModel):
    left: Term
    plus: Term


class Subtract(BaseModel):
    left: Term
    minus: Term


class Term(BaseModel):
    is_: Annotated[Add | Subtract | float, Field(alias="is")]


class Maps(BaseModel):
    counts: dict[str, int]
    by_colour: dict[Colour, Annotated[float, Field(ge=-1.5, le=1.5)]]
    by_key: dict[Annotated[str, Field(pattern="^x")], bool]
    some: dict[str, str] = Field(min_length=1)
    anything: dict[str, Any]


class Mixed(BaseModel):
    either: int | str | None
    flags: list[bool] = Field(max_length=3)
    pair: tuple[int, ...]
    percent: Annotated[float, Field(ge=0, le=100)]
    cold: Annotated[float, Field(ge=-273.15, lt=0)]
    code: Annotated[str, Field(pattern="^[A-Z]+$", min_length=2, max_length=4)]
    value: Any


MODELS = [Address, Person, Product, Event, Owner, Tree, Add, Maps, Mixed]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_what_is_written_is_such_a_model(model: type[BaseModel], mode: Any) -> None:
    grammar = Grammar(schema_grammar(model.model_json_schema(mode=mode)))
    for seed in range(60):
        text = grammar.write(Random(seed), budget=[15, 40, 80][seed % 3])
        model.model_validate_json(text)


@pytest.mark.parametrize("model", MODELS)
def test_what_a_model_says_is_taken(model: type[BaseModel]) -> None:
    grammar = Grammar(schema_grammar(model.model_json_schema()))
    for seed in range(10):
        text = grammar.write(Random(seed), budget=30)
        model.model_validate_json(text)
        compact = json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
        if "e-" not in compact and "e+" not in compact:  # Python's way to write large numbers
            assert grammar.matches(compact), compact
            assert grammar.matches(json.dumps(json.loads(text), ensure_ascii=False))


def test_branches_that_begin_alike_are_read_once() -> None:
    grammar = Grammar(schema_grammar(Add.model_json_schema()))
    value: Any = {"is": 1}
    for depth in range(12):
        value = {"is": {"left": value, "plus" if depth % 2 else "minus": {"is": 2}}}
    text = json.dumps({"left": value, "plus": {"is": 0.5}})
    assert grammar.num_ways(text) <= 6
    assert grammar.matches(text)
    assert not grammar.matches(text.replace("minus", "times"))


@pytest.mark.parametrize(
    ("ends", "good", "bad"),
    [
        (r"\d*\.?\d*$", ["0", "-12.5", "+3", "1234567890.125"], ["", ".", "-", "x"]),
        (r"\d*\.?\d{0,2}0*$", ["7", "0.25"], ["0.125", ""]),
        (
            r"(?:\d{0,3}|(?=[\d.]{1,6}0*$)\d{0,3}\.\d{0,2}0*$)",
            ["123", "-123.45", "0.5"],
            ["1234", "1.234"],
        ),
        (r"(?:\d{0,0}|(?=[\d.]{1,3}0*$)\d{0,0}\.\d{0,2}0*$)", ["0", "0.25"], ["1", "10"]),
        (r"(?:\d{0,4}|(?=[\d.]{1,5}0*$)\d*\.\d*0*$)", ["1234", "-1"], ["12345", ""]),
    ],
)
def test_decimal_numbers_as_text_are_kept(ends: str, good: list[str], bad: list[str]) -> None:
    pattern = r"^(?!^[-+.]*$)[+-]?0*" + ends
    grammar = Grammar(schema_grammar({"type": "string", "pattern": pattern}))
    assert [text for text in good if not grammar.matches(f'"{text}"')] == []
    assert [text for text in bad if grammar.matches(f'"{text}"')] == []
    for seed in range(50):
        text = json.loads(grammar.write(Random(seed)))
        assert re.search(pattern, text), text
