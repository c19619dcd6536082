import asyncio

import pytest

from tests.unit.engine.contract import collect, make_request, text_of
from tests.unit.engine.fake_worker import fake_spec
from webui.engine.adapters import Adapter, ChosenScale
from webui.engine.fake import FakeEngine
from webui.engine.interface import EngineState
from webui.engine.loader import ModelSpec
from webui.engine.pool import DRAIN_S, EnginePool
from webui.engine.pool_status import LoadOutcome, PoolError, PoolState, PoolStatus
from webui.errors import Conflict, EngineDied, InvalidRequest, LoadFailed, ModelNotLoaded


def spec(name):
    plain = fake_spec()
    return ModelSpec(name, name.title(), plain.path, plain.loader, plain.options)


class Opener:
    """Opens made-up engines when told to."""

    def __init__(self):
        self.engines = {}
        self.on_state = {}
        self.on_progress = None
        self.go = asyncio.Event()
        self.go.set()
        self.error = None
        self.good = None  # what opens also when there is an error
        self.specs = []
        self.num_cancelled = 0

    async def __call__(self, spec, on_progress, on_state):
        self.on_progress = on_progress
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        self.specs.append(spec.model_id)
        if self.error and spec.model_id != self.good:
            raise self.error
        engine = self.engines[spec.model_id] = FakeEngine(1000)
        self.on_state[spec.model_id] = on_state
        return engine


@pytest.fixture
def opener():
    return Opener()


@pytest.fixture
async def pool(opener):
    pool = EnginePool(opener)
    yield pool
    await pool.close()


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


async def start_load(pool, opener, name):
    """Begin a load that waits for `opener.go`."""
    opener.go.clear()
    task = asyncio.create_task(pool.load(spec(name)))
    await settle()
    return task


async def test_load_tells_its_way_and_then_answers(pool, opener):
    seen = []
    pool.subscribe(seen.append)
    assert pool.status == PoolStatus()
    task = await start_load(pool, opener, "one")
    opener.on_progress(0.5)
    opener.on_progress(0.501)
    opener.go.set()
    await task
    assert [(s.state, s.fraction) for s in seen] == [
        ("loading", 0.0),
        ("loading", 0.5),
        ("ready", None),
    ]
    assert pool.current is opener.engines["one"]
    assert pool.status.model_id == "one"
    assert pool.status.info == pool.current.info


def talk(pool):
    """Begin a reply that does not end by itself; return its task."""
    request = make_request("long 1000000", max_tokens=1_000_000)
    return asyncio.create_task(collect(pool.current, request))


async def test_swap_closes_the_old_engine_before_the_new_one_is_opened(pool, opener):
    await pool.load(spec("one"))
    task = await start_load(pool, opener, "two")
    assert opener.engines["one"].state is EngineState.CLOSED
    assert pool.current is None
    assert (pool.status.state, pool.status.model_id) == (PoolState.LOADING, "two")
    opener.go.set()
    await task
    assert pool.current is opener.engines["two"]


async def test_swap_waits_for_running_replies_and_newcomers_get_the_new_model(pool, opener):
    await pool.load(spec("one"))
    old = pool.current
    reply = asyncio.create_task(collect(old, make_request("echo a b c", max_tokens=9)))
    await settle()
    task = asyncio.create_task(pool.load(spec("two")))
    await settle()
    assert (old.state, pool.current) == (EngineState.READY, None)
    assert pool.status.state is PoolState.LOADING
    assert pool.status.info is not None
    newcomer = asyncio.create_task(pool.acquire(10))
    assert text_of(await reply) == "a b c"
    await task
    assert await newcomer is pool.current is opener.engines["two"]
    assert old.state is EngineState.CLOSED


@pytest.mark.parametrize("drain_s", [0.0, 0.01])
async def test_swap_ends_replies_that_take_too_long(opener, drain_s):
    pool = EnginePool(opener, drain_s=drain_s)
    await pool.load(spec("one"))
    reply = talk(pool)
    await settle()
    await pool.load(spec("two"))
    with pytest.raises(EngineDied, match="being loaded"):
        await reply
    assert pool.current is opener.engines["two"]
    await pool.close()


async def test_force_ends_replies_at_once(pool, opener):
    await pool.load(spec("one"))
    reply = talk(pool)
    await settle()
    await pool.load(spec("two"), force=True)
    with pytest.raises(EngineDied, match="make room for the one that is being loaded") as end:
        await reply
    assert "waits for that one" in end.value.hint
    reply = talk(pool)
    await settle()
    await pool.unload(force=True)
    with pytest.raises(EngineDied):
        await reply
    assert pool.status == PoolStatus()


