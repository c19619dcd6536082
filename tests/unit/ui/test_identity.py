"""Until there are accounts everybody on this machine is the one local user."""

from webui.actor import local_actor
from webui.ui.identity import actor_of


def test_every_event_comes_from_the_local_user() -> None:
    assert actor_of(None) == local_actor()
