"""What Alembic runs: on the connection it is handed, else on the file named by `-x database=`.

Run by Alembic only. The server hands over a connection that stands in a write transaction;
`alembic -x database=/path/hearthside.db revision --autogenerate` opens the file by itself.
"""

from __future__ import annotations

from pathlib import Path

from alembic import context
from sqlalchemy import Connection

from webui.errors import InvalidRequest
from webui.storage import sharing_tables, sign_in_tables  # noqa: F401 - tables of the metadata
from webui.storage.connections import writer_engine
from webui.storage.folder import FolderLock
from webui.storage.tables import Base


def run_on(connection: Connection) -> None:
    """Migrate; batch mode because SQLite cannot alter most of a table."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        transactional_ddl=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def run_on_file() -> None:
    """Migrate the file of the command line, as the only one who uses its folder."""
    name = context.get_x_argument(as_dictionary=True).get("database")
    if not isinstance(name, str):
        raise InvalidRequest("No database is named", "Use: alembic -x database=PATH …")
    path = Path(name).absolute()
    engine = writer_engine(path)
    try:
        with FolderLock(path), engine.begin() as connection:
            run_on(connection)
    finally:
        engine.dispose()


given = context.config.attributes.get("connection")
if isinstance(given, Connection):
    run_on(given)
else:
    run_on_file()
