"""The model files in one folder: what is there, what it is called, and whether it can be loaded.

Reads headers only, each once as long as its file stays the same. Blocks on the disk; callers
go through a thread.
"""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from webui.errors import LoadFailed, NotFound, in_one_line
from webui.hub.gguf import GGUFHeader, read_header
from webui.hub.gguf_format import DEAD_FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIX = ".gguf"
DEAD_SUFFIX = ".bin"  # of llama.cpp's first formats, and of much that is no model
MAX_FILES = 1000
MAX_FOLDERS = 2000
MAX_DEPTH = 4
_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})$")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One model, in one file or in several parts.

    Attributes:
        id: Path below the models folder with `/`; for a file elsewhere its whole path.
        name: For people: the file name without its ending, or the id where two would be alike.
        path: The file, of several parts the first.
        size_bytes: Of all parts.
        quantization: Such as Q4_K_M; empty when the header is unreadable.
        num_parameters: Weights of all parts; None when unknown, as all below.
        context_length: Tokens it was trained for.
        architecture: llama.cpp's name for the kind of network.
        error: Why it cannot be loaded as a model; None when nothing is known against it.
        hint: What to do about that; may be empty.
        is_adapter: Whether it is a LoRA adapter that can be used with a model.
    """

    id: str
    name: str
    path: Path
    size_bytes: int
    quantization: str = ""
    num_parameters: int | None = None
    context_length: int | None = None
    architecture: str = ""
    error: str | None = None
    hint: str = ""
    is_adapter: bool = False

    @property
    def refusal(self) -> str | None:
        """Error and hint in one line, for lists; None where there is no error."""
        if self.error is None:
            return None
        return in_one_line(self.error, self.hint).removesuffix(".")


@dataclass(frozen=True, slots=True)
class _Read:
    """What reading a file's header gave, and of which state of the file."""

    size_bytes: int
    modified_ns: int
    header: GGUFHeader | None
    error: str | None
    hint: str = ""


