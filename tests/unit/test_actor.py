"""Who may do what."""

from __future__ import annotations

import pytest

from webui.actor import (
    Actor,
    Permission,
    UserRole,
    command_line_actor,
    local_actor,
    permissions_of,
)
from webui.errors import PermissionDenied


@pytest.mark.parametrize("permission", Permission)
def test_local_actor_may_do_everything(permission: Permission) -> None:
    local_actor().require(permission)


ALL = frozenset(Permission)
DOWNLOAD, KEYS = Permission.DOWNLOAD_MODELS, Permission.API_KEYS
USUAL = {Permission.CHAT, Permission.LOAD_MODELS, KEYS, Permission.SHARING}


@pytest.mark.parametrize(
    ("role", "own", "of_groups", "of_users", "may"),
    [
        ("user", None, [], None, USUAL),
        ("user", None, [[DOWNLOAD], [KEYS, "of another version"]], None, USUAL | {DOWNLOAD}),
        ("user", None, [], ["chat", "administer"], {Permission.CHAT}),
        ("user", None, [], [], set()),
        ("user", None, [[DOWNLOAD]], ["chat"], {Permission.CHAT, DOWNLOAD}),
        ("user", ["chat"], [[DOWNLOAD]], ["load_models"], {Permission.CHAT}),
        ("user", [], [[DOWNLOAD]], None, set()),
        ("guest", None, [], ["load_models"], {Permission.CHAT}),
        ("guest", None, [[DOWNLOAD], ["administer"]], None, {Permission.CHAT, DOWNLOAD}),
        ("administrator", ["chat"], [[]], [], ALL),
    ],
)
def test_own_setting_wins_and_groups_add_to_the_role(role, own, of_groups, of_users, may) -> None:
    assert permissions_of(UserRole(role), own, of_groups, of_users) == may


def test_actor_without_the_permission_is_refused_by_name() -> None:
    actor = Actor("u1", "Ada", frozenset({Permission.CHAT}))
    actor.require(Permission.CHAT)
    with pytest.raises(PermissionDenied, match=r"Ada may not do this.*load_models"):
        actor.require(Permission.LOAD_MODELS)


@pytest.mark.parametrize("permission", Permission)
def test_command_line_may_do_everything_and_is_said_to_have_done_it(permission: Permission) -> None:
    actor = command_line_actor()
    actor.require(permission)
    assert (actor.name, actor.user_id) == ("command line", "command line")
