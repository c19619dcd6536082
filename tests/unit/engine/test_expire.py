"""What programs had read goes with its age, wherever it lies, and does not come back."""

import time

from tests.unit.engine.fake_embedder import FakeEmbedder
from tests.unit.engine.fake_runner import FakeRunner
from tests.unit.engine.test_disk_states import Slow
from tests.unit.engine.test_pool import Opener, spec
from tests.unit.engine.test_state_keeper import (
    OPTIONS,
    A,
    B,
    C,
    cached,
    job,
    play,
    replace_options,
    with_disk,
)
from webui.engine import ipc, state_files, worker
from webui.engine.embed_loop import EmbedLoop
from webui.engine.mail import Expired
from webui.engine.model_loop import ModelLoop
from webui.engine.pool import EnginePool
from webui.engine.saved_states import SavedStates
from webui.engine.states import SHARED_OWNER, Prefix, State

HOUR_NS = 3600 * 10**9


def aged(letter, hours, conversation_id=None, owner="ann"):
    used_ns = time.time_ns() - hours * HOUR_NS
    return State(Prefix(owner, conversation_id, [letter] * 100, used_ns), memoryview(b"x" * 1000))


def a_day_ago():
    return time.time_ns() - 24 * HOUR_NS


def test_what_is_gone_from_disk_is_gone_from_the_figures_and_is_written_anew(tmp_path):
    loop, deliver, disk = with_disk(FakeRunner(OPTIONS), tmp_path)
    cache = loop._cache
    kept = [aged(B, 23), aged(C, 48, "c1"), aged(C + 1, 48, owner=SHARED_OWNER)]
    for state in [aged(A, 48), *kept]:
        cache.write(state)
        deliver()
    assert cache.num_disk_bytes == 4000
    loop.take(Expired(a_day_ago()))
    assert cache.num_disk_bytes == 3000
    assert all(cache.is_written(state.prefix) for state in kept)
    assert not cache.is_written(aged(A, 0).prefix)
    cache.write(aged(A, 0))
    deliver()
    disk.close(10)
    assert len(list(tmp_path.glob("*/*"))) == 4
    assert cache.num_disk_bytes == 4000


def test_what_waits_to_be_written_is_not_written_any_more(tmp_path, monkeypatch):
    slow = Slow(monkeypatch, tmp_path)
    loop, deliver, disk = with_disk(FakeRunner(OPTIONS), tmp_path)
    for state in (aged(A, 48), aged(B, 48), aged(C, 0)):
        loop._cache.write(state)
    slow.begun.get(timeout=10)
    loop.take(Expired(a_day_ago()))
    slow.go.release(10)
    deliver()
    deliver()
    disk.close(10)
    found = [state_files.read_header(path, None) for path in tmp_path.glob("*/*")]
    assert [file.prefix.tokens[0] for file in found] == [C]
    assert loop._cache.num_disk_bytes == 1000
    assert not loop._cache.is_writing


def test_slots_and_memory_forget_as_well_and_nothing_comes_back_at_the_end(tmp_path):
    runner = FakeRunner(replace_options(slots=2))
    loop, _, _ = with_disk(runner, tmp_path)
    for letter in (A, B, C):  # two lie in slots, one in memory
        play(loop, job("ann", [letter] * 100))
    drafts = []
    loop._drafting.forget = drafts.append
    play(loop, job("ann", [C + 1] * 100), conversation_id="c1")
    drafts.clear()
    assert len(loop._cache.in_ram) == 2
    loop.take(Expired(time.time_ns() + HOUR_NS))
    assert loop._cache.in_ram == []
    assert sorted(len(cells) > 0 for cells in runner._cells.values()) == [False, True]
    assert len(drafts) == 1
    loop.close()
    found = [state_files.read_header(path, None) for path in tmp_path.glob("*/*")]
    assert [file.prefix.conversation_id for file in found] == ["c1"]
    assert cached(loop, job("ann", [A] * 100)) == 0


def test_what_was_used_since_is_written_anew_once_its_old_file_is_gone(tmp_path):
    loop, deliver, disk = with_disk(FakeRunner(replace_options(slots=2)), tmp_path)
    play(loop, job("ann", [A] * 60, num=1))
    loop._cache.write(aged(A, 48))  # holds all of that
    deliver()
    loop.idle()
    assert loop.idle_s is None
    loop.take(Expired(a_day_ago()))
    assert loop.idle_s is not None
    loop.idle()
    deliver()
    disk.close(10)
    assert len(list(tmp_path.glob("*/*"))) == 1


def test_state_in_memory_is_written_anew_once_its_old_file_is_gone(tmp_path):
    loop, deliver, disk = with_disk(FakeRunner(OPTIONS), tmp_path)
    loop._cache.write(aged(A, 48))
    deliver()
    loop._cache.keep(aged(A, 0))
    loop.take(Expired(a_day_ago()))
    assert loop.idle_s is not None
    loop.idle()
    deliver()
    disk.close(10)
    assert len(list(tmp_path.glob("*/*"))) == 1


def test_state_that_is_being_read_is_used_now(tmp_path):
    loop, deliver, disk = with_disk(FakeRunner(OPTIONS), tmp_path)
    loop._cache.write(aged(A, 23))
    deliver()
    (file,) = loop._cache._files.values()
    loop._cache.fetch(file)
    deliver()
    loop.take(Expired(time.time_ns() - HOUR_NS))
    assert loop._cache.num_disk_bytes == 1000
    disk.close(10)
    assert file.path.exists()


async def test_loaded_model_and_disk_are_told(tmp_path):
    opener = Opener()
    pool = EnginePool(opener)
    await pool.load(spec("m"))
    told = []

    async def note(before_ns):
        told.append(before_ns)

    opener.engines["m"].expire = note
    folder = state_files.folder_of(tmp_path, "key")
    folder.mkdir()
    old, new = (state_files.write(folder, "key", aged(A, hours)) for hours in (48, 1))
    before_ns = a_day_ago()
    await SavedStates(pool, tmp_path).expire(before_ns)
    assert told == [before_ns]
    assert (old.path.exists(), new.path.exists()) == (False, True)
    await pool.close()


def test_worker_hands_it_to_the_loop():
    one = worker._Worker(None)
    (message,) = ipc.ToWorkerDecoder().feed(ipc.encode(ipc.Expire(7)))
    one._sort(message)
    assert one._mail.get_nowait() == Expired(7)


def test_model_that_writes_nothing_has_nothing_to_forget():
    assert ModelLoop(None, EmbedLoop(FakeEmbedder()), None, time.monotonic).take(Expired(7)) == []
