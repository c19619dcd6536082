"""The Admin tab: a place for our own module, which shows it to administrators alone.

Knows nothing of what is in it: the script asks `/api/admin`, which asks who asks.
"""

from __future__ import annotations

from typing import ClassVar

import gradio as gr
from typing_extensions import override

from webui.ui.tab import Tab, mount


class AdminTab(Tab):
    """Where administrators see to the server as a whole."""

    id: ClassVar[str] = "admin"
    view: gr.HTML

    @override
    def build(self) -> None:
        with gr.Column(elem_classes="page"):
            self.view = mount("admin", elem_id="adminhtml")

    @override
    def wire(self, page: gr.Blocks, tab: gr.Tab) -> None:
        """Join nothing: its events do not pass through Gradio."""
