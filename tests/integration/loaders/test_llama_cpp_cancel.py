"""A load that is given up ends at once, however large the file: proven by counting."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.big_gguf import BIG_BYTES, write_big_gguf
from tests.integration.loaders.conftest import opened, request_of, spec_of, text_of
from webui.engine.process import LocalEngine
from webui.errors import LoadFailed
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.loaders.llama_cpp.runner import LlamaCppRunner

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

# Read whole and looked through, so that loading takes a while.
SLOW = {"mmap": False, "check_tensors": True, "context_length": 256, "slots": 1}


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_big_gguf(tmp_path_factory.mktemp("big") / "big.gguf")
    assert path.stat().st_size >= BIG_BYTES
    return path


async def test_big_file_that_is_let_be_loads(big: Path) -> None:
    async with opened(big, **SLOW) as engine:
        assert engine.info.memory.weights_bytes >= BIG_BYTES
        assert (await text_of(engine, request_of("Hi", max_tokens=2)))[1].usage.completion_tokens


@pytest.mark.parametrize("last", [1, 2, 20])
def test_load_ends_at_the_next_report(big: Path, last: int) -> None:
    told: list[float] = []

    def report(fraction: float) -> bool:
        told.append(fraction)
        return len(told) < last

    with pytest.raises(LoadFailed, match="broken off"):
        LlamaCppRunner(big, "big", LlamaCppOptions.model_validate(SLOW), report)
    assert len(told) == last
    assert told[-1] < 0.5


async def test_cancelled_load_ends_early_and_takes_its_worker_along(big: Path) -> None:
    told: list[float] = []
    workers: list[psutil.Process] = []

    def report(fraction: float) -> None:
        told.append(fraction)
        if len(told) == 1:
            workers.extend(psutil.Process().children())
            load.cancel()

    load = asyncio.ensure_future(LocalEngine.open(spec_of(big, **SLOW), report))
    with pytest.raises(asyncio.CancelledError):
        await load
    assert told[-1] < 1
    assert len(workers) == 1
    assert not workers[0].is_running()
    assert not psutil.Process().children()
