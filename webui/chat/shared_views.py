"""What people see of shares: values, in the shape of the JSON.

A reader's view of a message has what stands in the transcript and nothing else: no parameters, and
with them no system prompt, no figures, no error texts.
"""

from __future__ import annotations

from datetime import datetime

import msgspec


class ShareView(msgspec.Struct, frozen=True, kw_only=True):
    """A share, to who made it.

    Attributes:
        title: As readers see it.
        audience: person, group or everybody.
        name: Of the person or the group; None where it is everybody.
        num_people: So many may read it now.
        is_live: They see what is said later, too.
        num_messages: So many they see; None where it is live.
        is_expired: Nobody may read it any more.
    """

    id: str
    conversation_id: str
    title: str
    audience: str
    name: str | None
    num_people: int
    is_live: bool
    num_messages: int | None
    created_at: datetime
    expires_at: datetime | None
    is_expired: bool


class PersonView(msgspec.Struct, frozen=True):
    """Somebody with whom one can share."""

    id: str
    name: str


class GroupCard(msgspec.Struct, frozen=True):
    """A group with which one can share.

    Attributes:
        num_people: Others in it who could read.
    """

    id: str
    name: str
    num_people: int


class ChoicesView(msgspec.Struct, frozen=True, kw_only=True):
    """With whom a conversation can be shared, and what they would see.

    Attributes:
        leaf_id: Last message of the branch that is shown now.
        num_messages: Of that branch.
        num_everybody: So many others have an account and are no guests.
        shares: Those that the conversation has.
    """

    title: str
    leaf_id: str
    num_messages: int
    people: list[PersonView]
    groups: list[GroupCard]
    num_everybody: int
    shares: list[ShareView]


class ReceivedView(msgspec.Struct, frozen=True, kw_only=True):
    """A share, to who may read it.

    Attributes:
        owner: Name of who made it.
        updated_at: When the latest of it was said, or it was shared.
    """

    id: str
    owner: str
    title: str
    is_live: bool
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None


class SharedMessageView(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a shared branch; fields as in `MessageView`."""

    id: str
    role: str
    text: str
    reasoning: str
    status: str
    model: str | None
    created_at: datetime


class SharedTranscript(msgspec.Struct, frozen=True):
    """A shared branch from its first message to its last.

    Attributes:
        version: Another one as soon as anything of it is another.
    """

    share: ReceivedView
    messages: list[SharedMessageView]
    version: str
