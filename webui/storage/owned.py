"""The one door to rows that belong to somebody.

Every query for a person begins here, so that no function can forget whose rows it reads: what is
somebody else's is not there. What the server does to everybody's rows stands in `unattended`, how a
secret finds its owner in `credentials`, what others let somebody read in `received`, what
administrators see of sign-ins and keys in `everybodys`; a test holds all other files to this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar

from sqlalchemy import select

from webui.errors import NotFound
from webui.storage.sharing_tables import ShareRow
from webui.storage.sign_in_tables import ExternalIdentityRow, PasskeyRow
from webui.storage.tables import (
    ApiKeyRow,
    Base,
    ConversationRow,
    GenerationRow,
    JobRow,
    MessageRow,
    SessionRow,
    SettingRow,
    UsageRow,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Select
    from sqlalchemy.orm import InstrumentedAttribute, Session

OwnedRow: TypeAlias = (
    ApiKeyRow
    | ConversationRow
    | ExternalIdentityRow
    | GenerationRow
    | JobRow
    | MessageRow
    | PasskeyRow
    | SessionRow
    | SettingRow
    | ShareRow
    | UsageRow
)
RowWithId: TypeAlias = (
    ApiKeyRow | GenerationRow | JobRow | MessageRow | PasskeyRow | SessionRow | ShareRow
)
RowT = TypeVar("RowT", bound=OwnedRow)
RowWithIdT = TypeVar("RowWithIdT", bound=RowWithId)

# The column that says whose a row is.
OWNERS: Mapping[type[Base], InstrumentedAttribute[str]] = {
    ApiKeyRow: ApiKeyRow.owner_id,
    ConversationRow: ConversationRow.owner_id,
    ExternalIdentityRow: ExternalIdentityRow.owner_id,
    GenerationRow: GenerationRow.owner_id,
    JobRow: JobRow.owner_id,
    MessageRow: ConversationRow.owner_id,
    PasskeyRow: PasskeyRow.owner_id,
    SessionRow: SessionRow.owner_id,
    SettingRow: SettingRow.owner_id,
    ShareRow: ShareRow.owner_id,
    UsageRow: UsageRow.owner_id,
}


def owned(table: type[RowT], owner_id: str) -> Select[RowT]:
    """Return the query of an owner's rows, to be narrowed further.

    Args:
        table: Whose rows; messages are those of the owner's conversations, which are joined.
        owner_id: Of the user.
    """
    query = select(table)
    if issubclass(table, MessageRow):
        query = query.join(ConversationRow, ConversationRow.id == MessageRow.conversation_id)
    return query.where(OWNERS[table] == owner_id)


def get_owned(
    session: Session,
    table: type[RowWithIdT],
    owner_id: str,
    row_id: str,
    *,
    name: str,
    hint: str = "",
) -> RowWithIdT:
    """Return one of an owner's rows by its id.

    Args:
        session: Of the database.
        table: Whose row.
        owner_id: Of the user.
        row_id: Its id.
        name: What people call such a row.
        hint: What to do where there is none.

    Raises:
        NotFound: There is none, or it is somebody else's.
    """
    row = session.scalar(owned(table, owner_id).where(table.id == row_id))
    if row is None:
        raise NotFound(f"There is no such {name}", hint)
    return row
