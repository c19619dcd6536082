"""What a password must be, and hashing that is bounded."""

from __future__ import annotations

import asyncio

import pytest
from argon2 import PasswordHasher

from tests.unit.accounts.conftest import CHEAP, GOOD
from webui.accounts import passwords
from webui.accounts.passwords import MAX_WAITING, Passwords, check
from webui.errors import Busy, InvalidRequest


@pytest.mark.parametrize(
    "password", [GOOD, "k3jd92jd!", "blaue Kuh tanzt", "blaue Kuh tanzt " * 16]
)
def test_password_that_is_hard_to_guess_is_taken(password: str) -> None:
    check(password, name="Ann")


@pytest.mark.parametrize(
    "password",
    [
        *("", "seven77", "x" * 257, "password", "password1", "12345678", "qwertyuiop", "aaaaaaaa"),
        *("AnnBaker", "Annbaker1", "hearthside1"),
    ],
)
def test_password_that_is_guessed_first_is_refused(password: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check(password, name="Annbaker", field="new")
    assert refusal.value.field == "new"


@pytest.mark.parametrize(("password", "said"), [("x", "one character"), ("xy", "2 characters")])
def test_short_password_is_counted_in_plain_words(password: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^the password has {said}$"):
        check(password, name="Ann")


async def test_hash_verifies_its_own_password_alone() -> None:
    hashes = Passwords(CHEAP)
    stored = await hashes.hash(GOOD)
    assert stored.startswith("$argon2id$")
    assert await hashes.verify(stored, GOOD)
    assert not await hashes.verify(stored, GOOD + " ")
    assert not await hashes.verify(stored, "")
    assert not await hashes.verify("no hash", GOOD)


async def test_password_of_nobody_is_never_right_but_is_looked_at(monkeypatch) -> None:
    verified: list[str] = []

    class Counting(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes):  # noqa: A002 - as the library names it
            verified.append(str(password))
            return super().verify(hash, password)

    hashes = Passwords(Counting(time_cost=1, memory_cost=8, parallelism=1))
    assert not await hashes.verify(None, GOOD)
    assert not await hashes.verify(None, "of nobody")
    assert verified == [GOOD, "of nobody"]


def test_costs_are_those_that_owasp_asks_for() -> None:
    hasher = Passwords()._hasher
    assert (hasher.time_cost, hasher.memory_cost, hasher.parallelism) == (3, 65_536, 4)


async def test_outdated_hash_is_known() -> None:
    stored = await Passwords(CHEAP).hash(GOOD)
    assert not Passwords(CHEAP).is_outdated(stored)
    assert Passwords(PasswordHasher(time_cost=2, memory_cost=8, parallelism=1)).is_outdated(stored)


async def test_flood_of_passwords_is_told_to_wait(monkeypatch) -> None:
    hashes, at_work, most, gate = Passwords(CHEAP), 0, 0, asyncio.Event()

    async def to_thread(work):
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await gate.wait()
        at_work -= 1
        return work()

    monkeypatch.setattr(passwords.asyncio, "to_thread", to_thread)
    tasks = [asyncio.create_task(hashes.hash("x")) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(Busy) as refusal:
        await hashes.hash("x")
    assert refusal.value.retry_after_s >= 1
    gate.set()
    await asyncio.gather(*tasks)
    assert most == passwords.MAX_AT_ONCE
    await hashes.hash("x")
