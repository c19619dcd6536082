"""The tables, each a mapped dataclass; a change here needs a numbered migration.

Knows columns and nothing of use cases. Rows leave storage detached; there are no relationships,
so nothing loads behind the reader's back. Times are aware UTC, ids are opaque strings.
"""

from __future__ import annotations

import secrets
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, MetaData, Text, text
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from webui.actor import UserRole
from webui.messages import Role
from webui.storage.columns import UtcDateTime, words

# The partial index answers only a query that repeats its condition word for word.
UNFINISHED = text("status IN ('pending', 'streaming')")


class MessageStatus(StrEnum):
    """How far a message is."""

    COMPLETE = "complete"
    PENDING = "pending"  # committed, the engine has said nothing yet
    STREAMING = "streaming"
    STOPPED = "stopped"  # somebody pressed Stop; the text so far is kept
    INTERRUPTED = "interrupted"  # server or worker ended; the text so far is kept
    ERROR = "error"


class GenerationStatus(StrEnum):
    """How far the writing of a reply is."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class SignInWay(StrEnum):
    """By what a sign-in began."""

    PASSWORD = "password"  # noqa: S105 - a word for a way in
    PASSKEY = "passkey"
    PROVIDER = "provider"  # of OpenID Connect
    PROXY = "proxy"


class JobStatus(StrEnum):
    """How far long work is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"  # the server ended before the work did


def new_id() -> str:
    """Return a fresh opaque id: 22 characters that are safe in a URL, 128 random bits."""
    return secrets.token_urlsafe(16)


def utc_now() -> datetime:
    """Return the aware time of now."""
    return datetime.now(UTC)


