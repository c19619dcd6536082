"""The Model tab: the model files, which our own modules draw, and how each of them is loaded.

Knows the form of the loader's options and `runtime.models`. Options belong to a model file, are
saved as they are changed, and take effect when that file is loaded next.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import gradio as gr
from typing_extensions import override

from webui.engine.pool_status import LoadOutcome, PoolState
from webui.errors import InvalidRequest
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.ui.form import WAIT, Form, heading, state
from webui.ui.tab import Tab, mount

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import BaseModel

    from webui.actor import Actor
    from webui.runtime import Runtime
    from webui.ui.fields import FormField
    from webui.ui.strings import Strings


class ModelTab(Tab):
    """Choose what answers, and how it is loaded."""

    id: ClassVar[str] = "model"
    cards: gr.HTML
    chosen: gr.Dropdown
    state: gr.HTML
    reset_all: gr.Button
    apply: gr.Button

    def __init__(self, runtime: Runtime, strings: Strings) -> None:
        super().__init__(runtime, strings)
        self.form = Form(LlamaCppOptions, name="options", strings=strings, with_rest=True)

    @override
    def build(self) -> None:
        with gr.Column(elem_classes="page"):
            self.cards = mount("model", elem_id="modelhtml", events=["load", "status"])
            with gr.Column(elem_classes="form-page", elem_id="model-options"):
                with gr.Row(elem_classes="form-head"):
                    note = self.strings("options.note")
                    heading(self.strings("options.title"), level=2, note=note)
                    self.state = self.form.build_state()
                    self.reset_all = gr.Button(
                        self.strings("form.reset_all"), size="sm", elem_id="options-reset-all"
                    )
                    self.apply = gr.Button(
                        self.strings("options.apply"),
                        variant="primary",
                        size="sm",
                        elem_id="options-apply",
                    )
                with gr.Column(elem_classes="form-group"):
                    self.chosen = gr.Dropdown(
                        label=self.strings("options.model"),
                        interactive=True,
                        elem_id="options-of",
                        elem_classes="form-field",
                    )
                self.form.build()

    @override
    def wire(self, page: gr.Blocks, tab: gr.Tab) -> None:
        controls = list(self.form.controls.values())
        shown = [self.chosen, *controls, self.state]
        not_shown = self.strings("form.not_shown")
        self.bind_form(tab.select, self.refresh, inputs=[self.chosen, self.state], outputs=shown)
        self.form.hold(self.chosen.input)
        self.bind_form(
            self.chosen.input,
            self.show_saved,
            inputs=[self.chosen],
            outputs=shown,
            failed=not_shown,
            latest=True,
        )
        self.form.hold(self.cards.load)
        self.bind_form(self.cards.load, self.load, outputs=shown, failed=not_shown)
        self.bind(self.apply.click, self.load_chosen, inputs=[self.chosen], outputs=[self.state])
        self.bind(
            self.cards.status,
            self.follow_load,
            inputs=[self.state],
            outputs=[self.state],
            latest=True,
        )
        for reset in (self.state.reset, self.reset_all.click):
            self.form.hold(reset)
            self.bind_form(
                reset,
                self.reset,
                inputs=[self.chosen],
                outputs=[*controls, self.state],
                failed=not_shown,
            )
        for field, control in self.form.controls.items():
            self.bind(
                control.input,
                partial(self.save, field),
                inputs=[self.chosen, control],
                outputs=[self.state],
                latest=True,
            )

    async def show_saved(
        self, actor: Actor, _sent: Mapping[str, object], model_id: object
    ) -> list[Any]:
        """Show the options of the chosen model, else of the loaded one, else of the first."""
        listed = await self.runtime.models.list(actor)
        known = {card.id: card.name for card in listed.models if card.error is None}
        wanted = (model_id, listed.status.model_id, *known)
        chosen = next((one for one in wanted if one in known), None)
        options = LlamaCppOptions()
        if chosen is not None:
            options = await self._options(actor, chosen)
        choices = gr.update(choices=[(name, one) for one, name in known.items()], value=chosen)
        return [choices, *self.form.shown(options), state(self.strings("options.idle"))]

    async def refresh(
        self, actor: Actor, sent: Mapping[str, object], model_id: object, line: object
    ) -> list[object]:
        """Offer the files that there are now; touch the options only if theirs is gone.

        Nor while the form waits: two answers could cross, the later one over what was typed.
        """
        choices, *rest = await self.show_saved(actor, sent, model_id)
        is_waiting = isinstance(line, dict) and line.get("tone") == WAIT
        if is_waiting or choices["value"] == model_id:
            return [choices, *[gr.skip()] * len(rest)]  # they may be being changed
        return [choices, *rest]

    async def load(self, actor: Actor, sent: Mapping[str, object]) -> list[object]:
        """Begin to load the model whose card sent this, and show its options.

        Gradio itself sends an event of this name, without a model, when a page is opened.
        """
        model_id = sent.get("model_id")
        if isinstance(model_id, str):
            await self.runtime.models.load(actor, model_id)
        return await self.show_saved(actor, sent, model_id)

    async def load_chosen(
        self, actor: Actor, _sent: Mapping[str, object], model_id: object
    ) -> object:
        """Begin to load the chosen model, also when it is the one that is loaded."""
        await self.runtime.models.load(actor, self._checked(model_id))
        return gr.skip()  # `follow_load` says how it goes

    async def follow_load(self, _actor: Actor, sent: Mapping[str, object], line: object) -> object:
        """Say in the line how the load goes, but not over what it says is wrong.

        `sent` holds the `model_id` of the load that the page saw begin or end.
        """
        shown = line if isinstance(line, dict) else {}
        is_wrong_field = shown.get("tone") == "bad" and not shown.get("alert")
        if is_wrong_field or shown.get("tone") == WAIT:
            return gr.skip()
        status = self.runtime.models.status
        name = status.name or ""
        if status.state == PoolState.LOADING:
            return state(self.strings("options.loading", name=name))
        if status.error is not None:
            return state(self.strings("options.failed"))  # the card above says why
        if status.outcome == LoadOutcome.LOADED and status.model_id == sent.get("model_id"):
            return state(self.strings("options.loaded", name=name), "ok")
        return state(self.strings("options.cancelled"))

    async def save(
        self,
        field: FormField,
        actor: Actor,
        _sent: Mapping[str, object],
        model_id: object,
        value: object,
    ) -> dict[str, str]:
        """Save one option of the chosen model; says so, or what is wrong with it."""
        try:
            change = partial(self.form.read_field, field, value)
            await self._update(actor, model_id, change)
        except InvalidRequest as error:
            return state(self.strings("form.not_saved", reason=error.message), "bad", field.name)
        return state(self.strings("options.saved"), "ok", field.name)

    async def reset(
        self, actor: Actor, sent: Mapping[str, object], model_id: object
    ) -> list[object]:
        """Put one option of the chosen model back to its default, or all of them."""
        options = await self._update(
            actor, model_id, lambda saved: self.form.reset(saved, sent.get("field"))
        )
        return [*self.form.shown(options), state(self.strings("options.saved"), "ok")]

    async def _update(
        self,
        actor: Actor,
        model_id: object,
        change: Callable[[LlamaCppOptions], LlamaCppOptions],
    ) -> LlamaCppOptions:
        def changed(options: BaseModel) -> BaseModel:
            assert isinstance(options, LlamaCppOptions)
            return change(options)

        model_id = self._checked(model_id)
        options = await self.runtime.models.update_options(actor, model_id, changed)
        assert isinstance(options, LlamaCppOptions)
        return options

    async def _options(self, actor: Actor, model_id: str) -> LlamaCppOptions:
        options = await self.runtime.models.options_for(actor, model_id)
        assert isinstance(options, LlamaCppOptions)
        return options

    def _checked(self, model_id: object) -> str:
        if not isinstance(model_id, str):
            raise InvalidRequest(
                self.strings("options.none_chosen"), self.strings("options.none_chosen_hint")
            )
        return model_id
