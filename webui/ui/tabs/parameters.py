"""The Parameters tab: how replies are written, for each person.

Knows the form and `runtime.parameters`. What is changed is saved at once, field by field, so
that two open pages do not undo each other's changes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

import gradio as gr
from typing_extensions import override

from webui.errors import InvalidRequest
from webui.loaders import LOADERS
from webui.sampling_params import SamplingParams
from webui.ui.form import Form, heading, state
from webui.ui.tab import Tab, mount

if TYPE_CHECKING:
    from collections.abc import Mapping

    from webui.actor import Actor
    from webui.runtime import Runtime
    from webui.ui.fields import FormField
    from webui.ui.strings import Strings


class ParametersTab(Tab):
    """Sampling parameters and the system prompt, below what the server says before it."""

    id: ClassVar[str] = "parameters"
    server_prompt: gr.HTML
    state: gr.HTML
    reset_all: gr.Button

    def __init__(self, runtime: Runtime, strings: Strings) -> None:
        super().__init__(runtime, strings)
        supported = frozenset[str]().union(*(loader.supported_params for loader in LOADERS))
        self.form = Form(SamplingParams, name="params", strings=strings, supported=supported)

    @override
    def build(self) -> None:
        with gr.Column(elem_classes="page form-page"):
            with gr.Row(elem_classes="form-head"):
                heading(self.strings("params.title"), level=2, note=self.strings("params.note"))
                self.state = self.form.build_state()
                self.reset_all = gr.Button(
                    self.strings("form.reset_all"), size="sm", elem_id="params-reset-all"
                )
            self.server_prompt = mount("server_prompt", elem_id="serverprompthtml")
            self.form.build()

    @override
    def wire(self, page: gr.Blocks, tab: gr.Tab) -> None:
        controls = list(self.form.controls.values())
        shown = [*controls, self.state]
        not_shown = self.strings("form.not_shown")
        self.bind_form(page.load, self.show_saved, outputs=shown, failed=not_shown)
        for field, control in self.form.controls.items():
            self.bind(
                control.input,
                partial(self.save, field),
                inputs=[control],
                outputs=[self.state],
                latest=True,
            )
        for reset in (self.state.reset, self.reset_all.click):
            self.form.hold(reset)
            self.bind_form(reset, self.reset, outputs=shown, failed=not_shown)

    async def show_saved(self, actor: Actor, _sent: Mapping[str, object]) -> list[object]:
        """Show what is saved for this person."""
        saved = await self.runtime.parameters.get(actor)
        return [*self.form.shown(saved), state(self.strings("params.idle"))]

    async def save(
        self, field: FormField, actor: Actor, _sent: Mapping[str, object], value: object
    ) -> dict[str, str]:
        """Save one field; says so, or what is wrong with it."""
        try:
            change = partial(self.form.read_field, field, value)
            await self.runtime.parameters.update(actor, change)
        except InvalidRequest as error:
            return state(self.strings("form.not_saved", reason=error.message), "bad", field.name)
        return state(self.strings("form.saved"), "ok", field.name)

    async def reset(self, actor: Actor, sent: Mapping[str, object]) -> list[object]:
        """Put one field back to its default, or all of them."""
        params = await self.runtime.parameters.update(
            actor, lambda saved: self.form.reset(saved, sent.get("field"))
        )
        return [*self.form.shown(params), state(self.strings("form.saved"), "ok")]
