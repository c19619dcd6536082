"""Commands on people over a real database: two that want to be the first at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.unit.accounts.conftest import GOOD, HERE, House
from webui.actor import LOCAL_USER_ID, UserRole
from webui.api.control.commands import answer_on_users
from webui.api.control.messages import AddedUser, AddUser, ListUsers
from webui.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path / "data" / "hearthside.db")
    await house.database.open()
    await house.accounts.open()
    yield house
    await house.database.close()


async def add(house: House, name: str, role: UserRole | None = None) -> AddedUser:
    added = await answer_on_users(house.users, house.accounts, AddUser(name, role, GOOD))
    assert isinstance(added, AddedUser)
    return added


async def test_of_many_who_come_at_once_one_is_the_first(house: House) -> None:
    names = ("Ann", "Bob", "Eve", "Joe")
    added = await asyncio.gather(*(add(house, name) for name in names))
    assert [one.user.role for one in added].count("administrator") == 1
    assert [one.is_first for one in added].count(True) == 1
    users = await answer_on_users(house.users, house.accounts, ListUsers())
    assert isinstance(users, list)
    assert {user.name for user in users} == set(names)


async def test_local_user_is_nobody_once_there_is_an_administrator(house: House) -> None:
    local = await house.accounts.identify(None, HERE, is_local=True)
    assert local is not None
    first = await add(house, "Ann")
    assert first.user.id == LOCAL_USER_ID
    assert local.ended.is_set()
    assert house.accounts.first_run_code is None
    assert await house.accounts.identify(None, HERE, is_local=True) is None


async def test_role_that_cannot_be_the_first_is_refused_and_nothing_made(house: House) -> None:
    with pytest.raises(Conflict, match="no administrator yet, and Bob was to be a guest"):
        await add(house, "Bob", UserRole.GUEST)
    assert not house.accounts.is_claimed
    assert (await add(house, "Ann", UserRole.ADMINISTRATOR)).is_first
