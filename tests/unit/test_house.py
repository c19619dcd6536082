"""The laws of the house that no other tool checks (shared design, `webui/docs/architecture.md`)."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "webui"
SOURCES = sorted(PACKAGE.rglob("*.py"))
OWN_STATIC = sorted(
    path
    for path in (PACKAGE / "ui" / "static").rglob("*")
    if path.suffix in {".js", ".css"} and "vendor" not in path.parts
)
TOP_LEVEL = {"pyproject.toml", "README.md", "LICENSE", "webui", "tests", "models", "extensions"}
MADE_BY_TOOLS = {"build", "dist"}
BANNED_NAMES = {
    *("utils", "util", "common", "shared", "helpers", "helper", "misc", "core", "base"),
    *("manager", "service"),
}
GROUND = (
    *("webui", "webui.errors", "webui.actor", "webui.messages", "webui.sampling_params"),
    *("webui.settings", "webui.bootstrap", "webui.engine.interface"),
)
HEAVY = ("gradio", "torch", "llama_cpp", "sqlalchemy", "fastapi", "uvicorn", "huggingface_hub")
# Each outside thing has one owner; a second file that imports it breaks the third law.
OWNERS = {
    "gradio": ("ui",),
    "gradio_client": ("ui",),
    "llama_cpp": ("loaders/llama_cpp",),
    "sqlalchemy": ("storage",),
    "alembic": ("storage",),
    "sqlite3": ("storage", "cli/doctor.py"),  # the doctor asks for its version only
    "torch": ("loaders/gptq",),
    "transformers": ("loaders/gptq",),
    "huggingface_hub": ("hub",),
    "pynvml": ("hub/devices.py",),
    "uvicorn": ("cli",),
    "argon2": ("accounts",),
    "authlib": ("accounts",),
    "joserfc": ("accounts",),
    "httpx": ("network/provider.py",),
    "cryptography": ("network",),
    "webauthn": ("accounts/ceremony.py",),
    "segno": ("network",),
    "zeroconf": ("network",),
    "fastapi": ("api", "app.py", "ui"),
    "pickle": (),
}
MAX_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_FACE_LINES = 40


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imports_of(path: Path) -> set[str]:
    """Return the top names of all modules that a file loads, also inside functions.

    What stands under TYPE_CHECKING is never loaded.
    """
    names: set[str] = set()
    waiting: list[ast.AST] = [tree_of(path)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", SOURCES + OWN_STATIC, ids=name_of)
def test_file_is_short(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_module_opens_with_its_law_and_functions_are_short(path: Path) -> None:
    tree = tree_of(path)
    assert path.stat().st_size == 0 or ast.get_docstring(tree), "no docstring"
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, functions):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_module_keeps_no_global_state(path: Path) -> None:
    tree = tree_of(path)
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Global)]
    mutable = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, mutable):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            constants = [name for name in names if name.isupper() or name == "__all__"]
            assert constants or "migrations" in path.parts, f"{names} can be changed by anybody"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_outside_thing_is_imported_by_its_owner_only(path: Path) -> None:
    inside = path.relative_to(PACKAGE).as_posix()
    for module in imports_of(path) & OWNERS.keys():
        assert inside.startswith(OWNERS[module]), f"{module} belongs to {OWNERS[module]}"


def test_no_module_has_a_name_that_says_nothing() -> None:
    names = {part for path in SOURCES for part in path.relative_to(PACKAGE).with_suffix("").parts}
    assert not names & BANNED_NAMES


def test_faces_are_short() -> None:
    lengths = {
        name_of(path): len(path.read_text("utf-8").splitlines())
        for path in SOURCES
        if path.name == "__init__.py"
    }
    assert {name: length for name, length in lengths.items() if length > MAX_FACE_LINES} == {}


def test_top_level_is_the_fixed_list() -> None:
    names = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    names = {name for name in names if not name.endswith(".egg-info")}
    assert names - MADE_BY_TOOLS == TOP_LEVEL


def test_bootstrap_and_entry_points_need_the_standard_library_only() -> None:
    allowed = set(sys.stdlib_module_names) | {"webui"}
    for path in (PACKAGE / "__init__.py", *(PACKAGE / "bootstrap").glob("*.py")):
        assert imports_of(path) <= allowed, name_of(path)
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import webui.bootstrap"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, timeout=30)


@pytest.mark.parametrize("modules", [GROUND, ("webui.cli",)], ids=["ground", "cli"])
def test_import_loads_nothing_heavy(modules: tuple[str, ...]) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {', '.join(modules)}\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True, timeout=30
    )
    # Commands may look into the store and start the server; drawing and models stay outside.
    forbidden = HEAVY if modules == GROUND else ("gradio", "torch", "llama_cpp")
    assert not {*forbidden, "webui.app"} & set(done.stdout.split())


def test_no_file_names_a_place_of_the_machine_it_was_written_on() -> None:
    marks = ("/" + "work/", "/" + "root/", "/opt/" + "pypi", "files." + "pythonhosted")
    # The `.git` file of a worktree names the place of its repository.
    files = [path for path in ROOT.glob("*.*") if path.name != ".git"]
    files += [*(ROOT / ".ci").iterdir(), *PACKAGE.rglob("*"), *OWN_STATIC]
    files += (ROOT / "tests").rglob("*.py")
    for path in files:
        if path.is_file() and path.suffix in {"", ".py", ".md", ".toml", ".txt", ".js", ".html"}:
            text = path.read_text("utf-8")
            assert not [mark for mark in marks if mark in text], name_of(path)
