"""The files that browsers get: whole, in one catalogue, from nowhere else, with their licences."""

from __future__ import annotations

import fnmatch
import json
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
UI = REPOSITORY / "webui" / "ui"
STATIC = UI / "static"
VENDOR = STATIC / "vendor"
PINS = REPOSITORY / "tests" / "vendor" / "package.json"

SHELL = UI / "shell.html"
ENTRY = UI / "entry.html"
MODULES = sorted(STATIC.glob("*.js"))
STYLES = sorted([*STATIC.glob("*.css"), *STATIC.glob("styles/*.css")])
OURS = [*MODULES, *STYLES, SHELL]
CATALOGUE: dict[str, str] = json.loads((STATIC / "strings.en.json").read_text("utf-8"))

KEY = re.compile(r"""["'`]((?:app|chat|list|model|tabs)\.[a-z0-9_]+)["'`]""")
PLURALS = ("one", "other")
MAX_LINES = 400
# A name of a language, fetched by nobody.
SVG_NAMESPACE = "http://www.w3.org/2000/svg"
# Modules that write HTML of their own making; everywhere else text goes in as text.
WRITES_HTML = {"decorate.js", "icons.js"}


def used_keys() -> set[str]:
    return {key for path in MODULES for key in KEY.findall(path.read_text("utf-8"))}


def known_keys() -> set[str]:
    """Keys without the ending of a plural form."""
    return {re.sub(rf"\.(?:{'|'.join(PLURALS)})$", "", key) for key in CATALOGUE}


