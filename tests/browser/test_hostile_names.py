"""Names and messages of people, files and other servers, wherever the page shows them, are text.

What the use cases would refuse as a name is put into the database by hand: a page that shows it as
text needs nobody else to be right.
"""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from gguf import GGUFWriter
from playwright.sync_api import expect

from tests.browser.canary import check_shown, watched, what_ran
from tests.browser.chat_page import ChatPage
from tests.browser.payloads import SCRIPTS, TEMPLATES
from tests.browser.test_groups import part
from tests.oidc_provider import CLIENT, SECRET, OidcProvider
from tests.serving import Server
from tests.tiny_gguf import write_tiny_gguf, write_tiny_lora
from webui.actor import LOCAL_USER_ID
from webui.messages import Role
from webui.storage import api_keys, audit, groups, passkeys, sessions, shares, usage, users
from webui.storage.database import Database
from webui.storage.sharing_tables import Audience, ShareRow
from webui.storage.sign_in_tables import PasskeyRow
from webui.storage.tables import (
    ApiKeyRow,
    AuditRow,
    ConversationRow,
    GroupRow,
    MessageRow,
    MessageStatus,
    SessionRow,
    UserRow,
    utc_now,
)
from webui.storage.usage import Spent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page, Route
    from sqlalchemy.orm import Session

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

ANN, BOB = "four words in a row", "another row of words"
TEMPLATE = TEMPLATES[0]
FEW = (TEMPLATE, "<img src=x onerror=hit()>", "<svg onload=hit()>")
WAYS_MARK = f"<img src=x onerror=hit()>{TEMPLATE}"
# A file may be called all this but for the slash.
FILES = tuple(
    dict.fromkeys(" ".join(one.replace("/", "\N{DIVISION SLASH}").split()) for one in SCRIPTS)
)


def fill(session: Session) -> None:
    """Keep each text as the name of all that has one: of Ann's, of Bob's, and of many people's."""
    users.ensure_local(session)  # who will be Ann
    bob = users.add(session, UserRow(name="Bob", name_key="bob"))
    for number, text in enumerate(SCRIPTS):
        person = users.add(session, UserRow(name=text, name_key=f"person {number}"))
        group = GroupRow(name=text, name_key=f"group {number}")
        group.limits = {"tokens_per_day": 1000 + number}
        groups.add(session, group)
        groups.set_members(session, group.id, [bob.id, person.id])
        for owner_id in (LOCAL_USER_ID, bob.id, person.id):
            fill_one(session, owner_id, number, text)
        row = AuditRow(actor_id=person.id, actor_name=text, action=text, about=text, address=text)
        audit.add(session, row)
    for owner_id in (LOCAL_USER_ID, bob.id):
        fill_chat(session, owner_id)


def fill_one(session: Session, owner_id: str, number: int, text: str) -> None:
    name, ends = f"{owner_id} {number}", utc_now() + timedelta(days=20)
    sign_in = SessionRow(
        token_hash=name, owner_id=owner_id, device=text, address=text, expires_at=ends
    )
    sessions.add(session, sign_in)
    key = ApiKeyRow(key_hash=name, owner_id=owner_id, name=text, prefix=text, models=[text])
    api_keys.add(session, key)
    passkey = PasskeyRow(credential_id=name, owner_id=owner_id, public_key=b"", name=text)
    passkeys.add(session, passkey)
    spent = Spent(owner_id=owner_id, day=datetime.now(UTC).date(), model=text, prompt_tokens=50)
    usage.add(session, spent)
    chat = ConversationRow(owner_id=owner_id, title=text, activity=number + 1)
    session.add(chat)
    session.flush()
    if owner_id != LOCAL_USER_ID:
        share = ShareRow(
            owner_id=owner_id,
            conversation_id=chat.id,
            audience=Audience.PERSON,
            user_id=LOCAL_USER_ID,
        )
        shares.add(session, share)


