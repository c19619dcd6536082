"""How a load is reported and given up, with a llama.cpp that only counts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import llama_cpp
import pytest

from webui.errors import LoadFailed
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.loaders.llama_cpp.opening import open_model

if TYPE_CHECKING:
    from collections.abc import Callable

NUM_TENSORS = 1000


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the listener answered; llama.cpp stops at the first no and returns no model."""
    answers: list[bool] = []

    def load(_path: bytes, params: llama_cpp.llama_model_params) -> int | None:
        for index in range(NUM_TENSORS):
            answers.append(params.progress_callback((index + 1) / NUM_TENSORS, None))
            if not answers[-1]:
                return None
        return None

    monkeypatch.setattr(llama_cpp, "llama_model_load_from_file", load)
    monkeypatch.setattr(llama_cpp, "llama_log_set", lambda *_: None)
    return answers


def open_with(on_progress: Callable[[float], object]) -> None:
    open_model(Path("big.gguf"), LlamaCppOptions(), on_progress)


@pytest.mark.parametrize("last", [1, 2, 500, NUM_TENSORS])
def test_load_ends_with_the_call_that_says_no(asked: list[bool], last: int) -> None:
    told: list[float] = []

    def report(fraction: float) -> bool:
        told.append(fraction)
        return len(told) < last

    with pytest.raises(LoadFailed, match=r"big\.gguf: the load was broken off"):
        open_with(report)
    assert asked == [True] * (last - 1) + [False]
    assert len(told) == last


def test_load_ends_with_the_call_that_fails(asked: list[bool]) -> None:
    def report(fraction: float) -> None:
        if fraction > 0.0095:
            raise ConnectionError

    with pytest.raises(LoadFailed, match="broken off") as failed:
        open_with(report)
    assert isinstance(failed.value.__cause__, ConnectionError)
    assert asked == [True] * 9 + [False]


def test_listener_that_says_nothing_lets_it_go_on(asked: list[bool]) -> None:
    with pytest.raises(LoadFailed, match="cannot load"):  # this llama.cpp never has a model
        open_with(lambda _: None)
    assert asked == [True] * NUM_TENSORS
