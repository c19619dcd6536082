"""Forms drawn from pydantic models with Gradio's own controls.

Knows how a field becomes a control and a model becomes updates of controls; what a field is and
how its value is read lies in `fields.py`. The only place where events take long lists.
"""

from __future__ import annotations

import json
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import gradio as gr
from pydantic import BaseModel

from webui.errors import NotFound
from webui.ui.fields import FormField, Kind, fields_of, read, rest_of, rest_text, to_control
from webui.ui.tab import APP_SRC

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradio.components import Checkbox, Dropdown, Number, Slider, Textbox

    from webui.ui.strings import Strings

ModelT = TypeVar("ModelT", bound=BaseModel)
Drawn: TypeAlias = "Slider | Number | Checkbox | Dropdown | Textbox"

MAX_LINES = 12  # of a text box before it scrolls
WAIT = "wait"  # tone of the line while the controls do not show yet what is saved
# How the page says that a form was saved (see forms.js). What people, files and models are called
# is in no template: Gradio (6.31) takes what it is filled with for a script and runs it.
# A form that waits takes no edit: the values on their way would overwrite it. Where two answers
# could cross, the page itself puts the line to `WAIT` as soon as it asks (`hold`).
STATE_TEMPLATE = '<span class="form-state"></span>'
STATE_JS = (
    "element.closest('.form-page').inert = props.value.tone === 'wait';"
    f"import(new URL('forms.js', {APP_SRC})).then(forms => "
    "forms.adopt(element, props, watch, field => trigger('reset', {field})));"
)


class Form(Generic[ModelT]):
    """The controls of one model.

    Args:
        model: What is entered; fields with a `Control` are shown.
        name: Prefix of the ids on the page.
        strings: Texts that are not the model's own.
        supported: Fields that have an effect; the others are greyed out. None: all.
        with_rest: Whether fields without a `Control` can be set too, in one folded text box.
    """

    state: gr.HTML

    def __init__(
        self,
        model: type[ModelT],
        *,
        name: str,
        strings: Strings,
        supported: frozenset[str] | None = None,
        with_rest: bool = False,
    ) -> None:
        self.name = name
        self.fields = fields_of(model)
        self.rest = rest_of(model, strings) if with_rest else None
        self.controls: dict[FormField, Drawn] = {}
        self._model = model
        self._strings = strings
        self._supported = supported

    def build_state(self) -> gr.HTML:
        """Draw the line that says whether all is saved; it also asks for resets.

        The form takes no edit until a handler sets the line.
        """
        self.state = state_line(self.name, self._waiting())
        return self.state

    def hold(self, event: Callable[..., object]) -> None:
        """Let the form take no edit from an event until the handler of it sets the line."""
        script = f"() => ({json.dumps(self._waiting())})"
        event(
            None,
            None,
            [self.state],
            js=script,
            api_visibility="private",
            queue=False,
            show_progress="hidden",
        )

    def build(self) -> None:
        """Draw the controls under their headings."""
        for group, fields in groupby(self.fields, key=lambda field: field.group):
            heading(group, level=3)
            with gr.Column(elem_classes="form-group"):
                for field in fields:
                    self.controls[field] = self._control(field)
        if self.rest is not None:
            folded = gr.Accordion(
                self.rest.group,
                open=False,
                elem_id=f"{self.name}-rest",
                elem_classes="form-rest",
            )
            with folded, gr.Column(elem_classes="form-group"):
                self.controls[self.rest] = self._control(self.rest)

    def shown(self, value: ModelT) -> list[object]:
        """Return what the controls show for a value.

        Plain values, not `gr.update`: of what that touches Gradio keeps a copy per session.
        """
        return [
            rest_text(field, value)
            if field is self.rest
            else to_control(field, getattr(value, field.name))
            for field in self.controls
        ]

    def read_field(self, field: FormField, value: object, base: ModelT) -> ModelT:
        """Return `base` with what one control says.

        Raises:
            InvalidRequest: The field does not take this value; names it.
        """
        return read(self._model, {field: value}, self._strings, base)

    def reset(self, value: ModelT, name: object) -> ModelT:
        """Return `value` with one field put back to its default, or all when none is named.

        Raises:
            NotFound: The form has no such field.
        """
        if name is None:
            return self._model()
        if self.rest is not None and name == self.rest.name:
            return self.read_field(self.rest, "", value)
        field = next((field for field in self.fields if field.name == name), None)
        if field is None:
            raise NotFound(self._strings("form.no_field", name=name))
        return value.model_copy(update={field.name: field.default})

    def _waiting(self) -> dict[str, str]:
        return state(self._strings("form.waiting"), WAIT)

    def _control(self, field: FormField) -> Drawn:
        supported = field is self.rest or self._supported is None or field.name in self._supported
        info = field.help if supported else self._strings("form.unsupported")
        common: dict[str, Any] = {
            "value": "" if field is self.rest else to_control(field, field.default),
            "label": field.title,
            "info": info,
            "interactive": supported,
            "elem_id": f"{self.name}-{field.name}",
            "elem_classes": ["form-field", f"form-{field.kind}"],
        }
        if field.kind is not Kind.SLIDER:  # which has its own
            common["buttons"] = [gr.Button(self._strings("form.reset_field", title=field.title))]
        match field.kind:
            case Kind.SLIDER:
                common |= {"minimum": field.minimum, "maximum": field.slider_end}
                return gr.Slider(step=field.step, **common)
            case Kind.NUMBER:
                return gr.Number(**common)
            case Kind.CHECKBOX:
                return gr.Checkbox(**common)
            case Kind.CHOICE:
                return gr.Dropdown(list(field.choices), **common)
            case Kind.TEXT | Kind.LINES | Kind.PAIRS | Kind.ROWS | Kind.REST:
                most = max(MAX_LINES, field.num_lines)
                return gr.Textbox(lines=field.num_lines, max_lines=most, **common)


def heading(text: str, *, level: int, note: str = "") -> gr.HTML:
    """Draw a heading, with a sentence below it."""
    below = f"<p>{escape(note)}</p>" if note else ""
    html = f"<h{level}>{escape(text)}</h{level}>{below}"
    return gr.HTML(html, apply_default_css=False, elem_classes="form-heading")


def state_line(name: str, value: dict[str, str]) -> gr.HTML:
    """Draw the line of a form; its script puts the words there, as text.

    Args:
        name: Prefix of the ids on the page.
        value: What it says at first, as `state` returns it.
    """
    return gr.HTML(
        value,
        html_template=STATE_TEMPLATE,
        js_on_load=STATE_JS,
        apply_default_css=False,
        elem_id=f"{name}-state",
        elem_classes="form-state-line",
        form=name,
    )


def state(message: str, tone: str = "", field: str = "") -> dict[str, str]:
    """Return a value of the line that `build_state` drew.

    Args:
        message: What it says.
        tone: "", "ok", "bad" or `WAIT`.
        field: Of which field it speaks, which is marked while it is bad; none is all.
    """
    return {"message": message, "tone": tone, "field": field}
