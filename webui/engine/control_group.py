"""Where this process stands among the system's control groups, and what they say of it.

Knows the files of Linux's control groups, version 2, version 1 and both at once; elsewhere there are
none, and nothing is said. Reads a few small files at each question.

Source: Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMBERSHIP = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")
UNIFIED = "unified"  # where version 2 lies beside version 1
_OOM_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


class ControlGroup:
    """The group of this process, as it was when this was made; those around it bound it too.

    Args:
        membership: What the system says of this process.
        groups: Where the groups lie.
    """

    def __init__(self, membership: Path = MEMBERSHIP, groups: Path = GROUPS) -> None:
        self._groups = groups
        # Each hierarchy: its controllers, none in version 2, and our place in it.
        self._places: list[tuple[str, PurePosixPath]] = []
        for line in _text(membership).splitlines():
            _, _, rest = line.partition(":")
            controllers, _, place = rest.partition(":")
            self._places.append((controllers, PurePosixPath(place)))

    def num_cores(self) -> float | None:
        """Return how many cores' time the processes of the group get; None where all of it."""
        found = [_quota(folder) for folder in self._folders("cpu")]
        return min((quota for quota in found if quota is not None), default=None)

    def num_oom_kills(self) -> int | None:
        """Return how many processes of the group the system ended for want of memory.

        None where it does not say. Where only the groups around it are counted, theirs is told.
        """
        for folder in self._folders("memory"):
            for name in ("memory.events", "memory.oom_control"):
                found = _OOM_KILLS.search(_text(folder / name))
                if found is not None:
                    return int(found[1])
        return None

    def _folders(self, controller: str) -> Iterator[Path]:
        """Yield where a controller may say something: our group first, then those around it.

        What a container sees is often only a part: its own group then lies at the top.
        """
        for controllers, place in self._places:
            if not controllers:
                tops = [self._groups, self._groups / UNIFIED]
            elif controller in controllers.split(","):
                tops = [self._groups / controllers, self._groups / controller]
            else:
                continue
            inside = place.relative_to("/") if place.is_absolute() else PurePosixPath()
            if ".." in inside.parts:  # we stand outside of what is shown here
                inside = PurePosixPath()
            for top in tops:
                yield from (top / part for part in (inside, *inside.parents))


def _quota(folder: Path) -> float | None:
    """Return the cores' time that a folder of either version grants."""
    text = _text(folder / "cpu.max")
    if not text:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        text = " ".join(_text(folder / name) for name in names)
    quota, _, period = " ".join(text.split()).partition(" ")
    if not quota.isdecimal() or not period.isdecimal() or not int(period):
        return None  # “max” and -1 are no bound
    return int(quota) / int(period)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
