"""Letting others read a conversation: chosen people, one's groups, everybody with an account.

Knows rows and the event log. Nothing is shared by being left out: who may read is named, and a
share is of what stands there now unless it is said to be live. Everything that is looked at is
looked up anew, so a share that ended is over with the next request. Administrators have no extra
right; guests neither share nor are shared with.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from webui.accounts.accounts import note
from webui.accounts.permissions import actor_of, actors_of
from webui.actor import Permission, UserRole
from webui.chat.branches import branch, copied, is_being_written, shared_messages
from webui.chat.events import ConversationChanged, SharesChanged
from webui.chat.records import conversation_view
from webui.chat.shared_views import (
    ChoicesView,
    GroupCard,
    PersonView,
    ReceivedView,
    SharedTranscript,
    ShareView,
)
from webui.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from webui.storage import conversations, groups, messages, received, shares, users
from webui.storage.sharing_tables import Audience, ShareRow
from webui.storage.tables import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from webui.accounts.accounts import Accounts
    from webui.accounts.identity import Sender
    from webui.accounts.quotas import Quotas
    from webui.actor import Actor
    from webui.chat.event_log import EventLog
    from webui.chat.views import ConversationView
    from webui.storage.database import Database
    from webui.storage.received import Received
    from webui.storage.tables import ConversationRow

MAX_SHARES = 500  # of one person
MAX_AT_ONCE = 100
LONGEST = timedelta(days=3660)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be shared, and with whom.

    Attributes:
        user_ids: People who may read.
        group_ids: Groups whose members may read, now and later.
        everybody: Who has an account and is no guest, now and later.
        is_live: What is said later is seen, too.
        leaf_id: Last message that is seen; None is that of the branch that is shown.
        expires_at: From when on nobody may; None means never.
    """

    conversation_id: str
    user_ids: Sequence[str] = ()
    group_ids: Sequence[str] = ()
    everybody: bool = False
    is_live: bool = False
    leaf_id: str | None = None
    expires_at: datetime | None = None

    def audiences(self) -> list[tuple[Audience, str | None]]:
        """Return each of those it is for, once."""
        people = [(Audience.PERSON, one) for one in dict.fromkeys(self.user_ids)]
        of_groups = [(Audience.GROUP, one) for one in dict.fromkeys(self.group_ids)]
        return [*people, *of_groups, *([(Audience.EVERYBODY, None)] if self.everybody else [])]


class Sharing:
    """Use cases of shares.

    Args:
        database: Where they are kept.
        accounts: Whether there is anybody to share with.
        quotas: What who copies may store.
        events: Where owners and readers hear of changes.
        clock: Aware time.
    """

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        quotas: Quotas,
        events: EventLog,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._quotas = quotas
        self._events = events
        self._clock = clock

    async def choices(self, actor: Actor, conversation_id: str) -> ChoicesView:
        """Return with whom a conversation can be shared, and what they would see.

        Raises:
            PermissionDenied: The actor may not share.
            NotFound: There is no such conversation, or it is somebody else's.
            InvalidRequest: Nothing was said in it yet.
        """
        _require(actor)
        return await self._database.read(_choices, actor.user_id, conversation_id, self._clock())

    async def share(self, actor: Actor, wanted: Wanted, sender: Sender) -> list[ShareView]:
        """Let others read a conversation; what it shared with the same people before is replaced.

        Raises:
            PermissionDenied: The actor may not share.
            NotFound: Conversation, person or group is not there, or not for the actor to name.
            InvalidRequest: Nobody is named, or too many, or the time or the message cannot be had.
            Conflict: A reply is being written, there are too many shares, or no accounts.
        """
        _require(actor)
        if not self._accounts.is_claimed:
            raise Conflict(
                "nobody else has an account", "Make an administrator first, who then adds people."
            )
        _check_audiences(wanted)
        _check_time(wanted.expires_at, self._clock())
        views, readers = await self._database.run(_share, actor, wanted, sender, self._clock())
        self._tell(actor.user_id, readers)
        return views

    async def list(self, actor: Actor) -> list[ShareView]:
        """Return what one shares, newest first."""
        return await self._database.read(_list, actor.user_id, self._clock())

    async def revoke(self, actor: Actor, share_id: str, sender: Sender) -> None:
        """End a share.

        Raises:
            NotFound: There is none, or it is somebody else's.
        """
        readers = await self._database.run(_revoke, actor, share_id, sender)
        self._tell(actor.user_id, readers)

    async def list_received(self, actor: Actor) -> Sequence[ReceivedView]:
        """Return what others let the actor read, the latest share first."""
        return await self._database.read(_list_received, actor.user_id, self._clock())

    async def get_received(self, actor: Actor, share_id: str) -> SharedTranscript:
        """Return the messages of a share.

        Raises:
            NotFound: There is none, it is over, or it is for others.
        """
        return await self._database.read(_get_received, actor.user_id, share_id, self._clock())

    async def copy(self, actor: Actor, share_id: str) -> ConversationView:
        """Make a conversation of one's own that says the same.

        Raises:
            PermissionDenied: The actor may not chat.
            NotFound: There is no such share, it is over, or it is for others.
            QuotaExceeded: There is no room for it.
        """
        actor.require(Permission.CHAT)
        seen = await self.get_received(actor, share_id)
        texts = [text for one in seen.messages for text in (one.text, one.reasoning)]
        await self._quotas.check_storage(actor, sum(len(text.encode()) for text in texts))
        view = await self._database.run(_copy, actor.user_id, share_id, self._clock())
        self._events.append(actor.user_id, ConversationChanged(view))
        return view

    def _tell(self, owner_id: str, readers: Iterable[str]) -> None:
        for user_id in dict.fromkeys((owner_id, *readers)):
            self._events.append(user_id, SharesChanged())


