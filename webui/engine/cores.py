"""How many processor cores this process may use, which can be fewer than the machine has.

Knows what the system says of them; knows nothing of models.
"""

from __future__ import annotations

import os
import sys

import psutil

from webui.engine.control_group import ControlGroup


def num_cores(group: ControlGroup | None = None) -> int:
    """Return how many physical cores may compute for this process at once, at least 1.

    Not those that it is kept off (`taskset`, the `cpuset` of a container), and no more than its
    control group gets the time of (`docker --cpus`): more threads than that wait for each other at
    every step. A part of a core counts as none.

    Args:
        group: Of this process; None looks it up.
    """
    bounds = [psutil.cpu_count(logical=False) or 1]
    if sys.platform == "linux":
        bounds.append(len(os.sched_getaffinity(0)))
    granted = (group or ControlGroup()).num_cores()
    if granted is not None:
        bounds.append(int(granted))
    return max(1, min(bounds))
