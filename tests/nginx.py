"""Debian's nginx for tests of a reverse proxy: found, or unpacked beside the virtual environment.

It is not installed: the package would start a server on port 80.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
VARIABLE = "WEBUI_TEST_NGINX"
UNPACKED = ROOT / ".venv" / "nginx"
HOW = "install Debian's package `nginx`, or name an nginx in " + VARIABLE
ROOT_PATH = "/hearthside"
# The location is that of webui/docs/lan.md, to the letter; a test compares them.
LOCATION = """
location {root}/ {{
    proxy_pass {behind};
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_buffering off;
    proxy_read_timeout 1h;
    client_max_body_size 5m;
}}
"""
CONFIG = (
    """
daemon off;
{user}
worker_processes 1;
pid {folder}/pid;
events {{ worker_connections 128; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
"""
    + LOCATION
    + """
    }}
}}
"""
)


def find_nginx() -> str | None:
    """Return an nginx of this machine that runs."""
    places = (os.environ.get(VARIABLE), shutil.which("nginx"), "/usr/sbin/nginx")
    for place in (*places, str(UNPACKED / "usr" / "sbin" / "nginx")):
        if place and Path(place).exists() and _runs(place):
            return place
    return None


def require_nginx() -> str:
    """Return an nginx; without one the test is skipped, which `running` lets nobody do in CI."""
    return find_nginx() or pytest.skip(f"there is no nginx: {HOW}")


def fetch_nginx() -> str | None:
    """Unpack Debian's nginx where there is Debian; needs no rights."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.suppress(subprocess.CalledProcessError):
            _run(["apt-get", "download", "-q", "nginx"], folder)
        if not any(Path(folder).glob("nginx_*.deb")) and os.geteuid() == 0:
            _run(["apt-get", "update", "-q"], folder, check=False)
            _run(["apt-get", "download", "-q", "nginx"], folder, check=False)
        for package in Path(folder).glob("nginx_*.deb"):
            _run(["dpkg-deb", "--extract", str(package), str(UNPACKED)], folder, check=False)
    return find_nginx()


def _runs(place: str) -> bool:
    done = subprocess.run([place, "-v"], capture_output=True, check=False, timeout=10)
    return done.returncode == 0


def _run(command: list[str], folder: str, *, check: bool = True) -> None:
    subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=check,
        timeout=120,
    )


class Nginx:
    """An unprivileged nginx on a loopback port that shows one server under a path.

    Args:
        program: From `find_nginx`.
        folder: For all of its files.
        port: Where it listens.
        target: Port of the server behind.
        takes_root_off: Whether the path is taken off before it is passed on.
    """

    def __init__(
        self, program: str, folder: Path, *, port: int, target: int, takes_root_off: bool = False
    ) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}{ROOT_PATH}"
        self._program = program
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        behind = f"http://127.0.0.1:{target}{'/' if takes_root_off else ''}"
        user = "user root;" if os.geteuid() == 0 else ""
        text = CONFIG.format(folder=folder, port=port, behind=behind, user=user, root=ROOT_PATH)
        (folder / "nginx.conf").write_text(text)

    def __enter__(self) -> Nginx:
        config = self._folder / "nginx.conf"
        command = [self._program, "-p", str(self._folder), "-c", str(config), "-e", "stderr"]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
                return self
            said = (self._folder / "log").read_text()
            assert self._process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)
