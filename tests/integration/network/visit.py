"""Run inside a network of its own: start an open server there, visit it, say what was seen.

Prints one JSON object. Knows nothing of what is right; `test_listening` does.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zeroconf import IPVersion, ServiceBrowser, ServiceListener, Zeroconf

if TYPE_CHECKING:
    from collections.abc import Callable

PORT = 7860
ADDRESS = "192.168.77.5"
LATER = "192.168.77.9"
KIND = "_https._tcp.local."
WAIT_S = 40


def ask(
    host: str, path: str, context: ssl.SSLContext, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """Send one request over https."""
    connection = http.client.HTTPSConnection(host.strip("[]"), PORT, timeout=10, context=context)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"not so in time: {what}")
        time.sleep(0.1)


def certified(host: str, context: ssl.SSLContext) -> bool:
    """Whether a host is reached with a certificate that is for it."""
    try:
        return ask(host, "/health", context)[0] == 200
    except OSError:
        return False


def outcome(action: Callable[[], object]) -> str:
    """Return "answered", or "refused" for a connection that was broken off."""
    try:
        action()
    except (OSError, http.client.HTTPException):
        return "refused"
    return "answered"


def old_tls() -> None:
    """Ask over TLS 1.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    ask(ADDRESS, "/health", context)


def plain_http() -> None:
    """Ask over http."""
    connection = http.client.HTTPConnection(ADDRESS, PORT, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/health")
        connection.getresponse()


class Listener(ServiceListener):
    """Remembers the services that were announced."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self.names.append(name)

    def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        pass

    def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        pass


def announced() -> dict[str, Any]:
    """Return what the network knows of the server."""
    with contextlib.closing(Zeroconf(interfaces=[ADDRESS])) as network:
        listener = Listener()
        ServiceBrowser(network, KIND, listener)
        wait_for(lambda: bool(listener.names), "the server is announced")
        info = network.get_service_info(KIND, listener.names[0], timeout=5000)
        if info is None:
            sys.exit("the announced service could not be resolved")
        return {
            "port": info.port,
            "path": (info.properties[b"path"] or b"").decode(),
            "addresses": info.parsed_addresses(IPVersion.All),
        }


def visit(log: Path, trust: Path) -> dict[str, Any]:
    """Look at a running server from all sides."""
    wait_for(lambda: "SHA-256" in log.read_text(), "the server says where it is")
    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    status, authority = ask(ADDRESS, "/ca.crt", blind)
    assert status == 200
    trust.write_bytes(authority)
    context = ssl.create_default_context(cafile=str(trust))
    seen: dict[str, Any] = {"trusted": {}, "hosts": {}}
    for host in (ADDRESS, "[fd00:77::5]", "127.0.0.1", "[::1]", "localhost"):
        seen["trusted"][host] = ask(host, "/health", context)[0]
    try:
        ask(ADDRESS, "/health", ssl.create_default_context())
    except ssl.SSLError as error:
        seen["distrusted"] = str(error)
    seen["old_tls"], seen["plain_http"] = outcome(old_tls), outcome(plain_http)
    for name in ("evil.example", "192.168.77.6"):
        seen["hosts"][name] = ask(ADDRESS, "/health", context, {"Host": name})[0]
    seen["hosts"]["own"] = ask(ADDRESS, "/health", context, {"Host": os.uname().nodename})[0]
    told = json.loads(ask("127.0.0.1", "/api/lan", context)[1])
    seen["fingerprint"] = told["fingerprint"]
    seen["lan"] = {**told, "addresses": [one["url"] for one in told["addresses"]]}
    seen["announced"] = announced()
    before = ask(ADDRESS, "/health", context, {"Host": LATER})[0]
    subprocess.run(["ip", "addr", "add", f"{LATER}/24", "dev", "lan0"], check=True)  # noqa: S607
    wait_for(lambda: certified(LATER, context), "the new address is served")
    seen["later"] = {"before": before, "after": ask(LATER, "/health", context)[0]}
    return seen


def main(folder: Path) -> None:
    """Start the server, visit it, end it."""
    output, log = folder / "output", folder / "log"
    flags = ["--no-ui", "--no-browser", "--fake-engine", "50", "--listen", "--tls"]
    place = ["--port", str(PORT), "--data-dir", str(folder / "data")]
    with output.open("wb") as stdout, log.open("wb") as stderr:
        server = subprocess.Popen(
            [sys.executable, "-m", "webui", "serve", *flags, *place],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={key: value for key, value in os.environ.items() if key[:6] != "WEBUI_"},
        )
    try:
        seen = visit(output, folder / "trusted.crt")
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        seen["exit_code"] = server.wait(20)
        seen["end_s"] = time.monotonic() - began
    finally:
        server.kill()
        sys.stderr.write(log.read_text()[-3000:])
    sys.stdout.write(json.dumps({**seen, "said": output.read_text(), "log": log.read_text()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
