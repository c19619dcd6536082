"""Columns: times, ids and the shape of rows."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import StatementError

from webui.storage.tables import Base, ConversationRow, UserRow, new_id, utc_now

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def test_ids_are_22_url_safe_characters_and_differ() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(name) for name in ids} == {22}
    assert all(name.replace("-", "").replace("_", "").isalnum() for name in ids)


def test_time_of_any_zone_comes_back_as_utc(session: Session) -> None:
    moment = datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=timezone(timedelta(hours=-7)))
    session.add(UserRow(id="zoe", name="Zoe", created_at=moment))
    session.commit()
    session.expire_all()
    row = session.get(UserRow, "zoe")
    assert row is not None
    assert row.created_at == moment
    assert row.created_at.tzinfo is UTC


def test_naive_time_is_refused(session: Session) -> None:
    session.add(UserRow(name="Zoe", created_at=datetime(2026, 1, 1)))  # noqa: DTZ001 - the point
    with pytest.raises(StatementError, match="no time zone"):
        session.commit()


def test_now_is_aware() -> None:
    assert utc_now().tzinfo is UTC


@pytest.mark.parametrize("mapper", Base.registry.mappers, ids=lambda m: m.class_.__name__)
def test_rows_are_dataclasses_that_load_nothing_by_themselves(mapper) -> None:
    assert dataclasses.is_dataclass(mapper.class_)
    assert all(relationship.lazy == "raise" for relationship in mapper.relationships)


def test_detached_row_is_readable_and_hashable(session: Session) -> None:
    row = ConversationRow(owner_id="ann")
    session.add(row)
    session.commit()
    session.expunge_all()
    assert row.owner_id == "ann"
    assert row in {row}
    assert row != ConversationRow(id=row.id, owner_id="ann")
