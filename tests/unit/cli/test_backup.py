"""`webui backup` and `webui restore` as a person types them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from webui.cli.commands import commands
from webui.errors import Conflict, NotFound
from webui.storage.database import Database

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    async def make() -> None:
        database = Database(tmp_path / "data" / "hearthside.db")
        await database.open()
        await database.close()

    asyncio.run(make())
    return tmp_path / "data"


def say(data_dir: Path, *args: str, typed: str | None = None) -> str:
    runner = CliRunner()
    result = runner.invoke(commands, [args[0], "--data-dir", str(data_dir), *args[1:]], input=typed)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_backup_is_made_listed_and_put_back(data_dir: Path) -> None:
    assert say(data_dir, "backup", "--list") == ""
    said = say(data_dir, "backup")
    (made,) = (data_dir / "backups").iterdir()
    assert said.startswith("Saved ")
    assert str(made) in said
    assert "manual" in say(data_dir, "backup", "--list")
    said = say(data_dir, "restore", str(made), typed="y\n")
    assert "is the database now" in said
    assert "The one from before is" in said
    assert len(list(data_dir.glob("hearthside-replaced-*.db"))) == 1


def test_who_does_not_say_yes_changes_nothing(data_dir: Path) -> None:
    say(data_dir, "backup")
    (made,) = (data_dir / "backups").iterdir()
    assert "Aborted" in say(data_dir, "restore", str(made), typed="n\n")
    assert not list(data_dir.glob("hearthside-replaced-*.db"))
    assert "is the database now" in say(data_dir, "restore", str(made), "--yes")


def test_backup_goes_where_it_is_told_and_overwrites_nothing(
    data_dir: Path, tmp_path: Path
) -> None:
    target = tmp_path / "mine.db"
    assert str(target) in say(data_dir, "backup", "--to", str(target))
    with pytest.raises(Conflict, match="is there already"):
        say(data_dir, "backup", "--to", str(target))


def test_without_a_database_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no database"):
        say(tmp_path, "backup")
    assert list(tmp_path.iterdir()) == []
