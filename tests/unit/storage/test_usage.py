"""Usage by day and model: added up, kept apart, and not touched by deletions of chats."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from webui.messages import Role
from webui.storage import conversations, messages, trash, usage, users
from webui.storage.usage import Spent

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

MONDAY, TUESDAY = date(2026, 11, 23), date(2026, 11, 24)


def spent(owner: str = "ann", day: date = MONDAY, model: str = "m", **counts: int) -> Spent:
    counts = {"prompt_tokens": 10, "completion_tokens": 5, "cached_tokens": 3} | counts
    return Spent(owner_id=owner, day=day, model=model, **counts)


def test_same_day_and_model_are_added_up(session: Session) -> None:
    for _ in range(3):
        usage.add(session, spent())
    session.expire_all()
    total = {"prompt_tokens": 30, "completion_tokens": 15, "cached_tokens": 9}
    assert usage.list_since(session, "ann", MONDAY) == [spent(requests=3, **total)]


def test_days_models_and_people_are_kept_apart(session: Session) -> None:
    for one in (spent(), spent(day=TUESDAY), spent(model="n"), spent("bob")):
        usage.add(session, one)
    assert usage.list_since(session, "ann", MONDAY) == [
        spent(),
        spent(model="n"),
        spent(day=TUESDAY),
    ]
    assert usage.list_since(session, "ann", TUESDAY) == [spent(day=TUESDAY)]
    assert usage.list_since(session, "bob", MONDAY) == [spent("bob")]


def test_what_was_known_before_does_not_count(session: Session) -> None:
    assert spent().counted_tokens == 12


def test_usage_of_somebody_gone_is_nothing_and_goes_with_the_account(session: Session) -> None:
    usage.add(session, spent("eve"))
    usage.add(session, spent())
    users.delete(session, users.get(session, "ann"))
    session.flush()
    session.expire_all()
    for owner in ("ann", "eve"):
        assert usage.list_since(session, owner, MONDAY) == []


def test_text_that_is_kept_is_counted_in_bytes(session: Session) -> None:
    assert usage.stored_bytes(session, "ann") == 0
    for owner in ("ann", "bob"):
        for text in ("abc", "äöü", "🙂"):
            row = conversations.create(session, owner)
            messages.add(session, owner, row.id, parent_id=None, role=Role.USER, text=text)
    assert usage.stored_bytes(session, "ann") == 3 + 6 + 4
    conversations.delete(session, "bob", row.id)
    assert usage.stored_bytes(session, "bob") == 13, "what can be brought back is still there"
    trash.delete(session, "bob", row.id)
    assert usage.stored_bytes(session, "bob") == 9
