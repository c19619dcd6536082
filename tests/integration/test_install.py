"""What a newcomer gets: a wheel that holds everything, a checkout that installs itself once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tests.serving import Server
from webui.bootstrap import lock, start
from webui.bootstrap.start import Checkout

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("pyproject.toml", "README.md", "LICENSE", "webui", "tests", ".ci")


def copy_checkout(target: Path) -> Path:
    """Copy what a clone would hold."""
    target.mkdir()
    for name in PARTS:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target / name, ignore=ignored)
        else:
            shutil.copy(source, target / name)
    return target


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    checkout = copy_checkout(folder / "checkout")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*command, "-w", str(folder), str(checkout)], check=True, timeout=120)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed") / "packages"
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "-q"]
    subprocess.run([*command, "--target", str(target), str(wheel)], check=True, timeout=120)
    return target


@pytest.fixture
def empty_folder(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, with the installed package on the path."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(installed))
    return folder


def test_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if name.startswith("webui/")}
    checkout = wheel.parent / "checkout"
    there = {
        path.relative_to(checkout).as_posix()
        for path in (checkout / "webui").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert there - inside == set()
    assert inside - there == set()


@pytest.mark.usefixtures("empty_folder")
def test_console_script_of_the_installed_package_starts(installed: Path) -> None:
    done = subprocess.run(
        [installed / "bin" / "webui", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "serve" in done.stdout


def test_server_of_the_installed_package_has_page_script_database_and_docs(
    empty_folder: Path, installed: Path
) -> None:
    server = Server(empty_folder / "data", "--fake-engine", "50")
    try:
        server.start()
        status, body = server.request("GET", "/")
        assert (status, b"shell" in body) == (200, True)
        for name in ("app.js", "strings.en.json", "vendor/markdown.bundle.js"):
            assert server.request("GET", f"/ui/{name}")[0] == 200, name
        assert server.new_conversation()
        server.wait_for_ui()
        assert server.request("GET", "/")[0] == 200
    finally:
        server.close()
    where = "import webui; print(webui.__file__)"
    done = subprocess.run([sys.executable, "-c", where], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(installed))
    assert (installed / "webui" / "docs" / "index.md").is_file()


def make_installed(root: Path) -> Checkout:
    """Make a folder that looks like a checkout with everything installed."""
    checkout = Checkout(root)
    (root / ".ci").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    checkout.python.parent.mkdir(parents=True)
    checkout.python.touch()
    digests = {}
    for name in (lock.RUN, lock.DEVELOP):
        (root / ".ci" / name).write_text(f"{name}==1\n")
        digests[name] = lock.digest(root / ".ci" / name)
    lock.write_stamp(checkout.stamp, lock.Stamp(digests, "cpu"))
    return checkout


class Became(Exception):  # noqa: N818 - stands for execv, which does not return
    """The process became another one."""


@pytest.fixture
def bare_python(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A Python with nothing installed, whose execv and install are only noted."""
    noted: list[list[str]] = []

    def become(path: Path, command: list[str]) -> None:
        raise Became(*command)

    monkeypatch.setattr(start.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(start.os, "execv", become)
    monkeypatch.setattr(start, "install", lambda *given: noted.append([str(g) for g in given]))
    monkeypatch.delenv("WEBUI_BUILD", raising=False)
    return noted


def test_second_start_installs_nothing_and_becomes_the_python_of_the_environment(
    tmp_path: Path, bare_python: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = make_installed(tmp_path / "checkout")

    def refuse(*given: object, **more: object) -> None:
        raise AssertionError("a second start runs no program")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(Became) as became:
        start.enter("webui", ["--port", "1"], root=checkout.root)
    assert list(became.value.args) == [str(checkout.python), "-m", "webui", "--port", "1"]
    assert bare_python == []


@pytest.mark.parametrize(
    ("arguments", "change", "build"),
    [
        ([], "lock", "None"),
        ([], "stamp", "None"),
        (["--build", "cuda"], "", "cuda"),
    ],
)
def test_start_installs_again_when_something_changed(
    tmp_path: Path, bare_python: list[list[str]], arguments: list[str], change: str, build: str
) -> None:
    checkout = make_installed(tmp_path / "checkout")
    if change == "lock":
        (checkout.root / ".ci" / lock.RUN).write_text("other==2\n")
    elif change == "stamp":
        checkout.stamp.unlink()
    with pytest.raises(Became):
        start.enter("webui", arguments, root=checkout.root)
    assert [given[-1] for given in bare_python] == [build]


def test_package_without_its_dependencies_says_so(
    tmp_path: Path, bare_python: list[list[str]]
) -> None:
    with pytest.raises(SystemExit, match="pip install"):
        start.enter("webui", [], root=tmp_path)
    assert bare_python == []


def test_checkout_that_cannot_be_written_is_one_line(
    tmp_path: Path, bare_python: list[list[str]]
) -> None:
    checkout = make_installed(tmp_path / "checkout")
    shutil.rmtree(checkout.venv)
    checkout.venv.write_text("in the way")
    with pytest.raises(SystemExit, match="cannot write to"):
        start.enter("webui", [], root=checkout.root)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_bare_checkout_installs_itself_once_and_then_starts_without_a_network(
    tmp_path: Path,
) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "WEBUI_BUILD"}}
    bare = Path(sys.base_prefix) / "bin" / "python3"
    command = [str(bare), "-m", "webui", "--help"]

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=checkout,
            env={**environment, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    first = run()
    assert first.returncode == 0, first.stdout[-2000:] + first.stderr[-2000:]
    assert "Looking for accelerators" in first.stdout
    assert "--fake-engine" in run().stdout or "serve" in run().stdout
    started = time.monotonic()
    second = run(PIP_INDEX_URL="http://127.0.0.1:9/", PIP_NO_INDEX="1")
    assert second.returncode == 0
    assert "Installing" not in second.stdout
    assert time.monotonic() - started < 20
