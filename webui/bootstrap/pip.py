"""Run pip inside `.venv`, watch what it says and keep it in a log.

Knows pip's lines; does not know what is installed or why.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from webui.bootstrap.terminal import Progress

TICK_S = 1.0
OFFLINE = re.compile(
    r"Could not fetch|NewConnectionError|Temporary failure in name|ConnectTimeout|No route to host"
    r"|Network is unreachable|Failed to establish|ProxyError|Max retries exceeded|from versions: none"
)


class PipFailed(Exception):  # noqa: N818 - reads as what happened
    """Pip ended with an error.

    Args:
        reason: The line that says why, as well as it can be told.
        is_offline: Whether the network was the cause.
    """

    def __init__(self, reason: str, *, is_offline: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_offline = is_offline


class Pip:
    """Pip of one virtual environment.

    Args:
        venv: Folder of the virtual environment.
    """

    def __init__(self, venv: Path) -> None:
        self._command = [str(venv / "bin" / "python"), "-m", "pip"]
        self._venv = venv
        self.log = venv / "install.log"

    def install(
        self,
        blocks: Sequence[str],
        progress: Progress,
        describe: Callable[[str], str | None],
        *,
        flags: Sequence[str] = (),
        extra: Mapping[str, str] | None = None,
    ) -> None:
        """Install parts of a lock file, each file checked by its hash.

        Args:
            blocks: The parts.
            progress: Where it is shown.
            describe: Makes a line of pip into what is shown; None leaves what is shown.
            flags: Further flags of `pip install`.
            extra: Further environment variables.

        Raises:
            PipFailed: Pip ended with an error.
        """
        file = self._venv / "installing.txt"
        file.write_text("\n".join(blocks) + "\n", "utf-8")
        # The lock file is complete: nothing is resolved, nothing unlisted comes along.
        command = [*self._command, "install", "--no-deps", "--require-hashes", "--no-color"]
        command += ["--progress-bar", "off", *flags, "-r", str(file)]
        try:
            _run(command, self.log, progress, describe, _environment(extra))
        except BaseException:
            progress.done("failed")
            raise
        progress.done("done")
        file.unlink()

    def installed_version(self, package: str) -> str | None:
        """Return the version of a package in the environment, if any."""
        done = subprocess.run(
            [*self._command, "show", package],
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
        )
        match = re.search(r"^Version: (\S+)", done.stdout, re.MULTILINE)
        return match[1] if match else None

    def own_cache(self, purpose: str) -> list[str]:
        """Return the flags for a cache that serves one purpose only, inside pip's own."""
        done = subprocess.run(
            [*self._command, "cache", "dir"],
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
        )
        if done.returncode:
            return ["--no-cache-dir"]
        mark = hashlib.sha256(purpose.encode()).hexdigest()[:12]
        return ["--cache-dir", str(Path(done.stdout.strip()) / f"hearthside-{mark}")]

    def explain(self, failed: PipFailed) -> str:
        """Return one line that says why an install failed and where to read on."""
        if failed.is_offline:
            return (
                "a package could not be fetched; is this machine online? "
                f"({failed.reason}; the whole output is in {self.log})"
            )
        return f"the install failed: {failed.reason} (the whole output is in {self.log})"


def _environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return our environment without what would lead pip to another Python."""
    kept = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME"}}
    quiet = {"PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return {**kept, **quiet, **(extra or {})}


def _run(
    command: Sequence[str],
    log: Path,
    progress: Progress,
    describe: Callable[[str], str | None],
    environment: Mapping[str, str],
) -> None:
    """Run one command to its end, showing progress.

    Raises:
        PipFailed: It ended with an error.
    """
    lines: deque[str] = deque(maxlen=4000)
    with (
        log.open("a", encoding="utf-8") as kept,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout is not None
        ticker = _Ticker(progress)
        try:
            for line in process.stdout:
                kept.write(line)
                lines.append(line.rstrip())
                ticker.what = describe(line) or ticker.what
            code = process.wait()
        except BaseException:
            # Ninja and the compilers below pip are of its process group.
            os.killpg(process.pid, signal.SIGTERM)
            raise
        finally:
            ticker.stop()
    if code != 0:
        raise PipFailed(_reason(lines), is_offline=any(OFFLINE.search(line) for line in lines))


class _Ticker:
    """Shows the elapsed time each second, also while pip says nothing."""

    def __init__(self, progress: Progress) -> None:
        self.what = ""
        self._progress = progress
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._thread.start()

    def _tick(self) -> None:
        while not self._ended.wait(TICK_S):
            self._progress.show(self.what)

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()


def _reason(lines: deque[str]) -> str:
    """Return the line that tells most: the compiler's or pip's first error."""
    patterns = (
        r"CMake Error.*|.*\berror: .*|.*fatal error.*|.*No space left on device.*",
        r"ERROR: (?!Failed|Exception).*",
        r"ERROR: .*",
    )
    for pattern in patterns:
        for index, line in enumerate(lines):
            if re.match(pattern, line.strip()) and "subprocess-exited" not in line:
                following = lines[index + 1].strip() if line.endswith(":") else ""
                return f"{line.strip().removeprefix('ERROR: ')} {following}".strip()
    return lines[-1].strip() if lines else "pip said nothing"
