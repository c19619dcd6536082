"""The documentation names everything there is, and nothing that is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args, get_origin

import click
import pytest
from starlette.routing import Route

import webui
from webui.accounts import newcomers, passkeys  # noqa: F401 - have errors of their own
from webui.administration import reading  # noqa: F401 - has an error of its own
from webui.api import errors as api_errors
from webui.api.http_app import ROUTE_GROUPS
from webui.bootstrap import accelerators
from webui.chat import events as chat_events
from webui.cli.commands import commands
from webui.errors import WebuiError
from webui.loaders import LOADERS
from webui.loaders.llama_cpp.lora_adapter import LoraAdapter
from webui.sampling_params import SamplingParams
from webui.settings import ENV_PREFIX, Settings

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "webui" / "docs"
PAGES = sorted(DOCS.glob("*.md"))
EVERYWHERE = "\n".join(page.read_text("utf-8") for page in [*PAGES, ROOT / "README.md"])


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def rows(text: str) -> list[list[str]]:
    """Return the cells of all table rows."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def routes() -> list[str]:
    found = [route for group in ROUTE_GROUPS for route in group.router.routes]
    return [
        f"{method} {route.path}"
        for route in found
        if isinstance(route, Route)
        for method in sorted((route.methods or set()) - {"HEAD"})
    ]


def error_codes() -> dict[str, type[WebuiError]]:
    """Return the classes of all modules that the imports above loaded, by code."""
    waiting, classes = [WebuiError], {}
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        if cls.__module__.startswith("webui."):
            classes[cls.code] = cls
    return classes


def test_every_route_is_documented_and_no_other() -> None:
    written = {match[1] for match in re.finditer(r"\| `([A-Z]+ /\S+)` \|", page("api.md"))}
    assert written == set(routes())


def test_every_error_code_is_documented_and_no_other() -> None:
    written = {row[0].strip("`") for row in rows(page("errors.md"))[2:]}
    declared = re.compile(r'^    code(?:: ClassVar\[str\])? = "(\w+)"$', re.MULTILINE)
    sources = [path.read_text("utf-8") for path in (ROOT / "webui").rglob("*.py")]
    assert written == {code for source in sources for code in declared.findall(source)}


def test_http_numbers_of_errors_are_those_of_the_table() -> None:
    for code, number, *_ in rows(page("errors.md"))[2:]:
        if re.match(r"\d", number):
            cls = error_codes()[code.strip("`")]
            assert number.startswith(str(api_errors.status_of(cls("x"), "/api/x"))), code
            openai = str(api_errors.status_of(cls("x"), "/v1/x"))
            assert openai in number or f"{openai} under `/v1`" in number, code


@pytest.mark.parametrize("name", Settings.model_fields)
def test_setting_is_documented_with_flag_and_variable(name: str) -> None:
    (row,) = [row for row in rows(page("settings.md")) if row[0] == f"`{name}`"]
    assert row[2] == f"`{ENV_PREFIX}{name.upper()}`"
    (option,) = [option for option in serve_options() if option.name == name]
    for flag in (*option.opts, *option.secondary_opts):
        assert f"`{flag}" in row[1], flag


def serve_options() -> list[click.Option]:
    parameters = commands.commands["serve"].params
    return [option for option in parameters if isinstance(option, click.Option)]


def test_every_flag_of_serve_is_a_setting() -> None:
    assert {option.name for option in serve_options()} == set(Settings.model_fields)


@pytest.mark.parametrize("name", commands.commands)
def test_command_is_documented_with_its_options(name: str) -> None:
    text = page("settings.md")
    assert f"`webui {name}`" in text
    for option in options_of(commands.commands[name]):
        for flag in option.opts:
            assert f"`{flag}" in text, flag


def options_of(command: click.Command) -> list[click.Parameter]:
    """Return the options of a command, of a group those of all its commands."""
    if not isinstance(command, click.Group):
        return command.params
    context = click.Context(command)
    inner = [command.get_command(context, name) for name in command.list_commands(context)]
    return [option for one in inner if one is not None for option in options_of(one)]


