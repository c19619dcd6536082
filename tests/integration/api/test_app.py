"""The whole app on a real database with the made-up model; the page is a stub."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import HTMLResponse

from tests.tiny_gguf import write_tiny_gguf
from webui.app import create_app, end_streams
from webui.engine.fake import FakeEngine
from webui.errors import StorageUnusable
from webui.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


def _settings(folder: Path, **more: Any) -> Settings:
    models = folder / "models"
    models.mkdir(exist_ok=True)
    return Settings(
        **{"data_dir": folder / "data", "models_dir": models, "ui": False, "fake_engine": 2000}
        | more
    )


@asynccontextmanager
async def _running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost:7860") as client,
    ):
        yield client


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with _running(create_app(_settings(tmp_path))) as client:
        yield client


async def _until(condition: Callable[[], Any]) -> Any:
    async with asyncio.timeout(20):
        while not (found := await condition()):  # noqa: ASYNC110 - it asks over HTTP
            await asyncio.sleep(0.01)
        return found


async def _send(client: httpx.AsyncClient, conversation_id: str, **body: Any) -> Any:
    answer = await client.post(f"/api/conversations/{conversation_id}/messages", json=body)
    assert answer.status_code in {200, 202}, answer.text
    return answer.json()


async def _ended(client: httpx.AsyncClient, conversation_id: str) -> Any:
    async def whole() -> Any:
        transcript = (await client.get(f"/api/conversations/{conversation_id}")).json()
        return None if transcript["generation"] else transcript

    return await _until(whole)


def test_making_the_app_touches_nothing(tmp_path: Path) -> None:
    create_app(_settings(tmp_path, ui=True))
    assert not (tmp_path / "data").exists()


def test_importing_the_app_loads_neither_gradio_nor_a_model_library() -> None:
    code = (
        "import sys, webui.app; "
        "print([m for m in ('gradio', 'llama_cpp', 'torch', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


async def test_message_is_answered_kept_and_listed(client) -> None:
    created = (await client.post("/api/conversations")).json()["conversation"]
    assert (await client.get("/api/conversations")).json()["conversations"] == []
    turn = await _send(client, created["id"], mode="send", parent_id=None, text="echo one 🙂 two")
    assert [message["role"] for message in turn["messages"]] == ["user", "assistant"]
    transcript = await _ended(client, created["id"])
    reply = transcript["messages"][-1]
    assert (reply["text"], reply["status"]) == ("one 🙂 two", "complete")
    assert reply["usage"]["completion_tokens"] > 0
    listed = (await client.get("/api/conversations")).json()["conversations"]
    assert [entry["id"] for entry in listed] == [created["id"]]

    again = await _send(client, created["id"], mode="retry", message_id=reply["id"])
    assert again["messages"][-1]["parent_id"] == reply["parent_id"]
    await _ended(client, created["id"])
    edited = await _send(
        client, created["id"], mode="edit", message_id=reply["parent_id"], text="other"
    )
    assert edited["generation"] is None

    renamed = await client.patch(f"/api/conversations/{created['id']}", json={"title": "Mine"})
    assert renamed.json()["conversation"]["title"] == "Mine"
    assert (await client.delete(f"/api/conversations/{created['id']}")).status_code == 204
    assert (await client.get(f"/api/conversations/{created['id']}")).status_code == 404
    back = await client.post(f"/api/conversations/{created['id']}/restore")
    assert back.json()["conversation"]["title"] == "Mine"


async def test_message_for_a_full_queue_is_429_and_nothing_is_kept(tmp_path) -> None:
    app = create_app(_settings(tmp_path))
    async with _running(app) as client:
        await app.state.runtime.pool.adopt(FakeEngine(50, num_slots=1, max_waiting=1))
        names = []
        for text in ("long 100000", "long 100000", "too many"):
            created = (await client.post("/api/conversations")).json()["conversation"]
            names.append(created["id"])
            path = f"/api/conversations/{created['id']}/messages"
            body = {"mode": "send", "parent_id": None, "text": text}
            answer = await client.post(path, json=body)
            if len(names) < 3:
                assert answer.status_code == 202
                await asyncio.sleep(0.1)  # until the engine has it
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "busy")
        assert int(answer.headers["retry-after"]) >= 1
        assert "queue is full" in answer.json()["error"]["message"]
        kept = (await client.get(f"/api/conversations/{names[2]}")).json()
        assert kept["messages"] == []
        listed = (await client.get("/api/conversations")).json()["conversations"]
        assert {one["id"] for one in listed} == set(names[:2])


async def test_running_reply_is_stopped_and_another_one_refused(client) -> None:
    created = (await client.post("/api/conversations")).json()["conversation"]
    turn = await _send(client, created["id"], mode="send", parent_id=None, text="long 100000 words")
    second = await client.post(
        f"/api/conversations/{created['id']}/messages",
        json={"mode": "send", "parent_id": None, "text": "too soon"},
    )
    assert second.status_code == 409
    stopped = await client.post(f"/api/generations/{turn['generation']['id']}/stop")
    assert stopped.status_code == 202
    transcript = await _ended(client, created["id"])
    assert transcript["messages"][-1]["status"] == "stopped"


async def test_settings_live_as_long_as_the_folder(tmp_path: Path) -> None:
    async with _running(create_app(_settings(tmp_path))) as client:
        assert (await client.put("/api/parameters", json={"seed": 7})).status_code == 200
    async with _running(create_app(_settings(tmp_path))) as client:
        assert (await client.get("/api/parameters")).json()["parameters"]["seed"] == 7


async def test_completion_of_the_openai_dialect(client) -> None:
    messages = [{"role": "user", "content": "echo a b c"}]
    whole = await client.post("/v1/chat/completions", json={"messages": messages})
    assert whole.json()["choices"][0]["message"]["content"] == "a b c"
    short = await client.post("/v1/chat/completions", json={"messages": messages, "max_tokens": 1})
    assert short.json()["choices"][0]["finish_reason"] == "length"
    streamed = await client.post(
        "/v1/chat/completions", json={"messages": messages, "stream": True}
    )
    blocks = streamed.text.strip().split("\n\n")
    chunks = [json.loads(block.removeprefix("data: ")) for block in blocks[:-1]]
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == "a b c"
    too_long = [{"role": "user", "content": "word " * 10_000}]
    refused = await client.post("/v1/chat/completions", json={"messages": too_long})
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    assert "8192" in refused.json()["error"]["message"].replace(",", "")


async def test_model_and_jobs_are_told(client) -> None:
    listed = (await client.get("/api/models")).json()
    assert listed["models"] == []
    assert listed["status"]["state"] == "ready"
    assert (await client.get("/api/jobs")).json() == {"jobs": []}
    missing = await client.post("/api/models/load", json={"model_id": "../../nothing.gguf"})
    assert missing.status_code == 404
    assert (await client.post("/api/jobs/nope/cancel")).status_code == 404


async def test_server_without_a_model_says_so_and_serves(tmp_path: Path) -> None:
    app = create_app(_settings(tmp_path, fake_engine=None, model="missing.gguf"))
    async with _running(app) as client:
        assert (await client.get("/health")).json()["model"]["state"] in {"none", "failed"}
        asked = {"messages": [{"role": "user", "content": "hi"}]}
        answer = await client.post("/v1/chat/completions", json=asked)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "model_not_loaded"


async def test_bad_file_is_422_and_chat_says_why_nothing_is_loaded(tmp_path: Path) -> None:
    settings = _settings(tmp_path, fake_engine=None)
    (tmp_path / "models" / "broken.gguf").write_bytes(b"GGUF and nothing more")
    async with _running(create_app(settings)) as client:
        refused = await client.post("/api/models/load", json={"model_id": "broken.gguf"})
        assert refused.status_code == 422
        error = refused.json()["error"]
        assert error["code"] == "load_failed"
        assert error["message"].startswith("broken cannot be loaded: broken.gguf")
        assert "damaged, or newer" not in error["message"]
        assert "damaged, or newer" in error["hint"]
        asked = {"messages": [{"role": "user", "content": "hi"}], "model": "broken"}
        answer = await client.post("/v1/chat/completions", json=asked)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "model_not_loaded"
        assert error["message"] in answer.json()["error"]["message"]


async def test_load_that_fails_in_the_worker_is_503_with_its_reason(tmp_path: Path) -> None:
    settings = _settings(tmp_path, fake_engine=None)
    write_tiny_gguf(tmp_path / "models" / "tiny.gguf", context_length=16_000_000)
    async with _running(create_app(settings)) as client:
        options = {"context_length": 16_000_000, "slots": 64}  # only the worker knows how large
        body = {"model_id": "tiny.gguf", "options": options}
        assert (await client.post("/api/models/load", json=body)).status_code == 202
        asked = {"messages": [{"role": "user", "content": "hi"}]}
        answer = await client.post("/v1/chat/completions", json=asked)
        assert answer.status_code == 503
        assert "16,000,000 tokens for 64 replies takes" in answer.json()["error"]["message"]
        failed = (await client.get("/api/models")).json()["status"]["error"]
        assert failed["field"] == "context_length"


@pytest.mark.parametrize(
    ("options", "code", "field"),
    [
        ({"context_length": 1}, "invalid_request", "context_length"),
        ({"mmap": "no"}, "invalid_request", "mmap"),
        ({"lora": [{"path": "a", "scale": 1000}]}, "invalid_request", "lora[0].scale"),
        ({"context_length": 4096}, "load_failed", "context_length"),
        ({"draft_model": "tiny.gguf"}, "load_failed", "draft_model"),
        ({"cache_type_v": "q8_0", "flash_attn": "off"}, "load_failed", "cache_type_v"),
    ],
    ids=str,
)
async def test_options_that_cannot_work_are_422_and_name_the_field(
    tmp_path: Path, options: dict[str, Any], code: str, field: str
) -> None:
    settings = _settings(tmp_path, fake_engine=None)
    write_tiny_gguf(tmp_path / "models" / "tiny.gguf", context_length=512)
    async with _running(create_app(settings)) as client:
        body = {"model_id": "tiny.gguf", "options": options}
        answer = await client.post("/api/models/load", json=body)
        assert answer.status_code == 422
        error = answer.json()["error"]
        assert (error["code"], error["field"]) == (code, field)


async def test_event_stream_tells_of_a_reply_and_ends_with_the_server(tmp_path: Path) -> None:
    app = create_app(_settings(tmp_path))
    sent: list[bytes] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    def types() -> list[str]:
        blocks = b"".join(sent).decode().split("\n\n")
        return [json.loads(b.split("data: ")[1])["type"] for b in blocks if "data: " in b]

    async def told(kind: str) -> bool:
        return kind in types()

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/events",
        "raw_path": b"/api/events",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
    }
    async with _running(app) as client:
        listening = asyncio.create_task(app(scope, receive, send))
        await _until(lambda: told("hello"))
        created = (await client.post("/api/conversations")).json()["conversation"]
        await _send(client, created["id"], mode="send", parent_id=None, text="echo hi")
        await _until(lambda: told("done"))
        end_streams(app)
        async with asyncio.timeout(2):
            await listening
    assert types()[0] == "hello"
    assert "text" in types()


async def test_second_server_on_the_folder_is_refused(tmp_path: Path) -> None:
    async with _running(create_app(_settings(tmp_path))):
        with pytest.raises(StorageUnusable):
            async with _running(create_app(_settings(tmp_path))):
                pass


class Stub:
    """Draws when told; notes when its app lived."""

    def __init__(self, error: Exception | None = None) -> None:
        self.may_draw = threading.Event()
        self.error = error
        self.life: list[str] = []

    def __call__(self, runtime: Any, settings: Settings) -> FastAPI:
        self.may_draw.wait(20)
        if self.error is not None:
            raise self.error

        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
            self.life.append("open")
            yield
            self.life.append("closed")

        drawn = FastAPI(lifespan=lifespan)

        @drawn.get("/")
        def index() -> HTMLResponse:
            return HTMLResponse("<html><head></head><body>DRAWN</body></html>")

        return drawn


@pytest.mark.parametrize("error", [None, RuntimeError("no gradio")])
async def test_page_is_the_shell_until_it_is_drawn(tmp_path: Path, error, caplog) -> None:
    stub = Stub(error)
    async with _running(create_app(_settings(tmp_path, ui=True), draw=stub)) as client:
        assert (await client.get("/health")).json()["ui"] == "starting"
        before = await client.get("/c/abc")
        assert before.status_code == 200
        assert "DRAWN" not in before.text
        stub.may_draw.set()

        async def is_decided() -> bool:
            return (await client.get("/health")).json()["ui"] != "starting"

        await _until(is_decided)
        after = await client.get("/c/abc")
        assert after.status_code == 200
        if error is None:
            assert "DRAWN" in after.text
            assert 'id="strings"' in after.text
            assert stub.life == ["open"]
        else:
            assert (await client.get("/health")).json()["ui"] == "failed"
            assert after.text == before.text
            assert [record for record in caplog.records if record.exc_info]
    assert stub.life == ([] if error else ["open", "closed"])


async def test_server_ends_while_the_page_is_being_drawn(tmp_path: Path) -> None:
    stub = Stub()
    async with asyncio.timeout(10):
        async with _running(create_app(_settings(tmp_path, ui=True), draw=stub)) as client:
            assert (await client.get("/health")).status_code == 200
    stub.may_draw.set()
