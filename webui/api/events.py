"""The one event stream of a browser tab.

Knows how a client says where it left off; `sse` writes, `chat.events` numbers and keeps.
"""

from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from webui.api.deps import ActorDep, RuntimeDep, StreamsDep
from webui.api.sse import EventStream

MAX_CURSOR_CHARS = 64

router = APIRouter(prefix="/api/events")


@router.get("")
async def listen(
    runtime: RuntimeDep,
    actor: ActorDep,
    streams: StreamsDep,
    after: Annotated[str | None, Query(max_length=MAX_CURSOR_CHARS)] = None,
    last_event_id: Annotated[str | None, Header(max_length=MAX_CURSOR_CHARS)] = None,
) -> Response:
    """Stream what happens to the actor's things, from `after` or the last event seen."""
    # A browser that connects again sends the header, and the address of its first time.
    batches = runtime.generations.follow(actor, last_event_id or after or None)
    return EventStream(streams, runtime.events.boot, batches)
