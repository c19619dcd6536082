"""Decide whether anything is to install, install it, and become the Python of `.venv`.

The one place that knows the order; a start with everything there reads one stamp and no more.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from webui.bootstrap import lock
from webui.bootstrap.accelerators import BUILDS
from webui.bootstrap.install import install
from webui.bootstrap.terminal import Stop, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
NEEDED_TO_RUN = (
    *("alembic", "click", "fastapi", "filelock", "gradio", "jinja2", "llama_cpp", "msgspec"),
    *("platformdirs", "psutil", "pydantic", "pydantic_settings", "sqlalchemy", "uvicorn"),
)
NEEDED_TO_DEVELOP = ("grimp", "hypothesis", "mypy", "playwright", "pytest", "ruff")


@dataclass(frozen=True)
class Checkout:
    """A folder with our sources and the `.venv` in it."""

    root: Path

    @property
    def venv(self) -> Path:
        """Return the folder of the virtual environment."""
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        """Return the Python of the virtual environment."""
        return self.venv / "bin" / "python"

    @property
    def stamp(self) -> Path:
        """Return the file that says what is installed."""
        return self.venv / "hearthside.json"

    @property
    def is_one(self) -> bool:
        """Whether this is a checkout, and not a package installed by pip."""
        locked = self.root / ".ci" / lock.RUN
        return (self.root / "pyproject.toml").is_file() and locked.is_file()

    @property
    def is_running(self) -> bool:
        """Whether this process is the Python of the virtual environment."""
        return Path(sys.prefix).resolve() == self.venv.resolve()


def enter(
    module: str, arguments: Sequence[str], *, root: Path = ROOT, develop: bool = False
) -> None:
    """Return when this Python can run `module`; else install and become the one that can.

    Args:
        module: What `python -m` is to run in the virtual environment.
        arguments: Its arguments; only `--build` is looked at.
        root: Folder of the checkout.
        develop: Whether what tests and checks need is to be there as well.
    """
    checkout = Checkout(root)
    needed = NEEDED_TO_RUN + (NEEDED_TO_DEVELOP if develop else ())
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    try:
        if not checkout.is_one:
            if missing:
                raise Stop(
                    f"{missing[0]} is not installed; install Hearthside with its dependencies: "
                    "pip install hearthside"
                )
            return
        build = wanted_build(arguments, os.environ)
        stamp = lock.read_stamp(checkout.stamp)
        file = lock.DEVELOP if develop else lock.RUN
        if not missing and build is None and (stamp is None or not checkout.is_running):
            return  # an environment of the person's own making
        if not _is_installed(checkout, stamp, file, build):
            _install_once(checkout, file, build)
        elif checkout.is_running:
            return
    except Stop as stop:
        sys.exit(f"Error: {stop}")
    except KeyboardInterrupt:
        say()
        sys.exit("Stopped; the next start goes on from here")
    sys.stdout.flush()
    os.execv(checkout.python, [str(checkout.python), "-m", module, *arguments])  # noqa: S606 - a child would swallow SIGTERM


def wanted_build(arguments: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """Return the kind of llama.cpp that a flag or the environment names.

    Raises:
        Stop: There is no such kind.
    """
    build = environ.get("WEBUI_BUILD") or None
    words: Iterator[str] = iter(arguments)
    for word in words:
        if word == "--build":
            build = next(words, "")
        elif word.startswith("--build="):
            build = word.partition("=")[2]
    if build is not None and build not in BUILDS:
        raise Stop(f"--build {build!r} is not one of {', '.join(BUILDS)}")
    return build


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end pip and its compilers too, as Ctrl+C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _is_installed(
    checkout: Checkout, stamp: lock.Stamp | None, file: str, build: str | None
) -> bool:
    if stamp is None or not checkout.python.exists() or build not in {None, stamp.build}:
        return False
    return stamp.digests.get(file) == lock.digest(checkout.root / ".ci" / file)


def _install_once(checkout: Checkout, file: str, build: str | None) -> None:
    """Install, unless another start is at it: then wait and look again.

    Raises:
        Stop: It cannot be done; says what to do.
    """
    try:
        checkout.venv.mkdir(exist_ok=True)
        guard = (checkout.venv / ".installing").open("w")
    except OSError as error:
        raise Stop(f"cannot write to {checkout.venv}: {error.strerror}") from error
    with guard, _stoppable():
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another start of Hearthside is installing here; waiting for it")
            fcntl.flock(guard, fcntl.LOCK_EX)
        stamp = lock.read_stamp(checkout.stamp)
        if not _is_installed(checkout, stamp, file, build):
            install(checkout.root, checkout.venv, checkout.stamp, file, build)
