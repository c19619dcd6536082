"""The server as a whole: who runs and waits, what it takes of the disk, backups, its log, a banner.

Knows use cases of other rooms and files by size; shows names of people and never their texts.
"""

from __future__ import annotations

import asyncio
import os
import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from webui import __version__
from webui.actor import LOCAL_USER_ID, Permission
from webui.administration.log_tail import LogTail
from webui.chat.events import MeChanged
from webui.errors import InvalidRequest
from webui.storage import settings as choices
from webui.storage import users

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sqlalchemy.orm import Session

    from webui.actor import Actor
    from webui.chat.event_log import EventLog
    from webui.chat.generations import Generations
    from webui.settings import Settings
    from webui.storage.backup import Backup, Backups
    from webui.storage.database import Database

BANNER = "server/banner"
MAX_BANNER_CHARS = 500
SOMEBODY = "somebody who is gone"


class RunningView(msgspec.Struct, frozen=True):
    """A request that is not at its end.

    Attributes:
        name: Of whose it is.
        doing: `waiting`, `reading` or `writing`.
        task: `reply`, `embed` or `rerank`.
    """

    name: str
    is_api: bool
    doing: str
    num_tokens: int
    since_s: float
    task: str


class StorageView(msgspec.Struct, frozen=True):
    """What lies on the disk, in bytes."""

    database_bytes: int
    backups_bytes: int
    states_bytes: int
    models_bytes: int
    free_bytes: int


class BackupView(msgspec.Struct, frozen=True):
    """One backup."""

    name: str
    kind: str
    made_at: datetime
    num_bytes: int


class ServerView(msgspec.Struct, frozen=True, kw_only=True):
    """The server at one moment."""

    version: str
    python: str
    system: str
    started_at: datetime
    data_dir: str
    num_users: int
    banner: str
    running: list[RunningView]
    storage: StorageView
    backups: list[BackupView]


class Administration:
    """Use cases of administrators that concern nobody's account.

    Args:
        database: Where choices and people are kept.
        backups: Of that database.
        generations: What runs.
        events: Where everybody hears of the banner.
        settings: What the server was told.
    """

    def __init__(
        self,
        database: Database,
        backups: Backups,
        generations: Generations,
        events: EventLog,
        settings: Settings,
    ) -> None:
        self.log_tail = LogTail()
        self.banner = ""
        self._database = database
        self._backups = backups
        self._generations = generations
        self._events = events
        self._settings = settings
        self._started_at = datetime.now(UTC)

    async def open(self) -> None:
        """Read what was chosen before."""
        self._started_at = datetime.now(UTC)
        self.banner = await self._database.read(choices.find, LOCAL_USER_ID, BANNER) or ""

    async def look(self, actor: Actor) -> ServerView:
        """Return how the server stands.

        Raises:
            PermissionDenied: The actor is no administrator.
        """
        actor.require(Permission.ADMINISTER)
        names = await self._database.read(_names)
        storage, found = await asyncio.to_thread(self._on_disk)
        return ServerView(
            version=__version__,
            python=platform.python_version(),
            system=f"{platform.system()} {platform.release()}",
            started_at=self._started_at,
            data_dir=str(self._settings.data_dir),
            num_users=len(names),
            banner=self.banner,
            running=self._running(names),
            storage=storage,
            backups=found,
        )

    async def list_running(self, actor: Actor) -> list[RunningView]:
        """Return for whom the model works, and who waits for it.

        Raises:
            PermissionDenied: The actor is no administrator.
        """
        actor.require(Permission.ADMINISTER)
        return self._running(await self._database.read(_names))

    async def back_up(self, actor: Actor) -> BackupView:
        """Make a backup now.

        Raises:
            PermissionDenied: The actor is no administrator.
            StorageFull: There is no room.
            StorageBusy: Another backup is being made.
        """
        actor.require(Permission.ADMINISTER)
        return _backup_view(await asyncio.to_thread(self._backups.make))

    async def set_banner(self, actor: Actor, text: str) -> str:
        """Show everybody a line, also where the page is open; an empty one takes it away.

        Raises:
            PermissionDenied: The actor is no administrator.
            InvalidRequest: It is too long.
        """
        actor.require(Permission.ADMINISTER)
        text = " ".join(text.split())
        if len(text) > MAX_BANNER_CHARS:
            raise InvalidRequest(
                f"banner has {len(text)} characters",
                f"Take at most {MAX_BANNER_CHARS}.",
                field="banner",
            )
        await self._database.run(choices.put, LOCAL_USER_ID, BANNER, text)
        self.banner = text
        self._events.broadcast(MeChanged())
        return text

    def log(self, actor: Actor, num_lines: int) -> Sequence[str]:
        """Return the last lines of the log, oldest first.

        Raises:
            PermissionDenied: The actor is no administrator.
        """
        actor.require(Permission.ADMINISTER)
        return self.log_tail.last(num_lines)

    def _running(self, names: Mapping[str, str]) -> list[RunningView]:
        return [
            RunningView(
                names.get(one.owner, SOMEBODY),
                one.is_api,
                one.doing.value,
                one.num_tokens,
                round(one.since_s, 1),
                one.task.value,
            )
            for one in self._generations.all_running()
        ]

    def _on_disk(self) -> tuple[StorageView, list[BackupView]]:
        settings, database = self._settings, self._database.path
        found = self._backups.list()
        beside = [database.with_name(database.name + end) for end in ("", "-wal", "-shm")]
        storage = StorageView(
            database_bytes=sum(map(_size, beside)),
            backups_bytes=sum(backup.num_bytes for backup in found),
            states_bytes=_size_below(settings.states_dir),
            models_bytes=_size_below(settings.models_dir) if settings.models_dir else 0,
            free_bytes=_free(database.parent),
        )
        return storage, [_backup_view(backup) for backup in found]


def _names(session: Session) -> dict[str, str]:
    return {row.id: row.name for row in users.list_all(session)}


def _backup_view(backup: Backup) -> BackupView:
    return BackupView(backup.path.name, backup.kind, backup.made_at, backup.num_bytes)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _size_below(folder: Path) -> int:
    """Return the bytes of all files of a folder; links are not followed."""
    return sum(
        _size(path) for path in folder.rglob("*") if path.is_file() and not path.is_symlink()
    )


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
