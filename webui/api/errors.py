"""The only place with HTTP numbers: from an error to a status and a body.

Knows the two shapes of error bodies, ours and OpenAI's; shows message and hint, never a traceback,
a `repr` or a path of an unexpected exception.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import msgspec
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from webui import errors
from webui.refusals import place, predicate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.types import Scope

logger = logging.getLogger(__name__)

MAX_FIELD_CHARS = 100
OPENAI_PREFIX = "/v1"
MAX_NESTING = 200  # of pydantic's JSON reader, which says so in these words
TOO_DEEP = "recursion limit"


class MalformedBody(errors.InvalidRequest):
    """The body is not JSON, not UTF-8, or holds half a character."""

    code = "malformed_body"


class BodyTooLarge(errors.InvalidRequest):
    """The body has more bytes than are read."""

    code = "body_too_large"


class BodyTooSlow(errors.InvalidRequest):
    """The body did not arrive in time."""

    code = "body_too_slow"


class UnsupportedMediaType(errors.InvalidRequest):
    """The body says that it is something else than JSON."""

    code = "unsupported_media_type"


class UnknownHost(errors.InvalidRequest):
    """The request names a host that this server does not answer for."""

    code = "unknown_host"


class CrossSite(errors.PermissionDenied):
    """Another site's page sent the request."""

    code = "cross_site"


class MethodNotAllowed(errors.InvalidRequest):
    """The path exists, the method does not."""

    code = "method_not_allowed"


class ModelNotFound(errors.NotFound):
    """The request names a model that is not the loaded one."""

    code = "model_not_found"


class PageNotReady(errors.WebuiError):
    """The page is still being prepared."""

    code = "page_not_ready"


class ServerEnding(errors.WebuiError):
    """The server is being stopped."""

    code = "server_ending"


class InternalError(errors.WebuiError):
    """A bug; the log has the rest."""

    code = "internal_error"


# The nearest class up the tree counts. `InvalidRequest` is 400 in the OpenAI dialect.
STATUS: Mapping[type[errors.WebuiError], int] = {
    errors.WebuiError: 500,
    errors.NotAuthenticated: 401,
    errors.PermissionDenied: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.InvalidRequest: 422,
    errors.ContextLengthExceeded: 400,
    errors.NothingAllowed: 422,
    errors.GrammarTooAmbiguous: 422,
    errors.Busy: 429,
    errors.QuotaExceeded: 429,
    errors.ModelNotLoaded: 503,
    errors.StorageFull: 507,
    errors.StorageUnusable: 503,
    errors.StorageBusy: 503,
    errors.ProviderFailed: 502,
    errors.EngineError: 500,
    errors.LoadFailed: 422,
    errors.EngineDied: 503,
    MalformedBody: 400,
    BodyTooLarge: 413,
    BodyTooSlow: 408,
    UnsupportedMediaType: 415,
    UnknownHost: 421,
    CrossSite: 403,
    MethodNotAllowed: 405,
    ModelNotFound: 404,
    PageNotReady: 503,
    ServerEnding: 503,
    InternalError: 500,
}
OPENAI_STATUS: Mapping[type[errors.WebuiError], int] = {
    **STATUS,
    errors.InvalidRequest: 400,
    errors.NothingAllowed: 400,
    errors.GrammarTooAmbiguous: 400,
}
RETRY_AFTER_S: Mapping[type[errors.WebuiError], float] = {PageNotReady: 1, errors.StorageBusy: 1}


def is_openai(path: str) -> bool:
    """Whether a path speaks the OpenAI dialect."""
    return path == OPENAI_PREFIX or path.startswith(OPENAI_PREFIX + "/")


def status_of(error: errors.WebuiError, path: str) -> int:
    """Return the HTTP number of an error on a path."""
    table = OPENAI_STATUS if is_openai(path) else STATUS
    return next(table[kind] for kind in type(error).__mro__ if kind in table)


