"""A process that writes as fast as it can and says what is acknowledged; run by the tests.

Usage: storm.py DATABASE. Prints `open`, then one `conversation message progress` a line.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

from webui.messages import Role
from webui.storage import conversations, generations, messages, unattended
from webui.storage.database import Database
from webui.storage.tables import MessageStatus
from webui.storage.unattended import MessageProgress


async def main() -> None:
    database = Database(Path(sys.argv[1]))
    await database.open()
    say("open")
    await asyncio.gather(*(write(database) for _ in range(3)))


def say(*words: object) -> None:
    """Print a whole line at once."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def write(database: Database) -> None:
    """Talk in a conversation of its own without end."""
    conversation = (await database.run(conversations.create, "local")).id
    reply = (
        await database.run(
            messages.add,
            "local",
            conversation,
            parent_id=None,
            role=Role.ASSISTANT,
            status=MessageStatus.PENDING,
        )
    ).id
    await database.run(
        generations.add, "local", conversation_id=conversation, message_id=reply, params={}
    )
    parent = reply
    for number in itertools.count(1):
        asked = await database.run(
            messages.add,
            "local",
            conversation,
            parent_id=parent,
            role=Role.USER,
            text=f"{number} " * 100,
        )
        parent = asked.id
        progress = MessageProgress(
            message_id=reply, text="x" * number, reasoning="", status=MessageStatus.STREAMING
        )
        await database.run(unattended.save_progress, [progress])
        say(conversation, asked.id, reply, number)


asyncio.run(main())
