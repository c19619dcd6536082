"""Who acts on the page: derived anew from every request of Gradio, never from its state.

Knows how a Gradio event carries its request; the counterpart of `api/deps.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.actor import Actor, local_actor

if TYPE_CHECKING:
    import gradio as gr


def actor_of(request: gr.Request) -> Actor:  # noqa: ARG001 - with accounts, its session says who
    """Return who sent an event: the one local user, until there are accounts."""
    return local_actor()
