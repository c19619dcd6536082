"""What `python3 -m tests` does once the packages are there: browser and proxy, then pytest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TextIO

import pytest

from tests import nginx

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_APPS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
VARIABLE = "WEBUI_TEST_CHROMIUM"
HOW = "install Debian's package `chromium`, or name a Chromium in " + VARIABLE


def main(arguments: list[str]) -> int:
    """Run the tests; return the exit code."""
    os.chdir(ROOT)
    browser = find_browser() or install_browser()
    if browser:
        os.environ[VARIABLE] = browser
    elif os.environ.get("CI"):
        say(f"Error: there is no Chromium, and in CI no browser test may be skipped: {HOW}")
        return 1
    proxy = nginx.find_nginx() or nginx.fetch_nginx()
    if proxy:
        os.environ[nginx.VARIABLE] = proxy
    elif os.environ.get("CI"):
        say(f"Error: there is no nginx, and in CI no test of it may be skipped: {nginx.HOW}")
        return 1
    else:
        say(f"There is no nginx; the tests of a reverse proxy are skipped: {nginx.HOW}")
    if "--install" in arguments:
        return 0
    if not browser:
        warn_of_missing_browser()
    code = pytest.main(arguments)
    if not browser:
        warn_of_missing_browser(sys.stderr)
    return int(code)


def find_browser() -> str | None:
    """Return a Chromium of this machine."""
    named = os.environ.get(VARIABLE)
    if named:
        return named
    found = (shutil.which(name) for name in COMMANDS)
    return next((path for path in (*found, *MAC_APPS) if path and Path(path).exists()), None)


def install_browser() -> str | None:
    """Install Debian's Chromium where that is allowed without asking anybody."""
    if shutil.which("apt-get") is None:
        return None
    sudo: list[str] = []
    if os.geteuid() != 0:
        if not os.environ.get("CI") or shutil.which("sudo") is None:
            return None
        sudo = ["sudo", "-n"]
    say("Installing Debian's Chromium for the browser tests")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-q"], ["install", "-q", "-y", "chromium"]):
        done = subprocess.run(
            [*sudo, "apt-get", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=environment,
        )
        if done.returncode:
            say("\n".join(done.stdout.splitlines()[-5:]))
    return find_browser()


def warn_of_missing_browser(stream: TextIO | None = None) -> None:
    """Say so in a way that nobody overlooks."""
    edge = "!" * 78
    words = f"{edge}\n!! NO BROWSER: the browser tests are SKIPPED.\n!! To run them, {HOW}.\n{edge}"
    say(words, stream)


def say(line: str, stream: TextIO | None = None) -> None:
    """Print one line at once."""
    stream = stream or sys.stdout
    stream.write(f"{line}\n")
    stream.flush()
