"""What a real worker counts comes out of the web process, live and as metrics."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.tiny_gguf import write_tiny_gguf
from webui.actor import LOCAL_USER_ID
from webui.app import create_app
from webui.chat.events import FiguresChanged
from webui.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from webui.chat.views import FiguresView

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

ASKED = "xylophone"


async def test_figures_of_a_reply_are_told_live_and_counted(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    write_tiny_gguf(models / "tiny.gguf", context_length=512)
    app = create_app(
        Settings(data_dir=tmp_path / "data", models_dir=models, ui=False, model="tiny.gguf")
    )
    told: list[FiguresView] = []

    async def listen() -> None:
        async with aclosing(app.state.runtime.events.subscribe(LOCAL_USER_ID)) as batches:
            async for batch in batches:
                told.extend(e.event.figures for e in batch if isinstance(e.event, FiguresChanged))

    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost:7860") as client,
    ):
        listening = asyncio.create_task(listen())
        messages = [{"role": "user", "content": f"say {ASKED} " * 10}]
        body = {"messages": messages, "max_tokens": 40, "ignore_eos": True}
        usages = []
        for _ in range(2):
            answer = await client.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200, answer.text
            usages.append(answer.json()["usage"])
        async with asyncio.timeout(20):
            while not (told and told[-1].reused and told[-1].running == 0):  # noqa: ASYNC110 - over HTTP
                await asyncio.sleep(0.05)
        metrics = (await client.get("/metrics")).text
        stats = (await client.get("/api/models/stats")).json()
        listening.cancel()
    assert stats["stats"]["num_full"] == 2
    assert stats["stats"]["num_reply_tokens"] == sum(u["completion_tokens"] for u in usages) == 80
    assert stats["figures"]["reused"] == told[-1].reused
    assert "hearthside_reply_tokens_total 80\n" in metrics
    assert ASKED not in metrics + json.dumps(stats)
