from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest

from tests.unit.api.fakes import BugError, all_errors
from webui import errors
from webui.api.errors import RETRY_AFTER_S, STATUS, error_body, status_of

if TYPE_CHECKING:
    import httpx


def test_status_table_names_every_error_of_the_house() -> None:
    assert set(all_errors()) == set(STATUS)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NotAuthenticated("x"), 401),
        (errors.PermissionDenied("x"), 403),
        (errors.NotFound("x"), 404),
        (errors.Conflict("x"), 409),
        (errors.InvalidRequest("x"), 422),
        (errors.NothingAllowed("x"), 422),
        (errors.ContextLengthExceeded("x"), 400),
        (errors.Busy("x"), 429),
        (errors.ModelNotLoaded("x"), 503),
        (errors.StorageFull("x"), 507),
        (errors.EngineError("x"), 500),
        (errors.EngineDied("x"), 503),
        (errors.LoadFailed("x"), 422),
    ],
)
async def test_error_of_a_use_case_has_its_number(client, runtime, error, status) -> None:
    runtime.conversations.error = error
    answer = await client.get("/api/conversations")
    assert answer.status_code == status
    body = answer.json()["error"]
    assert (body["code"], body["message"], body["hint"]) == (error.code, "x", "")
    assert body["request_id"] == answer.headers["x-request-id"]


async def test_path_of_the_data_folder_is_told_in_the_log_alone(client, runtime, caplog) -> None:
    runtime.conversations.error = errors.StorageUnusable("/home/x/data is odd", "Move /home/x.")
    answer = await client.get("/api/conversations")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "storage_unusable"
    assert "/home" not in answer.text
    assert "/home/x/data is odd" in caplog.text


def test_invalid_request_is_400_in_the_openai_dialect() -> None:
    error = errors.InvalidRequest("too hot", "Cool it.", field="temperature")
    assert status_of(error, "/v1/chat/completions") == 400
    assert error_body(error, "/v1/chat/completions") == {
        "error": {
            "message": "too hot. Cool it.",
            "type": "invalid_request_error",
            "param": "temperature",
            "code": "invalid_request",
        }
    }


async def test_busy_says_when_to_try_again(client, runtime) -> None:
    runtime.conversations.error = errors.Busy("full", retry_after_s=2.2)
    assert (await client.get("/api/conversations")).headers["retry-after"] == "3"
    assert all(inspect.isclass(kind) for kind in RETRY_AFTER_S)


async def test_bug_is_500_logged_once_and_says_nothing_of_itself(client, runtime, caplog) -> None:
    runtime.conversations.error = BugError("/home/ada/secret.db")
    answer: httpx.Response = await client.get("/api/conversations")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert "secret" not in answer.text
    assert "Bug" not in answer.text
    request_id = answer.headers["x-request-id"]
    assert answer.json()["error"]["request_id"] == request_id
    records = [record for record in caplog.records if record.exc_info]
    assert len(records) == 1
    assert request_id in records[0].getMessage()
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_bug_on_v1_has_the_shape_of_the_dialect(client, runtime) -> None:
    runtime.pool = None
    answer = await client.get("/v1/models")
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/nothing", 404),
        ("GET", "/v1/nothing", 404),
        ("PUT", "/api/conversations", 405),
        ("GET", "/api/conversations/", 404),
        ("GET", "/ui/../pyproject.toml", 404),
        ("GET", "/ui/%2e%2e/shell.html", 404),
        ("GET", "/ui/nothing.js", 404),
        ("POST", "/ui/app.js", 405),
        ("GET", "/api/conversations/" + "x" * 65, 422),
    ],
)
async def test_wrong_address_is_answered_in_our_shape(client, method, path, status) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] or answer.json()["error"]["message"]
