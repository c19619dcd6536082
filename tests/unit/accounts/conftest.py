"""Accounts over a real database, with hashes that cost nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher

from webui.accounts.accounts import Accounts
from webui.accounts.api_keys import ApiKeys
from webui.accounts.identity import Sender
from webui.accounts.passwords import Passwords
from webui.accounts.throttle import Throttle
from webui.accounts.users import Users
from webui.storage.database import Database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
GOOD = "four words in a row"
OTHER = "another row of words"
HERE = Sender("192.0.2.1", "Firefox, Linux")


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class House:
    """Accounts with an administrator, if wanted, and what they told others."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path)
        self.clock = Clock()
        self.shut_out: list[str] = []
        self.gone: list[str] = []
        self.begin()

    def begin(self) -> None:
        """Make the objects anew, as a restart does."""
        self.accounts = Accounts(
            self.database, passwords=Passwords(CHEAP), throttle=Throttle(self.clock)
        )
        self.users = Users(self.database, self.accounts)
        self.api_keys = ApiKeys(self.database, self.accounts)

        async def note_shut_out(user_id: str) -> None:
            self.shut_out.append(user_id)

        async def note_gone(user_id: str) -> None:
            self.gone.append(user_id)

        self.accounts.tell(on_shut_out=note_shut_out, on_gone=note_gone)

    async def claim(self) -> str:
        """Make the administrator; returns the token."""
        code = self.accounts.first_run_code
        assert code is not None
        return (await self.accounts.claim(code, "Ann", GOOD, HERE)).token

    async def identity(self, token: str):
        """Return who holds a token, who must be somebody."""
        found = await self.accounts.identify(token, HERE, is_local=False)
        assert found is not None
        return found

    async def is_in(self, token: str) -> bool:
        return await self.accounts.identify(token, HERE, is_local=False) is not None


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path / "data" / "hearthside.db")
    await house.database.open()
    await house.accounts.open()
    yield house
    await house.database.close()
