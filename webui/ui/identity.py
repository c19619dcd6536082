"""Who acts on the page: derived anew from every request of Gradio, never from its state.

Knows how a Gradio event carries its request; the counterpart of `api/deps.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.errors import NotAuthenticated

if TYPE_CHECKING:
    import gradio as gr

    from webui.accounts.identity import Identity
    from webui.actor import Actor


def actor_of(request: gr.Request) -> Actor:
    """Return who sent an event.

    Raises:
        NotAuthenticated: Nobody did.
    """
    http = request.request
    identity: Identity | None = None if http is None else http.scope["state"].get("identity")
    if identity is None:
        raise NotAuthenticated("nobody is signed in", "Sign in on the page.")
    return identity.actor