def fill_chat(session: Session, owner_id: str) -> None:
    """Add a conversation in which every reply failed, with a name and words of its own."""
    chat = ConversationRow(owner_id=owner_id, title="All of it", activity=len(SCRIPTS) + 1)
    session.add(chat)
    session.flush()
    for text in SCRIPTS:
        asked = MessageRow(
            conversation_id=chat.id,
            parent_id=chat.active_leaf_id,
            role=Role.USER,
            status=MessageStatus.COMPLETE,
            text=text,
        )
        session.add(asked)
        session.flush()
        told = MessageRow(
            conversation_id=chat.id,
            parent_id=asked.id,
            role=Role.ASSISTANT,
            status=MessageStatus.ERROR,
            model=text,
            reasoning=text,
            error_code="engine_error",
            error_message=text,
            error_hint=text,
        )
        session.add(told)
        session.flush()
        chat.active_leaf_id = told.id


async def fill_folder(data_dir: Path) -> None:
    """Put it all into a database before the server opens it."""
    database = Database(data_dir / "hearthside.db")
    await database.open()
    await database.run(fill)
    await database.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One in which all names are hostile; administrators read chats."""
    data_dir = tmp_path_factory.mktemp("names") / "data"
    data_dir.mkdir(mode=0o700)
    with ThreadPoolExecutor(1) as elsewhere:  # the browser has the loop of this thread
        elsewhere.submit(lambda: asyncio.run(fill_folder(data_dir))).result()
    server = Server(data_dir, "--fake-engine", "100000", "--requests-per-s", "0").start()
    server.token = server.claim("Ann", ANN)
    server.ask("PUT", "/api/admin/reading", {"is_on": True})
    server.wait_for_ui()
    yield server
    server.close()


@pytest.fixture
def page(browser: Browser, house: Server) -> Iterator[Page]:
    """A page of Ann's, opened."""
    page = watched(browser, house, house.token)
    page.goto(house.url)
    ChatPage(page)
    yield page
    page.context.close()


def open_menu(page: Page, item: str) -> Locator:
    """Choose from the menu behind one's name; returns the sheet that opens."""
    page.locator(".side-user").click()
    page.get_by_role("menuitem", name=item).click()
    sheet = page.locator(".sheet.account")
    expect(sheet).to_be_visible()
    return sheet


def show_all(place: Locator) -> None:
    """Press what shows the rest of each list."""
    buttons = place.get_by_role("button", name=re.compile(r"^Show all \d"))
    for left in range(buttons.count(), 0, -1):
        buttons.first.click()
        expect(buttons).to_have_count(left - 1)


def test_nothing_runs_in_the_admin_tab(page: Page) -> None:
    page.get_by_role("tab", name="Admin").first.click()
    admin = page.locator(".admin")
    for title, wanted in (
        ("Signed in", len(SCRIPTS) + 2),
        ("Groups", len(SCRIPTS)),
        ("Defaults and limits", len(SCRIPTS) + 2),
    ):
        own = part(admin, title)
        expect(own.locator(".rows > li > details").nth(10)).to_be_visible(timeout=20_000)
        show_all(own)
        expect(own.locator(".rows > li > details")).to_have_count(wanted)
        check_shown(own, SCRIPTS)
    signed_in = part(admin, "Signed in").locator(".rows > li > details", has_text="Bob")
    signed_in.locator("summary").click()
    expect(signed_in.get_by_role("button", name=re.compile("^Show all"))).to_have_count(2)
    show_all(signed_in)
    expect(signed_in.get_by_role("button", name="Revoke")).to_have_count(len(SCRIPTS))
    check_shown(signed_in, SCRIPTS)
    group = part(admin, "Groups").locator(".rows > li > details").first
    group.locator("summary").first.click()
    group.get_by_label("Search by name").fill("hit()")
    expect(group.get_by_role("button", name=re.compile("^Add: ")).first).to_be_visible()
    limits = part(admin, "Defaults and limits").locator(".rows > li > details", has_text="Bob")
    limits.locator("summary").first.click()
    expect(limits.get_by_role("button", name="Save the limits")).to_be_visible()
    admin.get_by_role("button", name="Show texts by person").click()
    expect(part(admin, "Disk").locator(".rows li").first).to_be_visible()
    assert what_ran(page) == []


