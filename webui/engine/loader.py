"""What the house must know of a kind of model file before one is opened.

Names and option schemas only: importing a loader never imports the library that runs models.
The opening itself happens in the child process whose entry `Loader.module` names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pydantic import BaseModel


class Loader(Protocol):
    """One way of running models; a constant of its package, called by nobody, read by all.

    Attributes:
        name: Stable id, such as `llama_cpp`.
        formats: File name endings it opens, with the dot.
        Options: Frozen pydantic model of what can be chosen when a model is loaded.
        supported_params: Names of the `SamplingParams` fields its sampler honours.
        module: Child entry, started with `python -m`; calls `engine.worker.run`.
    """

    @property
    def name(self) -> str: ...
    @property
    def formats(self) -> tuple[str, ...]: ...
    @property
    def Options(self) -> type[BaseModel]: ...  # noqa: N802 - it is a class
    @property
    def supported_params(self) -> frozenset[str]: ...
    @property
    def module(self) -> str: ...

    def check(self, path: Path, options: BaseModel) -> None:
        """Refuse what would fail for sure, before a loaded model has to go; blocks on the disk.

        Args:
            path: The model file.
            options: An instance of `Options`.

        Raises:
            LoadFailed: They contradict each other or the file; names the field.
        """
        ...


@runtime_checkable
class NamesFiles(Protocol):
    """Options that name other files beside the model, as they were entered."""

    def located(
        self, find_adapter: Callable[[str], Path], find_model: Callable[[str], Path]
    ) -> BaseModel:
        """Return them with whole paths; what finds says which file a name means, or raises."""
        ...


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model that is to be loaded, and how.

    Attributes:
        model_id: Stable id in the catalogue.
        name: What people see.
        path: The model file.
        loader: Who opens it.
        options: An instance of `loader.Options`.
    """

    model_id: str
    name: str
    path: Path
    loader: Loader
    options: BaseModel
