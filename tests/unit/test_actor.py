"""Who may do what."""

from __future__ import annotations

import pytest

from webui.actor import Actor, Permission, command_line_actor, local_actor
from webui.errors import PermissionDenied


@pytest.mark.parametrize("permission", Permission)
def test_local_actor_may_do_everything(permission: Permission) -> None:
    local_actor().require(permission)


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
