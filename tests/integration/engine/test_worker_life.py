"""Deaths of real worker processes at every turn: told, mended, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import psutil
import pytest

from tests.unit.engine.contract import (
    collect,
    drain,
    first_text,
    make_embed,
    make_request,
    text_of,
)
from tests.unit.engine.fake_runner import BAD_FRAMES
from tests.unit.engine.fake_worker import fake_spec
from webui.engine.activity import Activity
from webui.engine.child import Patience, WorkerProcess
from webui.engine.interface import EngineState, Finish, Prefill, Text
from webui.engine.pool import EnginePool
from webui.engine.pool_status import PoolState
from webui.engine.process import Limits, LocalEngine
from webui.errors import Conflict, EngineDied, LoadFailed, ModelNotLoaded

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

QUICK = Limits(
    patience=Patience(tick_s=0.1, silence_s=3, step_s=3), backoff_s=(0.02,), max_deaths=1000
)
ENDLESS = {"max_tokens": 100_000, "ignore_eos": True}


@asynccontextmanager
async def opened(limits=QUICK, **options):
    engine = await LocalEngine.open(fake_spec(**options), lambda _: None, limits=limits)
    try:
        yield engine
    finally:
        await engine.close()


async def until(condition, timeout_s=20.0):
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - asks about other processes
            await asyncio.sleep(0.01)


def held():
    """Return what a forgotten worker would leave: descriptors, children, tasks."""
    descriptors = sorted(
        str(path.readlink()).split(":")[0]
        for path in Path("/proc/self/fd").iterdir()
        if path.is_symlink()
    )
    return descriptors, psutil.Process().children(recursive=True), len(asyncio.all_tasks())


@pytest.fixture(autouse=True)
async def nothing_is_left():
    await asyncio.create_subprocess_exec("true")  # what asyncio opens once and keeps
    await asyncio.sleep(0.05)
    before = held()
    yield
    await until(lambda: held() == before, 5)


async def kill_while(engine, sign, reached, request):
    """Send a signal when a reply is so far; return its text up to the death."""
    said = ""
    async with aclosing(engine.generate(request)) as deltas:
        async for delta in deltas:
            said += delta.text if isinstance(delta, Text) else ""
            if reached(delta):
                os.kill(engine.pid, sign)
                break
        rest = []
        with pytest.raises(EngineDied) as caught:
            await read_into(rest, deltas)
    said += text_of(rest)
    assert caught.value.hint.startswith("Send the message again.")
    assert "kept" not in caught.value.hint  # whoever asked knows that, and not everybody keeps it
    return said


async def read_into(got, deltas):
    async for delta in deltas:
        got.append(delta)


async def works(engine):
    return text_of(await collect(engine, make_request("say well"))) == "well"


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP, signal.SIGABRT, signal.SIGSEGV])
async def test_death_while_writing_keeps_what_was_said(sign):
    async with opened(step_s=0.005) as engine:
        pid = engine.pid
        said = await kill_while(
            engine, sign, lambda d: isinstance(d, Text), make_request("hello", **ENDLESS)
        )
        assert said
        assert await works(engine)
        assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
async def test_death_while_reading_is_told_and_the_next_works(sign):
    async with opened(step_s=0.01, context_length=4000, max_batch_tokens=8) as engine:
        request = make_request("word " * 500)
        assert not await kill_while(engine, sign, lambda d: isinstance(d, Prefill), request)
        assert await works(engine)


async def test_death_while_loading_is_a_failed_load():
    progress = []
    spec = fake_spec(load_s=5)
    load = asyncio.create_task(LocalEngine.open(spec, progress.append, limits=QUICK))
    await until(lambda: progress)
    (child,) = psutil.Process().children()
    child.kill()
    with pytest.raises(LoadFailed, match="SIGKILL"):
        await load


async def test_death_while_closing_ends_the_closing():
    engine = await LocalEngine.open(fake_spec(), lambda _: None, limits=QUICK)
    os.kill(engine.pid, signal.SIGSTOP)  # it will not read that it is to quit
    closing = asyncio.create_task(engine.close())
    await asyncio.sleep(0.05)
    os.kill(engine.pid, signal.SIGKILL)
    async with asyncio.timeout(2):
        await closing
    assert engine.state is EngineState.CLOSED


async def test_five_crashes_in_20_s_open_the_breaker_and_a_new_load_works():
    begun_s = time.monotonic()
    limits = Limits(patience=QUICK.patience, backoff_s=(0.02,), max_deaths=5)
    async with opened(limits) as engine, opened() as neighbour:
        for num_before in range(5):
            assert await works(engine), num_before
            os.kill(engine.pid, signal.SIGKILL)
            await until(lambda: engine.state is not EngineState.READY)
        assert engine.state is EngineState.FAILED
        assert time.monotonic() - begun_s < 20
        with pytest.raises(EngineDied, match="5 times within 60 s and is not started again"):
            await works(engine)
        assert await works(neighbour)
        async with opened(limits) as again:
            assert await works(again)


async def test_neighbour_writes_on_through_the_deaths_of_another_model():
    async with opened(step_s=0.005) as neighbour, opened() as engine:
        pid = neighbour.pid
        request = make_request("hello", max_tokens=300, ignore_eos=True)
        reply = asyncio.create_task(collect(neighbour, request))
        for _ in range(3):
            assert await works(engine)
            os.kill(engine.pid, signal.SIGKILL)
            await until(lambda: engine.state is not EngineState.READY)
        (finish,) = [delta for delta in await reply if isinstance(delta, Finish)]
        assert finish.usage.completion_tokens == 300
        assert neighbour.pid == pid


async def test_poison_kills_once_and_is_not_sent_again():
    async with opened() as engine:
        for _ in range(2):
            pid = engine.pid
            with pytest.raises(EngineDied, match="FAKE_ASSERT"):
                await collect(engine, make_request("crash now"))
            assert await works(engine)
            await asyncio.sleep(0.1)
            assert engine.state is EngineState.READY  # nothing died behind it
            assert engine.pid != pid
        assert engine.stats.num_deaths == 2


async def test_poison_for_the_tokenizer_kills_once_and_is_not_sent_again():
    async with opened() as engine:
        with pytest.raises(EngineDied, match="SIGABRT"):
            await collect(engine, make_request("crash the tokenizer"))
        assert await works(engine)
        assert engine.stats.num_deaths == 1


async def test_request_to_a_worker_that_is_dead_already_goes_to_the_next_one():
    async with opened() as engine:
        assert await works(engine)
        pid = engine.pid
        os.kill(pid, signal.SIGSTOP)  # it reads nothing any more, and nobody knows
        await until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        asking = asyncio.create_task(works(engine))
        await asyncio.sleep(0)  # sent
        os.kill(pid, signal.SIGKILL)
        assert await asking
        embedded = await engine.embed(make_embed("three", "rivers"))
        assert (engine.stats.num_deaths, engine.stats.num_failed) == (1, 0)
        assert len(embedded.vectors) == 2


async def test_request_to_a_worker_that_hangs_idle_waits_for_the_next_one():
    async with opened() as engine:
        assert await works(engine)
        os.kill(engine.pid, signal.SIGSTOP)
        # On a busy machine it may else begin with the request before it stops.
        await until(lambda: psutil.Process(engine.pid).status() == psutil.STATUS_STOPPED)
        assert await works(engine)
        assert (engine.stats.num_deaths, engine.stats.num_failed) == (1, 0)


async def test_only_who_ran_in_a_hanging_worker_fails(tmp_path):
    async with opened(once=str(tmp_path / "hung")) as engine:
        hanging = asyncio.create_task(collect(engine, make_request("hang now")))
        await until((tmp_path / "hung").exists)
        behind = asyncio.create_task(works(engine))  # its prompt is made, and nobody takes it
        with pytest.raises(EngineDied, match="one step took more than"):
            await hanging
        assert await behind
        assert (engine.stats.num_deaths, engine.stats.num_failed) == (1, 1)


async def test_wait_for_a_worker_that_does_not_come_is_bounded():
    limits = Limits(backoff_s=(600,), restart_wait_s=0.2)
    async with opened(limits) as engine:
        os.kill(engine.pid, signal.SIGKILL)
        await until(lambda: engine.state is EngineState.RESTARTING)
        with pytest.raises(ModelNotLoaded, match="still being started again") as caught:
            await works(engine)
        assert "Model tab" in caught.value.hint


async def test_breaker_says_when_it_is_tried_again_and_the_next_request_then_does():
    limits = Limits(patience=QUICK.patience, max_deaths=1, deaths_window_s=2.0)
    async with opened(limits) as engine:
        for _ in range(2):
            os.kill(engine.pid, signal.SIGKILL)
            await until(lambda: engine.state is EngineState.FAILED)
            with pytest.raises(EngineDied, match="is not started again for now") as caught:
                await works(engine)
            assert re.search(r"after [12] s has it started again\..* Model tab", caught.value.hint)
            assert 0 < caught.value.retry_after_s <= 2
            await until(lambda: engine._breaker.closed_in_s == 0)
            assert engine.state is EngineState.FAILED  # nothing is started for nobody
            assert await works(engine)


async def test_restart_that_is_refused_is_tried_again_too(tmp_path):
    file = tmp_path / "loaded"
    limits = Limits(patience=QUICK.patience, backoff_s=(0.02,), deaths_window_s=1.0)
    async with opened(limits, on_load="refuse_again", once=str(file)) as engine:
        os.kill(engine.pid, signal.SIGKILL)
        await until(lambda: engine.state is EngineState.FAILED)
        with pytest.raises(EngineDied, match="not to my taste") as caught:
            await works(engine)
        assert caught.value.hint.startswith("Try another one. The next message after 1 s")
        file.unlink()
        await until(lambda: engine._breaker.closed_in_s == 0)
        assert await works(engine)


async def test_last_words_of_a_worker_that_was_killed_are_not_told():
    async with opened(on_load="murmur", step_s=0.005) as engine:
        async with aclosing(engine.generate(make_request("hello", **ENDLESS))) as deltas:
            await first_text(deltas)
            os.kill(engine.pid, signal.SIGKILL)
            with pytest.raises(EngineDied) as caught:
                await drain(deltas)
        assert caught.value.message == "The engine stopped: killed by SIGKILL."


@pytest.mark.parametrize("deed", [deed.decode() for deed in BAD_FRAMES])
async def test_bad_frame_of_a_worker_ends_it_and_the_next_works(deed):
    async with opened() as engine:
        pid = engine.pid
        with pytest.raises(EngineDied) as caught:
            await collect(engine, make_request(deed))
        words = "exit code 9" if "half" in deed else "it sent an invalid message"
        assert words in caught.value.message
        assert await works(engine)
        assert not psutil.pid_exists(pid)


@pytest.mark.parametrize(
    "frame",
    [b"\xff\xff\xff\xff", b"\x00\x00\x00\x03abc", b"\x00\x00\x00\x00", b"\x00\x00\x00\x01\xc0"],
)
async def test_bad_frame_to_a_worker_ends_it_with_a_reason_and_the_next_works(frame):
    async with opened(step_s=0.005) as engine:
        async with aclosing(engine.generate(make_request("hello", **ENDLESS))) as deltas:
            await first_text(deltas)
            engine._worker.send(frame)
            with pytest.raises(EngineDied, match="bad message from the web process"):
                await drain(deltas)
        assert await works(engine)


async def test_half_a_frame_to_a_worker_is_waited_for_and_ends_with_the_pipe():
    engine = await LocalEngine.open(fake_spec(), lambda _: None, limits=QUICK)
    assert await works(engine)
    engine._worker.send(b"\x00\x00\x10\x00half")
    async with asyncio.timeout(5):
        await engine.close()


@pytest.mark.timeout(900)  # 100 lives take 89 s on idle cores
async def test_hundred_lives_leave_nothing(soak):
    async with opened() as engine:
        pids = set()
        for life in range(100 if soak else 8):
            pids.add(engine.pid)
            sign = (signal.SIGKILL, signal.SIGABRT)[life % 2]
            request = make_request("hello", **ENDLESS)
            await kill_while(engine, sign, lambda d: isinstance(d, Text), request)
            assert await works(engine)
        assert len(pids) == (100 if soak else 8)


async def test_unload_does_not_wait_for_a_step_nor_kills_its_worker():
    async with opened(token_s=1.0) as engine:  # the first step reads 16 tokens
        asking = asyncio.create_task(collect(engine, make_request("a" * 40)))
        await asyncio.sleep(0.3)
        await engine.close()
        assert engine._worker._process.returncode == 0
        with pytest.raises(EngineDied):
            await asking


def hanging_pool(**patience):
    limits = Limits(patience=Patience(tick_s=0.1, load_silence_s=30, **patience))

    async def open_engine(spec, on_progress, on_state):
        return await LocalEngine.open(spec, on_progress, on_state, limits=limits)

    return EnginePool(open_engine, stall_s=0.5)


async def test_load_that_hangs_while_its_heart_beats_is_told_and_cancelled():
    pool = hanging_pool()
    load = asyncio.create_task(pool.load(fake_spec(on_load="hang")))
    await until(lambda: pool.status.stalled_s is not None)
    assert pool.status.state is PoolState.LOADING
    assert pool.status.fraction == 1.0
    (worker,) = psutil.Process().children()
    pool.cancel_load()
    with pytest.raises(Conflict):
        await load
    assert not worker.is_running()
    assert pool.status.state is PoolState.NONE
    await pool.load(fake_spec())
    assert pool.status.state is PoolState.READY
    await pool.close()


async def test_cancel_does_not_wait_for_a_process_that_even_a_kill_does_not_end(monkeypatch):
    started = []

    class Immortal(WorkerProcess):
        async def start(self, *args):
            await super().start(*args)
            started.append(self._process)
            monkeypatch.setattr(self._process, "kill", lambda: None)

    monkeypatch.setattr("webui.engine.process.WorkerProcess", Immortal)
    pool = hanging_pool(kill_s=0.3)
    load = asyncio.create_task(pool.load(fake_spec(on_load="hang")))
    await until(lambda: started and pool.status.fraction == 1.0)
    pool.cancel_load()
    with pytest.raises(Conflict):
        await load
    assert pool.status.state is PoolState.NONE
    (process,) = started
    process.send_signal(signal.SIGKILL)
    process.wait()
    await pool.close()


async def test_process_that_sleeps_is_told_from_one_that_reads_or_computes(tmp_path):
    file = tmp_path / "read"
    file.write_bytes(bytes(1 << 16))
    for doing, moves in (
        ("input()", False),
        (f"while True: open({str(file)!r}, 'rb').read(); time.sleep(0.01)", True),
        ("while True: pass", True),
    ):
        code = f"import time; print('up', flush=True)\n{doing}"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        await process.stdout.readline()
        activity = Activity(process.pid, 0.2)
        seen = []
        for _ in range(5):
            await asyncio.sleep(0.2)
            seen.append(activity.has_moved())
        process.kill()
        await process.communicate()
        assert seen[1:] == [moves] * 4 if not moves else any(seen)
        assert not activity.has_moved()
