"""Servers with people in them, for tests in a browser."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.serving import Server
from webui.storage.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy.orm import Session

ANN, BOB = "four words in a row", "another row of words"


@contextmanager
def house_of_two(data_dir: Path, *flags: str) -> Iterator[Server]:
    """Run one with Ann, the administrator, as whom it is asked, and Bob."""
    server = Server(data_dir, *flags).start()
    server.token = server.claim("Ann", ANN)
    server.ask("POST", "/api/users", {"name": "Bob", "password": BOB})
    server.wait_for_ui()
    yield server
    server.close()


@contextmanager
def house_of_many(data_dir: Path, fill: Callable[[Session], None], *flags: str) -> Iterator[Server]:
    """Run one with Ann, the administrator, and whom `fill` puts into the database before."""
    data_dir.mkdir(mode=0o700)
    with ThreadPoolExecutor(1) as elsewhere:  # the browser has the loop of this thread
        elsewhere.submit(lambda: asyncio.run(_fill(data_dir, fill))).result()
    server = Server(data_dir, *flags).start()
    server.token = server.claim("Ann", ANN)
    server.wait_for_ui()
    yield server
    server.close()


async def _fill(data_dir: Path, fill: Callable[[Session], None]) -> None:
    database = Database(data_dir / "hearthside.db")
    await database.open()
    await database.run(fill)
    await database.close()