class Base(MappedAsDataclass, DeclarativeBase, eq=False):
    """Root of all rows; equal means the same object."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - read once by the declarative base
        datetime: UtcDateTime(),
        Role: words(Role),
        MessageStatus: words(MessageStatus),
        GenerationStatus: words(GenerationStatus),
        JobStatus: words(JobStatus),
        UserRole: words(UserRole),
        SignInWay: words(SignInWay),
    }


class UserRow(Base, kw_only=True):
    """A person with things of their own.

    Attributes:
        name: As it was written.
        name_key: What tells names apart, whatever their case; None where nobody signs in by name.
        password_hash: Of argon2id; None where there is no password.
        must_change_password: An administrator chose it; nothing else goes before it is changed.
        permissions: Set by an administrator in place of the role's; None where nobody did.
        disabled_at: Since when there is no way in; what is theirs stays.
        limits: Those that an administrator set for them alone, by name; see `GroupRow`.
    """

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(primary_key=True, default_factory=new_id)
    name: Mapped[str]
    name_key: Mapped[str | None] = mapped_column(default=None, unique=True, index=True)
    role: Mapped[UserRole] = mapped_column(default=UserRole.USER)
    password_hash: Mapped[str | None] = mapped_column(default=None, repr=False)
    must_change_password: Mapped[bool] = mapped_column(default=False)
    permissions: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True), default=None)
    disabled_at: Mapped[datetime | None] = mapped_column(default=None)
    limits: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    created_at: Mapped[datetime] = mapped_column(default_factory=utc_now)


class SessionRow(Base, kw_only=True):
    """A sign-in of one browser; the token itself is never kept.

    Attributes:
        id: By which its owner ends it; opens nothing.
        token_hash: SHA-256 of the token, in hexadecimal.
        device: What browser and system it was, in words.
        address: From where it was last used.
        way: By what it began; None of those that began before this was kept.
    """

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(primary_key=True, default_factory=new_id)
    token_hash: Mapped[str] = mapped_column(unique=True, repr=False)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    device: Mapped[str] = mapped_column(default="")
    address: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime] = mapped_column(default_factory=utc_now)
    last_used_at: Mapped[datetime] = mapped_column(default_factory=utc_now)
    expires_at: Mapped[datetime]
    way: Mapped[SignInWay | None] = mapped_column(default=None)


class ApiKeyRow(Base, kw_only=True):
    """A key of one person for programs; the key itself is never kept.

    Attributes:
        prefix: Its first characters, by which people tell keys apart; open nothing.
        key_hash: SHA-256 of the key, in hexadecimal.
        endpoints: Groups of routes it opens; None opens all that keys may open.
        models: Ids of models it may use; None means any.
        expires_at: From when on it opens nothing; None means never.
    """

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True, default_factory=new_id)
    key_hash: Mapped[str] = mapped_column(unique=True, repr=False)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    prefix: Mapped[str]
    endpoints: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True), default=None)
    models: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True), default=None)
    created_at: Mapped[datetime] = mapped_column(default_factory=utc_now)
    last_used_at: Mapped[datetime | None] = mapped_column(default=None)
    expires_at: Mapped[datetime | None] = mapped_column(default=None)


class AuditRow(Base, kw_only=True):
    """Something that was done to accounts, kept though the account goes; holds no secret, no text.

    Attributes:
        actor_id: Who did it; None where nobody was signed in.
        by_administrator: Whether an administrator did it, or the command line; see `audit`.
        action: A stable word.
        about: What it was done to, in words.
        address: From where.
    """

    __tablename__ = "audit"
    __table_args__ = ({"sqlite_autoincrement": True},)

    position: Mapped[int] = mapped_column(init=False, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(default_factory=utc_now)
    actor_id: Mapped[str | None]
    actor_name: Mapped[str]
    action: Mapped[str]
    by_administrator: Mapped[bool] = mapped_column(default=False)
    about: Mapped[str] = mapped_column(default="")
    address: Mapped[str] = mapped_column(default="")


class ConversationRow(Base, kw_only=True):
    """A tree of messages and which of its branches is shown.

    Attributes:
        active_leaf_id: Last message of the shown branch; no foreign key, because messages point
            here already.
        version: Grows with every change.
        activity: Place in the owner's list, a counter rather than a time so that a clock that
            jumps cannot shuffle it; 0 until there is a message.
        deleted_at: When it was taken away; it can be restored.
        context_overflow: What happens when it is longer than the context; None leaves it to the
            owner's parameters.
    """

    __tablename__ = "conversations"
    __table_args__ = (
        Index(
            "ix_conversations_owner_id_deleted_at_activity", "owner_id", "deleted_at", "activity"
        ),
        Index("ix_conversations_owner_id_activity", "owner_id", "activity"),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default_factory=new_id)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(default="", repr=False)
    title_is_automatic: Mapped[bool] = mapped_column(default=True)
    active_leaf_id: Mapped[str | None] = mapped_column(default=None)
    version: Mapped[int] = mapped_column(default=1)
    activity: Mapped[int] = mapped_column(BigInteger, default=0)
    created_at: Mapped[datetime] = mapped_column(default_factory=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default_factory=utc_now)
    deleted_at: Mapped[datetime | None] = mapped_column(default=None)
    context_overflow: Mapped[str | None] = mapped_column(default=None)


class MessageRow(Base, kw_only=True):
    """One message of a tree; siblings have the same parent.

    Attributes:
        parent_id: What it answers. Deletes do not cascade along it: SQLite follows 1000 levels only.
        position: Order of arrival in the whole database, given by SQLite and never used twice.
        prompt_tokens: With the two others the usage of a reply; None where none was counted.
        queued_s: With the two others the seconds a reply took; None where not measured.
        reasoning_s: Seconds from the first to the last of its reasoning; None where it had none.
        left_out_messages: So many were not sent for lack of room; they stand before the one of
            `left_out_before_id`. None where all was sent.
        left_out_tokens: So many of the oldest went while it was written.
    """

    __tablename__ = "messages"
    __table_args__ = (
        Index("ix_messages_unfinished", "status", sqlite_where=UNFINISHED),
        {"sqlite_autoincrement": True},
    )

    position: Mapped[int] = mapped_column(init=False, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(default_factory=new_id, unique=True)
    conversation_id: Mapped[str] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), index=True
    )
    parent_id: Mapped[str | None] = mapped_column(
        ForeignKey("messages.id"), default=None, index=True
    )
    role: Mapped[Role]
    status: Mapped[MessageStatus]
    model: Mapped[str | None] = mapped_column(default=None)
    created_at: Mapped[datetime] = mapped_column(default_factory=utc_now)
    prompt_tokens: Mapped[int | None] = mapped_column(default=None)
    completion_tokens: Mapped[int | None] = mapped_column(default=None)
    cached_tokens: Mapped[int | None] = mapped_column(default=None)
    queued_s: Mapped[float | None] = mapped_column(default=None)
    prefill_s: Mapped[float | None] = mapped_column(default=None)
    decode_s: Mapped[float | None] = mapped_column(default=None)
    reasoning_s: Mapped[float | None] = mapped_column(default=None)
    finish_reason: Mapped[str | None] = mapped_column(default=None)
    error_code: Mapped[str | None] = mapped_column(default=None)
    error_message: Mapped[str | None] = mapped_column(default=None)
    error_hint: Mapped[str | None] = mapped_column(default=None)
    text: Mapped[str] = mapped_column(Text, default="", repr=False)
    reasoning: Mapped[str] = mapped_column(Text, default="", repr=False)
    drafted_tokens: Mapped[int | None] = mapped_column(default=None)
    accepted_tokens: Mapped[int | None] = mapped_column(default=None)
    left_out_messages: Mapped[int | None] = mapped_column(default=None)
    left_out_before_id: Mapped[str | None] = mapped_column(default=None)
    left_out_tokens: Mapped[int | None] = mapped_column(default=None)


class GenerationRow(Base, kw_only=True):
    """One run of a model for one reply; a reply that was continued has several."""

    __tablename__ = "generations"

    id: Mapped[str] = mapped_column(primary_key=True, default_factory=new_id)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    conversation_id: Mapped[str] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), index=True
    )
    message_id: Mapped[str] = mapped_column(
        ForeignKey("messages.id", ondelete="CASCADE"), index=True
    )
    status: Mapped[GenerationStatus] = mapped_column(default=GenerationStatus.RUNNING, index=True)
    params: Mapped[dict[str, Any]] = mapped_column(JSON, default_factory=dict, repr=False)
    model: Mapped[str | None] = mapped_column(default=None)
    created_at: Mapped[datetime] = mapped_column(default_factory=utc_now)
    finished_at: Mapped[datetime | None] = mapped_column(default=None)


class JobRow(Base, kw_only=True):
    """Long work: a download, a quantization; `done` of `total` `unit`s."""

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_owner_id_created_at", "owner_id", "created_at"),)

    id: Mapped[str] = mapped_column(primary_key=True, default_factory=new_id)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    kind: Mapped[str]
    title: Mapped[str]
    status: Mapped[JobStatus] = mapped_column(default=JobStatus.RUNNING, index=True)
    done: Mapped[int] = mapped_column(BigInteger, default=0)
    total: Mapped[int | None] = mapped_column(BigInteger, default=None)
    unit: Mapped[str] = mapped_column(default="")
    message: Mapped[str] = mapped_column(default="")
    error: Mapped[str | None] = mapped_column(default=None)
    created_at: Mapped[datetime] = mapped_column(default_factory=utc_now)
    finished_at: Mapped[datetime | None] = mapped_column(default=None)


class SettingRow(Base, kw_only=True):
    """One thing a person chose, by name."""

    __tablename__ = "settings"

    owner_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[Any] = mapped_column(JSON, repr=False)


class UsageRow(Base, kw_only=True):
    """What one person had one model do on one day in UTC; outlives the chats that it was for.

    Attributes:
        model: Its name; empty where it is not known.
        prompt_tokens: Of what was asked; `cached_tokens` of them were not read anew.
    """

    __tablename__ = "usage"

    owner_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    day: Mapped[date] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger, default=0)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    completion_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    cached_tokens: Mapped[int] = mapped_column(BigInteger, default=0)


class GroupRow(Base, kw_only=True):
    """People to whom the same limits apply, and who may do the same.

    Attributes:
        name_key: What tells names apart, whatever their case; empty for the server's default,
            which applies to everybody who has nothing of their own.
        limits: By name, JSON rather than columns: a name that is missing is not set, null is no
            limit, and another limit needs no migration.
        permissions: What it adds to what its members may; of the server's default, what users may
            in place of what the program says. None where nobody set it.
    """

    __tablename__ = "groups"

    id: Mapped[str] = mapped_column(primary_key=True, default_factory=new_id)
    name: Mapped[str]
    name_key: Mapped[str] = mapped_column(unique=True)
    limits: Mapped[dict[str, Any]] = mapped_column(JSON, default_factory=dict)
    permissions: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True), default=None)
    created_at: Mapped[datetime] = mapped_column(default_factory=utc_now)


class GroupMemberRow(Base, kw_only=True):
    """That somebody belongs to a group; the row is the administrators', not the member's."""

    __tablename__ = "group_members"

    group_id: Mapped[str] = mapped_column(
        ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True
    )
