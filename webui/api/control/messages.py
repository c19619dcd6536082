"""What is said over the control socket: one JSON object a line, each way.

A value file, used at both ends. A command is answered with its result, or with an error in words.
"""

from __future__ import annotations

import msgspec

from webui.accounts.views import UserView
from webui.actor import UserRole
from webui.administration.administration import RunningView
from webui.chat.views import ErrorView, ModelStatus

MAX_COMMAND_BYTES = 16_384
MAX_ANSWER_BYTES = 16_777_216


class _Command(msgspec.Struct, frozen=True, tag_field="command", forbid_unknown_fields=True):
    """Something to be done."""


class AddUser(_Command, frozen=True, tag="user add"):
    """Make an account, or the first administrator.

    Attributes:
        role: None is an administrator where there is none, else a user.
        password: None makes one up.
    """

    name: str
    role: UserRole | None = None
    password: str | None = None


class ListUsers(_Command, frozen=True, tag="user list"):
    """Return all accounts."""


class ResetPassword(_Command, frozen=True, tag="user reset"):
    """Set somebody's password; None makes one up.

    Attributes:
        unlinks: Whether links to providers end; None ends those of who had a password.
    """

    name: str
    password: str | None = None
    unlinks: bool | None = None


class ChangeUser(_Command, frozen=True, tag="user change"):
    """Change what somebody is; what is None stays."""

    name: str
    role: UserRole | None = None
    is_disabled: bool | None = None
    empties: bool = False


class DeleteUser(_Command, frozen=True, tag="user delete"):
    """Take an account away with everything in it."""

    name: str


class ListModels(_Command, frozen=True, tag="models"):
    """Return the model files and what is loaded."""


class GetStatus(_Command, frozen=True, tag="status"):
    """Return which model is loaded or on its way."""


class LoadModel(_Command, frozen=True, tag="load"):
    """Begin to load a model; `force` ends the replies of the old one at once."""

    name: str
    force: bool = False


class UnloadModel(_Command, frozen=True, tag="unload"):
    """Take the loaded model out of memory; `force` ends its replies at once."""

    force: bool = False


class ListRunning(_Command, frozen=True, tag="ps"):
    """Return the loaded model, for whom it works and who waits for it."""


UserCommand = AddUser | ListUsers | ResetPassword | ChangeUser | DeleteUser
ModelCommand = ListModels | GetStatus | LoadModel | UnloadModel | ListRunning
Command = UserCommand | ModelCommand


class AddedUser(msgspec.Struct, frozen=True):
    """Who was added.

    Attributes:
        password: Where it was made up; nobody can read it again.
        is_first: They are the first administrator, with all that was made on the machine before.
    """

    user: UserView
    password: str | None
    is_first: bool


class NewPassword(msgspec.Struct, frozen=True):
    """Whose password was set.

    Attributes:
        user: As they were before.
        password: Where it was made up; nobody can read it again.
        unlinked: Their links to providers ended too, where they had any.
    """

    user: UserView
    password: str | None
    unlinked: bool = False


class Running(msgspec.Struct, frozen=True):
    """What the server does now."""

    status: ModelStatus
    requests: list[RunningView]


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of a command: a result of the command's own type, or an error."""

    result: msgspec.Raw = msgspec.Raw(b"null")
    error: ErrorView | None = None
