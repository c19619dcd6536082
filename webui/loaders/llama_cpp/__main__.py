"""The child process that runs a GGUF file; started by `engine.process`, never by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from webui.engine.worker import run
from webui.errors import LoadFailed
from webui.hub.gguf import read_header
from webui.loaders.llama_cpp.options import LlamaCppOptions
from webui.loaders.llama_cpp.runner import LlamaCppRunner
from webui.refusals import place, predicate

if TYPE_CHECKING:
    from collections.abc import Callable

    from webui.engine.runner import ModelRunner, RunnerSpec


def open_runner(spec: RunnerSpec, on_progress: Callable[[float], None]) -> ModelRunner:
    """Open the model that the parent names.

    Raises:
        LoadFailed: The options are wrong, or llama.cpp refuses the file.
    """
    try:
        options = LlamaCppOptions.model_validate(spec["options"])
    except ValidationError as error:
        problems = error.errors()
        name = ".".join(place(problems[0]))
        raise LoadFailed(f"The load option {name} {predicate(problems)}") from error
    path = Path(spec["path"])
    read_header(path)  # whoever asked has done so too; the file may have changed since
    return LlamaCppRunner(path, spec["name"], options, on_progress)


if __name__ == "__main__":
    run(open_runner)
