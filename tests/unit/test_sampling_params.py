"""The one schema of sampling: every bound holds, every field can be drawn."""

from __future__ import annotations

import math

import annotated_types
import pytest
from pydantic import ValidationError

from webui.sampling_params import Control, SamplingParams

FIELDS = SamplingParams.model_fields
API_ONLY = {"logprobs", "top_logprobs"}  # no page shows what they ask for
NUMBERS = [name for name, field in FIELDS.items() if field.annotation in (int, float)]


def bounds(name: str) -> tuple[float, float]:
    """Return the least and the greatest allowed value of a number."""
    low = next(m.ge for m in FIELDS[name].metadata if isinstance(m, annotated_types.Ge))
    high = next(m.le for m in FIELDS[name].metadata if isinstance(m, annotated_types.Le))
    assert isinstance(low, (int, float))
    assert isinstance(high, (int, float))
    return low, high


@pytest.mark.parametrize("name", NUMBERS)
def test_number_takes_its_bounds_and_nothing_beyond(name: str) -> None:
    low, high = bounds(name)
    for value in (low, high):
        assert getattr(SamplingParams(**{name: value}), name) == value
    for value in (low - 1, high + 1):
        with pytest.raises(ValidationError) as caught:
            SamplingParams(**{name: value})
        assert caught.value.errors()[0]["loc"] == (name,)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "warm", None])
def test_number_refuses_what_is_no_number(name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        SamplingParams.model_validate({name: value})


@pytest.mark.parametrize("stop", [("",), ("x" * 257,), ("a",) * 17])
def test_stop_strings_are_bounded(stop: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError):
        SamplingParams(stop=stop)


def test_unknown_parameter_is_refused() -> None:
    with pytest.raises(ValidationError):
        SamplingParams.model_validate({"temprature": 1})


@pytest.mark.parametrize("name", FIELDS)
def test_field_has_title_help_and_control(name: str) -> None:
    field = FIELDS[name]
    assert field.title
    assert field.description
    assert field.description.endswith(".")
    is_drawn = any(isinstance(entry, Control) for entry in field.metadata)
    assert is_drawn != (name in API_ONLY)