async def test_unload_waits_for_replies_takes_no_new_ones_and_can_be_hurried(pool, opener):
    await pool.load(spec("one"))
    reply = talk(pool)
    await settle()
    unloading = asyncio.create_task(pool.unload())
    await settle()
    assert not reply.done()
    assert pool.status.state is PoolState.UNLOADING
    assert pool.status.info is not None
    with pytest.raises(ModelNotLoaded, match="being unloaded") as refusal:
        await pool.acquire(1)
    assert refusal.value.retry_after_s == DRAIN_S
    assert "once it is gone" in refusal.value.hint
    with pytest.raises(Conflict, match="being unloaded"):
        await pool.load(spec("two"))
    await pool.unload(force=True)
    await unloading
    with pytest.raises(EngineDied, match="was unloaded"):
        await reply
    assert pool.status == PoolStatus()


async def test_load_cancelled_while_replies_end_leaves_the_old_engine_alone(pool, opener):
    await pool.load(spec("one"))
    reply = talk(pool)
    await settle()
    task = asyncio.create_task(pool.load(spec("two")))
    await settle()
    pool.cancel_load()
    with pytest.raises(Conflict):
        await task
    assert not reply.done()
    assert pool.current is opener.engines["one"]
    assert (pool.status.state, pool.status.error) == (PoolState.READY, None)
    reply.cancel()
    await asyncio.wait({reply})


async def test_failed_load_brings_the_old_model_back(pool, opener):
    await pool.load(spec("one"))
    opener.error, opener.good = LoadFailed("broken", "take another"), "one"
    seen = []
    pool.subscribe(lambda status: seen.append((status.state, status.model_id)))
    with pytest.raises(LoadFailed):
        await pool.load(spec("two"))
    assert opener.specs == ["one", "two", "one"]
    assert pool.current is opener.engines["one"]
    assert pool.current.state is EngineState.READY
    assert (pool.status.state, pool.status.model_id) == (PoolState.READY, "one")
    assert pool.status.error == PoolError("broken", "take another")
    assert pool.status.outcome is LoadOutcome.FAILED
    assert PoolState.FAILED not in dict(seen)


async def test_old_model_that_does_not_come_back_leaves_the_first_reason(pool, opener):
    await pool.load(spec("one"))
    opener.error = LoadFailed("broken", "take another")
    with pytest.raises(LoadFailed):
        await pool.load(spec("two"))
    assert pool.status.state is PoolState.FAILED
    assert pool.status.error == PoolError("broken", "take another")
    assert pool.current is None


async def test_model_that_had_given_up_is_not_brought_back(pool, opener):
    await pool.load(spec("one"))
    pool.current._state = EngineState.FAILED
    opener.error, opener.good = LoadFailed("broken"), "one"
    with pytest.raises(LoadFailed):
        await pool.load(spec("two"))
    assert opener.specs == ["one", "two"]
    assert pool.status.state is PoolState.FAILED


async def test_unload_during_a_swap_brings_nothing_back(pool, opener):
    await pool.load(spec("one"))
    task = await start_load(pool, opener, "two")
    await pool.unload()
    with pytest.raises(Conflict):
        await task
    assert opener.specs == ["one"]
    assert pool.status == PoolStatus()


async def test_failed_first_load_is_shown_until_the_next_one(pool, opener):
    opener.error = LoadFailed("broken", "take another")
    with pytest.raises(LoadFailed):
        await pool.load(spec("one"))
    assert pool.status == PoolStatus(
        PoolState.FAILED,
        "one",
        "One",
        error=PoolError("broken", "take another"),
        outcome=LoadOutcome.FAILED,
    )
    with pytest.raises(ModelNotLoaded, match="broken"):
        await pool.acquire(1)
    opener.error = None
    await pool.load(spec("one"))
    assert pool.status.error is None


async def test_second_load_meanwhile_is_a_conflict(pool, opener):
    task = await start_load(pool, opener, "one")
    with pytest.raises(Conflict, match="One is being loaded"):
        await pool.load(spec("two"))
    opener.go.set()
    await task
    assert pool.status.model_id == "one"


async def test_cancelled_load_brings_back_what_was_there(pool, opener):
    await pool.load(spec("one"))
    task = await start_load(pool, opener, "two")
    pool.cancel_load()
    opener.go.set()
    with pytest.raises(Conflict, match="cancelled"):
        await task
    assert opener.num_cancelled == 1
    assert pool.current is opener.engines["one"]
    assert (pool.status.state, pool.status.error) == (PoolState.READY, None)
    assert pool.status.outcome is LoadOutcome.CANCELLED


async def test_cancelled_reload_of_the_loaded_model_is_not_told_as_loaded(pool, opener):
    await pool.load(spec("one"))
    assert pool.status.outcome is LoadOutcome.LOADED
    seen = []
    pool.subscribe(lambda status: seen.append((status.state, status.outcome)))
    task = await start_load(pool, opener, "one")
    pool.cancel_load()
    opener.go.set()
    with pytest.raises(Conflict, match="cancelled"):
        await task
    assert (pool.status.state, pool.status.model_id) == (PoolState.READY, "one")
    assert (PoolState.READY, LoadOutcome.LOADED) not in seen
    assert pool.status.outcome is LoadOutcome.CANCELLED


async def test_load_that_came_just_before_its_cancel_is_closed(pool, opener):
    task = await start_load(pool, opener, "one")
    opener.go.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    pool.cancel_load()
    with pytest.raises(Conflict):
        await task
    assert pool.current is None
    assert all(e.state is EngineState.CLOSED for e in opener.engines.values())


