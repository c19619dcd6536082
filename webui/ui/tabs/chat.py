"""The Chat tab and the sidebar: places for our own modules, which were alive before Gradio.

Knows nothing of conversations: the scripts speak to `/api` and `/api/events` themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from webui.ui.tab import Tab, mount

if TYPE_CHECKING:
    import gradio as gr


class ChatTab(Tab):
    """Where the conversation stands."""

    id: ClassVar[str] = "chat"
    view: gr.HTML
    sidebar: gr.HTML

    def build_sidebar(self) -> None:
        """Draw the place of the conversation list; called inside of the sidebar."""
        self.sidebar = mount("sidebar", elem_id="sidehtml")

    @override
    def build(self) -> None:
        self.view = mount("chat", elem_id="chathtml")

    @override
    def wire(self, page: gr.Blocks, tab: gr.Tab) -> None:
        """Join nothing: its events do not pass through Gradio."""
