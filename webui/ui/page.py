"""The page as a whole: tabs in Gradio's Blocks, mounted on an app of their own.

Knows the tabs and how Gradio must be set so that it is quick, quiet and shut; knows no use case.
The file is imported by a thread of `app`: importing Gradio takes seconds.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import gradio as gr
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from typing_extensions import override

from webui.ui.strings import Strings
from webui.ui.tabs import TABS, ChatTab
from webui.ui.theme import create_theme

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from gradio.data_classes import BlocksConfigDict
    from starlette.applications import Starlette

    from webui.runtime import Runtime
    from webui.settings import Settings

SIDEBAR_WIDTH_PX = 276
# Gradio's own numbers are for another kind of app: see its comments beside each.
MAX_EVENTS_AT_ONCE = 200  # of all people; 40 by default
MAX_SESSIONS = 300  # page loads whose state is kept; 10,000 by default, 59 kB each
IDLE_POLL_S = 1.0  # how often the unused queue looks for events; 1 ms by default, 10 % of a core
FILES_CHECKED_EVERY_S, FILES_KEPT_S = 3600, 86_400
# Described for each component to whoever calls Gradio from outside, which nobody may here.
UNREAD = ("api_info", "api_info_as_input", "api_info_as_output", "example_inputs", "skip_api")
# Of an event: only told to those callers, or as good as missing where it is empty.
UNREAD_OF_EVENTS = (
    "api_description",
    "component_prop_inputs",
    "event_specific_args",
    "js_implementation",
    "max_batch_size",
)
MAX_FILE_SIZE = "1mb"  # the page uploads nothing through Gradio


class _Page(gr.Blocks):
    """Blocks that send a browser only what it reads: a fifth of each control less."""

    @override
    def get_config_file(self) -> BlocksConfigDict:
        config = super().get_config_file()
        for component in config["components"]:
            for name in UNREAD:
                component.pop(name, None)
        for event in config["dependencies"]:
            for name in UNREAD_OF_EVENTS:
                if name == "max_batch_size" or not event.get(name):
                    event.pop(name, None)
        return config


def create_page_app(runtime: Runtime, settings: Settings) -> Starlette:
    """Draw the page and return the app that serves it; blocks for seconds.

    Whoever serves the app enters its lifespan (`app.router.lifespan_context`) on the event loop
    on which the use cases live: the handlers then run there too.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        # Gradio makes event loops that nobody closes where none runs.
        return asyncio.run(_create(runtime, settings))
    return _app(_draw(runtime, Strings.read()), settings.root_path)


async def _create(runtime: Runtime, settings: Settings) -> Starlette:
    return _app(_draw(runtime, Strings.read()), settings.root_path)


def _draw(runtime: Runtime, strings: Strings) -> gr.Blocks:
    """Draw all tabs; join the events when everything is there."""
    tabs = [kind(runtime, strings) for kind in TABS]
    page = _Page(
        title=strings("app.name"),
        fill_width=True,
        analytics_enabled=False,
        delete_cache=(FILES_CHECKED_EVERY_S, FILES_KEPT_S),
    )
    with page:
        with gr.Sidebar(width=SIDEBAR_WIDTH_PX, elem_id="side"):
            next(tab for tab in tabs if isinstance(tab, ChatTab)).build_sidebar()
        drawn = []
        with gr.Tabs(elem_id="tabs", overflow_behavior="wrap"):
            for tab in tabs:
                with gr.Tab(strings(f"tabs.{tab.id}"), id=tab.id, elem_id=f"tab-{tab.id}") as place:
                    tab.build()
                drawn.append((tab, place))
        for tab, place in drawn:
            tab.wire(page, place)
    return page


def _app(page: gr.Blocks, root_path: str) -> FastAPI:
    """Mount the page on an app that has nothing else."""
    page.max_threads = MAX_EVENTS_AT_ONCE
    page.state_session_capacity = MAX_SESSIONS
    queue = page._queue  # noqa: SLF001 - has no public name (gradio 6.31)
    queue.sleep_when_free = queue.progress_update_sleep_when_free = IDLE_POLL_S

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            queue.stopped = True

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)
    # With one of the parent's Gradio adds none of its own, which would let any origin in.
    app.add_middleware(CORSMiddleware, allow_origins=[])
    return gr.mount_gradio_app(
        app,
        page,
        path="/",
        theme=create_theme(),
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
        max_file_size=MAX_FILE_SIZE,
        allowed_paths=[],
        root_path=root_path or None,
        app_kwargs={"openapi_url": None, "docs_url": None, "redoc_url": None},
    )
