"""What people chose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import IntegrityError

from webui.chat import model_options, parameters
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


def test_choices_of_the_server_outlive_the_first_administrator(session: Session) -> None:
    first = users.ensure_local(session)
    first.name, first.name_key = "Ann", "ann the first"
    of_server = {
        "server/banner": "Down at noon",
        "model_options/a.gguf": VALUE,
        model_options.LAST_MODEL: "a.gguf",
    }
    for name, value in {**of_server, parameters.NAME: {"top_k": 5}}.items():
        settings.put(session, "local", name, value)
    session.commit()
    users.delete(session, first)
    session.commit()
    session.expire_all()
    assert settings.list_of_server(session) == of_server
    assert settings.find(session, "local", parameters.NAME) is None
    assert (users.ensure_local(session).name, users.find_by_key(session, "ann the first")) == (
        "You",
        None,
    )
