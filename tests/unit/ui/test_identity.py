"""Who acts on the page is whoever the door let in, asked anew at every event."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr
import pytest
from starlette.requests import Request

from webui.accounts.identity import Identity, Source
from webui.actor import local_actor
from webui.errors import NotAuthenticated
from webui.ui.identity import actor_of


def event_from(identity: Identity | None) -> gr.Request:
    return gr.Request(Request({"type": "http", "state": {"identity": identity}}))


def test_event_comes_from_whom_the_door_let_in() -> None:
    identity = Identity(actor=local_actor(), source=Source.LOCAL)
    assert actor_of(event_from(identity)) is identity.actor


@pytest.mark.parametrize("request_of", [event_from(None), SimpleNamespace(request=None)])
def test_event_of_nobody_is_refused(request_of) -> None:
    with pytest.raises(NotAuthenticated):
        actor_of(request_of)
