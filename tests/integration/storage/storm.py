"""A process that writes as fast as it can and says what is acknowledged; run by the tests.

Usage: storm.py DATABASE. Prints `open`, then one line for each transaction that was acknowledged:
`said` and conversation, message, reply, progress; or `joined` and the ids of a person, their
sign-in, their key and their group, and how many they are now; `left` and the id of one who is gone.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from webui.messages import Role
from webui.storage import (
    api_keys,
    conversations,
    generations,
    groups,
    messages,
    sessions,
    unattended,
    usage,
    users,
)
from webui.storage.database import Database
from webui.storage.tables import (
    ApiKeyRow,
    GroupRow,
    MessageStatus,
    SessionRow,
    UserRow,
    new_id,
    utc_now,
)
from webui.storage.unattended import MessageProgress
from webui.storage.usage import Spent

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


async def main() -> None:
    database = Database(Path(sys.argv[1]))
    await database.open()
    say("open")
    await asyncio.gather(*(write(database) for _ in range(3)), come_and_go(database))


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
        say("said", conversation, asked.id, reply, number)


async def come_and_go(database: Database) -> None:
    """Have people join without end; every fifth leaves again."""
    group = (await database.run(groups.add, GroupRow(name=new_id(), name_key=new_id()))).id
    for number in itertools.count(1):
        user, session, key = await database.run(join, group, number)
        say("joined", user, session, key, group, number)
        if number % 5 == 0:
            await database.run(leave, user)
            say("left", user)


def join(session: Session, group: str, number: int) -> tuple[str, str, str]:
    """Make a person with all that is theirs in one transaction; returns their ids."""
    user = users.add(session, UserRow(name="Somebody", name_key=new_id(), password_hash="x" * 97))
    ends_at = utc_now() + timedelta(days=1)
    sign_in = SessionRow(token_hash=new_id(), owner_id=user.id, expires_at=ends_at)
    sessions.add(session, sign_in)
    key = ApiKeyRow(key_hash=new_id(), owner_id=user.id, name="mine", prefix="sk-x")
    api_keys.add(session, key)
    groups.set_members(session, group, [*groups.member_ids(session, group)[-20:], user.id])
    spent = Spent(owner_id=user.id, day=utc_now().date(), model="m", completion_tokens=number)
    usage.add(session, spent)
    return user.id, sign_in.id, key.id


def leave(session: Session, user_id: str) -> None:
    """Take a person away."""
    users.delete(session, users.get(session, user_id))


asyncio.run(main())
