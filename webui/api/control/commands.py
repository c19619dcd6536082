"""From a command to the use case that does it; the control socket's routes.

Who sends one has the data folder in their hands, so it acts as the command line, which may do all.
Commands on people need no server: `webui user` calls them itself where none runs.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, assert_never

from webui.accounts.first_run import AlreadyClaimed
from webui.accounts.identity import Sender
from webui.accounts.users import UserChange, ends_links
from webui.actor import COMMAND_LINE, UserRole, command_line_actor
from webui.api.control.messages import (
    AddedUser,
    AddUser,
    ChangeUser,
    DeleteUser,
    GetStatus,
    ListModels,
    ListRunning,
    ListUsers,
    LoadModel,
    NewPassword,
    ResetPassword,
    Running,
    UnloadModel,
)
from webui.errors import Conflict

if TYPE_CHECKING:
    from webui.accounts.accounts import Accounts
    from webui.accounts.users import Users
    from webui.accounts.views import UserView
    from webui.api.control.messages import Command, ModelCommand, UserCommand
    from webui.runtime import Runtime

SENDER = Sender(device=COMMAND_LINE)


async def answer(runtime: Runtime, command: Command) -> object:
    """Do what a command says; returns its result.

    Raises:
        WebuiError: What the use case raises.
    """
    match command:
        case AddUser() | ListUsers() | ResetPassword() | ChangeUser() | DeleteUser():
            return await answer_on_users(runtime.users, runtime.accounts, command)
        case _:
            return await answer_on_models(runtime, command)


async def answer_on_users(users: Users, accounts: Accounts, command: UserCommand) -> object:
    """Do what a command on people says; returns its result.

    Raises:
        WebuiError: What the use case raises.
    """
    actor = command_line_actor()
    match command:
        case AddUser():
            return await _add(users, accounts, command)
        case ListUsers():
            return await users.list(actor)
        case _:
            user = await users.get_by_name(actor, command.name)
    match command:
        case ResetPassword():
            return await _reset(users, user, command)
        case ChangeUser():
            wanted = UserChange(
                role=command.role, is_disabled=command.is_disabled, empties=command.empties
            )
            return await users.change(actor, user.id, wanted, SENDER)
        case DeleteUser():
            await users.delete(actor, user.id, SENDER)
            return user
        case _:
            assert_never(command)


async def answer_on_models(runtime: Runtime, command: ModelCommand) -> object:
    """Do what a command on models and replies says; returns its result.

    Raises:
        WebuiError: What the use case raises.
    """
    actor, models = command_line_actor(), runtime.models
    match command:
        case ListModels():
            return await models.list(actor)
        case GetStatus():
            return models.status
        case LoadModel():
            return await models.load(actor, command.name, force=command.force)
        case UnloadModel():
            return await models.unload(actor, force=command.force)
        case ListRunning():
            return Running(models.status, await runtime.administration.list_running(actor))
        case _:
            assert_never(command)


async def _add(users: Users, accounts: Accounts, command: AddUser) -> AddedUser:
    if not accounts.is_claimed:
        with suppress(AlreadyClaimed):
            return await _add_first(users, command)
    user, made_up = await users.add(
        command_line_actor(), command.name, SENDER, role=command.role, password=command.password
    )
    return AddedUser(user, made_up, is_first=False)


async def _add_first(users: Users, command: AddUser) -> AddedUser:
    if command.role not in {None, UserRole.ADMINISTRATOR}:
        raise Conflict(
            f"there is no administrator yet, and {command.name} was to be a {command.role}",
            "Add the administrator first: webui user add NAME.",
        )
    user, made_up = await users.add_first(
        command_line_actor(), command.name, SENDER, password=command.password
    )
    return AddedUser(user, made_up, is_first=True)


async def _reset(users: Users, user: UserView, command: ResetPassword) -> NewPassword:
    made_up = await users.reset_password(
        command_line_actor(), user.id, SENDER, password=command.password, unlinks=command.unlinks
    )
    unlinked = ends_links(had_password=user.has_password, unlinks=command.unlinks)
    return NewPassword(user, made_up, unlinked=unlinked)
