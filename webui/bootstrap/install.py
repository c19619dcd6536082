"""Fill `.venv` with exactly what a lock file says, llama.cpp compiled for this machine.

The stamp is written last: whatever breaks before it is done again by the next start.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from webui.bootstrap import accelerators, llama, lock, venv
from webui.bootstrap.pip import Pip, PipFailed
from webui.bootstrap.terminal import Progress, Stop, say

if TYPE_CHECKING:
    from pathlib import Path


def install(root: Path, folder: Path, stamp: Path, file: str, build: str | None) -> None:
    """Install, and write the stamp.

    Args:
        root: Folder of the checkout.
        folder: Folder of the virtual environment.
        stamp: File to write when all is there.
        file: Name of the lock file under `.ci/`.
        build: Kind of llama.cpp asked for; None finds out.

    Raises:
        Stop: It cannot be done; one line says why and what to do.
    """
    before = lock.read_stamp(stamp)
    if before:  # nothing counts as installed from here on, but the kind of build is remembered
        lock.write_stamp(stamp, lock.Stamp({}, before.build))
    venv.check_room(folder)
    # Before it is read: what a `git pull` brings meanwhile is installed by the next start.
    digests = {name: lock.digest(root / ".ci" / name) for name in sorted({file, lock.RUN})}
    blocks = lock.split((root / ".ci" / file).read_text("utf-8"))
    say("Installing what Hearthside needs into .venv, once; later starts need no network")
    venv.make(folder, blocks[lock.PIP][0])
    packages_folder = venv.site_packages(folder)
    # Relative, so that a checkout can be moved with its environment.
    link = os.path.relpath(root.resolve(), packages_folder.resolve())
    (packages_folder / "hearthside.pth").write_text(f"{link}\n", "utf-8")
    pip = Pip(folder)
    packages(pip, blocks[lock.PIP], "pip")
    others = [part for name in sorted(blocks) for part in blocks[name]]
    apart = {*blocks[lock.PIP], *blocks[lock.LLAMA]}
    packages(pip, [part for part in others if part not in apart], "packages")
    done = llama.install(
        pip,
        blocks[lock.LLAMA][0],
        asked=build,
        before=before.build if before else None,
        machine=accelerators.this_machine(),
    )
    lock.write_stamp(stamp, lock.Stamp(digests, done))
    say(f"Everything is installed (llama.cpp for {accelerators.NAMES[done]})")


def packages(pip: Pip, blocks: list[str], label: str) -> None:
    """Install packages that come ready-made.

    Raises:
        Stop: Pip failed.
    """
    count = 0

    def describe(line: str) -> str | None:
        nonlocal count
        if match := re.match(r"(?:Collecting|Requirement already satisfied:) (\S+?)==", line):
            count += 1
            return f"{count}/{len(blocks)} {match[1]}"
        return "unpacking" if line.startswith("Installing collected") else None

    try:
        pip.install(blocks, Progress(label), describe)
    except PipFailed as failed:
        raise Stop(pip.explain(failed)) from failed