def test_nothing_runs_where_administrators_see_people_and_read_chats(page: Page) -> None:
    people = open_menu(page, "People")
    rows = people.locator(".rows > li > details")
    expect(rows).to_have_count(len(SCRIPTS) + 2)
    check_shown(people, SCRIPTS)
    people.get_by_text("What was done", exact=True).click()
    log = people.locator(".log")
    expect(log.locator("li").nth(40)).to_be_attached()
    check_shown(log, SCRIPTS[-40:])
    bob = rows.filter(has_text="Bob")
    bob.locator("summary").first.click()
    bob.get_by_role("button", name="API keys", exact=True).click()
    expect(bob.get_by_role("button", name="Revoke")).to_have_count(len(SCRIPTS))
    bob.get_by_role("button", name="Read chats…").click()
    chats = page.locator(".chats")
    more = chats.get_by_role("button", name="More")
    more.click()
    expect(more).to_have_count(0)
    expect(chats.locator("details")).to_have_count(len(SCRIPTS) + 1)
    check_shown(chats, SCRIPTS)
    whole = chats.locator("details", has_text="All of it")
    whole.locator("summary").click()
    expect(whole.locator(".chat-text p")).to_have_count(2 * len(SCRIPTS))
    check_shown(whole, SCRIPTS)
    assert what_ran(page) == []


def test_nothing_runs_in_ones_own_account(page: Page) -> None:
    sheet = open_menu(page, "Your account")
    for title in ("Signed in on", "API keys", "Passkeys"):
        own = sheet.locator("section").filter(has=page.get_by_role("heading", name=title))
        expect(own.locator(".rows li").nth(len(SCRIPTS) - 1)).to_be_attached()
        check_shown(own, SCRIPTS)
    own.get_by_role("button", name="Rename").first.click()
    expect(own.get_by_label("Name", exact=True)).to_have_value(re.compile("hit"))
    assert what_ran(page) == []


def test_nothing_runs_in_lists_of_chats_and_in_replies_that_failed(
    house: Server, page: Page
) -> None:
    page.get_by_role("button", name="Shared with me").click()
    shared = page.locator(".sheet.account")
    expect(shared.locator(".rows > li")).to_have_count(2 * len(SCRIPTS))
    check_shown(shared, SCRIPTS)
    page.keyboard.press("Escape")
    listed = house.ask("GET", "/api/conversations?limit=1")["conversations"][0]
    assert listed["title"] == "All of it"
    page.goto(f"{house.url}/c/{listed['id']}")
    ChatPage(page)
    expect(page.locator("article.message")).to_have_count(2 * len(SCRIPTS))
    check_shown(page.locator(".thread"), SCRIPTS)
    for thought in page.locator("article.message .thinking summary").all():
        thought.click()
    assert what_ran(page) == []


def test_nothing_runs_in_charts(page: Page) -> None:
    page.get_by_role("tab", name="Usage").first.click()
    for name in ("own", "everybody"):
        chart = page.locator(f"#usage-{name}")
        labels = chart.locator(".role-legend-label text")
        expect(labels.nth(20)).to_be_attached(timeout=30_000)  # the first of them are shown
        chart.scroll_into_view_if_needed()
        middles = chart.locator(".mark-rect path").evaluate_all(
            "bars => bars.map(bar => bar.getBoundingClientRect()).filter(box => box.height > 0.1)"
            ".map(box => [box.x + box.width / 2, box.y + box.height / 2])"
        )
        assert len(middles) >= len(SCRIPTS)
        told = set()
        for x, y in middles:
            page.mouse.move(x, y)
            told.add(page.locator("#vg-tooltip-element").text_content())
        assert len(told) > len(SCRIPTS) / 2, "each bar says whose it is"
        assert any(TEMPLATE in one for one in told)
    assert what_ran(page) == []


