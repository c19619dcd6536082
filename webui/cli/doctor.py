"""`webui doctor`: what is installed, how llama.cpp was built, memory, disk, models, database.

Reads and reports; changes nothing, opens no port and loads no model. llama.cpp is asked in a
process of its own. The report holds bare values for programs; `table` puts them in words.
"""

from __future__ import annotations

import json
import platform
import shutil
import sqlite3
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import psutil

import webui
from webui.engine.cores import num_cores
from webui.errors import WebuiError
from webui.hub.catalog import Catalog
from webui.settings import Settings, load
from webui.storage.folder import is_in_use
from webui.storage.schema import Schema

LIBRARIES = ("llama-cpp-python", "gradio", "fastapi", "uvicorn", "sqlalchemy", "alembic", "pip")
LLAMA_TIMEOUT_S = 60
# SQLite before this may corrupt a WAL database that several connections write (walresetbug).
SAFE_SQLITE = (3, 51, 3)
LABELS = {"sqlite_has_wal_fix": "write-ahead log", "newest_schema": "newest schema"}
WAL_IN_WORDS = {
    True: "safe: this SQLite has the fix of 3.51.3",
    False: "safe: this SQLite is older than the fix of 3.51.3, but only one connection writes; "
    "let no other program write to the database while Hearthside runs",
}
UNITS = ("bytes", "kB", "MB", "GB", "TB")


@click.command()
@click.option("--data-dir", type=Path, help="Folder of the database.")
@click.option("--models-dir", type=Path, help="Folder of model files.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(*, data_dir: Path | None, models_dir: Path | None, as_json: bool) -> None:
    """Show versions, build, memory, disk, model files and the state of the database."""
    flags = {"data_dir": data_dir, "models_dir": models_dir}
    report = examine(load({name: value for name, value in flags.items() if value}))
    click.echo(json.dumps(report, indent=2) if as_json else table(report))


def examine(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the report by section; a value that could not be had says why in `error`.

    Of `models`, each value describes one file by its id.
    """
    assert settings.models_dir is not None
    return {
        "hearthside": {
            "version": webui.__version__,
            "folder": str(Path(webui.__file__).parent),
            "python": sys.version.split()[0],
            "system": platform.platform(),
            **{name: _version(name) for name in LIBRARIES},
        },
        "llama.cpp": llama(),
        "memory": _memory(),
        "disk": _disk(settings),
        "models": _models(settings.models_dir),
        "database": _database(settings),
    }


def llama() -> dict[str, Any]:
    """Ask llama.cpp what it was built for, in a process that may die of it."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "webui.loaders.llama_cpp.system_info"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=LLAMA_TIMEOUT_S,
            check=True,
        )
        answer: dict[str, Any] = json.loads(done.stdout)
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or [f"ended with {error.returncode}"])[-1]
        return {"error": last}
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return {"error": str(error)}
    return answer


def table(report: dict[str, dict[str, Any]]) -> str:
    """Lay a report out for reading."""
    lines = []
    for section, values in report.items():
        lines.append(section)
        rows = {
            name if section == "models" else _label(name): _shown(name, value)
            for name, value in values.items()
        }
        width = max(map(len, rows), default=0)
        lines += [f"  {label:<{width}}  {said}" for label, said in rows.items()] or ["  none"]
    return "\n".join(lines)


def size(num_bytes: int) -> str:
    """Return a size in the unit that leaves one to three digits before the point."""
    value, units = float(num_bytes), iter(UNITS)
    unit = next(units)
    while round(value) >= 1000 and unit != UNITS[-1]:
        value, unit = value / 1000, next(units)
    return f"{value:.0f} {unit}" if unit in ("bytes", "kB") else f"{value:.1f} {unit}"


def _label(name: str) -> str:
    return LABELS.get(name, name.removesuffix("_bytes").replace("_", " "))


def _shown(name: str, value: object) -> str:
    match value:
        case {"size_bytes": int() as num_bytes, "error": error}:
            return f"{size(num_bytes)}, {'can be read' if error is None else error}"
        case bool() if name == "sqlite_has_wal_fix":
            return WAL_IN_WORDS[value]
        case bool():
            return "yes" if value else "no"
        case int() if name.endswith("_bytes"):
            return size(value)
        case None:
            return "-"
        case _:
            return str(value)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _memory() -> dict[str, Any]:
    memory = psutil.virtual_memory()
    return {
        "cores": psutil.cpu_count(logical=False),
        "threads": psutil.cpu_count(),
        "usable_cores": num_cores(),
        "total_bytes": memory.total,
        "available_bytes": memory.available,
    }


def _disk(settings: Settings) -> dict[str, Any]:
    assert settings.models_dir is not None
    values: dict[str, Any] = {}
    for name, folder in (("data", settings.data_dir), ("models", settings.models_dir)):
        values[f"{name}_folder"] = str(folder)
        values[f"{name}_folder_exists"] = folder.is_dir()
        there = next(path for path in (folder, *folder.parents) if path.exists())
        values[f"{name}_free_bytes"] = shutil.disk_usage(there).free
    return values


def _models(models_dir: Path) -> dict[str, Any]:
    return {
        file.id: {"name": file.name, "size_bytes": file.size_bytes, "error": file.refusal}
        for file in Catalog(models_dir).list()
    }


def _database(settings: Settings) -> dict[str, Any]:
    """Look at the database read-only; a server that runs meanwhile is not disturbed."""
    path = settings.database_path
    safe = tuple(int(part) for part in sqlite3.sqlite_version.split(".")) >= SAFE_SQLITE
    values: dict[str, Any] = {
        "path": str(path),
        "exists": path.is_file(),
        "sqlite": sqlite3.sqlite_version,
        "sqlite_has_wal_fix": safe,
    }
    if not path.is_file():
        return values
    values |= {"size_bytes": path.stat().st_size, "in_use": is_in_use(path)}
    try:
        schema = Schema(path)
        values |= {"newest_schema": schema.head, "schema": schema.inspect().revision}
    except (WebuiError, OSError, sqlite3.Error) as error:
        values["error"] = str(error)
    return values
