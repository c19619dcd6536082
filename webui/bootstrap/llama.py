"""llama-cpp-python: compiled for the best that this machine has, or for what is asked.

Knows kinds of build and the order of attempts; `pip` does the work.
"""

from __future__ import annotations

import os
import re
import sys
import time
from typing import TYPE_CHECKING

from webui.bootstrap import accelerators, lock, venv
from webui.bootstrap.pip import PipFailed
from webui.bootstrap.terminal import Progress, Stop, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from webui.bootstrap.accelerators import Finding, Machine
    from webui.bootstrap.pip import Pip


MEASURED_STEPS = 20  # before that many files the pace says little


def install(
    pip: Pip, block: str, *, asked: str | None, before: str | None, machine: Machine
) -> str:
    """Install it and return its kind.

    Args:
        pip: Pip of the virtual environment.
        block: Its part of the lock file.
        asked: Kind that the person asked for; when it fails no other takes its place.
        before: Kind that was installed before, taken again when none is asked for.
        machine: Where to look for accelerators.

    Raises:
        Stop: It cannot be compiled.
    """
    version = lock.version(block)
    if asked in {None, before} and pip.installed_version(lock.LLAMA) == version:
        return before or "cpu"
    findings = accelerators.look(machine)
    chosen = choose(findings, asked or before)
    venv.check_compile()
    try:
        _compile(pip, block, chosen, is_change=before not in {None, chosen.build})
    except PipFailed as failed:
        if chosen.build == "cpu" or asked or failed.is_offline:
            raise Stop(pip.explain(failed)) from failed
        say(f"  {chosen.name} does not compile here: {failed.reason}")
        say(f"  Falling back to the CPU; the whole output is in {pip.log}")
        chosen = findings[-1]
        try:
            _compile(pip, block, chosen, is_change=False)
        except PipFailed as failed_again:
            raise Stop(pip.explain(failed_again)) from failed_again
    return chosen.build


def choose(findings: list[Finding], wanted: str | None) -> Finding:
    """Say what was found and return the build to make."""
    say("Looking for accelerators")
    for finding in findings[:-1]:
        say(f"  {finding.name:<7} {'yes' if finding.usable else 'no'}: {finding.reason}")
    if wanted:
        return next(finding for finding in findings if finding.build == wanted)
    return next(finding for finding in findings if finding.usable)


def describe(line: str) -> str | None:
    """Make a line of pip, CMake or Ninja into what is shown."""
    words = line.strip()
    if step := re.match(r"\[(\d+/\d+)\]", words):
        source = re.search(r"([\w.+-]+\.(?:cpp|cu|c|comp|m|S))(?:\.o)?$", words)
        return f"{step[1]} {source[1] if source else 'linking'}"
    for start, shown in (
        ("Using cached llama", "using the wheel that was compiled before"),
        ("Downloading", words[:60]),
        ("Installing build dependencies", "fetching the build tools"),
        ("Preparing metadata", "looking at the sources"),
        ("Building wheel", "configuring"),
        ("Installing collected", "unpacking"),
    ):
        if words.startswith(start):
            return shown
    return None


class Remaining:
    """Says how far a compile is, and by its own pace how long it still takes.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun: tuple[int, float] | None = None

    def describe(self, line: str) -> str | None:
        """Make a line of pip, CMake or Ninja into what is shown."""
        shown = describe(line)
        step = re.match(r"\[(\d+)/(\d+)\]", line.strip())
        if not step or shown is None:
            return shown
        num_done, num_all, now_s = int(step[1]), int(step[2]), self._clock()
        if self._begun is None:
            self._begun = num_done, now_s
        num_before, begun_s = self._begun
        if num_done - num_before < MEASURED_STEPS:
            return shown
        left_s = (now_s - begun_s) / (num_done - num_before) * (num_all - num_done)
        return f"{shown}, about {max(1, round(left_s / 60))} min left"


def _compile(pip: Pip, block: str, finding: Finding, *, is_change: bool) -> None:
    """Compile and install; a wheel of the same kind that pip compiled before is reused.

    Raises:
        PipFailed: It does not compile.
    """
    own_args = os.environ.get("CMAKE_ARGS", "")
    args = own_args or accelerators.cmake_args(finding)
    num_cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    minutes = accelerators.minutes(finding.build, num_cores)
    say(f"Compiling llama.cpp for {finding.name} (llama-cpp-python {lock.version(block)})")
    say(f"  CMAKE_ARGS={args}")
    say(
        f"  Once, and quick where it was compiled before: {minutes} min on {num_cores} fast, idle "
        f"core(s), several times that on slow or busy ones; what is left is shown as it goes"
    )
    flags = ["-v"] + (["--force-reinstall"] if is_change else [])
    # Pip keeps compiled wheels by source alone, but they run nowhere but on such a processor.
    flags += pip.own_cache(f"{args} {accelerators.processor()}")
    extra = {"CMAKE_ARGS": args, **finding.environment}
    progress = Progress(f"llama.cpp for {finding.name}")
    pip.install([block], progress, Remaining().describe, flags=flags, extra=extra)
