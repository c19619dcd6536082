"""A phone takes up, over TLS and under the server's name, the answer that the desktop asked for."""

from __future__ import annotations

import base64
import hashlib
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import CHROMIUM, DESKTOP, FLAGS, PHONE
from tests.serving import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
PASSWORD = "four words in a row"  # noqa: S105 - of nobody
NAME = "hearth.example"
OTHER_LOOPBACK = "127.0.0.2"
NUM_WORDS, RATE = 600, 30


class TlsServer(Server):
    """A server that speaks https alone, on an address of the loopback that no browser prefers."""

    def __init__(self, data_dir: Path) -> None:
        shown = ["--host", OTHER_LOOPBACK, "--allowed-hosts", NAME, "--tls"]
        super().__init__(data_dir, *shown, "--fake-engine", str(RATE))

    @property
    def url(self) -> str:
        return f"https://{NAME}:{self.port}"

    def authority_key(self) -> str:
        """Return the hash of the authority's public key, as Chromium wants it."""
        raw = (self.data_dir / "tls" / "authority.pem").read_bytes()
        key = x509.load_pem_x509_certificate(raw).public_key()
        info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(hashlib.sha256(info).digest()).decode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TlsServer]:
    made = TlsServer(tmp_path / "data")
    made.start(ready=False)
    made.wait_for(lambda: "The code is" in made.log.read_text(), 60)
    yield made
    made.close()


@pytest.fixture
def trusting(browser: Browser, server: TlsServer) -> Iterator[Browser]:
    """A Chromium that knows the name and trusts the server's authority, and no other one."""
    resolve = f"--host-resolver-rules=MAP {NAME} {OTHER_LOOPBACK}, MAP * ~NOTFOUND"
    trust = f"--ignore-certificate-errors-spki-list={server.authority_key()}"
    made = browser.browser_type.launch(executable_path=CHROMIUM, args=[*FLAGS, resolve, trust])
    yield made
    made.close()


def opened(browser: Browser, url: str, size: tuple[int, int]) -> tuple[BrowserContext, Page]:
    """Open a page on a device of its own: nothing is shared with another one."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        has_touch=size == PHONE,
        is_mobile=size == PHONE,
        device_scale_factor=1,
    )
    page = context.new_page()
    page.goto(url)
    return context, page


def test_phone_continues_what_the_desktop_began(
    server: TlsServer, trusting: Browser, pictures: Path
) -> None:
    code = server.first_run_code()
    _, desktop = opened(trusting, f"{server.url}/first-run#{code}", DESKTOP)
    desktop.get_by_label("Your name").fill("Ann")
    desktop.get_by_label("Password", exact=True).fill(PASSWORD)
    desktop.get_by_role("button", name="Make the account").click()
    expect(desktop.locator(".side-user")).to_have_text("Ann")
    chat = ChatPage(desktop)
    chat.send(f"long {NUM_WORDS}")
    chat.wait_until_writing()

    away, phone = opened(trusting, desktop.url, PHONE)
    expect(phone).to_have_url(f"{server.url}/sign-in?next=%2Fc%2F{desktop.url[-22:]}")
    phone.get_by_label("Name", exact=True).fill("Ann")
    phone.get_by_label("Password", exact=True).fill(PASSWORD)
    phone.get_by_role("button", name="Sign in").click()
    there = ChatPage(phone)
    expect(phone).to_have_url(desktop.url)
    assert phone.evaluate("isSecureContext")
    cookie = next(one for one in away.cookies() if one["name"].endswith("hearthside"))
    assert cookie["secure"]
    assert cookie["httpOnly"]

    # The answer is still being written: there as here.
    expect(there.stop).to_be_visible()
    before = there.text_of_answer()
    phone.wait_for_function(
        "(n) => [...document.querySelectorAll('.message-body')].at(-1).innerText.length > n",
        arg=len(before),
    )
    phone.screenshot(path=pictures / "second-device.png")
    assert phone.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    there.stop.click()
    there.wait_until_done()
    chat.wait_until_done()  # the desktop hears of it
    assert 0 < len(there.text_of_answer().split()) < NUM_WORDS

    there.send("echo from the phone")
    there.wait_until_done()
    expect(chat.answer).to_contain_text("from the phone")
    chat.wait_until_done()
    assert chat.text_of_answer() == there.text_of_answer()
    expect(chat.answers).to_have_count(2)


def test_device_that_does_not_trust_the_authority_gets_nothing(
    browser: Browser, server: TlsServer
) -> None:
    resolve = f"--host-resolver-rules=MAP {NAME} {OTHER_LOOPBACK}"
    stranger = browser.browser_type.launch(executable_path=CHROMIUM, args=[*FLAGS, resolve])
    page = stranger.new_page()
    with pytest.raises(Exception, match="ERR_CERT_AUTHORITY_INVALID"):
        page.goto(server.url)
    stranger.close()
    assert ssl.get_server_certificate((OTHER_LOOPBACK, server.port))
