"""Who may be listened for, and whose port it is."""

from __future__ import annotations

import socket

import pytest

from webui.cli.server import ListenError, check_address, open_socket
from webui.errors import InvalidRequest, PermissionDenied


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_address_of_this_machine_is_fine(host: str) -> None:
    check_address(host, listen=False)


@pytest.mark.parametrize(
    ("host", "listen"),
    [("0.0.0.0", False), ("::", False), ("192.168.1.2", False), ("127.0.0.1", True)],
)
def test_address_that_others_reach_is_refused_with_the_reason(host: str, *, listen: bool) -> None:
    with pytest.raises(PermissionDenied, match="accounts"):
        check_address(host, listen=listen)


def test_host_that_is_no_address_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="example"):
        check_address("example.org", listen=False)


def test_port_in_use_is_named_with_another_one() -> None:
    with open_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError) as caught:
            open_socket("127.0.0.1", port)
    assert str(port) in caught.value.message
    assert "--port" in caught.value.hint


def test_free_port_is_found_and_its_socket_listens() -> None:
    with open_socket("127.0.0.1", 0) as listener:
        socket.create_connection(listener.getsockname(), timeout=5).close()
