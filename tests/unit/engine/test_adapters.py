from __future__ import annotations

import math

import pytest

from webui.engine.adapters import Adapter, ChosenScale, rescaled, scales_of
from webui.errors import InvalidRequest

THREE = (Adapter("poet.gguf", 1.0), Adapter("cook.gguf", 0.5), Adapter("clerk.gguf", 0.0))


@pytest.mark.parametrize(
    ("chosen", "scales"),
    [
        ((), (0.0, 0.0, 0.0)),
        ((ChosenScale(1, 2.0),), (0.0, 2.0, 0.0)),
        ((ChosenScale(2, -1.0), ChosenScale(0, 100.0)), (100.0, 0.0, -1.0)),
    ],
)
def test_adapters_that_are_not_named_do_not_work(chosen, scales):
    assert scales_of(THREE, chosen) == scales
    assert [adapter.scale for adapter in rescaled(THREE, scales)] == list(scales)


def test_nothing_below_nought_is_written_as_nought():
    (scale, *_) = scales_of(THREE, [ChosenScale(0, -0.0)])
    assert math.copysign(1, scale) == 1


@pytest.mark.parametrize(
    ("adapters", "chosen", "said"),
    [
        (THREE, [ChosenScale(3, 1.0)], "no adapter 3"),
        (THREE, [ChosenScale(-1, 1.0)], "no adapter -1"),
        ((), [ChosenScale(0, 1.0)], "no adapter 0"),
        (THREE, [ChosenScale(0, 1.0), ChosenScale(0, 2.0)], "named twice"),
        (THREE, [ChosenScale(0, math.nan)], "-100 to 100"),
        (THREE, [ChosenScale(0, math.inf)], "-100 to 100"),
        (THREE, [ChosenScale(0, 100.1)], "-100 to 100"),
    ],
)
def test_what_cannot_be_is_refused_with_what_is_there(adapters, chosen, said):
    with pytest.raises(InvalidRequest, match=said) as caught:
        scales_of(adapters, chosen)
    assert caught.value.field == "lora"
    assert caught.value.hint
    if adapters and "no adapter" in said:
        assert "1 is cook.gguf" in caught.value.hint
