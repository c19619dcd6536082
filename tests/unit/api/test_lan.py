"""What the page is told of other devices, and the certificate that they shall trust."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.unit.api.fakes import fake_lan
from webui.api.http_app import create_http_app
from webui.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

URL = "http://192.168.1.5:7860"


def client_of(app, host: str = "127.0.0.1:7860") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{host}")


async def test_server_of_this_machine_alone_has_no_address_for_others(client) -> None:
    answer = (await client.get("/api/lan")).json()
    assert answer == {"is_open": False, "addresses": [], "fingerprint": None}


async def test_listening_server_names_its_addresses_with_their_codes(runtime, page) -> None:
    runtime.lan = fake_lan(Settings(listen=True), "192.168.1.5", "fd00::5")
    async with client_of(create_http_app(runtime, page)) as client:
        answer = (await client.get("/api/lan")).json()
    assert answer["is_open"]
    assert [one["url"] for one in answer["addresses"]] == [
        URL,
        "http://desk.local:7860",
        "http://[fd00::5]:7860",
    ]
    for one in answer["addresses"]:
        assert one["qr"].startswith("<svg ")
        assert "script" not in one["qr"]
    assert len({one["qr"] for one in answer["addresses"]}) == 3


async def test_way_that_was_come_in_by_stands_first_and_once(runtime, page) -> None:
    settings = Settings(listen=True, allowed_hosts=["chat.example.org"])
    runtime.lan = fake_lan(settings, "192.168.1.5")
    app = create_http_app(runtime, page)
    for host, first in (("chat.example.org", "http://chat.example.org"), (URL[7:], URL)):
        async with client_of(app, host) as client:
            urls = [one["url"] for one in (await client.get("/api/lan")).json()["addresses"]]
        assert urls[0] == first
        assert len(set(urls)) == len(urls)
        assert URL in urls


async def test_certificate_is_404_where_there_is_no_authority(client) -> None:
    answer = await client.get("/ca.crt")
    assert answer.status_code == 404
    assert "--tls" in answer.json()["error"]["hint"]


async def test_certificate_is_served_as_what_phones_install(runtime, page, tmp_path: Path) -> None:
    runtime.settings = Settings(tls=True, data_dir=tmp_path)
    runtime.lan = fake_lan(runtime.settings)
    runtime.lan.certificates.open(())
    async with client_of(create_http_app(runtime, page)) as client:
        answer = await client.get("/ca.crt")
        told = (await client.get("/api/lan")).json()["fingerprint"]
    assert answer.headers["content-type"] == "application/x-x509-ca-cert"
    assert "PRIVATE" not in answer.text
    ssl.create_default_context().load_verify_locations(cadata=answer.text)
    assert told == runtime.lan.certificates.fingerprint
    assert len(told.split(":")) == 32


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_certificate_is_only_read(client, method: str) -> None:
    assert (await client.request(method, "/ca.crt")).status_code == 405