async def test_cancel_of_the_caller_cancels_the_load(pool, opener):
    task = await start_load(pool, opener, "one")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert opener.num_cancelled == 1
    assert pool.status == PoolStatus()


async def test_unload_closes_and_cancels(pool, opener):
    await pool.load(spec("one"))
    task = await start_load(pool, opener, "two")
    await pool.unload()
    with pytest.raises(Conflict):
        await task
    assert pool.current is None
    assert pool.status == PoolStatus()
    assert opener.engines["one"].state is EngineState.CLOSED
    await pool.unload()


async def test_acquire_without_a_model_says_so(pool):
    with pytest.raises(ModelNotLoaded, match="No model is loaded") as caught:
        await pool.acquire(1)
    assert caught.value.hint


async def test_scales_are_set_for_the_loaded_model_and_told(pool):
    with pytest.raises(ModelNotLoaded):
        pool.set_lora_scales([])
    adapters = (Adapter("poet.gguf", 1.0), Adapter("cook.gguf", 0.0))
    await pool.adopt(FakeEngine(1000, adapters=adapters))
    told = []
    pool.subscribe(told.append)
    pool.set_lora_scales([ChosenScale(1, 0.5)])
    (status,) = told
    assert [adapter.scale for adapter in status.info.adapters] == [0.0, 0.5]
    with pytest.raises(InvalidRequest, match="no adapter 2"):
        pool.set_lora_scales([ChosenScale(2, 0.5)])
    assert pool.status is status


async def test_acquire_waits_for_the_first_load(pool, opener):
    task = await start_load(pool, opener, "one")
    waiting = asyncio.create_task(pool.acquire(10))
    await settle()
    assert not waiting.done()
    assert pool.num_waiting == 1
    gone = asyncio.create_task(pool.acquire(10))
    await settle()
    assert pool.num_waiting == 2
    gone.cancel()
    await settle()
    assert pool.num_waiting == 1
    opener.go.set()
    await task
    assert await waiting is opener.engines["one"]
    assert pool.num_waiting == 0


async def test_acquire_waits_for_a_model_that_is_expected(pool, opener):
    with pool.expecting():
        waiting = asyncio.create_task(pool.acquire(5))
        await settle()
        assert not waiting.done()
        loading = await start_load(pool, opener, "one")
    opener.go.set()
    await loading
    assert await waiting is opener.engines["one"]


async def test_acquire_ends_when_the_expected_model_does_not_come(pool):
    with pool.expecting():
        waiting = asyncio.create_task(pool.acquire(5))
        await settle()
    with pytest.raises(ModelNotLoaded):
        await waiting


async def test_acquire_gives_up_in_time_and_when_the_load_fails(pool, opener):
    task = await start_load(pool, opener, "one")
    with pytest.raises(ModelNotLoaded, match="still being loaded"):
        await pool.acquire(0.01)
    waiting = asyncio.create_task(pool.acquire(10))
    await settle()
    opener.error = LoadFailed("broken")
    opener.go.set()
    with pytest.raises(ModelNotLoaded, match="broken"):
        await waiting
    with pytest.raises(LoadFailed):
        await task


async def test_state_of_the_engine_is_shown(pool, opener):
    await pool.load(spec("one"))
    engine, on_state = opener.engines["one"], opener.on_state["one"]
    seen = []
    unsubscribe = pool.subscribe(seen.append)
    for state, error in (
        (EngineState.RESTARTING, EngineDied("it died", "wait")),
        (EngineState.READY, None),
        (EngineState.FAILED, EngineDied("3 times", "load it again")),
    ):
        engine._state = state
        on_state(state, error)
    unsubscribe()
    await pool.unload()
    assert [(s.state, s.error) for s in seen] == [
        ("restarting", PoolError("it died", "wait")),
        ("ready", None),
        ("failed", PoolError("3 times", "load it again")),
    ]


async def test_adopted_engine_answers_and_is_closed(pool):
    engine = FakeEngine(1000)
    await pool.adopt(engine)
    assert pool.status.state is PoolState.READY
    assert pool.status.name == engine.info.name
    assert await pool.acquire(1) is engine
    await pool.close()
    assert engine.state is EngineState.CLOSED


async def test_closed_pool_loads_nothing(pool):
    await pool.close()
    with pytest.raises(Conflict):
        await pool.load(spec("one"))


async def test_load_that_stands_still_is_told_and_can_be_cancelled(opener):
    pool = EnginePool(opener, stall_s=0.0)
    task = await start_load(pool, opener, "one")
    assert pool.status.stalled_s == 0
    assert pool.status.state is PoolState.LOADING
    opener.on_progress(0.0)
    assert pool.status.stalled_s is None, "it goes on"
    pool.cancel_load()
    with pytest.raises(Conflict):
        await task
    assert opener.num_cancelled == 1
    assert pool.status == PoolStatus(outcome=LoadOutcome.CANCELLED)
    await pool.close()
