"""What every tab is: it draws itself once and joins events to methods.

Knows the one way from a Gradio event to a use case: who acts is derived anew, and errors become
a message on the screen here and nowhere else. No event passes through Gradio's queue: its client
(6.31) closes the stream of answers although another event has just joined, which then never ends.
"""

from __future__ import annotations

import logging
import secrets
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import gradio as gr

from webui.errors import WebuiError, in_one_line
from webui.ui.identity import actor_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gradio.components import Component

    from webui.runtime import Runtime
    from webui.ui.strings import Strings

logger = logging.getLogger(__name__)

MAX_LISTED = 4

# The scripts of the page put what they drew before Gradio was there into the place they are given.
# Their address carries a digest, which the page's own script element knows.
APP_SRC = "document.querySelector('script[src$=\\'/app.js\\']').src"
MOUNT_JS = (
    f"import({APP_SRC}).then(app => app.adopt(props.part, element, {{trigger, watch, props}}))"
)
# Gradio knows only those events of our own whose names stand in the script.
EVENTS_JS = "const events = [%s]; "


# A method of a tab: who acts, what the script that sent the event said, the values of the inputs.
Handler: TypeAlias = "Callable[..., Awaitable[object]]"


class Tab(ABC):
    """One tab of the page; its components are attributes, its handlers methods.

    Args:
        runtime: What lives in this server.
        strings: The texts of the page.
    """

    id: ClassVar[str]

    def __init__(self, runtime: Runtime, strings: Strings) -> None:
        self.runtime = runtime
        self.strings = strings

    @abstractmethod
    def build(self) -> None:
        """Draw the components; called once, inside of the tab."""

    @abstractmethod
    def wire(self, page: gr.Blocks, tab: gr.Tab) -> None:
        """Join events to handlers; called once, when all tabs are drawn."""

    def bind(
        self,
        event: Callable[..., object],
        handler: Handler,
        *,
        inputs: Sequence[Component] = (),
        outputs: Sequence[Component] = (),
        latest: bool = False,
    ) -> None:
        """Join an event to a handler.

        Args:
            event: Of a component, such as `button.click`.
            handler: What to do; returns one value for each output.
            inputs: Whose values it gets, at most four.
            outputs: What it changes, at most four; the last is the line of a form, which says
                what went wrong.
            latest: Whether events that come while one is handled are kept, the last of them.
        """
        assert len(inputs) <= MAX_LISTED
        assert len(outputs) <= MAX_LISTED
        self.bind_form(event, handler, inputs=inputs, outputs=outputs, latest=latest)

    def bind_form(
        self,
        event: Callable[..., object],
        handler: Handler,
        *,
        inputs: Sequence[Component] = (),
        outputs: Sequence[Component] = (),
        latest: bool = False,
        failed: str = "",
    ) -> None:
        """Join an event to a handler that takes or changes all controls of a `Form`.

        Args:
            event: As for `bind`; so are `handler` and `latest`.
            handler: What to do.
            inputs: Whose values it gets.
            outputs: What it changes; the last is the line of the form.
            latest: Whether the last of the events that come meanwhile is kept.
            failed: What the line says when the handler fails; none: what went wrong.
        """
        event(
            _run(handler, self.strings, len(outputs), failed),
            list(inputs),
            list(outputs),
            api_visibility="private",
            # Values come as the browser sent them: what they must be is the model's to say.
            preprocess=False,
            queue=False,
            show_progress="hidden",
            trigger_mode="always_last" if latest else "once",
        )


def _run(
    handler: Handler, strings: Strings, num_outputs: int, failed: str = ""
) -> Callable[..., Awaitable[object]]:
    def refused(message: str, hint: str) -> object:
        alert = in_one_line(message, hint)
        line = {"message": failed or alert, "tone": "bad", "field": "", "alert": alert}
        line["id"] = secrets.token_hex(4)  # the page sees only what differs from before
        return [*[gr.skip()] * (num_outputs - 1), line] if num_outputs > 1 else line

    async def run(request: gr.Request, event: gr.EventData, *values: object) -> object:
        try:
            return await handler(actor_of(request), _sent(event), *values)
        except WebuiError as error:
            return refused(error.message, error.hint)
        except Exception:
            error_id = secrets.token_hex(4)
            logger.exception("event failed, id %s", error_id)
            hint = strings("form.internal_error_hint", id=error_id)
            return refused(strings("form.internal_error"), hint)

    # Gradio asks the function what its parameters are; the names above are for type checkers only.
    run.__annotations__ = {"request": gr.Request, "event": gr.EventData}
    return run


def mount(part: str, *, elem_id: str, events: Sequence[str] = ()) -> gr.HTML:
    """Draw a place for a part of the page that our own modules draw.

    Args:
        part: Its name in `static/app.js`.
        elem_id: Its id on the page.
        events: Names of the events it sends with `trigger(name, data)`.
    """
    return gr.HTML(
        html_template='<div class="mount"></div>',
        js_on_load=EVENTS_JS % ", ".join(f"'{event}'" for event in events) + MOUNT_JS,
        elem_id=elem_id,
        apply_default_css=False,
        part=part,
    )


def _sent(event: gr.EventData) -> Mapping[str, object]:
    data = event._data  # noqa: SLF001 - the mapping has no public name, and may be None
    return data if isinstance(data, dict) else {}