def test_nothing_runs_in_what_the_server_says_of_a_form(page: Page) -> None:
    """Whatever a use case refuses stands in the line and, of the whole form, in a note besides."""
    said = ""

    def answer(route: Route) -> None:
        response = route.fetch()
        line = {"message": said, "tone": "bad", "field": "", "alert": said, "id": said}
        data = [*response.json()["data"][:-1], line]
        route.fulfill(response=response, json={**response.json(), "data": data})

    page.get_by_role("tab", name="Parameters").first.click()
    seed = page.locator("#params-seed input")
    expect(page.locator(".form-page", has=seed)).not_to_have_attribute("inert", "")
    page.route("**/gradio_api/run/predict*", answer)
    for number, said in enumerate(SCRIPTS):
        seed.fill(str(number))
        expect(page.locator("#params-state")).to_have_text(said)
        expect(page.locator(".toast").last).to_have_text(said)
    page.unroute("**/gradio_api/run/predict*")
    assert what_ran(page) == []


def write_unknown(path: Path, architecture: str) -> None:
    """Write a model of a kind that llama.cpp does not know, and says so by that name."""
    writer = GGUFWriter(str(path), architecture)
    for figure in ("block_count", "context_length", "embedding_length", "attention.head_count"):
        writer.add_uint32(f"{architecture}.{figure}", 8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One whose model files are called as none should be; Bob is there, too."""
    folder = tmp_path_factory.mktemp("shelf")
    models = folder / "models"
    models.mkdir()
    first = write_tiny_gguf(models / f"{TEMPLATE}.gguf")
    for name in FILES:
        if name != TEMPLATE:
            (models / f"{name}.gguf").hardlink_to(first)
        (models / f"broken {name}.gguf").write_bytes(b"GGUF" + name.encode())
    for name in FEW:
        write_unknown(models / f"unknown {name}.gguf", name)
        write_tiny_lora(models / f"adapter {name}.gguf")
    flags = ("--fake-engine", "100000", "--requests-per-s", "0", "--models-dir", str(models))
    server = Server(folder / "data", *flags).start()
    server.token = server.claim("Ann", ANN)
    server.ask("POST", "/api/users", {"name": "Bob", "password": BOB})
    server.wait_for_ui()
    yield server
    server.close()


def open_models(browser: Browser, server: Server, token: str) -> Page:
    """Return a page on which the Model tab was drawn."""
    page = watched(browser, server, token)
    page.goto(server.url)
    ChatPage(page).open_tab("Model")
    expect(page.locator("#model-options")).not_to_have_attribute("inert", "", timeout=30_000)
    return page


def choose(page: Page, name: str) -> None:
    """Choose whose options the form shows."""
    page.locator("#options-of input").click()
    options = page.get_by_role("listbox")
    expect(options.get_by_role("option").nth(len(FILES) - 1)).to_be_attached()
    check_shown(options, FILES)
    page.get_by_role("option", name=name, exact=True).click()
    expect(page.locator("#options-of input")).to_have_value(name)
    expect(page.locator("#model-options")).not_to_have_attribute("inert", "")


def test_nothing_runs_on_any_page_when_a_hostile_file_is_loaded(
    browser: Browser, shelf: Server
) -> None:
    ann = open_models(browser, shelf, shelf.token)
    bob = open_models(browser, shelf, shelf.sign_in("Bob", BOB))
    check_shown(ann.locator(".model-list"), [*FILES, *(f"broken {name}" for name in FILES)])
    choose(ann, TEMPLATE)
    ann.locator("#options-apply").click()
    for page in (ann, bob):
        line = page.locator("#options-state")
        expect(line).to_contain_text(f"{TEMPLATE} is loaded", timeout=30_000)
        expect(page.locator(".model-status")).to_contain_text(TEMPLATE)
        page.get_by_role("tab", name="Chat").first.click()
        expect(page.locator(".pill-text").first).to_have_text(TEMPLATE)
    adapters = [{"path": f"adapter {name}.gguf", "scale": 0.5} for name in FEW]
    body = {"model_id": f"{FILES[2]}.gguf", "options": {"lora": adapters}}
    shelf.ask("POST", "/api/models/load", body)
    bob.get_by_role("tab", name="Model").first.click()
    expect(bob.locator(".model-adapters label")).to_have_count(len(FEW), timeout=30_000)
    check_shown(bob.locator(".model-adapters"), FEW)
    sheet = open_menu(ann, "Your account")
    sheet.get_by_role("button", name="Make a key…").click()
    expect(sheet.get_by_text(TEMPLATE, exact=True)).to_be_visible()
    check_shown(sheet, FILES)
    for page in (ann, bob):
        assert what_ran(page) == []
        page.context.close()


def test_nothing_runs_in_more_options(browser: Browser, shelf: Server) -> None:
    page = open_models(browser, shelf, shelf.token)
    page.locator("#options-rest button").first.click()
    box, line = page.locator("#options-advanced textarea"), page.locator("#options-state")
    for text in SCRIPTS:
        with page.expect_response("**/gradio_api/run/predict*"):
            box.fill(f"{' '.join(text.split())} = 1")
        expect(line).to_contain_text("Not saved.")
    box.fill(f"{TEMPLATE} = 1")
    expect(line).to_have_text(re.compile(re.escape(f"there is no option {TEMPLATE}.")))
    assert what_ran(page) == []
    page.context.close()


def test_nothing_runs_in_why_a_load_failed_and_in_the_log(browser: Browser, shelf: Server) -> None:
    page = open_models(browser, shelf, shelf.token)
    check_shown(page.locator(".model-list"), FEW)
    for name in FEW:
        card = page.locator(".model-card").filter(has=page.get_by_text(f"unknown {name}"))
        card.get_by_role("button", name="Load").click()
        failed = page.locator(".model-status .status-error")
        expect(failed).to_contain_text(f"unknown {name}", timeout=30_000)
        expect(page.locator("#options-state")).to_contain_text("did not succeed")
        status, said = shelf.request("POST", "/api/models/load", {"model_id": f"no {name}"})
        assert status == 404
        assert name.encode() in said.replace(b'\\"', b'"')
    page.get_by_role("tab", name="Admin").first.click()
    log = page.locator(".admin-log")
    expect(log).to_contain_text(f"unknown {TEMPLATE}")
    check_shown(log, [f"unknown {name}" for name in FEW])
    assert what_ran(page) == []
    page.context.close()


@pytest.fixture
def provider() -> Iterator[OidcProvider]:
    made = OidcProvider()
    yield made
    made.close()


def test_nothing_runs_on_the_way_in_by_a_provider(
    browser: Browser, provider: OidcProvider, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(SECRET)
    flags = ["--oidc-issuer", provider.issuer, "--oidc-client-id", CLIENT, "--oidc-auto-create"]
    flags += ["--oidc-client-secret-file", str(tmp_path / "secret"), "--oidc-name", WAYS_MARK]
    server = Server(tmp_path / "data", "--fake-engine", "100000", *flags).start()
    try:
        server.claim("Ann", ANN)
        server.wait_for_ui()
        for number, name in enumerate(FEW):
            provider.subject = f"subject {number}"
            provider.claims = {"preferred_username": name, "name": name, "email": name}
            page = watched(browser, server)
            page.goto(f"http://localhost:{server.port}/sign-in")
            page.get_by_role("button", name=f"Sign in with {WAYS_MARK}").click()
            expect(page.locator(".side-user")).to_contain_text("hit")
            ChatPage(page)
            sheet = open_menu(page, "Your account")
            expect(sheet.get_by_text(f"linked to {WAYS_MARK}")).to_be_visible()
            assert what_ran(page) == []
            page.context.close()
    finally:
        server.close()
