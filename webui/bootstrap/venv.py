"""The virtual environment itself and what must be on the machine before it is filled."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from webui.bootstrap.terminal import Stop, say

NEEDED_BYTES = 1_500_000_000
NEEDED_TEMPORARY_BYTES = 700_000_000
COMPILERS = {
    "C": ("CC", ("cc", "gcc", "clang")),
    "C++": ("CXX", ("c++", "g++", "clang++")),
}
PROBE = "import sys; raise SystemExit(sys.version_info < (3, 11))"


def check_room(folder: Path) -> None:
    """Check that the disk has room for the packages.

    Raises:
        Stop: It has not.
    """
    _check_free(folder, NEEDED_BYTES)


def check_compile() -> None:
    """Check that llama.cpp can be compiled at all.

    Raises:
        Stop: A compiler is missing, or the temporary folder is full.
    """
    for language, (variable, names) in COMPILERS.items():
        named = os.environ.get(variable)
        if not any(shutil.which(name) for name in ([named.split()[0]] if named else names)):
            how = (
                "xcode-select --install"
                if sys.platform == "darwin"
                else "sudo apt install build-essential (or your system's package of it)"
            )
            raise Stop(f"there is no {language} compiler ({named or ', '.join(names)}): {how}")
    _check_free(Path(tempfile.gettempdir()), NEEDED_TEMPORARY_BYTES)


def make(venv: Path, pip_requirement: str) -> None:
    """Make the environment with a pip in it, unless a working one is there.

    Args:
        venv: Its folder.
        pip_requirement: Block of the lock file with pip, for systems without ensurepip.

    Raises:
        Stop: The system's Python lacks what is needed for it.
    """
    python = venv / "bin" / "python"
    works = _succeeds([str(python), "-c", PROBE])
    if works and _succeeds([str(python), "-m", "pip", "--version"]):
        return
    say(f"Making {venv} with Python {sys.version.split()[0]}")
    # What stands there without a working Python is the rest of a broken attempt.
    start = [sys.executable, "-m", "venv"] + ([] if works else ["--clear"])
    if importlib.util.find_spec("ensurepip"):
        _run([*start, str(venv)], "the environment could not be made")
    else:
        _run([*start, "--without-pip", str(venv)], "the environment could not be made")
        _borrow_pip(python, pip_requirement)


def site_packages(venv: Path) -> Path:
    """Return the folder of its packages."""
    script = "import sysconfig; print(sysconfig.get_path('purelib'))"
    command = [str(venv / "bin" / "python"), "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def _borrow_pip(python: Path, requirement: str) -> None:
    """Install pip by the pip of the system (22.3 or newer knows `--python`)."""
    borrowed = [sys.executable, "-m", "pip"]
    if importlib.util.find_spec("pip") is None:
        found = shutil.which("pip3") or shutil.which("pip")
        if found is None:
            raise Stop(
                "this Python has neither ensurepip nor pip: "
                "sudo apt install python3-venv (or python3-pip)"
            )
        borrowed = [found]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pip.txt"
        file.write_text(requirement, "utf-8")
        command = [*borrowed, "--python", str(python), "install", "--require-hashes"]
        _run([*command, "-q", "-r", str(file)], "pip could not be installed")


def _run(command: list[str], otherwise: str) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["it said nothing"])[-1]
        raise Stop(f"{otherwise}: {last} (command: {' '.join(command)})")


def _succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _check_free(folder: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise Stop(
            f"{folder} has {free_bytes / 1e9:.1f} GB free; "
            f"the install needs {needed_bytes / 1e9:.1f} GB"
        )
