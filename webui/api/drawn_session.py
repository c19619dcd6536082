"""Events of the drawn page, bound to who sent them: nobody gets at another's session of Gradio.

Gradio keeps state by a word that the browser chose by itself; here it becomes one that nobody else
can name. Knows that word's field; nothing else of events.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request

from webui.api.errors import MalformedBody

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope

FIELD = "session_hash"


async def bound(scope: Scope, receive: Receive, user_id: str) -> tuple[Scope, Receive]:
    """Return the request with the session of its sender, whatever it named.

    Raises:
        MalformedBody: It is not a JSON object.
    """
    raw = await Request(scope, receive).body()
    try:
        event: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedBody("the body is not a JSON object") from error
    chosen = event.get(FIELD)
    named = chosen if isinstance(chosen, str) else ""
    event[FIELD] = hashlib.sha256(f"{user_id}\n{named}".encode()).hexdigest()[:32]
    body = msgspec.json.encode(event)
    headers = [(key, value) for key, value in scope["headers"] if key != b"content-length"]
    headers.append((b"content-length", str(len(body)).encode()))
    is_read = False

    async def receive_bound() -> Message:
        nonlocal is_read
        if is_read:
            return await receive()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return {**scope, "headers": headers}, receive_bound
