"""What is kept of what was done to accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from webui.storage import audit
from webui.storage.tables import AuditRow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep 12 entries, and 4 of one actor where there is no room."""
    monkeypatch.setattr(audit, "MAX_KEPT", 12)
    monkeypatch.setattr(audit, "MAX_OF_ONE", 4)


def note(session: Session, who: str | None, num: int = 1) -> None:
    for _ in range(num):
        audit.add(session, AuditRow(actor_id=who, actor_name=who or "", action="share"))


def kept(session: Session) -> dict[str | None, list[int]]:
    """Return the positions that are kept, by who did it."""
    found: dict[str | None, list[int]] = {}
    for row in reversed(audit.list_newest(session, limit=100)):
        found.setdefault(row.actor_id, []).append(row.position)
    return found


def test_one_actor_keeps_all_while_there_is_room(session: Session) -> None:
    note(session, "ann", 14)
    assert kept(session) == {"ann": list(range(3, 15))}


@pytest.mark.parametrize("flooder", ["bob", None])
def test_nobody_pushes_out_what_others_did(session: Session, flooder: str | None) -> None:
    note(session, "ann", 3)
    note(session, "cid", 7)
    note(session, flooder, 50)
    found = kept(session)
    assert found["ann"] == [1, 2, 3]
    assert found["cid"] == [6, 7, 8, 9, 10], "of who has more than their part some give way"
    assert found[flooder] == [57, 58, 59, 60]
    note(session, "cid")
    assert kept(session)["ann"] == [1, 2, 3]
    assert kept(session)["cid"] == [7, 8, 9, 10, 61], "one's own go first"


def test_oldest_go_where_everybody_has_their_part(session: Session) -> None:
    for who in ("ann", "bob", "cid"):
        note(session, who, 4)
    note(session, None, 2)
    assert kept(session) == {
        "ann": [3, 4],
        "bob": [5, 6, 7, 8],
        "cid": [9, 10, 11, 12],
        None: [13, 14],
    }
