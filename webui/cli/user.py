"""`webui user`: accounts, seen to from the command line.

Where a server runs it does what is asked; else the command opens the database itself. Passwords
are never arguments, which every process on the machine can read.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from webui.accounts.accounts import Accounts
from webui.accounts.users import Users
from webui.accounts.views import UserView
from webui.actor import UserRole
from webui.api.control.commands import answer_on_users
from webui.api.control.messages import (
    AddedUser,
    AddUser,
    ChangeUser,
    DeleteUser,
    ListUsers,
    NewPassword,
    ResetPassword,
)
from webui.cli.columns import columns
from webui.cli.control import DATA_DIR, RETRY_S, WAIT_S, deaf, encoded, found, settings_of
from webui.engine.saved_states import SavedStates
from webui.errors import InvalidRequest, NotFound, PermissionDenied
from webui.storage.database import Database
from webui.storage.folder import FolderInUse

if TYPE_CHECKING:
    from pathlib import Path

    from webui.api.control.messages import UserCommand
    from webui.settings import Settings

T = TypeVar("T")

MAX_PASSWORD_BYTES = 4096  # read; how many it may have is said by `accounts`
ROLE = click.Choice([role.value for role in UserRole])
PASSWORD = click.option(
    "--password-stdin", is_flag=True, help="Take the first line of standard input as password."
)


@click.group()
def user() -> None:
    """See to accounts, also while the server runs."""


@user.command()
@click.argument("name")
@click.option(
    "--role",
    type=ROLE,
    help="What they are to be [what new people are, user at first; the first one administrator].",
)
@PASSWORD
@DATA_DIR
def add(*, name: str, role: str | None, password_stdin: bool, data_dir: Path | None) -> None:
    """Make an account; without a password one is made up."""
    password = _password_from_stdin() if password_stdin else _asked_password(name)
    command = AddUser(name, None if role is None else UserRole(role), password)
    added = ask(data_dir, command, AddedUser)
    if added.is_first:
        click.echo(
            f"{added.user.name} is the administrator, with all chats that were made on this "
            "machine before. From now on everybody signs in."
        )
    else:
        click.echo(f"Added {added.user.name} as {added.user.role}.")
    _tell(added.password)


@user.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@DATA_DIR
def list_command(*, as_json: bool, data_dir: Path | None) -> None:
    """Show all accounts."""
    users = ask(data_dir, ListUsers(), list[UserView])
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(users)))
    elif users:
        rows = [(one.name, one.role, _state(one), ", ".join(one.permissions)) for one in users]
        click.echo(columns(("NAME", "ROLE", "STATE", "MAY"), rows))
    else:
        click.echo("There are no accounts yet: `webui user add NAME` makes the administrator.")


@user.command()
@click.argument("name")
@click.option(
    "--unlink/--keep-links",
    "unlinks",
    default=None,
    help="End their links to sign-in providers too, or keep them [end those of who had a password].",
)
@PASSWORD
@DATA_DIR
def reset(*, name: str, unlinks: bool | None, password_stdin: bool, data_dir: Path | None) -> None:
    """Set a new password, a made-up one unless given; ends all sign-ins."""
    password = _password_from_stdin() if password_stdin else None
    done = ask(data_dir, ResetPassword(name, password, unlinks), NewPassword)
    click.echo(f"The password of {done.user.name} was set; they are signed in nowhere.")
    _tell(done.password)
    if done.user.linked_to:
        click.echo(_links(done))
    if done.user.is_disabled:
        click.echo(f"The account is disabled still: `webui user enable {done.user.name}`")


@user.command()
@click.argument("name")
@DATA_DIR
def disable(*, name: str, data_dir: Path | None) -> None:
    """Shut somebody out at once; what is theirs stays."""
    done = ask(data_dir, ChangeUser(name, is_disabled=True), UserView)
    click.echo(f"{done.name} is disabled.")


@user.command()
@click.argument("name")
@DATA_DIR
def enable(*, name: str, data_dir: Path | None) -> None:
    """Let somebody in again."""
    done = ask(data_dir, ChangeUser(name, is_disabled=False), UserView)
    click.echo(f"{done.name} is enabled.")


@user.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@DATA_DIR
def delete(*, name: str, yes: bool, data_dir: Path | None) -> None:
    """Take an account away with everything in it."""
    if not yes:
        click.confirm(f"Delete {name} with all their chats? There is no way back", abort=True)
    done = ask(data_dir, DeleteUser(name), UserView)
    click.echo(f"{done.name} is gone, with everything that was theirs.")


@user.command("role")
@click.argument("name")
@click.argument("role", type=ROLE)
@click.option("--yes", is_flag=True, help="Do not ask before a guest loses what they have.")
@DATA_DIR
def role_command(*, name: str, role: str, yes: bool, data_dir: Path | None) -> None:
    """Make somebody an administrator, user or guest; it holds at once."""
    empties = UserRole(role) is UserRole.GUEST
    if empties and not yes:
        click.confirm(f"Make {name} a guest? All their chats and settings go for good", abort=True)
    done = ask(data_dir, ChangeUser(name, role=UserRole(role), empties=empties), UserView)
    click.echo(f"{done.name} is {done.role}.")


def ask(data_dir: Path | None, command: UserCommand, kind: type[T], *, wait_s: float = WAIT_S) -> T:
    """Let the server do what a command says; do it here where none runs.

    Args:
        data_dir: None is the usual one.
        command: What to do.
        kind: Type of the result.
        wait_s: How long to wait while another process has the folder, but nobody listens.

    Raises:
        WebuiError: It could not be done.
    """
    encoded(command)  # what is no text cannot be kept here either
    settings = settings_of(data_dir)
    until = time.monotonic() + wait_s
    while True:
        with found(settings) as control:
            if control is not None:
                return control.ask(command, kind)
        _check_mine(settings, command)
        try:
            return msgspec.convert(asyncio.run(_do_here(settings, command)), kind)
        except FolderInUse as error:  # by a server that starts or ends, or by another command
            if time.monotonic() > until:
                raise deaf(settings) from error
        time.sleep(RETRY_S)


async def _do_here(settings: Settings, command: UserCommand) -> object:
    """Do what a command says in this process, which has the folder for as long."""
    database = Database(settings.database_path)
    await database.open()
    try:
        accounts = Accounts(database)
        states = SavedStates(None, settings.states_dir)
        accounts.tell(on_shut_out=_end_nothing, on_gone=states.purge)
        await accounts.open()
        return await answer_on_users(Users(database, accounts), accounts, command)
    finally:
        await database.close()


async def _end_nothing(_user_id: str) -> None:
    """Without a server nothing runs for anybody."""


def _check_mine(settings: Settings, command: UserCommand) -> None:
    """Check that files made here can be used by the server later, and that the folder is meant.

    Raises:
        NotFound: There is no database that could hold somebody.
        PermissionDenied: It is another user's.
    """
    path = settings.database_path
    try:
        owner = path.stat().st_uid
    except FileNotFoundError as error:
        if isinstance(command, AddUser):
            return
        raise NotFound(
            f"There is no database {path} yet", "Name its folder with --data-dir."
        ) from error
    if owner != os.geteuid():
        raise PermissionDenied(
            f"{path} belongs to the user with the id {owner}",
            "Run the command as that user.",
        )


def _password_from_stdin() -> str:
    line = sys.stdin.buffer.readline(MAX_PASSWORD_BYTES)
    try:
        password = line.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            "the password on standard input is not UTF-8", "Write it in UTF-8."
        ) from error
    if not password:
        raise InvalidRequest(
            "no password came on standard input", "Write it there, followed by a line break."
        )
    return password


def _asked_password(name: str) -> str | None:
    """Ask for a password where somebody sits at a terminal; None makes one up."""
    if not sys.stdin.isatty():
        return None
    hidden: dict[str, Any] = {"hide_input": True, "default": "", "show_default": False}
    while True:
        password: str = click.prompt(f"Password for {name} (none makes one up)", **hidden)
        if not password or click.prompt("The same again", **hidden) == password:
            return password or None
        click.echo("They differ.", err=True)


def _tell(made_up: str | None) -> None:
    """Show a password that was made up, the one time."""
    if made_up is not None:
        click.echo(f"The password is {made_up}")
        click.echo("It is shown this once, and is to be changed at the first sign-in.")


def _links(done: NewPassword) -> str:
    """Return what became of somebody's links to providers."""
    name, issuers = done.user.name, ", ".join(done.user.linked_to)
    if done.unlinked:
        return f"{name} comes in by {issuers} no more: those links ended with it."
    ends = f"`webui user reset {name} --unlink`"
    return f"{name} can come in by {issuers} still; {ends} ends that, with another password."


def _state(one: UserView) -> str:
    if one.is_disabled:
        return "disabled"
    return "must change password" if one.must_change_password else "enabled"
