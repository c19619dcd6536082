"""All that somebody made, as one JSON text, piece by piece.

Knows use cases and the form of the text; no request. What is in the trash is not in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from webui.errors import NotFound
from webui.storage.tables import utc_now

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from webui.accounts.oidc import Oidc
    from webui.accounts.passkeys import Passkeys
    from webui.accounts.usage import Usage
    from webui.actor import Actor
    from webui.chat.conversations import Conversations
    from webui.chat.parameters import Parameters

FORM = 1
PAGE = 100


async def export(
    actor: Actor,
    conversations: Conversations,
    parameters: Parameters,
    usage: Usage,
    passkeys: Passkeys,
    oidc: Oidc,
) -> AsyncGenerator[bytes, None]:
    """Yield the text; no more than one conversation is in memory at a time.

    Raises:
        PermissionDenied: The actor may not chat.
    """
    saved = await parameters.get(actor)
    head = {
        "hearthside_export": FORM,
        "exported_at": utc_now(),
        "user": {"id": actor.user_id, "name": actor.name, "role": actor.role.value},
        "passkeys": await passkeys.list(actor),
        "links": await oidc.list_links(actor),
        "parameters": saved.model_dump(mode="json"),
        "usage": await usage.list_whole(actor),
    }
    yield msgspec.json.encode(head)[:-1] + b',"conversations":['
    before, comma = None, b""
    while True:
        page = await conversations.list(actor, limit=PAGE, before=before)
        for view in page.conversations:
            try:
                transcript = await conversations.get(actor, view.id)
            except NotFound:  # deleted meanwhile
                continue
            whole = {"conversation": transcript.conversation, "messages": transcript.messages}
            yield comma + msgspec.json.encode(whole)
            comma = b",\n"
        if page.next is None:
            break
        before = page.next
    yield b"]}\n"
