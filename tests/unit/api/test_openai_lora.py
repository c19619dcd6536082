"""Scales of adapters for one request, in llama-server's words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.api.fakes import FINISH
from webui.engine.adapters import ChosenScale

ROUTES = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"prompt": "hi"},
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("lora", "chosen"),
    [
        (None, None),
        ([], ()),
        ([{"id": 1, "scale": 2}], (ChosenScale(1, 2.0),)),
        (
            [{"id": 0, "scale": -0.5}, {"id": 3, "scale": 1.5, "path": "x.gguf"}],
            (ChosenScale(0, -0.5), ChosenScale(3, 1.5)),
        ),
    ],
)
async def test_scales_reach_the_engine(
    client: Any, runtime: Any, route: str, lora: Any, chosen: Any
) -> None:
    runtime.generations.script = [FINISH]
    answer = await client.post(route, json=ROUTES[route] | {"lora": lora, "n": 2})
    assert answer.status_code == 200
    assert [more["lora"] for _, _, more in runtime.generations.asked] == [chosen, chosen]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("lora", "field"),
    [
        ("poet", "lora"),
        ([7], "lora.0"),
        ([{"scale": 1}], "lora.0.id"),
        ([{"id": 0}], "lora.0.scale"),
        ([{"id": 0.5, "scale": 1}], "lora.0.id"),
        ([{"id": True, "scale": 1}], "lora.0.id"),
        ([{"id": 0, "scale": 100.5}], "lora.0.scale"),
        ([{"id": 0, "scale": "1"}], "lora.0.scale"),
        ([{"id": 0, "scale": 1}] * 17, "lora"),
    ],
)
async def test_what_are_no_scales_is_refused(
    client: Any, route: str, lora: Any, field: str
) -> None:
    answer = await client.post(route, json=ROUTES[route] | {"lora": lora})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith(field)
