"""`webui backup` and `webui restore`: copies of all conversations, made and put back.

Works on the files of the data folder; a server that runs there goes on while a backup is made,
and must not run when one is put back.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from webui.cli.control import DATA_DIR, settings_of
from webui.cli.doctor import size
from webui.errors import Conflict, NotFound
from webui.storage import failures
from webui.storage.backup import MANUAL, Backup, Backups, write_copy
from webui.storage.restore import check_backup, restore


@click.command()
@DATA_DIR
@click.option("--to", type=Path, metavar="FILE", help="Write it there; by default into backups/.")
@click.option("--list", "is_list", is_flag=True, help="Show what backups there are.")
def backup(*, data_dir: Path | None, to: Path | None, is_list: bool) -> None:
    """Save a checked copy of the database, also while the server runs."""
    database = _database(data_dir)
    backups = Backups(database)
    if is_list:
        for found in backups.list():
            click.echo(_line(found))
        return
    if not database.is_file():
        raise NotFound(f"There is no database {database} yet", "Name its folder with --data-dir.")
    if to is None:
        click.echo(f"Saved {_line(backups.make(MANUAL))}")
        return
    if to.exists():
        raise Conflict(f"{to} is there already", "Name a new file.")
    with failures.translated(to.absolute()):
        write_copy(database, to)
    click.echo(f"Saved {to} ({size(to.stat().st_size)})")


@click.command("restore")
@click.argument("file", type=Path)
@DATA_DIR
@click.option("--yes", is_flag=True, help="Do not ask.")
def restore_command(*, file: Path, data_dir: Path | None, yes: bool) -> None:
    """Put a backup in the place of the database; the one from before is kept beside it."""
    database = _database(data_dir)
    check_backup(file)
    if not yes:
        click.confirm(
            f"Put {file} ({_told(file)}) in the place of {database} ({_told(database)})?",
            abort=True,
        )
    done = restore(file, database)
    click.echo(f"{file} is the database now.")
    if done.replaced is not None:
        click.echo(f"The one from before is {done.replaced}")


def _database(data_dir: Path | None) -> Path:
    return settings_of(data_dir).database_path


def _line(found: Backup) -> str:
    made = f"{found.made_at.astimezone():%Y-%m-%d %H:%M}"
    return f"{made}  {found.kind:<7} {size(found.num_bytes):>9}  {found.path}"


def _told(path: Path) -> str:
    if not path.exists():
        return "there is none"
    about = path.stat()
    changed = datetime.fromtimestamp(about.st_mtime, UTC).astimezone()
    return f"{size(about.st_size)}, changed {changed:%Y-%m-%d %H:%M}"
