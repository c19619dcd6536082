"""Nobody reads rows of people but through the one door."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import webui.storage
from webui.errors import NotFound
from webui.messages import Role
from webui.storage import conversations, generations, jobs, messages, settings
from webui.storage.owned import OWNERS, get_owned, owned
from webui.storage.tables import Base, ConversationRow, JobRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

FOLDER = Path(webui.storage.__file__).parent
DOORS = {"owned.py", "unattended.py", "credentials.py", "received.py", "everybodys.py", "tables.py"}
QUERIES = {"select", "update", "delete", "insert", "exists", "aliased", "query", "get", "get_one"}
OWNED = {table.__name__ for table in OWNERS}
TABLES = {mapper.local_table.name: mapper.class_ for mapper in Base.registry.mappers}


def queries_beside_the_door(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        name = node.func.id if isinstance(node.func, ast.Name) else name
        named = {n.id for arg in node.args for n in ast.walk(arg) if isinstance(n, ast.Name)}
        if name in QUERIES and named & OWNED:
            yield f"line {node.lineno}: {ast.unparse(node)}"
        if name in {"text", "exec_driver_sql"}:
            yield f"line {node.lineno}: SQL as text"


@pytest.mark.parametrize(
    "path", [p for p in sorted(FOLDER.glob("*.py")) if p.name not in DOORS], ids=lambda p: p.name
)
def test_every_query_for_a_person_begins_at_the_door(path: Path) -> None:
    about_files = {"connections.py", "schema.py"}  # they know no rows
    if path.name not in about_files:
        assert not list(queries_beside_the_door(path.read_text("utf-8")))


@pytest.mark.parametrize(
    "line",
    [
        "session.get(ConversationRow, id)",
        "select(MessageRow.id).where(MessageRow.id == id)",
        "select(func.count(JobRow.id))",
        "sqlalchemy.update(GenerationRow).values(x=1)",
        "session.query(SettingRow)",
        "session.execute(text('SELECT 1'))",
    ],
)
def test_query_beside_the_door_is_found(line: str) -> None:
    assert list(queries_beside_the_door(line))


def test_every_table_of_people_has_an_owner() -> None:
    of_people = {
        cls
        for name, cls in TABLES.items()
        for key in Base.metadata.tables[name].foreign_keys
        if key.parent.name == "owner_id" or key.column.table.name in {"conversations", "messages"}
    }
    assert of_people == set(OWNERS)


def test_door_shows_everybody_their_own_rows_alone(session: Session) -> None:
    made: dict[str, list[object]] = {}
    for owner in ("ann", "bob"):
        conversation = conversations.create(session, owner)
        message = messages.add(session, owner, conversation.id, parent_id=None, role=Role.USER)
        generation = generations.add(
            session, owner, conversation_id=conversation.id, message_id=message.id, params={}
        )
        job = jobs.add(session, owner, kind="download", title="x")
        settings.put(session, owner, "theme", owner)
        made[owner] = [conversation, message, generation, job]
    session.flush()
    for owner, rows in made.items():
        for row in rows:
            assert list(session.scalars(owned(type(row), owner))) == [row]
        assert settings.find(session, owner, "theme") == owner
    assert list(session.scalars(owned(ConversationRow, "eve"))) == []


def test_row_of_somebody_else_is_not_there(session: Session) -> None:
    job = jobs.add(session, "ann", kind="download", title="x")
    assert get_owned(session, JobRow, "ann", job.id, name="job") is job
    for owner, row_id in (("bob", job.id), ("ann", "no such id")):
        with pytest.raises(NotFound, match="There is no such job") as caught:
            get_owned(session, JobRow, owner, row_id, name="job", hint="Look again.")
        assert caught.value.hint == "Look again."
