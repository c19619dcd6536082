"""The engine's contract, obeyed by llama.cpp in a real worker process.

Runs on a tiny model made on the spot, or on the one that `WEBUI_TEST_MODEL` names.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tiny_gguf import write_tiny_gguf
from tests.unit.engine.contract import EngineContract
from webui.engine.loader import ModelSpec
from webui.engine.process import LocalEngine
from webui.loaders.llama_cpp import LOADER, LlamaCppOptions

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture(scope="session")
def model_path(tmp_path_factory):
    named = os.environ.get("WEBUI_TEST_MODEL")
    if named:
        return Path(named)
    return write_tiny_gguf(tmp_path_factory.mktemp("contract") / "noise.gguf")


class TestLlamaCppContract(EngineContract):
    @pytest.fixture
    async def engine(self, model_path):
        options = LlamaCppOptions(context_length=512, slots=2, threads=1)
        spec = ModelSpec("m", "m", model_path, LOADER, options)
        engine = await LocalEngine.open(spec, lambda _: None)
        yield engine
        await engine.close()