def error_body(error: errors.WebuiError, path: str, request_id: str = "") -> dict[str, Any]:
    """Return the JSON of an error in the dialect of the path."""
    quota = _quota(error) if isinstance(error, errors.QuotaExceeded) else {}
    error = _without_paths(error)
    if is_openai(path):
        return {
            "error": {
                "message": errors.in_one_line(error.message, error.hint),
                "type": _openai_type(status_of(error, path)),
                "param": error.field,
                "code": error.code,
                **quota,
            }
        }
    body: dict[str, Any] = {"code": error.code, "message": error.message, "hint": error.hint}
    body |= quota
    if error.field is not None:
        body["field"] = error.field
    if request_id:
        body["request_id"] = request_id
    return {"error": body}


def error_response(error: errors.WebuiError, scope: Scope) -> Response:
    """Return the answer to a request that ended in an error."""
    path = scope["path"]
    headers = {"cache-control": "no-store"}
    retry_after_s = error.retry_after_s or RETRY_AFTER_S.get(type(error))
    if retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(retry_after_s)))
    body = error_body(error, path, scope.get("state", {}).get("request_id", ""))
    return Response(
        msgspec.json.encode(body),
        status_of(error, path),
        headers=headers,
        media_type="application/json",
    )


def internal_error(request_id: str) -> InternalError:
    """Return what a person sees of a bug."""
    return InternalError(
        "internal error", f"The log of the server says more under the request id {request_id}."
    )


def invalid_input(problems: Sequence[Mapping[str, Any]], skip: int = 0) -> errors.InvalidRequest:
    """Turn pydantic's first complaint into a sentence that names the field.

    Args:
        problems: What `ValidationError.errors()` lists.
        skip: Leading parts of each location that the sender did not write.
    """
    first = problems[0]
    if first["type"] == "json_invalid":
        if TOO_DEEP in first["ctx"]["error"]:
            return MalformedBody(
                f"the body is nested too deep; {MAX_NESTING} levels are read", "Make it flatter."
            )
        return MalformedBody(f"the body is not valid JSON: {first['ctx']['error']}")
    loc = place(first)[skip:]
    if first["type"].startswith("union_tag"):
        loc = (first["ctx"]["discriminator"].strip("'"),)
    field = ".".join(loc)[:MAX_FIELD_CHARS]
    said = f"{field or 'the body'} {predicate(problems)}"
    return errors.InvalidRequest(said, field=field or None)


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error that a route raises; the gate answers what is none of ours."""
    app.add_exception_handler(errors.WebuiError, _answer_ours)
    app.add_exception_handler(RequestValidationError, _answer_validation)
    app.add_exception_handler(HTTPException, _answer_starlette)


async def _answer_ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.WebuiError)
    if isinstance(error, errors.StorageUnusable):
        logger.error("%s", errors.in_one_line(error.message, error.hint))
    return error_response(error, request.scope)


async def _answer_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return error_response(invalid_input(error.errors(), skip=1), request.scope)


async def _answer_starlette(request: Request, error: Exception) -> Response:
    """Answer what Starlette's router and static files raise: 404 and 405."""
    assert isinstance(error, HTTPException)
    ours: errors.WebuiError
    if error.status_code == 405:
        ours = MethodNotAllowed(f"{request.method} is not possible here")
    else:
        ours = errors.NotFound("there is nothing at this address")
    return error_response(ours, request.scope)


def _without_paths(error: errors.WebuiError) -> errors.WebuiError:
    """Return what people may read of an error that names files of the machine."""
    if not isinstance(error, errors.StorageUnusable):
        return error
    return errors.StorageUnusable(
        "the database of this server cannot be used; it was left as it is",
        "The server's log says why, and how an administrator puts it right.",
    )


def _quota(error: errors.QuotaExceeded) -> dict[str, Any]:
    return {"remaining": error.remaining, "resets_at": error.resets_at}


def _openai_type(status: int) -> str:
    match status:
        case 401:
            return "authentication_error"
        case 403:
            return "permission_error"
        case 429:
            return "rate_limit_error"
        case _:
            return "server_error" if status >= 500 else "invalid_request_error"
