"""What people see of accounts: values, as JSON writes them; no secret is in them."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING

import msgspec

from webui.actor import COMMAND_LINE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.actor import Permission
    from webui.storage.sign_in_tables import ExternalIdentityRow, PasskeyRow
    from webui.storage.tables import ApiKeyRow, AuditRow, SessionRow, UserRow


class UserView(msgspec.Struct, frozen=True, kw_only=True):
    """A person, to administrators and to themselves.

    Attributes:
        permissions: What they may do, sorted.
        has_own_permissions: An administrator set them in place of the role's and the groups'.
        has_password: They can sign in with one.
        linked_to: Issuers at which they are somebody, who so can let them in.
    """

    id: str
    name: str
    role: str
    permissions: list[str]
    has_own_permissions: bool
    has_password: bool
    linked_to: list[str]
    must_change_password: bool
    is_disabled: bool
    created_at: datetime


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """One sign-in.

    Attributes:
        way: By what it began: `password`, `passkey`, `provider` or `proxy`; null where that was not
            kept.
        is_current: The reader's own, with which this was asked for.
    """

    id: str
    device: str
    address: str
    way: str | None
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    is_current: bool


class EverybodysSessionView(SessionView, frozen=True, kw_only=True):
    """One sign-in, to administrators.

    Attributes:
        user: Name of whose it is.
    """

    user_id: str
    user: str


class LinkView(msgspec.Struct, frozen=True, kw_only=True):
    """How the reader's account is linked to a person at the provider.

    Attributes:
        name: What people call the provider.
        linked_at: None where it is not linked.
        has_password: The reader can come in without the provider, and so unlink.
    """

    name: str
    linked_at: datetime | None
    last_used_at: datetime | None
    has_password: bool


class ConfirmationView(msgspec.Struct, frozen=True, kw_only=True):
    """How the reader confirms what has no way back.

    Attributes:
        by: Any of `password`, `passkey`, `provider` and `name`; empty where they cannot.
        is_confirmed: They showed anew who they are, and it still counts.
    """

    by: list[str]
    is_confirmed: bool


class LinkedView(msgspec.Struct, frozen=True, kw_only=True):
    """Who the reader is at one provider."""

    issuer: str
    subject: str
    linked_at: datetime
    last_used_at: datetime | None


class ApiKeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key, to its owner.

    Attributes:
        prefix: How it begins.
        endpoints: Groups of endpoints that it opens, or null for all that keys may open.
        models: Ids of models that it opens, or null for all.
        is_expired: It opens nothing any more.
    """

    id: str
    name: str
    prefix: str
    endpoints: list[str] | None
    models: list[str] | None
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    is_expired: bool


class ApiKeyCard(msgspec.Struct, frozen=True, kw_only=True):
    """A key, to administrators: enough to tell it from others and to revoke it.

    Attributes:
        owner: Name of whose it is.
    """

    id: str
    name: str
    prefix: str
    owner_id: str
    owner: str
    last_used_at: datetime | None
    expires_at: datetime | None


class SignedInView(msgspec.Struct, frozen=True, kw_only=True):
    """By what people and their programs are in."""

    sessions: list[EverybodysSessionView]
    keys: list[ApiKeyCard]


class PasskeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A passkey, to its owner.

    Attributes:
        is_backed_up: The maker of the device keeps it too, so that it outlives the device.
    """

    id: str
    name: str
    created_at: datetime
    last_used_at: datetime | None
    is_backed_up: bool


class AuditView(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done to accounts.

    Attributes:
        actor_kind: `person`, or `command_line`, which no name can claim to be.
    """

    position: int
    at: datetime
    actor_kind: str
    actor_name: str
    action: str
    about: str
    address: str


class LimitView(msgspec.Struct, frozen=True, kw_only=True):
    """One of the reader's limits.

    Attributes:
        limit: None where there is none.
        used: So far; None where that cannot be said.
        remaining: None where there is no limit.
        resets_at: When all of it is there again; None where that is no fixed time.
    """

    name: str
    limit: int | None
    used: int | None
    remaining: int | None
    resets_at: datetime | None


class UsageRowView(msgspec.Struct, frozen=True, kw_only=True):
    """What one person had one model do on one day in UTC; no text is in it.

    Attributes:
        user: Their name.
        model: Its name; empty where it is not known.
        counted_tokens: What counts against limits: tokens read anew, and tokens written.
    """

    user_id: str
    user: str
    day: date
    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    counted_tokens: int


