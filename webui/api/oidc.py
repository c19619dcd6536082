"""Signing in by a provider of OpenID Connect, and the link of one's own account to it.

The way there begins with a request of our own page alone; the way back comes from another site, so
it counts only with the word that this browser keeps in a cookie of its own.
"""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from webui.accounts.attempts import LASTS_S
from webui.accounts.identity import Source
from webui.accounts.way_back import Answer
from webui.api.deps import ActorDep, IdentityDep, Json, PageDep, RuntimeDep, SenderDep, body_of
from webui.api.door import BROWSER_COOKIE, keep_token, token_of
from webui.api.page import PAGE
from webui.api.session import MAX_PASSWORD_CHARS
from webui.errors import WebuiError

CALLBACK = "/oidc/callback"
MAX_CHARS = 5000

router = APIRouter()


class BeginBody(BaseModel):
    """Where the reader wants to go afterwards; the first page where it is none of ours."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    next: str = Field(default="/", max_length=200)


class LinkBody(BaseModel):
    """The password of who has one, so that nobody links an account that stands open on a desk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    password: str | None = Field(default=None, max_length=MAX_PASSWORD_CHARS)


begin_body = body_of(TypeAdapter(BeginBody), optional=True)
_link_body = body_of(TypeAdapter(LinkBody), optional=True)


@router.post("/api/oidc")
async def begin(
    request: Request,
    runtime: RuntimeDep,
    sender: SenderDep,
    body: Annotated[BeginBody, Depends(begin_body)],
) -> Response:
    """Begin to sign in by the provider: the address to which the browser must go."""
    url, browser = await runtime.oidc.begin(
        sender,
        redirect_uri=redirect_uri_of(request, runtime.settings.root_path),
        next_path=body.next if PAGE.fullmatch(body.next) else "/",
    )
    return on_the_way(request, runtime.settings.root_path, url, browser)


@router.get(CALLBACK)
async def finish(
    request: Request, runtime: RuntimeDep, sender: SenderDep, page: PageDep
) -> Response:
    """Let in, link or believe anew who comes back from the provider, and lead on."""
    root_path = runtime.settings.root_path
    given = request.query_params
    answer = Answer(
        code=given.get("code", "")[:MAX_CHARS],
        state=given.get("state", "")[:MAX_CHARS],
        error=given.get("error", "")[:MAX_CHARS],
        issuer=given.get("iss", "")[:MAX_CHARS],
    )
    before = request.state.identity
    browser = token_of(request.scope["headers"], BROWSER_COOKIE)
    try:
        finished = await runtime.oidc.finish(answer, browser, before, sender)
    except WebuiError as error:
        response = page.refusal(error, request.scope)
    else:
        response = RedirectResponse(
            root_path + finished.next_path, 303, {"cache-control": "no-store"}
        )
        if finished.signed_in is not None:
            if before is not None and before.source is Source.SESSION:
                await runtime.accounts.sign_out(before)
            keep_token(response, finished.signed_in.token, request.scope, root_path)
    if browser is not None:
        response.delete_cookie(BROWSER_COOKIE, path=root_path + CALLBACK)
    return response


@router.get("/api/oidc/link")
async def get_link(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """Return how the caller's account is linked to the provider; null where there is none."""
    return Json({"link": await runtime.oidc.get_link(actor)})


@router.post("/api/oidc/link")
async def begin_link(
    request: Request,
    runtime: RuntimeDep,
    identity: IdentityDep,
    sender: SenderDep,
    body: Annotated[LinkBody, Depends(_link_body)],
) -> Response:
    """Begin to link the caller's account: the address to which the browser must go."""
    root_path = runtime.settings.root_path
    url, browser = await runtime.oidc.begin_link(
        identity, body.password, sender, redirect_uri=redirect_uri_of(request, root_path)
    )
    return on_the_way(request, root_path, url, browser)


@router.delete("/api/oidc/link")
async def unlink(runtime: RuntimeDep, actor: ActorDep, sender: SenderDep) -> Response:
    """Forget who the caller is at the provider."""
    await runtime.oidc.unlink(actor, sender)
    return Response(status_code=204)


def redirect_uri_of(request: Request, root_path: str) -> str:
    """Return our own address for the way back; the gate let the host name in as one of ours."""
    scheme = request.scope.get("scheme", "http")
    return f"{scheme}://{request.headers['host']}{root_path}{CALLBACK}"


def on_the_way(request: Request, root_path: str, url: str, browser: str) -> Response:
    """Have the browser keep its word until it comes back, and say where it must go."""
    response = Json({"url": url})
    response.set_cookie(
        BROWSER_COOKIE,
        browser,
        max_age=int(LASTS_S),
        path=root_path + CALLBACK,
        secure=request.scope.get("scheme") == "https",
        httponly=True,
        samesite="lax",  # the way back is a navigation from another site
    )
    return response
