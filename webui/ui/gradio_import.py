"""How Gradio is imported: it tells nobody, writes nothing, and takes two thirds of the time.

Knows where Gradio (6.31) reads its settings and what it does when it is imported; imports
nothing of it itself. Called once, before anything imports Gradio.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from typing import TYPE_CHECKING

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import ModuleType

# Gradio reads these when it is imported. Without them it connects to the outside.
ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000",
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "OTEL_SDK_DISABLED": "true",
}
STUB_MAKER = "gradio.component_meta"


@contextmanager
def gradio_import(temporary: Path) -> Iterator[None]:
    """Within this, import Gradio and draw the page.

    Args:
        temporary: Folder for Gradio's own files; made here.

    Raises:
        OSError: The folder cannot be made.
    """
    temporary.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ.update(ENVIRONMENT, GRADIO_TEMP_DIR=str(temporary))
    finder = _StubMakerFinder()
    sys.meta_path.insert(0, finder)
    gc.disable()  # hundreds of modules and nothing to collect among them
    try:
        yield
    finally:
        gc.freeze()  # what is there now stays for good: later collections need not look at it
        gc.enable()
        sys.meta_path.remove(finder)


class _StubMakerFinder(MetaPathFinder):
    """Finds the module in which Gradio writes a type stub beside each component it defines.

    Every import would parse the source of all components for it and write into the installed
    package, which another user may own.
    """

    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname == STUB_MAKER else None
        if spec is not None and spec.loader is not None:
            spec.loader = _WithoutStubs(spec.loader)
        return spec


class _WithoutStubs(Loader):
    """Loads a module and takes the writing of stubs out of it."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    @override
    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    @override
    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        module.create_or_modify_pyi = lambda *_: None  # type: ignore[attr-defined]
