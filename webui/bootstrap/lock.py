"""The lock files under `.ci/` and the stamp that says which of them is installed.

Knows the form of a requirements file with hashes; starts no process.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

RUN = "requirements.txt"
DEVELOP = "requirements-dev.txt"
PIP = "pip"
LLAMA = "llama-cpp-python"


@dataclass(frozen=True)
class Stamp:
    """What stands in `.venv`; written last, so that a broken install has none.

    Attributes:
        digests: SHA-256 of each lock file that is installed, by its name.
        build: Kind of llama.cpp that was compiled.
    """

    digests: dict[str, str]
    build: str


def read_stamp(path: Path) -> Stamp | None:
    """Return what was installed; None when nothing was, or not to the end."""
    try:
        values = json.loads(path.read_text("utf-8"))
        return Stamp(dict(values["digests"]), str(values["build"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_stamp(path: Path, stamp: Stamp) -> None:
    """Write in one step: there is never half a stamp."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(asdict(stamp)), "utf-8")
    draft.replace(path)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file as hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def split(text: str) -> dict[str, list[str]]:
    """Return the blocks of a lock file by package; a package may have one block per Python.

    A block is the line with the version and the indented lines with hashes below it.
    """
    blocks: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==", line):
            name = match[1].lower()
            blocks.setdefault(name, []).append(line)
        elif name and line[:1].isspace():
            blocks[name][-1] += f"\n{line}"
    return blocks


def version(block: str) -> str:
    """Return the version that a block locks."""
    return re.split(r"==|\s", block)[1]
