"""`webui user` as a person types it where no server runs."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher
from click.testing import CliRunner

from webui.accounts import names, passwords
from webui.api.control.messages import ListUsers
from webui.cli import user as user_module
from webui.cli.commands import commands
from webui.cli.control import NoServerError
from webui.engine import state_files
from webui.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from webui.storage import external_identities, users
from webui.storage.database import Database
from webui.storage.folder import FolderLock
from webui.storage.sign_in_tables import ExternalIdentityRow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy.orm import Session

    Say = Callable[..., str]

GOOD = "four words in a row"


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Run `webui user …` on a folder of its own; raises what it raises."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "PasswordHasher", lambda **_: cheap)

    def run(*arguments: str, typed: str | bytes | None = None) -> str:
        line = ["user", *arguments, "--data-dir", str(tmp_path / "data")]
        result = CliRunner().invoke(commands, line, input=typed)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output

    return run


def listed(say: Say) -> dict[str, dict[str, object]]:
    return {user["name"]: user for user in json.loads(say("list", "--json"))}


def test_first_one_becomes_the_administrator_and_the_next_a_user(say: Say) -> None:
    assert "Ann is the administrator" in say("add", "Ann", "--password-stdin", typed=f"{GOOD}\n")
    assert "Added Bob as user." in say("add", "Bob")
    assert "Added Eve as guest." in say("add", "Eve", "--role", "guest")
    users = listed(say)
    assert [user["role"] for user in users.values()] == ["administrator", "user", "guest"]
    assert users["Ann"]["id"] == "local", "what was made before is theirs"
    assert users["Ann"]["must_change_password"] is False
    assert users["Bob"]["must_change_password"] is True


def test_first_one_cannot_be_less_than_administrator(say: Say) -> None:
    with pytest.raises(Conflict, match="no administrator yet"):
        say("add", "Bob", "--role", "user")
    assert (
        say("list") == "There are no accounts yet: `webui user add NAME` makes the administrator.\n"
    )


def test_password_is_made_up_and_shown_once(say: Say) -> None:
    words = say("add", "Ann")
    (shown,) = [line for line in words.splitlines() if line.startswith("The password is ")]
    assert len(shown.removeprefix("The password is ")) == 19
    assert "password is" not in say("add", "Bob", "--password-stdin", typed=GOOD)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("", "no password came"),
        ("\n", "no password came"),
        (b"\xff\xfe\n", "not UTF-8"),
        ("short\n", "5 characters"),
        ("x" * 300, "300 characters"),
        ("password\n", "first that are guessed"),
    ],
)
def test_password_of_no_use_is_refused_and_nobody_added(
    say: Say, typed: str | bytes, said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said):
        say("add", "Ann", "--password-stdin", typed=typed)
    assert "is the administrator" in say("add", "Ann", "--password-stdin", typed=GOOD)


def test_password_is_no_argument_of_any_command() -> None:
    group = commands.commands["user"]
    for name in ("add", "reset"):
        output = CliRunner().invoke(group, [name, "--help"]).output
        assert "--password-stdin" in output
        assert "--password " not in output


def test_reset_lets_an_administrator_back_in_who_forgot(say: Say) -> None:
    say("add", "Ann", "--password-stdin", typed=GOOD)
    words = say("reset", "ann")
    assert "The password of Ann was set" in words
    assert "The password is " in words
    assert listed(say)["Ann"]["must_change_password"] is True


ISSUER = "https://login.example.org"


def link(folder: Path, name: str, *, has_password: bool) -> None:
    """Link somebody to a provider, as the server would; in a folder that nobody has open."""

    def change(session: Session) -> None:
        row = users.find_by_key(session, names.key_of(name))
        assert row is not None
        row.password_hash = row.password_hash if has_password else None
        subject = f"{name} there"
        linked = ExternalIdentityRow(issuer=ISSUER, subject=subject, owner_id=row.id)
        external_identities.add(session, linked)

    async def run() -> None:
        database = Database(folder / "data" / "hearthside.db")
        await database.open()
        await database.run(change)
        await database.close()

    asyncio.run(run())


@pytest.mark.parametrize("has_password", [True, False])
@pytest.mark.parametrize("flag", [None, "--unlink", "--keep-links"])
def test_reset_says_what_became_of_links_and_takes_a_word_for_it(
    say: Say, tmp_path: Path, flag: str | None, has_password: bool
) -> None:
    say("add", "Ann")
    say("add", "Bob")
    link(tmp_path, "Bob", has_password=has_password)
    words = say("reset", "bob", *([flag] if flag else []))
    ends = has_password if flag is None else flag == "--unlink"
    assert listed(say)["Bob"]["linked_to"] == ([] if ends else [ISSUER])
    said = "comes in by {} no more" if ends else "can come in by {} still"
    assert f"Bob {said.format(ISSUER)}" in words
    assert ("`webui user reset Bob --unlink` ends that" in words) is not ends


def test_reset_of_who_has_no_link_says_nothing_of_it(say: Say) -> None:
    say("add", "Ann")
    for flags in ((), ("--unlink",), ("--keep-links",)):
        assert " in by " not in say("reset", "Ann", *flags)


def test_account_is_disabled_enabled_changed_and_deleted(say: Say) -> None:
    say("add", "Ann")
    say("add", "Bob")
    assert say("disable", "BOB") == "Bob is disabled.\n"
    assert "disabled still" in say("reset", "Bob")
    assert "disabled" in say("list")
    assert say("enable", "Bob") == "Bob is enabled.\n"
    assert say("role", "Bob", "administrator") == "Bob is administrator.\n"
    assert "Aborted" in say("role", "Bob", "guest", typed="n\n")
    assert listed(say)["Bob"]["role"] == "administrator"
    assert say("role", "Bob", "guest", "--yes") == "Bob is guest.\n"
    assert "Aborted" in say("delete", "Bob", typed="n\n")
    assert "Bob is gone" in say("delete", "Bob", typed="y\n")
    assert list(listed(say)) == ["Ann"]
    with pytest.raises(Conflict, match="only administrator"):
        say("delete", "Ann", "--yes")


@pytest.mark.parametrize("command", [("reset",), ("disable",), ("enable",), ("delete", "--yes")])
def test_name_that_nobody_has_is_refused(say: Say, command: tuple[str, ...]) -> None:
    say("add", "Ann")
    with pytest.raises(NotFound, match="no user 'Bob'"):
        say(command[0], "Bob", *command[1:])


def test_name_that_is_no_text_is_refused(say: Say) -> None:
    for command in ("add", "reset"):
        with pytest.raises(InvalidRequest, match="not UTF-8"):
            say(command, "\udcff")


def test_wrong_folder_is_named_and_nothing_made_in_it(say: Say, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no database"):
        say("list")
    assert list(tmp_path.iterdir()) == []


def test_what_was_done_stands_in_the_log_as_done_by_the_command_line(
    say: Say, tmp_path: Path
) -> None:
    say("add", "Ann")
    say("reset", "Ann")
    database = tmp_path / "data" / "hearthside.db"
    assert database.read_bytes().count(b"command line") >= 2


def test_database_of_another_user_is_not_touched(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say("add", "Ann")
    monkeypatch.setattr(user_module.os, "geteuid", lambda: os.getuid() + 7)
    with pytest.raises(PermissionDenied, match="belongs to the user"):
        say("list")


def test_another_command_that_has_the_folder_is_waited_for(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say("add", "Ann")
    other = FolderLock(tmp_path / "data" / "hearthside.db")
    other.acquire()
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        other.release()

    monkeypatch.setattr(user_module.time, "sleep", wait)
    assert "Ann" in say("list")
    assert len(waits) == 1


def test_who_has_the_folder_for_long_is_told_of(say: Say, tmp_path: Path) -> None:
    say("add", "Ann")
    with (
        FolderLock(tmp_path / "data" / "hearthside.db"),
        pytest.raises(NoServerError, match="is in use"),
    ):
        user_module.ask(tmp_path / "data", ListUsers(), object, wait_s=0)


def test_what_models_read_for_who_is_deleted_is_forgotten_without_a_server_too(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say("add", "Ann")
    say("add", "Bob")
    bob = listed(say)["Bob"]["id"]
    purged: list[tuple[object, ...]] = []
    monkeypatch.setattr(state_files, "purge", lambda *given: purged.append(given))
    say("delete", "Bob", "--yes")
    assert purged == [(tmp_path / "data" / "cache" / "states", bob, None)]
