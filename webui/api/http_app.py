"""Routes, error table, page and gate put together as one ASGI app.

Knows every route group; receives what lives behind them. A new group is one line here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.routing import Mount, Route

from webui.api import (
    admin,
    audit,
    ca,
    confirmation,
    conversations,
    defaults,
    events,
    first_run,
    generations,
    groups,
    health,
    jobs,
    keys,
    lan,
    limits,
    me,
    metrics,
    models,
    oidc,
    parameters,
    passkeys,
    server_prompt,
    session,
    sessions,
    shares,
    trash,
    usage,
    users,
)
from webui.api.door import Door
from webui.api.errors import add_error_handlers
from webui.api.forwarded import Forwarded
from webui.api.gate import Gate
from webui.api.openai import routes as openai
from webui.api.openai import vectors
from webui.api.sse import Streams
from webui.api.traffic import Traffic
from webui.api.vouched import Vouched
from webui.errors import InvalidRequest
from webui.network.proxies import Proxies

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from webui.api.page import Page
    from webui.runtime import Runtime

ROUTE_GROUPS = (
    health,
    ca,
    confirmation,
    session,
    oidc,
    first_run,
    sessions,
    me,
    users,
    keys,
    passkeys,
    groups,
    limits,
    defaults,
    usage,
    audit,
    admin,
    conversations,
    trash,
    shares,
    generations,
    events,
    models,
    metrics,
    jobs,
    lan,
    parameters,
    server_prompt,
    openai,
    vectors,
)

# First segments of what is served beside the routes.
PAGE_SEGMENTS = frozenset(
    {"assets", "c", "first-run", "gradio_api", "s", "sign-in", "static", "ui"}
)


def create_http_app(
    runtime: Runtime,
    page: Page,
    *,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
) -> FastAPI:
    """Return the whole HTTP face; nothing is opened before its lifespan begins.

    Raises:
        InvalidRequest: The root path cannot be told from our own paths.
    """
    app = FastAPI(
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # FastAPI would send figures to wherever the environment says.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        redirect_slashes=False,  # a redirect would be made from the Host header
    )
    app.state.runtime = runtime
    app.state.page = page
    app.state.streams = Streams()
    app.state.traffic = Traffic(runtime.settings.requests_per_s)
    add_error_handlers(app)
    for group in ROUTE_GROUPS:
        app.include_router(group.router)
    app.router.routes.append(Mount("/ui", page.static))
    app.router.default = page
    settings = runtime.settings
    _check_root_path(settings.root_path)
    app.add_middleware(Door)  # what is added last comes first
    app.add_middleware(Vouched)
    forwarded = Forwarded(
        Proxies(settings.trusted_proxy), settings.root_path, settings.trusted_user_header
    )
    app.add_middleware(Gate, hosts=runtime.lan.hosts, forwarded=forwarded)
    return app


def _check_root_path(root_path: str) -> None:
    """Check that a path is never both ours and one below the root.

    Raises:
        InvalidRequest: The root begins as one of our own paths does.
    """
    first = root_path.partition("/")[2].partition("/")[0]
    routes = [route for group in ROUTE_GROUPS for route in group.router.routes]
    taken = {route.path.split("/")[1] for route in routes if isinstance(route, Route)}
    if first in taken | PAGE_SEGMENTS:
        raise InvalidRequest(
            f"--root-path {root_path} begins as Hearthside's own paths do",
            "Take another one, such as /hearthside.",
            field="root_path",
        )
