"""The child entry of `FakeLoader`: a real worker process around the counting runner."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.unit.engine.fake_runner import FakeOptions, open_fake
from webui.engine.loader import ModelSpec
from webui.sampling_params import SamplingParams

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True)
class FakeLoader:
    """A loader of nothing; obeys `Loader`."""

    name: str = "fake"
    formats: tuple[str, ...] = (".fake",)
    Options: type[BaseModel] = FakeOptions
    supported_params: frozenset[str] = frozenset(SamplingParams.model_fields)
    module: str = "tests.unit.engine.fake_worker"


def fake_spec(**options: object) -> ModelSpec:
    """Return a spec of the counting model."""
    return ModelSpec(
        "fake/counting.fake",
        "counting",
        Path("counting.fake"),
        FakeLoader(),
        FakeOptions(**options),
    )


if __name__ == "__main__":
    from webui.engine import worker

    worker.run(open_fake)
