from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from webui.api.sse import Ending, EventStream, Streams
from webui.chat.event_log import EventLog
from webui.chat.events import ConversationChanged, Text


class Client:
    """The other end of an ASGI connection: reads what is written, and goes when told."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self.something = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        self.something.set()

    def blocks(self) -> list[str]:
        body = b"".join(message.get("body", b"") for message in self.sent)
        return [block for block in body.decode().split("\n\n") if block]

    async def wait_for(self, num_blocks: int) -> list[str]:
        while len(self.blocks()) < num_blocks:
            self.something.clear()
            await self.something.wait()
        return self.blocks()


def _event(block: str) -> tuple[str, dict[str, Any]]:
    name, data = block.split("\n")
    return name.removeprefix("id: "), json.loads(data.removeprefix("data: "))


def _text(text: str) -> Text:
    return Text(generation_id="g", conversation_id="c", message_id="m", seq=1, text=text)


async def _serve(log: EventLog, client: Client, after: str | None = None) -> asyncio.Task[None]:
    stream = EventStream(Streams(), log.boot, log.subscribe("ada", after))
    return asyncio.create_task(stream({"type": "http"}, client.receive, client.send))


async def test_stream_says_hello_and_then_what_happens() -> None:
    log, client = EventLog(pace_s=0), Client()
    task = await _serve(log, client)
    hello_id, hello = _event((await client.wait_for(1))[0])
    assert hello == {"type": "hello", "cursor": hello_id}
    log.append("ada", _text("a\n\nb\u2028🙂"))
    log.append("bob", _text("not hers"))
    log.append("ada", ConversationChanged(deleted_id="c"))
    blocks = await client.wait_for(3)
    assert _event(blocks[1]) == (
        f"{log.boot}:1",
        {"type": "text", "generation_id": "g", "conversation_id": "c", "message_id": "m", "seq": 1}
        | {"text": "a\n\nb\u2028🙂"},
    )
    assert _event(blocks[2])[1]["type"] == "conversations"
    assert dict(client.sent[0]["headers"])[b"content-type"].startswith(b"text/event-stream")
    client.gone.set()
    await task


async def test_stream_goes_on_after_the_last_event_seen() -> None:
    log, client = EventLog(pace_s=0), Client()
    for text in "abc":
        log.append("ada", _text(text))
        log.cursor("ada")
    task = await _serve(log, client, f"{log.boot}:2")
    blocks = await client.wait_for(2)
    assert _event(blocks[1])[1]["text"] == "c"
    client.gone.set()
    await task


@pytest.mark.parametrize("after", ["other:1", "nonsense", "x:99999", ":", "💥:1"])
async def test_stream_after_an_unknown_event_says_reset(after) -> None:
    log, client = EventLog(pace_s=0), Client()
    task = await _serve(log, client, after)
    assert _event((await client.wait_for(2))[1])[1] == {"type": "reset"}
    client.gone.set()
    await task


async def test_quiet_stream_is_kept_alive() -> None:
    log, client = EventLog(pace_s=0), Client()
    stream = EventStream(Streams(), log.boot, log.subscribe("ada", keep_alive_s=0.001))
    task = asyncio.create_task(stream({"type": "http"}, client.receive, client.send))
    assert (await client.wait_for(2))[1] == ": keep-alive"
    client.gone.set()
    await task


async def test_stream_ends_with_the_log() -> None:
    log, client = EventLog(pace_s=0), Client()
    task = await _serve(log, client)
    await client.wait_for(1)
    log.close()
    await task
    assert client.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_gone_client_ends_its_subscription() -> None:
    log, client = EventLog(pace_s=0), Client()
    batches = log.subscribe("ada")
    stream = EventStream(Streams(), log.boot, batches)
    task = asyncio.create_task(stream({"type": "http"}, client.receive, client.send))
    await client.wait_for(1)
    client.gone.set()
    await task
    with pytest.raises(StopAsyncIteration):
        await anext(batches)


async def test_client_that_does_not_read_is_dropped() -> None:
    log, client = EventLog(pace_s=0), Client()

    async def stuck(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    stream = EventStream(Streams(), log.boot, log.subscribe("ada"), write_timeout_s=0.01)
    await stream({"type": "http"}, client.receive, stuck)


async def test_large_batch_is_written_in_pieces() -> None:
    log, client = EventLog(pace_s=0), Client()
    for _ in range(50):
        log.append("ada", _text("x" * 10_000))
        log.cursor("ada")
    task = await _serve(log, client, f"{log.boot}:0")
    await client.wait_for(51)
    assert max(len(message.get("body", b"")) for message in client.sent) < 100_000
    client.gone.set()
    await task


async def test_end_of_the_server_ends_streams_also_those_to_come() -> None:
    log, streams = EventLog(pace_s=0), Streams()
    for _ in range(2):
        client = Client()
        stream = EventStream(streams, log.boot, log.subscribe("ada"))
        task = asyncio.create_task(stream({"type": "http"}, client.receive, client.send))
        while not client.sent:
            client.something.clear()
            await client.something.wait()
        streams.close()
        await task
        assert client.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_error_of_the_writer_reaches_the_caller() -> None:
    async def write() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        await Streams().run(Client().receive, write())


async def test_cancelled_answer_cancels_its_writer() -> None:
    ended = asyncio.Event()

    async def write() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(Streams().run(Client().receive, write()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_writer_that_ends_is_written() -> None:
    async def write() -> None:
        pass

    assert await Streams().run(Client().receive, write()) is Ending.WRITTEN
