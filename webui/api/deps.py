"""What a route asks for: the runtime, who acts, and a checked body.

Knows how a request carries these; use cases get plain values and know no request. No `from
__future__ import annotations` in files with routes: FastAPI reads the annotations at run time.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import msgspec
from fastapi import Depends
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import override

from webui.accounts.identity import Identity, Sender
from webui.actor import Actor
from webui.api.door import identity_in
from webui.api.errors import invalid_input
from webui.api.page import Page
from webui.api.sse import Streams
from webui.runtime import Runtime

T = TypeVar("T")

ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"


async def get_runtime(request: Request) -> Runtime:
    """Return what lives in this server."""
    runtime: Runtime = request.app.state.runtime
    return runtime


async def get_identity(request: Request) -> Identity:
    """Return who sent the request, and by what they came in.

    Raises:
        NotAuthenticated: Nobody did.
    """
    return identity_in(request.scope)


async def get_actor(identity: Annotated[Identity, Depends(get_identity)]) -> Actor:
    """Return who acts."""
    return identity.actor


async def get_sender(request: Request) -> Sender:
    """Return from where the request came."""
    sender: Sender = request.state.sender
    return sender


async def get_page(request: Request) -> Page:
    """Return the holder of the page."""
    page: Page = request.app.state.page
    return page


async def get_streams(request: Request) -> Streams:
    """Return where answers are at work that last."""
    streams: Streams = request.app.state.streams
    return streams


RuntimeDep = Annotated[Runtime, Depends(get_runtime)]
IdentityDep = Annotated[Identity, Depends(get_identity)]
ActorDep = Annotated[Actor, Depends(get_actor)]
SenderDep = Annotated[Sender, Depends(get_sender)]
PageDep = Annotated[Page, Depends(get_page)]
StreamsDep = Annotated[Streams, Depends(get_streams)]


class Json(Response):
    """A JSON answer made by msgspec, which writes our values as they stand."""

    media_type = "application/json"

    @override
    def render(self, content: object) -> bytes:
        """Encode the content."""
        return msgspec.json.encode(content)


def body_of(
    adapter: TypeAdapter[T], *, skip: int = 0, optional: bool = False
) -> Callable[[Request], Awaitable[T]]:
    """Make a dependency that reads and checks the body; the gate has bounded its size.

    Args:
        adapter: What the body must be.
        skip: Leading parts of an error's location that the sender did not write.
        optional: Whether an empty body stands for an empty object.
    """

    async def read(request: Request) -> T:
        raw = await request.body()
        return parse(adapter, b"{}" if optional and not raw else raw, strict=True, skip=skip)

    return read


def parse(adapter: TypeAdapter[T], raw: bytes, *, strict: bool | None, skip: int = 0) -> T:
    """Read JSON bytes; refuses invalid UTF-8, half characters and deep nesting as malformed.

    Raises:
        InvalidRequest: Not JSON, or not of the wanted form; names the field.
    """
    try:
        return adapter.validate_json(raw, strict=strict)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        raise invalid_input(problems, skip) from error
