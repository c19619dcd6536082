"""A server that listens on a whole network: one that the test makes, with nobody else on it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(150)]

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
NETWORK = """
ip link set lo up
ip link add lan0 type veth peer name lan1
ip link set lan1 up
ip addr add 192.168.77.5/24 dev lan0
ip -6 addr add fd00:77::5/64 dev lan0 nodad
ip link set lan0 multicast on up
ip route add 224.0.0.0/4 dev lan0
exec "$@"
"""
ALONE = ["unshare", "--user", "--map-root-user", "--net", "bash", "-euc", NETWORK, "network"]


def has_networks() -> bool:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    return subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a visitor on that network saw."""
    if not has_networks():
        pytest.skip("this system makes no network namespaces for the asking")
    folder = tmp_path_factory.mktemp("listening")
    done = subprocess.run(
        [*ALONE, sys.executable, "-m", "tests.integration.network.visit", str(folder)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_addresses_and_fingerprint_are_printed(seen: dict[str, Any]) -> None:
    said = seen["said"].splitlines()
    at = said.index("On other devices of this network:")
    assert said[at - 1] == "Hearthside is at https://127.0.0.1:7860"
    assert said[at + 1] == "  https://192.168.77.5:7860"
    assert said[at + 2].endswith(".local:7860")
    assert said[at + 3] == "  https://[fd00:77::5]:7860"
    assert f"SHA-256 {seen['fingerprint']}" in said
    assert "plain http" not in seen["said"]


def test_device_that_trusts_the_authority_is_let_in_at_every_address(seen: dict[str, Any]) -> None:
    assert seen["trusted"] == {
        "192.168.77.5": 200,
        "[fd00:77::5]": 200,
        "127.0.0.1": 200,
        "[::1]": 200,
        "localhost": 200,
    }


def test_device_that_does_not_trust_it_is_told_so(seen: dict[str, Any]) -> None:
    assert "CERTIFICATE_VERIFY_FAILED" in seen["distrusted"]


def test_old_tls_and_plain_http_get_no_answer(seen: dict[str, Any]) -> None:
    assert seen["old_tls"] == "refused"
    assert seen["plain_http"] == "refused"


def test_foreign_name_is_421_and_our_own_is_not(seen: dict[str, Any]) -> None:
    assert seen["hosts"] == {"evil.example": 421, "192.168.77.6": 421, "own": 200}


def test_address_that_comes_later_is_answered_and_certified_without_a_restart(
    seen: dict[str, Any],
) -> None:
    assert seen["later"] == {"before": 421, "after": 200}


def test_name_is_announced_with_port_and_addresses(seen: dict[str, Any]) -> None:
    assert seen["announced"]["port"] == 7860
    assert seen["announced"]["path"] == "/"
    assert {"192.168.77.5", "fd00:77::5"} <= set(seen["announced"]["addresses"])


def test_sheet_of_the_page_names_the_same(seen: dict[str, Any]) -> None:
    assert seen["lan"]["is_open"]
    assert seen["lan"]["addresses"][0] == "https://192.168.77.5:7860"


def test_end_takes_the_announcement_back_in_time(seen: dict[str, Any]) -> None:
    assert seen["exit_code"] == 0
    assert seen["end_s"] < 5
    assert "Traceback" not in seen["log"]
    assert "level=warning" not in seen["log"]
    assert "level=error" not in seen["log"]
