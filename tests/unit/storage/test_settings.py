"""What people chose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import IntegrityError

from webui.storage import settings, users

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

VALUE = {"list": [1, 2.5, None, "ü"], "deep": {"yes": True}}


def test_setting_comes_back_to_its_owner_alone(session: Session) -> None:
    settings.put(session, "ann", "theme", VALUE)
    session.commit()
    session.expire_all()
    assert settings.find(session, "ann", "theme") == VALUE
    assert settings.find(session, "bob", "theme") is None
    assert settings.find(session, "ann", "other") is None


def test_setting_is_replaced_and_deleted(session: Session) -> None:
    settings.put(session, "ann", "theme", VALUE)
    settings.put(session, "ann", "theme", "dark")
    settings.put(session, "bob", "theme", "light")
    session.commit()
    assert settings.find(session, "ann", "theme") == "dark"
    settings.delete(session, "ann", "theme")
    settings.delete(session, "ann", "theme")
    session.commit()
    assert settings.find(session, "ann", "theme") is None
    assert settings.find(session, "bob", "theme") == "light"


def test_setting_needs_an_owner_that_exists(session: Session) -> None:
    settings.put(session, "nobody", "theme", 1)
    with pytest.raises(IntegrityError):
        session.commit()


def test_local_user_is_made_once(session: Session) -> None:
    first = users.ensure_local(session)
    assert users.ensure_local(session) is first
    assert (first.id, first.name) == ("local", "You")