def _choices(session: Session, owner_id: str, conversation_id: str, now: datetime) -> ChoicesView:
    row = conversations.get(session, owner_id, conversation_id)
    path = branch(session, row, None)
    people = shares.list_people(session, owner_id)
    cards = [
        GroupCard(
            one.id,
            one.name,
            len(shares.reader_ids(session, owner_id, Audience.GROUP, one.id)),
        )
        for one in shares.list_groups(session, owner_id)
    ]
    return ChoicesView(
        title=row.title,
        leaf_id=path[-1].id,
        num_messages=len(path),
        people=[PersonView(one.id, one.name) for one in people],
        groups=cards,
        num_everybody=len(people),
        shares=[
            _share_view(session, one, row, now)
            for one in shares.list_newest(session, owner_id, conversation_id)
        ],
    )


def _share(
    session: Session, actor: Actor, wanted: Wanted, sender: Sender, now: datetime
) -> tuple[list[ShareView], list[str]]:
    """Keep the shares; returns them and who may read."""
    owner_id = actor.user_id
    row = conversations.get(session, owner_id, wanted.conversation_id)
    path = branch(session, row, None if wanted.is_live else wanted.leaf_id)
    if not wanted.is_live and is_being_written(path):
        raise Conflict("a reply is being written in it", "Wait for its end or stop it first.")
    audiences = wanted.audiences()
    num_new = len(audiences) - shares.count_alike(session, owner_id, row.id, audiences)
    if shares.count(session, owner_id) + num_new > MAX_SHARES:
        raise Conflict(f"you may have {MAX_SHARES} shares", "Revoke those that nobody needs.")
    _check_known(session, owner_id, audiences)
    views, readers = [], []
    for audience, of_id in audiences:
        share = ShareRow(
            owner_id=owner_id,
            conversation_id=row.id,
            audience=audience,
            user_id=of_id if audience is Audience.PERSON else None,
            group_id=of_id if audience is Audience.GROUP else None,
            created_at=now,
            expires_at=wanted.expires_at,
        )
        if not wanted.is_live:
            last = path[-1]
            share.leaf_id, share.title, share.num_messages = last.id, row.title, len(path)
            share.leaf_text_chars = len(last.text)
            share.leaf_reasoning_chars, share.leaf_model = len(last.reasoning), last.model
        shares.add(session, share)
        views.append(_share_view(session, share, row, now))
        readers += shares.readers_of(session, share)
    # One entry, however many are named: the log keeps the newest, and nobody may flood it.
    note(session, actor, "share", _words(views), sender)
    return views, readers


def _list(session: Session, owner_id: str, now: datetime) -> list[ShareView]:
    found = shares.list_newest(session, owner_id)
    rows = {
        one: conversations.get(session, owner_id, one) for one in {s.conversation_id for s in found}
    }
    return [_share_view(session, one, rows[one.conversation_id], now) for one in found]


def _revoke(session: Session, actor: Actor, share_id: str, sender: Sender) -> list[str]:
    row = shares.delete(session, actor.user_id, share_id)
    who = _who(row.audience.value, _name_of(session, row))
    note(session, actor, "unshare", f"conversation {row.conversation_id}, with {who}", sender)
    return shares.readers_of(session, row)


