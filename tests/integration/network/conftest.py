from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import nginx
from tests.nginx import Nginx
from tests.serving import Server, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that knows that a proxy stands before it."""
    folder = tmp_path_factory.mktemp("proxied")
    known = ["--trusted-proxy", "127.0.0.1", "--allowed-hosts", "chat.example.org"]
    shown = ["--root-path", nginx.ROOT_PATH, "--fake-engine", "30"]
    made = Server(folder / "data", *known, *shown)
    made.start()
    made.wait_for_ui()
    yield made
    made.close()


@pytest.fixture(scope="module", params=["left on", "taken off"])
def proxy(
    request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Nginx]:
    """An nginx before it; the path is left on or taken off."""
    program = nginx.require_nginx()
    made = Nginx(
        program,
        tmp_path_factory.mktemp("nginx"),
        port=free_port(),
        target=server.port,
        takes_root_off=request.param == "taken off",
    )
    with made:
        yield made