def test_flags_of_the_readme_exist() -> None:
    known = {flag for option in serve_options() for flag in (*option.opts, *option.secondary_opts)}
    table = rows((ROOT / "README.md").read_text("utf-8"))[2:]
    written = {flag for row in table for flag in re.findall(r"--[a-z-]+", row[0])}
    assert written <= known
    # Only the ways back to a default are left out there.
    assert known - written == {"--browser", "--mdns", "--ui"}


def range_of(info: FieldInfo) -> str:
    if info.annotation is bool:
        return "true or false"
    if get_origin(info.annotation) is Literal:
        return ", ".join(get_args(info.annotation))
    low = next((item.ge for item in info.metadata if hasattr(item, "ge")), None)
    high = next((item.le for item in info.metadata if hasattr(item, "le")), None)
    if low is not None and high is not None:
        return f"{low:,} to {high:,}"
    longest = next(item.max_length for item in info.metadata if hasattr(item, "max_length"))
    return f"up to {longest:,} {noun_of(info.annotation)}"


def noun_of(annotation: object) -> str:
    """Return what a bounded field holds several of."""
    if get_origin(annotation) is dict:
        return "tokens"
    if get_origin(annotation) is not tuple:
        return "characters"
    (of, _) = get_args(annotation)
    if of is LoraAdapter:
        return "adapters"
    if get_origin(of) is Literal:
        return "names"
    return {int: "tokens", float: "shares"}.get(get_args(of)[0], "strings")


def default_of(info: FieldInfo) -> str:
    default = info.get_default(call_default_factory=True)
    if isinstance(default, tuple):
        return (
            " ".join(f"`{line.encode('unicode_escape').decode()}`" for line in default) or "empty"
        )
    if isinstance(default, bool | int):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default or "empty")


@pytest.mark.parametrize(
    "schema",
    [SamplingParams, *(loader.Options for loader in LOADERS)],
    ids=lambda schema: schema.__name__,
)
def test_parameters_stand_in_the_table_with_default_range_and_help(
    schema: type[BaseModel],
) -> None:
    table = {row[1].strip("`"): row for row in rows(page("parameters.md"))}
    for name, info in schema.model_fields.items():
        expected = [info.title, f"`{name}`", default_of(info), range_of(info), info.description]
        assert table[name] == expected


def test_every_event_is_documented_and_no_other() -> None:
    table = page("api.md").partition("| Type |")[2].partition("\n\n")[0]
    written = set(re.findall(r"`(\w+)`", "\n".join(row[0] for row in rows(table))))
    source = Path(chat_events.__file__).read_text("utf-8")
    declared = set(re.findall(r'tag="(\w+)"', source))
    assert declared == written


@pytest.mark.parametrize("build", accelerators.BUILDS)
def test_build_is_documented(build: str) -> None:
    assert f"| `{build}` |" in page("getting-started.md")


def test_every_page_is_in_the_index() -> None:
    index = page("index.md")
    assert [path.name for path in PAGES if path.name != "index.md" and path.name not in index] == []


@pytest.mark.parametrize("path", [*PAGES, ROOT / "README.md"], ids=lambda path: path.name)
def test_links_inside_the_docs_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", path.read_text("utf-8"))
    local = [link for link in links if "://" not in link and not link.endswith("chat.png")]
    assert [link for link in local if not (path.parent / link).exists()] == []


def test_newest_heading_of_the_changelog_is_this_version_or_unreleased() -> None:
    heading = re.search(r"^## \[?([^\]\s]+)", page("changelog.md"), re.MULTILINE)
    assert heading is not None
    assert heading[1] in {"Unreleased", webui.__version__}


def test_floors_of_the_architecture_page_are_those_of_the_contract() -> None:
    written = page("architecture.md").partition("```\n")[2].partition("```")[0]
    on_page = [re.split(r"\s{2,}", line)[0].split(" | ") for line in written.splitlines()]
    config = (ROOT / "pyproject.toml").read_text("utf-8")
    layers = config.partition('containers = ["webui"]\nlayers = [')[2].partition("\n]")[0]
    built = [
        [name for name in layer.split(" | ") if not name.startswith("(")]
        for layer in re.findall(r'"([^"]+)"', layers)
    ]
    assert on_page == [names for names in built if names]
