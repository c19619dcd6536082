"""Who may be listened for, and whose port it is."""

from __future__ import annotations

import errno
import socket

import pytest

from webui.cli.server import ListenError, check_address, open_socket, open_sockets
from webui.errors import InvalidRequest
from webui.settings import Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_address_of_this_machine_is_fine(host: str) -> None:
    check_address(Settings(host=host, listen=False))


@pytest.mark.parametrize(
    ("host", "listen"), [("0.0.0.0", False), ("::", False), ("127.0.0.1", True)]
)
def test_address_that_others_reach_is_fine_since_they_must_sign_in(
    host: str, *, listen: bool
) -> None:
    check_address(Settings(host=host, listen=listen))


def test_host_that_is_no_address_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="example"):
        check_address(Settings(host="example.org", listen=False))


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


def test_several_addresses_get_the_same_free_port() -> None:
    listeners = open_sockets(["127.0.0.1", "127.0.0.2"], 0)
    try:
        ports = {listener.getsockname()[1] for listener in listeners}
        assert len(ports) == 1
        assert ports != {0}
        for host in ("127.0.0.1", "127.0.0.2"):
            socket.create_connection((host, *ports), timeout=5).close()
    finally:
        for listener in listeners:
            listener.close()


def test_machine_without_the_second_family_listens_on_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = socket.create_server

    def without_v6(address: tuple[str, int], **named: object) -> socket.socket:
        if ":" in address[0]:
            raise OSError(errno.EADDRNOTAVAIL, "no IPv6 here")
        return real(address, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "create_server", without_v6)
    (listener,) = open_sockets(["127.0.0.1", "::1"], 0)
    listener.close()
    with pytest.raises(ListenError):
        open_sockets(["::1", "127.0.0.1"], 0)


def test_port_taken_on_one_of_the_addresses_frees_the_others() -> None:
    with open_socket("127.0.0.2", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=str(port)):
            open_sockets(["127.0.0.1", "127.0.0.2"], port)
        open_socket("127.0.0.1", port).close()
