"""Tiny models for the loader's tests, and the engine that runs one."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.tiny_gguf import write_tiny_gguf
from webui.engine.interface import Finish, GenerateRequest, Priority, Text
from webui.engine.loader import ModelSpec
from webui.engine.process import Limits, LocalEngine
from webui.loaders.llama_cpp import LOADER, LlamaCppOptions
from webui.messages import Message, Role
from webui.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TEST_MODEL = "WEBUI_TEST_MODEL"
SAYS = (b"Hello ", b"wor", b"ld \xf0\x9f", b"\x99", b"\x82!", b" The en", b"d.", b" Not", b" this")


@pytest.fixture(scope="session")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose text is noise that depends on all that came before."""
    return write_tiny_gguf(tmp_path_factory.mktemp("noise") / "noise.gguf")


@pytest.fixture(scope="session")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that always says `SAYS`."""
    return write_tiny_gguf(tmp_path_factory.mktemp("parrot") / "parrot.gguf", says=SAYS)


@pytest.fixture(scope="session")
def best_model(noise: Path) -> Path:
    """The model that `WEBUI_TEST_MODEL` names, else the tiny one."""
    return Path(os.environ.get(TEST_MODEL) or noise)


def spec_of(path: Path, **options: object) -> ModelSpec:
    return ModelSpec(
        model_id=path.name,
        name=path.stem,
        path=path,
        loader=LOADER,
        options=LlamaCppOptions(**{"context_length": 512, **options}),
    )


@asynccontextmanager
async def opened(path: Path, **options: object) -> AsyncIterator[LocalEngine]:
    engine = await LocalEngine.open(
        spec_of(path, **options), lambda _: None, limits=Limits(backoff_s=(0.05,))
    )
    try:
        yield engine
    finally:
        await engine.close()


def request_of(text: str, request_id: str = "r", **params: object) -> GenerateRequest:
    return GenerateRequest(
        request_id=request_id,
        owner=request_id,
        conversation_id=None,
        priority=Priority.CHAT,
        messages=(Message(Role.USER, text),),
        params=SamplingParams.model_validate({"max_tokens": 40, **params}),
    )


async def text_of(engine: LocalEngine, request: GenerateRequest) -> tuple[str, Finish]:
    said, last = "", None
    async for delta in engine.generate(request):
        last = delta
        if isinstance(delta, Text):
            said += delta.text
    assert isinstance(last, Finish)
    return said, last
