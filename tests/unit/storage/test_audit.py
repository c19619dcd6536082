"""What is kept of what was done to accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event

from webui.storage import audit
from webui.storage.tables import AuditRow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep 12 entries of each room, whatever comes."""
    monkeypatch.setattr(audit, "MAX_KEPT", 12)
    monkeypatch.setattr(audit, "TRIM_EVERY", 1)


def note(
    session: Session, who: str | None, num: int = 1, action: str = "share", *, rules: bool = False
) -> None:
    for _ in range(num):
        row = AuditRow(actor_id=who, actor_name=who or "", action=action, by_administrator=rules)
        audit.add(session, row)


def kept(session: Session) -> dict[str | None, list[int]]:
    """Return the positions that are kept, by who did it."""
    found: dict[str | None, list[int]] = {}
    for row in reversed(audit.list_newest(session, limit=1000)):
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
    assert found["cid"] == [7, 8, 9, 10], "where two heaps are as large, the older entry goes"
    assert found[flooder] == [56, 57, 58, 59, 60]
    note(session, "cid")
    assert kept(session)["ann"] == [1, 2, 3]
    assert kept(session)["cid"] == [8, 9, 10, 61], "one's own go first"


def test_several_together_push_out_what_they_did_themselves(session: Session) -> None:
    note(session, "ann", 1)
    for _ in range(20):
        for number in range(10):
            note(session, f"bob {number}")
    found = kept(session)
    assert found["ann"] == [1]
    assert sorted(map(len, found.values())) == [1] * 10 + [2]


def test_nobody_hides_one_thing_behind_many_others(session: Session) -> None:
    note(session, "bob", action="make_key")
    note(session, "bob", 50)
    newest = audit.list_newest(session, limit=1000)
    assert [row.action for row in newest] == ["share"] * 11 + ["make_key"]


def test_what_administrators_did_has_a_room_of_its_own(session: Session) -> None:
    note(session, "ann", 12, "change_user", rules=True)
    for number in range(100):  # more than there is room for
        note(session, f"bob {number}")
    found = kept(session)
    assert found.pop("ann") == list(range(1, 13))
    assert list(found) == [f"bob {number}" for number in range(88, 100)]
    note(session, "ann", rules=True)
    assert kept(session)["ann"] == [*range(2, 13), 113]
    assert set(found) < set(kept(session))


def test_oldest_go_where_everybody_has_their_part(session: Session) -> None:
    for who in ("ann", "bob", "cid"):
        note(session, who, 4)
    note(session, None, 2)
    assert kept(session) == {
        "ann": [2, 3, 4],
        "bob": [6, 7, 8],
        "cid": [9, 10, 11, 12],
        None: [13, 14],
    }


def test_full_log_is_sorted_once_for_many_entries(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "TRIM_EVERY", 10)
    said: list[str] = []
    event.listen(
        session.get_bind(),
        "before_cursor_execute",
        lambda _connection, _cursor, statement, *_: said.append(statement.split()[0]),
    )
    for _ in range(5):
        said.clear()
        note(session, "ann", 10)
        assert sorted(said) == ["DELETE"] + ["INSERT"] * 10
        assert len(kept(session)["ann"]) <= 12