def licence_rows() -> list[list[str]]:
    text = (VENDOR / "LICENSES.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[1:]]


def named(path: Path) -> str:
    return path.relative_to(UI).as_posix()


def test_keys_used_by_scripts_are_in_the_catalogue() -> None:
    assert used_keys() - known_keys() == set()
    assert used_keys()


def test_keys_of_the_scripts_are_used() -> None:
    ours = {key for key in known_keys() if key.split(".")[0] in {"app", "chat", "list", "model"}}
    assert ours - used_keys() - {"app.name"} == set()


def test_plurals_have_all_forms() -> None:
    endings = {key for key in CATALOGUE if key.rsplit(".", 1)[-1] in PLURALS}
    for key in endings:
        stem = key.rsplit(".", 1)[0]
        assert {f"{stem}.{form}" for form in PLURALS} <= set(CATALOGUE), stem


def test_texts_are_not_empty_and_hold_no_markup() -> None:
    for key, text in CATALOGUE.items():
        assert text.strip() == text != "", key
        assert not re.search(r"<[a-z/!]", text), key


@pytest.mark.parametrize("path", OURS, ids=named)
def test_file_names_no_place_outside(path: Path) -> None:
    text = path.read_text("utf-8").replace(SVG_NAMESPACE, "")
    assert re.findall(r"https?://[a-z0-9-]+\.[a-z]{2,}", text) == []
    assert re.findall(r"""["'(]\s*(?:https?:)?//\w""", text) == []


@pytest.mark.parametrize("path", OURS, ids=named)
def test_file_is_not_too_long(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_module_begins_with_what_it_is(path: Path) -> None:
    assert path.read_text("utf-8").startswith("/**")


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_imports_of_a_module_exist(path: Path) -> None:
    source = path.read_text("utf-8")
    for names, target in re.findall(r"import (\{[^}]*\}) from \"([^\"]+)\"", source):
        module = (path.parent / target).resolve()
        assert module.is_relative_to(STATIC), target
        exported = module.read_text("utf-8")
        if module.is_relative_to(VENDOR):
            continue
        for name in re.findall(r"\w+", names):
            assert re.search(rf"export .*\b{name}\b", exported), f"{name} from {target}"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_html_is_written_only_where_it_is_ours(path: Path) -> None:
    writes = re.search(
        r"\.(?:inner|outer)HTML\b|insertAdjacentHTML|document\.write", path.read_text()
    )
    assert writes is None or path.name in WRITES_HTML


def test_shell_has_its_marks_and_shows_no_text_of_its_own() -> None:
    html = SHELL.read_text("utf-8")
    marks = ["<!--head-->", "<!--/head-->", "<!--body-->", "<!--/body-->"]
    assert [html.count(mark) for mark in marks] == [1, 1, 1, 1]
    assert [html.index(mark) for mark in marks] == sorted(html.index(mark) for mark in marks)
    bare = re.sub(r"<(script|title)\b.*?</\1>|<!--.*?-->|<[^>]*>", "", html, flags=re.DOTALL)
    assert bare.strip() == ""


@pytest.mark.parametrize("page", [SHELL, ENTRY], ids=lambda page: page.name)
def test_page_links_what_is_there(page: Path) -> None:
    links = re.findall(r'(?:href|src)="/ui/([^"]+)"', page.read_text("utf-8"))
    assert links
    assert [link for link in links if not (STATIC / link).is_file()] == []
    assert len(links) == len(set(links)) + 1  # its own module is preloaded and run


def test_entry_page_fetches_at_once_what_its_module_needs() -> None:
    def needed_by(name: str) -> set[str]:
        found = set(re.findall(r'from "\./([^"]+)"', (STATIC / name).read_text("utf-8")))
        return found.union(*map(needed_by, found))

    html = ENTRY.read_text("utf-8")
    preloaded = set(re.findall(r'rel="modulepreload" href="/ui/([^"]+)"', html))
    assert preloaded == {"entry.js"} | needed_by("entry.js")


def test_shell_fetches_all_modules_and_styles_at_once() -> None:
    html = SHELL.read_text("utf-8")
    preloaded = set(re.findall(r'rel="modulepreload" href="/ui/([^"]+)"', html))
    # Gradio's forms ask for the first; the others are of another page.
    later = {"forms.js", "entry.js", "vouched.js"}
    assert {path.name for path in MODULES} - later == preloaded - {"vendor/markdown.bundle.js"}
    styles = set(re.findall(r'rel="stylesheet" href="/ui/([^"]+)"', html))
    ours = {path.relative_to(STATIC).as_posix() for path in STYLES}
    assert ours - {"styles/entry.css"} | {"vendor/fonts.css"} == styles


def test_manifest_names_icons_that_are_there() -> None:
    manifest = json.loads((STATIC / "manifest.webmanifest").read_text("utf-8"))
    for icon in manifest["icons"]:
        assert (STATIC / icon["src"]).is_file()


def test_every_vendored_file_has_a_licence_entry() -> None:
    patterns = {name for row in licence_rows() for name in re.findall(r"`([^`]+)`", row[4])}
    files = {
        path.relative_to(VENDOR).as_posix()
        for path in VENDOR.rglob("*")
        if path.is_file() and path.name != "LICENSES.md" and path.parent.name != "licences"
    }
    assert {f for f in files if not any(fnmatch.fnmatch(f, p) for p in patterns)} == set()
    assert {p for p in patterns if not fnmatch.filter(files, p)} == set()


def test_every_licence_entry_has_its_text_and_its_pin() -> None:
    pins: dict[str, str] = json.loads(PINS.read_text("utf-8"))["devDependencies"]
    rows = licence_rows()
    assert {row[0]: row[1] for row in rows} == {
        name: version for name, version in pins.items() if name != "esbuild"
    }
    for name, version, licence, source, _, text in rows:
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), name
        assert licence, name
        assert source == f"`{name}@{version}` (npm)"
        target = re.fullmatch(r"\[text\]\((.+)\)", text)
        assert target is not None
        assert (VENDOR / target[1]).stat().st_size > 500
    folder = {path.relative_to(VENDOR).as_posix() for path in (VENDOR / "licences").iterdir()}
    assert folder == {row[5][len("[text](") : -1] for row in rows}


def test_vendored_styles_fetch_fonts_that_are_there() -> None:
    for name in ("fonts.css", "katex.css"):
        fonts = re.findall(r"url\(([^)]+)\)", (VENDOR / name).read_text("utf-8"))
        assert fonts
        for font in fonts:
            assert font.endswith(".woff2")
            assert (VENDOR / font).is_file(), font
