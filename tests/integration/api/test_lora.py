"""Scales of adapters over HTTP, down to a real worker: for one request, and for the model."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.tiny_gguf import write_tiny_gguf, write_tiny_lora
from webui.app import create_app
from webui.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

ASKED = {
    "messages": [{"role": "user", "content": "say something " * 12}],
    "max_tokens": 16,
    "ignore_eos": True,
    "temperature": 0,
}


async def test_scales_of_a_request_and_of_the_model_reach_the_worker(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    write_tiny_gguf(models / "tiny.gguf", context_length=512)
    write_tiny_lora(models / "poet.gguf")
    settings = Settings(data_dir=tmp_path / "data", models_dir=models, ui=False)
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost:7860") as client,
    ):

        async def said(**more: Any) -> tuple[str, int]:
            answer = await client.post("/v1/chat/completions", json=ASKED | more)
            assert answer.status_code == 200, answer.text
            usage = answer.json()["usage"]["prompt_tokens_details"]
            return answer.json()["choices"][0]["message"]["content"], usage["cached_tokens"]

        body = {"model_id": "tiny.gguf", "options": {"lora": [{"path": "poet.gguf"}]}}
        assert (await client.post("/api/models/load", json=body)).status_code == 202
        full, _ = await said()
        plain, num_cached = await said(lora=[])
        assert plain != full
        assert num_cached == 0, "what was read with the adapter is of no use without it"
        assert (await said(lora=[{"id": 0, "scale": 1}]))[0] == full
        assert (await said())[1] > 100, "and serves what is read with it"
        refused = await client.post(
            "/v1/completions", json={"prompt": "x", "lora": [{"id": 1, "scale": 1}]}
        )
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "lora"

        answer = await client.put("/api/models/lora", json={"lora": [{"id": 0, "scale": 0.0}]})
        assert answer.json()["status"]["info"]["adapters"] == [{"name": "poet.gguf", "scale": 0.0}]
        assert (await said())[0] == plain
        both = await asyncio.gather(said(), said(lora=[{"id": 0, "scale": 1}]))
        assert [text for text, _ in both] == [plain, full]
        unknown = await client.put("/api/models/lora", json={"lora": [{"id": 1, "scale": 1}]})
        assert unknown.status_code == 422
        assert unknown.json()["error"]["field"] == "lora"
