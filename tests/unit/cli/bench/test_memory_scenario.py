"""What counts as the worker's own memory; its process and its figures are stand-ins."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from webui.cli.bench import memory_scenario
from webui.cli.bench.memory_scenario import GRAMMAR, WorkerMemory, _resident_of_model
from webui.cli.bench.scenario import Contest
from webui.engine.grammar import check_grammar
from webui.engine.interface import Finish, FinishReason, Memory, Text, Timings, Usage
from webui.errors import EngineError

MB = 1_000_000
MODEL = Memory(weights_bytes=90 * MB, kv_bytes=300 * MB, compute_bytes=40 * MB)


class Engine:
    """An engine whose worker keeps chats in memory."""

    def __init__(self, cached_bytes: int, num_pieces: int) -> None:
        self.pid = os.getpid()
        self.info = SimpleNamespace(memory=MODEL)
        self.stats = SimpleNamespace(cached_ram_bytes=cached_bytes)
        self.requests = []
        self._num_pieces = num_pieces

    async def generate(self, request):
        self.requests.append(request)
        for _ in range(self._num_pieces):
            yield Text("a", 1)
        yield Finish(FinishReason.LENGTH, Usage(1000, self._num_pieces), Timings(0, 0, 0))


@pytest.fixture
def measure(monkeypatch):
    def run(engine: Engine, resident_bytes: int = 800 * MB) -> float:
        @asynccontextmanager
        async def own_engine(model, shape):
            yield engine

        memory = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=resident_bytes))
        monkeypatch.setattr(memory_scenario.psutil, "LINUX", False)
        monkeypatch.setattr(memory_scenario, "own_engine", own_engine)
        monkeypatch.setattr(memory_scenario, "SETTLE_S", 0.0)
        monkeypatch.setattr(memory_scenario.psutil, "Process", lambda pid: memory)
        contest = Contest(Path("m.gguf"), Path("peer"), 1, num_pairs=1, soak_s=0)
        (figures,) = WorkerMemory().run(contest)
        return figures[WorkerMemory.MEGABYTES].ours

    return run


def test_model_and_cached_chats_are_not_counted(measure):
    engine = Engine(cached_bytes=250 * MB, num_pieces=5)
    assert measure(engine) == pytest.approx(800 - 90 - 300 - 40 - 250)
    *chats, last = engine.requests
    assert len({chat.owner for chat in chats}) == WorkerMemory.NUM_CHATS
    num_slots = WorkerMemory().shape(1).num_streams
    assert len(chats) > num_slots  # some must leave theirs
    assert not any(chat.grammar for chat in chats)
    assert last.grammar == GRAMMAR


def mapped(path: str, size_mb: int, rss_mb: int) -> SimpleNamespace:
    return SimpleNamespace(path=path, size=size_mb * MB, rss=rss_mb * MB)


@pytest.mark.parametrize(
    ("maps", "known_mb"),
    [
        # Weights, KV cache and compute buffers, all of them there.
        ([("/m.gguf", 90, 90), ("[anon]", 300, 300), ("[anon]", 40, 40)], 430),
        # What was never written to is not there; the two buffers lie side by side.
        ([("/m.gguf", 90, 60), ("[anon]", 340, 305)], 365),
        # A large mapping beside them is not theirs.
        ([("[anon]", 340, 340), ("[anon]", 512, 100)], 340),
        # Small mappings, the heap and other files are the worker's own.
        ([("[anon]", 340, 310), ("[anon]", 39, 39), ("[heap]", 90, 90), ("/lib.so", 90, 90)], 310),
    ],
)
def test_buffers_count_as_far_as_they_are_there(maps, known_mb):
    found = [mapped(*one) for one in maps]
    assert _resident_of_model(found, MODEL, Path("/m.gguf")) == known_mb * MB


def test_empty_cache_gives_no_figure(measure):
    with pytest.raises(EngineError, match="no chat lies in the worker's cache"):
        measure(Engine(cached_bytes=0, num_pieces=5))


def test_grammar_that_is_not_in_use_gives_no_figure(measure, monkeypatch):
    engine = Engine(cached_bytes=250 * MB, num_pieces=1)
    endless = engine.generate

    async def silent(request):
        async for delta in endless(request):
            if not (request.grammar and isinstance(delta, Text)):
                yield delta

    monkeypatch.setattr(engine, "generate", silent)
    with pytest.raises(EngineError, match="ended too soon"):
        measure(engine)


def test_grammar_is_one_that_a_worker_takes():
    check_grammar(GRAMMAR)
