"""Without a network everything goes, and nothing tries to get out.

The browser tests run again in a network of their own, in which a cable leads nowhere: whatever a
process sends to anywhere but this machine is counted there by the kernel. Python's attempts are
written down with the program that made them; what a page asks for is watched by every browser test.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser.conftest import CHROMIUM, OFFLINE

pytestmark = [pytest.mark.browser, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).name
ACCOUNTS = "tests/browser/test_accounts.py"
SAMPLE = (
    "tests/browser/test_devices.py::test_server_of_this_machine_alone_says_how_to_open_it",
    f"{ACCOUNTS}::test_first_account_takes_the_chats_of_the_machine_along",
    f"{ACCOUNTS}::test_stranger_is_sent_to_sign_in_and_back_to_where_they_wanted",
)
# These get the starter model from the hub, which is what they are about.
FETCHING = ("test_first_light.py", "test_first_steps.py")
SILENT_S = 2

WATCH = """
import os, sys

TO_ADDRESS = ("socket.bind", "socket.connect", "socket.sendto")
TO_NAME = ("socket.getaddrinfo", "socket.gethostbyname")

def note(event, args):
    if event in TO_ADDRESS and isinstance(args[1], tuple):  # else a socket of the file system
        host = args[1][0]
    elif event in TO_NAME:
        host = args[0]
    else:
        return
    host = host.decode(errors="replace") if isinstance(host, bytes) else str(host)
    is_inside = host in ("None", "localhost", "::1", "") or host.startswith("127.")
    with open(os.environ["OFFLINE_LOG"], "a") as log:
        log.write(f"{'inside' if is_inside else 'outside'} {event} {host} {sys.argv[:4]}\\n")

sys.addaudithook(note)
"""

NETWORK = """
set -e
ip link set lo up
ip link add out0 type veth peer name far0
ip link set far0 up
echo 1 > /proc/sys/net/ipv6/conf/out0/disable_ipv6 2>/dev/null || ip link set out0 addrgenmode none
ip addr add 192.0.2.1/24 dev out0
ip link set out0 up
ip route add default via 192.0.2.254
ip neigh add 192.0.2.254 lladdr 02:00:00:00:00:01 dev out0
sleep {silent_s}
ip -s -j link show out0 > '{folder}/before'
"$@" || echo "$?" > '{folder}/failed'
ip -s -j link show out0 > '{folder}/after'
'{python}' -c "import socket; socket.socket(2, 2).sendto(b'x', ('198.51.100.7', 9))"
ip -s -j link show out0 > '{folder}/control'
"""


def run_inside(folder: Path, tests: list[str]) -> subprocess.CompletedProcess[str]:
    """Run tests without a network, and with eyes on who misses it."""
    (folder / "sitecustomize.py").write_text(WATCH)
    script = NETWORK.format(silent_s=SILENT_S, folder=folder, python=sys.executable)
    pytest_command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    return subprocess.run(
        ["unshare", "-Urn", "sh", "-c", script, "sh", *pytest_command],  # noqa: S607 - as found
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
            "OFFLINE_LOG": str(folder / "log"),
            OFFLINE: "1",
        },
    )


def sent(folder: Path, when: str) -> int:
    """Return how many packets had left for the outside at a time."""
    (device,) = json.loads((folder / when).read_text())
    return int(device["stats64"]["tx"]["packets"])


@pytest.mark.skipif(OFFLINE in os.environ, reason="runs inside itself")
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing")
@pytest.mark.parametrize("is_whole", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_browser_tests_pass_without_a_network_and_nothing_tries_to_get_out(
    tmp_path: Path, is_whole: bool
) -> None:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("needs the programs unshare and ip")
    probe = subprocess.run(
        ["unshare", "-Urn", "ip", "link", "add", "out0", "type", "veth"],  # noqa: S607 - as found
        capture_output=True,
        text=True,
        check=False,
    )
    if probe.returncode:
        pytest.skip(f"needs a network of its own: {probe.stderr.strip()}")
    left_out = [f"--ignore=tests/browser/{name}" for name in (HERE, *FETCHING)]
    tests = ["tests/browser", *left_out] if is_whole else [*SAMPLE]
    done = run_inside(tmp_path, tests)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert not (tmp_path / "failed").exists(), done.stdout[-5000:]
    assert " passed" in done.stdout
    seen = (tmp_path / "log").read_text().splitlines()
    assert [line for line in seen if line.startswith("outside")][:-1] == []
    assert any("inside socket.bind" in line and "webui/__main__.py" in line for line in seen)
    # The last one is ours, to see that both count.
    assert "198.51.100.7" in seen[-1]
    assert sent(tmp_path, "after") == sent(tmp_path, "before")
    assert sent(tmp_path, "control") == sent(tmp_path, "after") + 1
