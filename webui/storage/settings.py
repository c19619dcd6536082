"""What people chose, by name; the value is whatever JSON holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, not_, or_

from webui.actor import LOCAL_USER_ID
from webui.storage.owned import owned
from webui.storage.tables import SettingRow

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

OF_SERVER = ("server/", "model_options/", "last_model")  # how names begin that are nobody's own


def find(session: Session, owner_id: str, name: str) -> Any:  # noqa: ANN401 - JSON
    """Return the value, or None."""
    row = _find(session, owner_id, name)
    return None if row is None else row.value


def put(session: Session, owner_id: str, name: str, value: Any) -> None:  # noqa: ANN401 - JSON
    """Set the value, new or not."""
    row = _find(session, owner_id, name)
    if row is None:
        session.add(SettingRow(owner_id=owner_id, name=name, value=value))
    else:
        row.value = value


def delete(session: Session, owner_id: str, name: str) -> None:
    """Forget the value; nothing happens when there is none."""
    row = _find(session, owner_id, name)
    if row is not None:
        session.delete(row)


def list_of_server(session: Session) -> dict[str, Any]:
    """Return what was chosen for the whole server, by name."""
    query = owned(SettingRow, LOCAL_USER_ID).with_only_columns(SettingRow.name, SettingRow.value)
    return {name: value for name, value in session.execute(query) if name.startswith(OF_SERVER)}


def is_own() -> ColumnElement[bool]:
    """Return the condition that a choice is of a person, not for the whole server."""
    of_server = or_(*(SettingRow.name.startswith(one, autoescape=True) for one in OF_SERVER))
    return not_(and_(SettingRow.owner_id == LOCAL_USER_ID, of_server))


def _find(session: Session, owner_id: str, name: str) -> SettingRow | None:
    return session.scalar(owned(SettingRow, owner_id).where(SettingRow.name == name))