class Catalog:
    """The models folder; safe to use from several threads.

    Args:
        models_dir: Folder, may be missing.
    """

    def __init__(self, models_dir: Path) -> None:
        self.models_dir = models_dir
        self._shown_dir = _readable(str(models_dir))
        self._lock = threading.Lock()
        self._read: dict[Path, _Read] = {}

    def list(self) -> list[ModelFile]:
        """Return all models, by name; unreadable ones too, with the reason."""
        with self._lock:
            paths = list(_walk(self.models_dir))
            for gone in self._read.keys() - set(paths):
                if gone.is_relative_to(self.models_dir):
                    del self._read[gone]
            files = [self._describe(path) for path in paths if _is_first(path)]
        names = [file.name for file in files]
        named = [
            replace(file, name=file.id.removesuffix(SUFFIX)) if names.count(file.name) > 1 else file
            for file in files
        ]
        return sorted(named, key=lambda file: (file.name.lower(), file.id))

    def get(self, wanted: str, what: str = "model") -> ModelFile:
        """Return a model of the folder by its id, its name or its file name.

        Args:
            wanted: Which.
            what: What it is called where there is none.

        Raises:
            NotFound: There is none.
        """
        files = self.list()
        for file in files:
            if wanted in (file.id, file.name, file.path.name):
                return file
        usable = [file.name for file in files if not file.error]
        close = get_close_matches(wanted, usable, n=1)
        if close:
            raise NotFound(
                f"There is no {what} {wanted!r} in {self._shown_dir}", f"Is {close[0]!r} meant?"
            )
        known = ", ".join(usable[:5]) + (", …" if len(usable) > 5 else "") if usable else "none"
        raise NotFound(
            f"There is no {what} {wanted!r} in {self._shown_dir}", f"Models there: {known}."
        )

    def get_adapter(self, wanted: str) -> ModelFile:
        """Return an adapter of the folder by its id, its name or its whole path.

        Raises:
            NotFound: There is none in the folder.
            LoadFailed: It is not an adapter, or damaged.
        """
        files = self.list()
        for file in files:
            if wanted not in (file.id, file.name, file.path.name, str(file.path)):
                continue
            if file.is_adapter:
                return file
            said = file.error or f"{file.name} is a whole model, not an adapter (LoRA)"
            raise LoadFailed(f"The adapter cannot be used: {said}", "Choose another adapter.")
        there = [file.id for file in files if file.is_adapter]
        known = ", ".join(there[:5]) + (", …" if len(there) > 5 else "") if there else "none"
        raise NotFound(
            f"There is no adapter {wanted!r} in {self._shown_dir}", f"Adapters there: {known}."
        )

    def get_draft(self, wanted: str) -> ModelFile:
        """Return a model of the folder that may guess for another, as `get` does.

        Raises:
            NotFound: There is none in the folder.
            LoadFailed: It is no model, or damaged.
        """
        file = self.get(wanted, "draft model")
        if file.error:
            raise LoadFailed(
                f"The draft model {file.name} cannot be used: {file.error}",
                "Choose another draft model.",
            )
        return file

    def get_at(self, wanted: str) -> ModelFile:
        """Return a model as `get` does, or by the path of any file: only for who may read all.

        Raises:
            NotFound: There is none.
        """
        path = Path(wanted).expanduser()
        try:
            return self.get(wanted)
        except NotFound:
            if not path.is_file():
                raise
        path = path.resolve()
        inside = [file for file in self.list() if file.path.resolve() == path]
        with self._lock:
            return inside[0] if inside else self._describe(path)

    def _describe(self, path: Path) -> ModelFile:
        """Describe a model by its first file."""
        models_dir = self.models_dir
        is_inside = path.is_relative_to(models_dir)
        shown = path.relative_to(models_dir).as_posix() if is_inside else str(path)
        is_text = _readable(str(path)) == str(path)  # of folders above, too: the worker is told
        read = self._header(path) if is_text else _unreadable(path)
        described = ModelFile(
            id=_readable(shown),
            name=_SPLIT.sub("", _readable(path.stem)),
            path=path,
            size_bytes=read.size_bytes,
            error=read.error,
            hint=read.hint,
        )
        if read.header is None:
            return described
        described = replace(
            described,
            quantization=read.header.quantization,
            num_parameters=read.header.num_parameters,
            context_length=read.header.context_length,
            architecture=read.header.architecture,
        )
        if read.header.is_adapter:
            return replace(
                described,
                context_length=None,
                error=f"{path.name} is an adapter (LoRA), not a whole model",
                hint="Name it in the load option lora of a model.",
                is_adapter=True,
            )
        return self._with_parts(described, read.header.num_splits)

    def _with_parts(self, first: ModelFile, num_splits: int) -> ModelFile:
        """Add up the other parts of a model in several files."""
        if num_splits <= 1:
            return first
        found = _SPLIT.search(first.path.stem)
        if found is None or int(found.group(2)) != num_splits:
            return replace(
                first,
                error=f"it is a part of {num_splits} whose file name does not say so",
                hint=f"Name it ...-00001-of-{num_splits:05}{SUFFIX}.",
            )
        size_bytes, num_parameters = first.size_bytes, first.num_parameters or 0
        stem = first.path.stem[: found.start()]
        for number in range(2, num_splits + 1):
            part = first.path.with_name(f"{stem}-{number:05}-of-{num_splits:05}{SUFFIX}")
            if not part.is_file():
                return replace(
                    first, error=f"part {number} of {num_splits} is missing: {part.name}"
                )
            read = self._header(part)
            if read.header is None:
                return replace(first, error=read.error, hint=read.hint)
            size_bytes += read.size_bytes
            num_parameters += read.header.num_parameters
        return replace(first, size_bytes=size_bytes, num_parameters=num_parameters)

    def _header(self, path: Path) -> _Read:
        try:
            state = path.stat()
        except OSError as error:
            return _Read(0, 0, None, f"{path.name} cannot be read: {error.strerror}")
        known = self._read.get(path)
        if known and (known.size_bytes, known.modified_ns) == (state.st_size, state.st_mtime_ns):
            return known
        try:
            read = _Read(state.st_size, state.st_mtime_ns, read_header(path, adapters=True), None)
        except LoadFailed as error:
            read = _Read(state.st_size, state.st_mtime_ns, None, error.message, error.hint)
        self._read[path] = read
        return read


def _readable(name: str) -> str:
    """Return a name as text that can be sent: bytes that are not UTF-8 are written out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _unreadable(path: Path) -> _Read:
    """Return what is told of a file that nothing can name: its name is not text."""
    try:
        size_bytes = path.stat().st_size
    except OSError:
        size_bytes = 0
    return _Read(
        size_bytes, 0, None, "the name of the file or of its folder is not UTF-8", "Rename it."
    )


def _walk(models_dir: Path) -> Iterator[Path]:
    """Yield the model files of a folder, never leaving it by a link."""
    try:
        root = models_dir.resolve(strict=True)
    except OSError:
        return
    num_files = num_folders = 0
    for folder, folders, names in os.walk(models_dir):
        num_folders += 1
        here = Path(folder)
        is_deep = len(here.relative_to(models_dir).parts) >= MAX_DEPTH
        if is_deep or num_folders >= MAX_FOLDERS:
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = here / name
            if name.startswith(".") or path.suffix.lower() not in (SUFFIX, DEAD_SUFFIX):
                continue
            if not path.is_file():
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                continue
            if path.suffix.lower() == DEAD_SUFFIX and not _is_dead_format(path):
                continue
            num_files += 1
            if num_files > MAX_FILES:
                return
            yield path


def _is_dead_format(path: Path) -> bool:
    """Return whether a file begins as llama.cpp's first formats do; they are listed to say why."""
    try:
        with path.open("rb") as file:
            return file.read(4) in DEAD_FORMATS
    except OSError:
        return False


def _is_first(path: Path) -> bool:
    """Return whether a file is a whole model, the first part, or a part without its first."""
    found = _SPLIT.search(path.stem)
    if found is None or int(found.group(1)) == 1:
        return True
    first = f"{path.stem[: found.start()]}-00001-of-{found.group(2)}{path.suffix}"
    return not path.with_name(first).is_file()