def _list_received(session: Session, reader_id: str, now: datetime) -> list[ReceivedView]:
    found = received.list_newest(session, reader_id, now)
    actors = actors_of(session, (one.owner for one in found))
    able = {id_ for id_, actor in actors.items() if Permission.SHARING in actor.permissions}
    return [_received_view(one) for one in found if one.owner.id in able]


def _get_received(
    session: Session, reader_id: str, share_id: str, now: datetime
) -> SharedTranscript:
    found = received.get(session, reader_id, share_id, now)
    if not _may_share(session, found):
        raise NotFound("There is no such share", "It may have ended.")
    seen = shared_messages(session, found.share, found.conversation)
    view = _received_view(found)
    version = hashlib.sha256(msgspec.json.encode([view, seen])).hexdigest()[:32]
    return SharedTranscript(view, seen, version)


def _copy(session: Session, reader_id: str, share_id: str, now: datetime) -> ConversationView:
    seen = _get_received(session, reader_id, share_id, now)
    row = conversations.create(session, reader_id, title=seen.share.title, title_is_automatic=False)
    messages.add_branch(session, reader_id, row.id, copied(seen.messages, row.id))
    return conversation_view(row)


def _may_share(session: Session, found: Received) -> bool:
    """Whether who made a share may still make one."""
    return Permission.SHARING in actor_of(session, found.owner).permissions


def _share_view(
    session: Session, row: ShareRow, conversation: ConversationRow, now: datetime
) -> ShareView:
    return ShareView(
        id=row.id,
        conversation_id=row.conversation_id,
        title=conversation.title if row.title is None else row.title,
        audience=row.audience.value,
        name=_name_of(session, row),
        num_people=len(shares.readers_of(session, row)),
        is_live=row.is_live,
        num_messages=row.num_messages,
        created_at=row.created_at,
        expires_at=row.expires_at,
        is_expired=row.expires_at is not None and row.expires_at <= now,
    )


def _received_view(found: Received) -> ReceivedView:
    share, row = found.share, found.conversation
    return ReceivedView(
        id=share.id,
        owner=found.owner.name,
        title=row.title if share.title is None else share.title,
        is_live=share.is_live,
        created_at=share.created_at,
        updated_at=row.updated_at if share.is_live else share.created_at,
        expires_at=share.expires_at,
    )


def _name_of(session: Session, row: ShareRow) -> str | None:
    if row.user_id is not None:
        return users.get(session, row.user_id).name
    return None if row.group_id is None else groups.get(session, row.group_id).name


def _words(views: Sequence[ShareView]) -> str:
    """Return what is written down of shares that were made together: no title, no text."""
    first = views[0]
    what = "live" if first.is_live else f"{first.num_messages} messages"
    who = ", ".join(f"{_who(one.audience, one.name)} ({one.num_people})" for one in views)
    ends = "" if first.expires_at is None else f", until {first.expires_at:%Y-%m-%d %H:%M}"
    return f"conversation {first.conversation_id}, {what}{ends}, with {who}"


def _who(audience: str, name: str | None) -> str:
    return audience if name is None else f"{audience} {name}"


def _require(actor: Actor) -> None:
    actor.require(Permission.SHARING)
    if actor.role is UserRole.GUEST:
        raise PermissionDenied(
            "guests do not share", "An administrator of this server can make you a user."
        )


def _check_audiences(wanted: Wanted) -> None:
    num = len(wanted.audiences())
    if num == 0:
        raise InvalidRequest(
            "nobody is named who may read it",
            "Name user_ids or group_ids, or set everybody.",
            field="user_ids",
        )
    if num > MAX_AT_ONCE:
        raise InvalidRequest(
            f"{num} people and groups are named", f"Name at most {MAX_AT_ONCE}.", field="user_ids"
        )


def _check_known(
    session: Session, owner_id: str, audiences: Sequence[tuple[Audience, str | None]]
) -> None:
    people = {one.id for one in shares.list_people(session, owner_id)}
    own = {one.id for one in shares.list_groups(session, owner_id)}
    for audience, of_id in audiences:
        if audience is Audience.PERSON and of_id not in people:
            raise NotFound("There is no such user to share with", field="user_ids")
        if audience is Audience.GROUP and of_id not in own:
            raise NotFound("You belong to no such group", field="group_ids")


def _check_time(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is None:
        return
    if expires_at <= now:
        raise InvalidRequest(
            f"expires_at is {expires_at:%Y-%m-%d %H:%M}, which is past",
            "Take a time to come.",
            field="expires_at",
        )
    if expires_at > now + LONGEST:
        raise InvalidRequest(
            f"expires_at is {expires_at:%Y-%m-%d}, more than ten years from now",
            "Leave it out for a share that does not run out.",
            field="expires_at",
        )
