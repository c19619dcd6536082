"""A real worker process around the counting runner: the contract, deaths, hangs, restarts."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import aclosing, asynccontextmanager

import psutil
import pytest

from tests.unit.engine.contract import (
    EngineContract,
    collect,
    drain,
    first_text,
    make_request,
    text_of,
)
from tests.unit.engine.fake_worker import fake_spec
from webui.engine.child import Patience
from webui.engine.interface import (
    EngineState,
    Finish,
    FinishReason,
    GrammarTrigger,
    Prefill,
    Queued,
    Text,
)
from webui.engine.process import Limits, LocalEngine
from webui.engine.worker import HEARTBEAT_S
from webui.errors import (
    Busy,
    ContextLengthExceeded,
    EngineDied,
    EngineError,
    InvalidRequest,
    LoadFailed,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

QUICK = Limits(
    patience=Patience(tick_s=0.1, silence_s=3, step_s=3), backoff_s=(0.05, 0.1), max_deaths=3
)
ENDLESS = {"max_tokens": 100_000, "ignore_eos": True}


class States(list):
    """Collects what `on_state` says."""

    def __call__(self, state, error):
        self.append((state, error))


@asynccontextmanager
async def opened(limits=QUICK, on_state=None, on_stats=None, **options):
    engine = await LocalEngine.open(
        fake_spec(**options), lambda _: None, on_state, limits=limits, on_stats=on_stats
    )
    try:
        yield engine
    finally:
        await engine.close()


async def until(condition, timeout_s=10.0):
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - asks about other processes
            await asyncio.sleep(0.01)


def is_gone(pid):
    return not psutil.pid_exists(pid)


@pytest.fixture(autouse=True)
def no_child_left():
    yield
    assert psutil.Process().children() == []


class TestLocalEngineContract(EngineContract):
    @pytest.fixture
    async def engine(self):
        async with opened(step_s=0.002) as engine:
            yield engine


async def test_open_reports_progress_and_info():
    seen = []
    engine = await LocalEngine.open(fake_spec(context_length=99, slots=3), seen.append)
    try:
        assert seen[-1] == 1.0
        assert seen == sorted(seen)
        assert (engine.info.context_length, engine.info.num_slots) == (99, 3)
        assert engine.info.name == "counting"
        assert engine.state is EngineState.READY
    finally:
        await engine.close()
    assert is_gone(engine.pid)


async def test_kill_ends_the_reply_within_2_s_and_the_next_message_works():
    states = States()
    async with opened(on_state=states, step_s=0.01) as engine:
        async with aclosing(engine.generate(make_request("hello", **ENDLESS))) as deltas:
            await first_text(deltas)
            pid = engine.pid
            os.kill(pid, signal.SIGKILL)
            killed_s = time.monotonic()
            with pytest.raises(EngineDied) as caught:
                await drain(deltas)
        assert time.monotonic() - killed_s < 2
        assert "SIGKILL" in caught.value.message
        assert "Send the message again" in caught.value.hint
        reply = await collect(engine, make_request("say it works"))
        assert text_of(reply) == "it works"
        assert engine.pid != pid
        assert [state for state, _ in states] == ["ready", "restarting", "ready"]
        assert states[1][1] is not None


async def test_crash_shows_the_last_line_and_is_not_sent_again(tmp_path):
    async with opened(once=str(tmp_path / "died")) as engine:
        with pytest.raises(EngineDied) as caught:
            await collect(engine, make_request("crash now"))
        assert "SIGABRT" in caught.value.message
        assert caught.value.message.endswith("fake.cpp:7: FAKE_ASSERT(ok) failed")
        assert text_of(await collect(engine, make_request("say fine"))) == "fine"


async def test_bug_in_the_worker_shows_the_exception(tmp_path):
    async with opened(once=str(tmp_path / "died")) as engine:
        with pytest.raises(EngineDied, match="RuntimeError: a bug of the runner"):
            await collect(engine, make_request("raise now"))


async def test_who_only_waited_is_sent_again_and_who_ran_is_not():
    async with opened(slots=1, step_s=0.01) as engine:
        running = asyncio.create_task(collect(engine, make_request("hi", **ENDLESS)))
        deltas = []

        async def wait_in_line():
            async for delta in engine.generate(make_request("say at last")):
                deltas.append(delta)  # noqa: PERF401 - looked at meanwhile

        await asyncio.sleep(0.05)
        waiting = asyncio.create_task(wait_in_line())
        await until(lambda: deltas)
        assert isinstance(deltas[0], Queued)
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(EngineDied):
            await running
        await waiting
        assert text_of(deltas) == "at last"
        assert sum(isinstance(delta, Finish) for delta in deltas) == 1


async def test_message_sent_during_the_restart_waits_for_it():
    async with opened() as engine:
        os.kill(engine.pid, signal.SIGKILL)
        await until(lambda: engine.state is EngineState.RESTARTING)
        assert text_of(await collect(engine, make_request("say back again"))) == "back again"


async def test_three_deaths_open_the_breaker():
    states = States()
    async with opened(on_state=states) as engine:
        for _ in range(3):
            await until(lambda: engine.state is EngineState.READY)
            os.kill(engine.pid, signal.SIGKILL)
            await until(lambda: engine.state is not EngineState.READY)
        assert engine.state is EngineState.FAILED
        state, error = states[-1]
        assert state is EngineState.FAILED
        assert "3 times" in error.message
        with pytest.raises(EngineDied, match="3 times"):
            await collect(engine, make_request("say nothing"))


async def test_death_over_the_second_load_counts(tmp_path):
    async with opened(on_load="crash_again", once=str(tmp_path / "loaded")) as engine:
        os.kill(engine.pid, signal.SIGKILL)
        await until(lambda: engine.state is EngineState.FAILED)
        with pytest.raises(EngineDied, match="cannot stand this file"):
            await collect(engine, make_request("say nothing"))


async def test_backoff_comes_before_the_restart():
    async with opened(Limits(backoff_s=(0.5,))) as engine:
        os.kill(engine.pid, signal.SIGKILL)
        killed_s = time.monotonic()
        await until(lambda: engine.state is EngineState.RESTARTING)
        await until(lambda: engine.state is EngineState.READY)
        assert time.monotonic() - killed_s >= 0.5


async def test_stopped_process_is_found_and_replaced():
    async with opened(step_s=0.01) as engine:
        async with aclosing(engine.generate(make_request("hello", **ENDLESS))) as deltas:
            await first_text(deltas)
            pid = engine.pid
            os.kill(pid, signal.SIGSTOP)
            with pytest.raises(EngineDied, match="no sign of life"):
                await drain(deltas)
        assert text_of(await collect(engine, make_request("say alive"))) == "alive"
        assert is_gone(pid)


async def test_stats_are_summed_over_deaths_and_new_ones_are_told_rarely():
    told = []
    async with opened(step_s=0.01, on_stats=told.append) as engine:
        async with aclosing(engine.generate(make_request("hello", **ENDLESS))) as deltas:
            begun_s = time.monotonic()
            async for _ in deltas:
                if len(told) >= 3 and told[-1].num_reply_tokens:
                    break
            # The first may come at once; each of the others a heartbeat after the one before.
            assert time.monotonic() - begun_s > (len(told) - 2) * HEARTBEAT_S
            assert engine.stats.num_running == 1
            before = engine.stats
            os.kill(engine.pid, signal.SIGKILL)
            with pytest.raises(EngineDied):
                await drain(deltas)
        await collect(engine, make_request("say alive"))
        await until(lambda: engine.stats.num_stopped == before.num_stopped + 1)
        stats = engine.stats
        assert (stats.num_deaths, stats.num_restarts, stats.num_failed) == (1, 1, 1)
        assert stats.num_reply_tokens > before.num_reply_tokens > 0
        assert stats.num_steps > before.num_steps
        assert (stats.num_running, stats.num_waiting) == (0, 0)
        num_told = len(told)
        await asyncio.sleep(2.5 * HEARTBEAT_S)
        assert len(told) == num_told, "nothing is told while nothing happens"


@pytest.mark.parametrize("can_cut", [True, False])
async def test_threads_change_under_the_watchdog_and_are_told(can_cut):
    async with opened(step_s=0.04, max_threads=4, scales=True, can_cut=can_cut) as engine:
        pid = engine.pid
        assert engine.stats.decode_threads in {0, 1}  # 0 until it first tells
        async with aclosing(engine.generate(make_request("hello", **ENDLESS))) as deltas:
            async with asyncio.timeout(20):
                async for _ in deltas:
                    if engine.stats.decode_threads == 4:
                        break
        assert text_of(await collect(engine, make_request("say alive"))) == "alive"
        assert (engine.pid, engine.stats.num_deaths) == (pid, 0)


async def test_step_that_hangs_is_found_although_the_process_beats(tmp_path):
    async with opened(once=str(tmp_path / "hung")) as engine:
        with pytest.raises(EngineDied, match="one step took more than"):
            await collect(engine, make_request("hang now"))
        assert text_of(await collect(engine, make_request("say moving"))) == "moving"


async def test_event_loop_that_stands_still_does_not_kill_the_worker():
    patience = Patience(tick_s=0.1, silence_s=1.5)
    async with opened(Limits(patience=patience), step_s=0.01) as engine:
        pid = engine.pid
        time.sleep(2.5)  # noqa: ASYNC251 - this is the point
        assert text_of(await collect(engine, make_request("say still here"))) == "still here"
        await asyncio.sleep(0.3)
        assert engine.pid == pid


async def test_stop_while_the_prompt_is_read_takes_effect_within_half_a_second():
    # 8000 bytes at 1 ms each: 8 s of reading.
    async with opened(slots=1, context_length=10_000, max_batch_tokens=2048, token_s=0.001) as e:
        deltas = e.generate(make_request("x" * 8000))
        async for delta in deltas:
            if isinstance(delta, Prefill) and delta.done > 100:
                assert delta.done < delta.total
                break
        stopped_s = time.monotonic()
        await deltas.aclose()
        await collect(e, make_request("say freed", owner="bob"))
        assert time.monotonic() - stopped_s < 0.75  # half a second, and reading ~20 tokens


async def test_second_turn_reads_only_what_is_new():
    async with opened(context_length=2000) as engine:
        said = "tell me " * 30
        first = await collect(engine, make_request(said, max_tokens=3))
        again = await collect(engine, make_request(said + "more", max_tokens=3))
        other = await collect(engine, make_request(said, max_tokens=3, owner="bob"))
        assert first[-1].usage.cached_tokens == 0
        assert again[-1].usage.cached_tokens > 200
        assert other[-1].usage.cached_tokens == 0


async def test_emoji_split_over_tokens_streams_whole():
    async with opened() as engine:
        deltas = await collect(engine, make_request("say 🦀🏳️‍🌈ü 👩‍👩‍👧", max_tokens=200))
        assert text_of(deltas) == "🦀🏳️‍🌈ü 👩‍👩‍👧"
        assert not any("\ufffd" in d.text for d in deltas if isinstance(d, Text))
        cut = await collect(engine, make_request("say 🦀🦀", max_tokens=6))
        assert text_of(cut) == "🦀"
        assert cut[-1].reason is FinishReason.LENGTH
        assert cut[-1].usage.completion_tokens == 6


async def test_step_that_fails_fails_only_its_requests():
    async with opened() as engine:
        pid = engine.pid
        with pytest.raises(EngineError, match="The step failed") as caught:
            await collect(engine, make_request("fail now"))
        assert not isinstance(caught.value, EngineDied)
        assert text_of(await collect(engine, make_request("say on"))) == "on"
        assert engine.pid == pid


async def test_huge_prompt_is_refused_quickly_and_others_go_on():
    async with opened(step_s=0.005) as engine:
        started_s = time.monotonic()
        with pytest.raises(ContextLengthExceeded, match="512"):
            await collect(engine, make_request("word " * 2_000_000))
        assert time.monotonic() - started_s < 2
        assert text_of(await collect(engine, make_request("say ok"))) == "ok"


async def test_number_that_does_not_travel_is_refused_and_nothing_is_left():
    async with opened() as engine:
        triggers = (GrammarTrigger(token=2**70),)
        with pytest.raises(InvalidRequest, match="64 bits"):
            await collect(engine, make_request("hi", grammar="x", grammar_triggers=triggers))
        assert engine._live.mailboxes == {}


async def test_full_queue_is_busy():
    async with opened(Limits(max_requests=2), step_s=0.01) as engine:
        tasks = [
            asyncio.create_task(collect(engine, make_request("hi", **ENDLESS))) for _ in range(2)
        ]
        await asyncio.sleep(0.02)
        with pytest.raises(Busy) as caught:
            await collect(engine, make_request("say no"))
        assert caught.value.retry_after_s > 0
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_full_queue_is_known_before_anything_is_asked():
    async with opened(slots=1, step_s=0.02) as engine:
        engine.check_room("ann")
        tasks = [
            asyncio.create_task(collect(engine, make_request("hi", **ENDLESS))) for _ in range(70)
        ]
        await asyncio.sleep(0.1)
        with pytest.raises(Busy, match=r"Your part of the queue is full: 6[4-9] replies") as caught:
            engine.check_room("ann")
        assert caught.value.retry_after_s > 0
        engine.check_room("bob")
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        engine.check_room("ann")


async def test_owner_with_a_full_queue_is_busy_and_others_are_not():
    async with opened(slots=1, step_s=0.02) as engine:
        tasks = [
            asyncio.create_task(collect(engine, make_request("hi", max_tokens=1, ignore_eos=True)))
            for _ in range(70)
        ]
        ended = await asyncio.wait_for(
            asyncio.gather(
                *tasks, collect(engine, make_request("say me too", owner="bob")),
                return_exceptions=True,
            ),
            30,
        )  # fmt: skip
        assert text_of(ended[-1]) == "me too"
        busy = [error for error in ended[:-1] if isinstance(error, Busy)]
        assert busy
        assert all(error.retry_after_s > 0 and "64" in error.message for error in busy)


async def test_owner_who_sends_more_than_a_part_of_all_leaves_the_rest_to_others():
    limits = Limits(max_requests=4, max_requests_per_owner=2)
    async with opened(limits, step_s=0.01) as engine:
        tasks = [
            asyncio.create_task(collect(engine, make_request("hi", **ENDLESS))) for _ in range(2)
        ]
        await asyncio.sleep(0.02)
        with pytest.raises(Busy, match="Your part of the queue is full: 2 requests"):
            await collect(engine, make_request("say no"))
        assert text_of(await collect(engine, make_request("say me", owner="bob"))) == "me"
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert text_of(await collect(engine, make_request("say again"))) == "again"


async def test_short_prompt_does_not_wait_for_all_of_somebody_else():
    async with opened(slots=2, tokenize_s=0.05) as engine:
        tasks = [asyncio.create_task(collect(engine, make_request("say x"))) for _ in range(60)]
        await asyncio.sleep(0.3)
        begun_s = time.monotonic()
        assert text_of(await collect(engine, make_request("say me", owner="bob"))) == "me"
        took_s = time.monotonic() - begun_s
        assert any(not task.done() for task in tasks)
        assert took_s < 4, "sixty prompts take ten times as long"
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_death_by_an_unknown_instruction_tells_to_compile_anew():
    async with (
        opened(Limits(backoff_s=(0.01,), max_deaths=1), step_s=0.01) as engine,
        aclosing(engine.generate(make_request("hello", **ENDLESS))) as deltas,
    ):
        await first_text(deltas)
        os.kill(engine.pid, signal.SIGILL)
        with pytest.raises(EngineDied) as caught:
            await drain(deltas)
    assert "SIGILL" in caught.value.message
    assert ".venv" in caught.value.hint


async def test_environment_of_the_worker_is_clean(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("WEBUI_TEST_X", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("HTTPS_PROXY", "http://x")
    async with opened(Limits(backoff_s=(0.01,), max_deaths=1)) as engine:
        with pytest.raises(EngineDied) as caught:
            await collect(engine, make_request("show environment"))
    shown = caught.value.message
    assert "exit code 7" in shown
    assert "GGML_NO_BACKTRACE" in shown
    assert "OMP_WAIT_POLICY" in shown
    for name in ("HF_TOKEN", "WEBUI_TEST_X", "HTTPS_PROXY"):
        assert name not in shown


@pytest.mark.parametrize(
    ("on_load", "words"),
    [
        ("refuse", "not to my taste"),
        ("crash", "cannot stand this file"),
        ("garbage", "invalid message"),
        ("huge", "invalid message"),
    ],
)
async def test_load_that_goes_wrong_says_so_and_leaves_nothing(on_load, words):
    with pytest.raises(LoadFailed, match=words) as caught:
        await LocalEngine.open(fake_spec(on_load=on_load), lambda _: None, limits=QUICK)
    assert caught.value.hint


async def test_entry_that_cannot_start_shows_why():
    spec = fake_spec()
    object.__setattr__(spec.loader, "module", "tests.unit.engine.no_such_module")
    with pytest.raises(LoadFailed, match="no_such_module"):
        await LocalEngine.open(spec, lambda _: None, limits=QUICK)


@pytest.mark.parametrize("num_progress", [0, 1])
async def test_cancel_of_open_kills_the_worker_at_once(num_progress):
    progress = []
    opening = asyncio.create_task(LocalEngine.open(fake_spec(load_s=30), progress.append))
    await until(lambda: psutil.Process().children() and len(progress) >= num_progress)
    started_s = time.monotonic()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert time.monotonic() - started_s < 1
    assert psutil.Process().children() == []


async def test_close_ends_a_worker_that_does_not_listen():
    limits = Limits(patience=Patience(quit_s=0.3))
    async with opened(limits, slots=1) as engine:
        task = asyncio.create_task(collect(engine, make_request("hang now")))
        await asyncio.sleep(0.2)
        started_s = time.monotonic()
        await engine.close()
        assert time.monotonic() - started_s < 2
        with pytest.raises(EngineDied, match="unloaded"):
            await task


async def test_close_during_the_pause_before_a_restart():
    async with opened(Limits(backoff_s=(60,))) as engine:
        os.kill(engine.pid, signal.SIGKILL)
        await until(lambda: engine.state is EngineState.RESTARTING)
        waiting = asyncio.create_task(collect(engine, make_request("say x")))
        await asyncio.sleep(0)
        await asyncio.wait_for(engine.close(), 2)
        with pytest.raises(EngineDied, match="unloaded"):
            await waiting


async def test_close_during_a_restart_leaves_nothing(tmp_path):
    async with opened(QUICK, load_s=1.0) as engine:
        os.kill(engine.pid, signal.SIGKILL)
        await until(lambda: engine.state is EngineState.RESTARTING)
        await until(lambda: any(c.pid != engine.pid for c in psutil.Process().children()))
        await asyncio.wait_for(engine.close(), 3)


async def test_spawning_happens_on_the_thread_of_the_loop():
    assert threading.current_thread() is threading.main_thread()
    async with opened() as engine:
        assert psutil.Process(engine.pid).ppid() == os.getpid()


@pytest.mark.parametrize("num_turns", range(6))
async def test_cancel_of_open_at_any_moment_leaves_nothing(num_turns):
    opening = asyncio.create_task(LocalEngine.open(fake_spec(), lambda _: None))
    for _ in range(num_turns):
        await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert psutil.Process().children() == []


async def test_worker_ends_when_its_parent_is_killed(tmp_path):
    code = (
        "import asyncio, sys, time\n"
        "from tests.unit.engine.fake_worker import fake_spec\n"
        "from webui.engine.process import LocalEngine\n"
        "async def main():\n"
        "    engine = await LocalEngine.open(fake_spec(), lambda _: None)\n"
        "    print(engine.pid, flush=True)\n"
        "    time.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)  # noqa: ASYNC220 - it has nothing else to do
    try:
        pid = int(await asyncio.to_thread(parent.stdout.readline))
        assert psutil.pid_exists(pid)
        parent.kill()
        await until(lambda: is_gone(pid), 5)
    finally:
        parent.kill()
        parent.communicate()


async def test_ctrl_c_of_the_terminal_does_not_end_the_worker():
    async with opened() as engine:
        os.kill(engine.pid, signal.SIGINT)
        assert text_of(await collect(engine, make_request("say unmoved"))) == "unmoved"


async def test_cancel_of_a_request_whose_prompt_is_being_made():
    async with opened(slots=1, context_length=400_000, tokenize_s=0.3) as engine:
        task = asyncio.create_task(collect(engine, make_request("first")))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert text_of(await collect(engine, make_request("say second"))) == "second"


async def test_text_arrives_at_most_fifty_times_a_second():
    async with opened(context_length=2000, step_s=0.001) as engine:
        started_s = time.monotonic()
        deltas = await collect(engine, make_request("tell", max_tokens=300, ignore_eos=True))
        took_s = time.monotonic() - started_s
        assert sum(isinstance(delta, Text) for delta in deltas) <= took_s * 50 + 2