class StoredView(msgspec.Struct, frozen=True, kw_only=True):
    """How much one person keeps; no text is in it.

    Attributes:
        user: Their name.
        text_bytes: Of their conversations, as their limit counts them: with what is in the trash.
    """

    user_id: str
    user: str
    text_bytes: int


class GroupView(msgspec.Struct, frozen=True, kw_only=True):
    """People to whom the same limits apply, and who may do the same.

    Attributes:
        permissions: What it adds to what its members may, sorted.
        limits: Those that are set, by name; null is no limit.
    """

    id: str
    name: str
    permissions: list[str]
    limits: dict[str, int | None]
    member_ids: list[str]


class LimitSource(msgspec.Struct, frozen=True):
    """From where a limit comes.

    Attributes:
        kind: `own`, `group` or `default`.
        group: Name of the group; None where it comes from none.
    """

    kind: str
    group: str | None = None


class UserLimitsView(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a person: set for them alone, what they had without these, and what holds.

    Attributes:
        sources: By name, from where each that holds comes.
    """

    user_id: str
    limits: dict[str, int | None]
    inherited: dict[str, int | None]
    effective: dict[str, int | None]
    sources: dict[str, LimitSource]


class DefaultsView(msgspec.Struct, frozen=True, kw_only=True):
    """What people get who have nothing of their own.

    Attributes:
        role: Of new people.
        permissions: Of users, sorted.
        is_changed: An administrator set these permissions.
    """

    role: str
    permissions: list[str]
    is_changed: bool


def user_view(
    row: UserRow, permissions: frozenset[Permission], linked_to: Sequence[str]
) -> UserView:
    """Return what is seen of a person who may do this and is somebody at these issuers."""
    return UserView(
        id=row.id,
        name=row.name,
        role=row.role.value,
        permissions=sorted(permissions),
        has_own_permissions=row.permissions is not None,
        has_password=row.password_hash is not None,
        linked_to=list(linked_to),
        must_change_password=row.must_change_password,
        is_disabled=row.disabled_at is not None,
        created_at=row.created_at,
    )


def linked_view(row: ExternalIdentityRow) -> LinkedView:
    """Return what its owner sees of a link."""
    return LinkedView(
        issuer=row.issuer,
        subject=row.subject,
        linked_at=row.created_at,
        last_used_at=row.last_used_at,
    )


def session_view(row: SessionRow, current_id: str) -> SessionView:
    """Return what is seen of a sign-in."""
    return SessionView(
        id=row.id,
        device=row.device,
        address=row.address,
        way=None if row.way is None else row.way.value,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
        is_current=row.id == current_id,
    )


def everybodys_session_view(
    row: SessionRow, owner: UserRow, current_id: str
) -> EverybodysSessionView:
    """Return what administrators see of a sign-in."""
    seen = msgspec.structs.asdict(session_view(row, current_id))
    return EverybodysSessionView(**seen, user_id=owner.id, user=owner.name)


def api_key_view(row: ApiKeyRow, now: datetime) -> ApiKeyView:
    """Return what its owner sees of a key."""
    return ApiKeyView(
        id=row.id,
        name=row.name,
        prefix=row.prefix,
        endpoints=row.endpoints,
        models=row.models,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
        is_expired=row.expires_at is not None and row.expires_at <= now,
    )


def api_key_card(row: ApiKeyRow, owner: UserRow) -> ApiKeyCard:
    """Return what administrators see of a key."""
    return ApiKeyCard(
        id=row.id,
        name=row.name,
        prefix=row.prefix,
        owner_id=owner.id,
        owner=owner.name,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
    )


def passkey_view(row: PasskeyRow) -> PasskeyView:
    """Return what its owner sees of a passkey."""
    return PasskeyView(
        id=row.id,
        name=row.name,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        is_backed_up=row.backed_up,
    )


def audit_view(row: AuditRow) -> AuditView:
    """Return what is seen of an entry."""
    return AuditView(
        position=row.position,
        at=row.at,
        actor_kind="command_line" if row.actor_id == COMMAND_LINE else "person",
        actor_name=row.actor_name,
        action=row.action,
        about=row.about,
        address=row.address,
    )
