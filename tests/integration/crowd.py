"""Many clients of one server at once, good ones and bad ones, as raw connections.

Accounts are written into the database before the server starts: a hundred sign-ins would cost
more than what is proved with them.
"""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from webui.accounts.identity import hash_of, new_token
from webui.storage import sessions, users
from webui.storage.database import Database
from webui.storage.tables import SessionRow, UserRow, utc_now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy.orm import Session

LIMIT = 1 << 20
SMALL_BUFFER_BYTES = 4096


async def settle(path: Path, num: int) -> list[str]:
    """Make an administrator and so many users in a new database; returns the tokens, his first."""
    database = Database(path)
    await database.open()
    try:
        return await database.run(_settle, num)
    finally:
        await database.close()


def _settle(session: Session, num: int) -> list[str]:
    first = users.ensure_local(session)
    first.name, first.name_key, first.password_hash = "Ann", "ann", "of nobody"
    crowd = [
        users.add(session, UserRow(name=f"Person {number}", name_key=f"person {number}"))
        for number in range(num)
    ]
    tokens = []
    for user in (first, *crowd):
        tokens.append(new_token())
        ends_at = utc_now() + timedelta(days=1)
        row = SessionRow(token_hash=hash_of(tokens[-1]), owner_id=user.id, expires_at=ends_at)
        sessions.add(session, row)
    return tokens


@dataclass
class Client:
    """Somebody with a token.

    Attributes:
        text: What came of the reply.
        ending: How it ended: `done`, `error` or a status; empty while it does not.
        retry_after: What a refusal said of when to come back.
        has_begun: The first words came, or none will.
    """

    port: int
    token: str
    text: str = ""
    ending: str = ""
    retry_after: str = ""
    has_begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Send one request; returns status and body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=LIMIT)
        try:
            writer.write(self.head(method, path, body))
            status = await self._read_head(reader)
            return status, await reader.read()
        finally:
            writer.close()

    async def chat(self, text: str) -> None:
        """Say something on the page and follow the reply to its end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=LIMIT)
        try:
            writer.write(self.head("GET", "/api/events"))
            await self._read_head(reader)
            await self.say(text)
            async for event in _events(reader):
                if event["type"] == "text":
                    self.text += event["text"]
                    self.has_begun.set()
                elif event["type"] in {"done", "error"}:
                    self.ending = event["type"]
                    return
        finally:
            self.has_begun.set()
            writer.close()

    async def say(self, text: str) -> None:
        """Send a message in a new conversation."""
        _, made = await self.ask("POST", "/api/conversations", {})
        conversation_id = json.loads(made)["conversation"]["id"]
        body = {"mode": "send", "parent_id": None, "text": text}
        status, answer = await self.ask(
            "POST", f"/api/conversations/{conversation_id}/messages", body
        )
        assert status == 202, answer

    async def complete(self, text: str) -> None:
        """Have a program's request answered, to its end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=LIMIT)
        try:
            writer.write(self.completion(text))
            status = await self._read_head(reader)
            if status != 200:
                self.ending = str(status)
                return
            async for event in _events(reader):
                self.text += event["choices"][0]["delta"].get("content") or ""
                self.has_begun.set()
                self.ending = event["choices"][0].get("finish_reason") or ""
                if self.ending:
                    return
        finally:
            self.has_begun.set()
            writer.close()

    def never_read(self, raw: bytes) -> socket.socket:
        """Send a request over a connection with little room, from which nothing is read."""
        silent = socket.socket()
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
        silent.connect(("127.0.0.1", self.port))
        silent.sendall(raw)
        return silent

    def completion(self, text: str) -> bytes:
        """Return the request of a program."""
        messages = [{"role": "user", "content": text}]
        body = {"messages": messages, "stream": True, "max_tokens": 100_000}
        return self.head("POST", "/v1/chat/completions", body)

    def head(self, method: str, path: str, body: object = None) -> bytes:
        """Return a whole request."""
        raw = b"" if body is None else json.dumps(body).encode()
        lines = [
            f"{method} {path} HTTP/1.1",
            f"host: 127.0.0.1:{self.port}",
            f"origin: http://127.0.0.1:{self.port}",
            f"cookie: hearthside={self.token}",
            "content-type: application/json",
            f"content-length: {len(raw)}",
            "connection: close",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + raw

    async def _read_head(self, reader: asyncio.StreamReader) -> int:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        for line in lines:
            if line.startswith("retry-after:"):
                self.retry_after = line.partition(":")[2].strip()
        return int(lines[0].split()[1])


async def _events(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    while line := await reader.readline():
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])
