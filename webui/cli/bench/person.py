"""Somebody who signs in to a server of our own and has its page open, and how a crowd is made.

Knows HTTP as a browser speaks it; touches no server but the one it is told of.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from dataclasses import dataclass, field
from typing import Any

from webui.errors import LoadFailed

ADMINISTRATOR = "Bench"
LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a short request."""

    status: int
    headers: str
    body: bytes

    def json(self) -> dict[str, Any]:
        """Return the body.

        Raises:
            LoadFailed: It is an error.
        """
        if self.status >= 400:
            raise LoadFailed(f"the server answered {self.status}: {self.body[:300]!r}")
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass(slots=True)
class Person:
    """Somebody with a page open.

    Attributes:
        num_pieces: Events with text that came.
        is_done: The reply is whole and saved.
    """

    port: int
    token: str = ""
    num_pieces: int = 0
    is_done: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, method: str, path: str, body: object = None) -> Answer:
        """Send one request."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=LIMIT)
        try:
            writer.write(self._head(method, path, body))
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            raw = await reader.readexactly(int(length[1])) if length else await reader.read()
        finally:
            writer.close()
        return Answer(int(head.split(b" ", 2)[1]), head.decode("latin-1"), raw)

    async def sign_in(self, name: str, password: str, **code: str) -> None:
        """Get a token, as the first administrator where there is a code."""
        path = "/api/first-run" if code else "/api/session"
        answer = await self.ask("POST", path, {"name": name, "password": password, **code})
        answer.json()
        self.token = answer.headers.partition("hearthside=")[2].partition(";")[0]

    async def make_key(self) -> str:
        """Return a new API key of this person."""
        key: str = (await self.ask("POST", "/api/keys", {"name": ADMINISTRATOR})).json()["key"]
        return key

    async def listen(self) -> None:
        """Read the events of the page until the connection ends."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=LIMIT)
        try:
            writer.write(self._head("GET", "/api/events", None))
            while line := await reader.readline():
                if b'"type":"text"' in line:
                    self.num_pieces += 1
                elif b'"type":"done"' in line:
                    self.is_done.set()
        finally:
            writer.close()

    async def hold(self) -> asyncio.StreamWriter:
        """Open the events of the page and never read them."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1)
        writer.write(self._head("GET", "/api/events", None))
        return writer

    async def say(self, text: str) -> int:
        """Send a message in a new conversation; returns the status."""
        made = await self.ask("POST", "/api/conversations", {})
        conversation_id = made.json()["conversation"]["id"]
        body = {"mode": "send", "parent_id": None, "text": text}
        return (
            await self.ask("POST", f"/api/conversations/{conversation_id}/messages", body)
        ).status

    def _head(self, method: str, path: str, body: object) -> bytes:
        raw = b"" if body is None else json.dumps(body).encode()
        lines = [
            f"{method} {path} HTTP/1.1",
            f"host: 127.0.0.1:{self.port}",
            f"origin: http://127.0.0.1:{self.port}",
            f"cookie: hearthside={self.token}",
            "content-type: application/json",
            f"content-length: {len(raw)}",
            "connection: close" if path != "/api/events" else "accept: text/event-stream",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + raw


async def make_crowd(port: int, code: str, num: int) -> tuple[Person, list[Person]]:
    """Make the first administrator and so many accounts, and sign all of them in.

    Args:
        port: Of a server without accounts.
        code: That it printed at its start.
        num: Accounts beside the administrator's.

    Raises:
        LoadFailed: The server refused.
    """
    password = secrets.token_urlsafe(16)
    administrator = Person(port)
    await administrator.sign_in(ADMINISTRATOR, password, code=code)
    crowd = []
    for number in range(1, num + 1):
        name = f"Person {number}"
        (await administrator.ask("POST", "/api/users", {"name": name, "password": password})).json()
        person = Person(port)
        await person.sign_in(name, password)
        crowd.append(person)
    return administrator, crowd
