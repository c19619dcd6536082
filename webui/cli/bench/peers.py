"""The peer, llama-server: how it is found, loaded as we are, started and ended.

Knows its command line and its log; sends no prompts.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from webui.cli.bench.served import Served, end, free_port, is_ready
from webui.errors import LoadFailed
from webui.hub.catalog import Catalog

if TYPE_CHECKING:
    from collections.abc import Iterator

INFO_TIMEOUT_S = 60
PORT = "PORT"  # in commands that are shown
BATCH_SIZE = 2048
UBATCH_SIZE = 512
KV_TYPE = "f16"
HOW_TO_BUILD = 'webui/docs/development.md, "llama-server to measure against", says how to build it.'
_SYSTEM_INFO = re.compile(r"system_info:.*")


@dataclass(frozen=True, slots=True)
class Shape:
    """How both sides are loaded.

    Attributes:
        threads: Compute threads; None leaves each side its default.
        num_streams: Replies at once: our slots, the peer's `-np`.
        context_length: Tokens of each of them; the peer's `-c` is the product.
        flash_attn: Of both sides: `on`, `off` or `auto`. Off is faster on a processor, with
            llama-server too.
    """

    threads: int | None
    num_streams: int
    context_length: int
    flash_attn: str = "off"

    def load_options(self) -> dict[str, int | str]:
        """Return the options of our llama.cpp loader; flash attention and KV type are fixed."""
        options: dict[str, int | str] = {
            "flash_attn": self.flash_attn,
            "slots": self.num_streams,
            "context_length": self.context_length,
            "batch_size": BATCH_SIZE,
            "ubatch_size": UBATCH_SIZE,
        }
        if self.threads is not None:
            options |= {"threads": self.threads, "threads_batch": self.threads}
        return options


def peer_command(binary: Path, model: Path, shape: Shape, port: int | str = PORT) -> list[str]:
    """Return the peer's full command; what is not named, its prompt cache too, is its default."""
    command = [str(binary), "-m", str(model), "--host", "127.0.0.1", "--port", str(port)]
    command += ["-np", str(shape.num_streams), "-c", str(shape.num_streams * shape.context_length)]
    command += ["-b", str(BATCH_SIZE), "-ub", str(UBATCH_SIZE), "-fa", shape.flash_attn]
    command += ["-ctk", KV_TYPE, "-ctv", KV_TYPE, "--no-webui"]
    if shape.threads is not None:
        command += ["-t", str(shape.threads), "-tb", str(shape.threads)]
    return command


def find_peer(path: Path | None) -> Path:
    """Return the peer's program.

    Raises:
        LoadFailed: None is named, or it is none: no number is made up without it.
    """
    if path is None:
        raise LoadFailed("bench engine measures beside llama-server: --llama-server", HOW_TO_BUILD)
    if not path.is_file():
        raise LoadFailed(f"{path} is not a file", HOW_TO_BUILD)
    return path.resolve()


def peer_system_info(binary: Path) -> str:
    """Return the peer's own line about its build, which it tells before it opens a model.

    Raises:
        LoadFailed: It cannot be run or is no llama-server.
    """
    command = [str(binary), "-lv", "4", "-m", "/nonexistent.gguf", "--port", str(free_port())]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=INFO_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LoadFailed(f"{binary} does not run: {error}", HOW_TO_BUILD) from error
    found = _SYSTEM_INFO.search((done.stderr + done.stdout).decode("utf-8", "replace"))
    if found is None:
        raise LoadFailed(f"{binary} is not a llama-server: it tells no system_info", HOW_TO_BUILD)
    return found[0].strip()


@contextlib.contextmanager
def peer_server(binary: Path, model: Path, shape: Shape) -> Iterator[Served]:
    """Start the peer, wait until its model is loaded, and end it.

    Raises:
        LoadFailed: It did not get ready; its last words are in the message.
    """
    port = free_port()
    with tempfile.TemporaryFile() as log:
        command = peer_command(binary, model, shape, port)
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process:
            try:
                if not is_ready(process, port, lambda health: health.get("status") == "ok"):
                    log.seek(0)
                    lines = log.read().decode("utf-8", "replace").strip().splitlines() or ["silent"]
                    raise LoadFailed(f"llama-server did not get ready: {lines[-1]}")
                yield Served(port, process.pid)
            finally:
                end(process)


def find_model(name: str | None, models_dir: Path) -> Path:
    """Return the file of a model: by path, by name, or the first one that can be opened.

    Raises:
        LoadFailed: There is none.
    """
    if name and Path(name).is_file():
        return Path(name).resolve()
    catalog = Catalog(models_dir)
    if name:
        return catalog.get(name).path
    usable = [file for file in catalog.list() if not file.error]
    if not usable:
        raise LoadFailed(
            f"there is no model in {models_dir}", "Start “webui --starter” once, or use --model."
        )
    return usable[0].path
