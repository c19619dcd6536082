import asyncio

import pytest

from tests.unit.engine.test_pool import Opener, settle, spec
from webui.engine import state_files
from webui.engine.pool import EnginePool
from webui.engine.saved_states import SavedStates
from webui.engine.states import Prefix, State


@pytest.mark.parametrize("conversation_id", ["c1", None])
async def test_what_a_leaving_model_still_writes_is_purged_too(
    tmp_path, conversation_id, monkeypatch
):
    opener = Opener()
    pool = EnginePool(opener)
    await pool.load(spec("m"))
    engine = opener.engines["m"]
    close = engine.close
    loop, go, purge = asyncio.get_running_loop(), asyncio.Event(), state_files.purge

    def purge_and_tell(*args):
        purge(*args)
        loop.call_soon_threadsafe(go.set)

    monkeypatch.setattr(state_files, "purge", purge_and_tell)

    async def write_and_close(**how):
        await go.wait()
        folder = tmp_path / "model"
        folder.mkdir()
        for owner, conversation in [("ann", "c1"), ("ann", "c2"), ("bob", "c1")]:
            prefix = Prefix(owner, conversation, [1, 2, 3])
            state_files.write(folder, "key", State(prefix, memoryview(b"secret")))
        await close(**how)

    engine.close = write_and_close
    unloading = asyncio.create_task(pool.unload())
    await settle()
    await SavedStates(pool, tmp_path).purge("ann", conversation_id)
    await unloading
    left = [state_files.read_header(path, "key").prefix for path in tmp_path.glob("*/*")]
    whose = {(prefix.owner, prefix.conversation_id) for prefix in left}
    assert whose == {("bob", "c1")} | ({("ann", "c2")} if conversation_id else set())


async def test_nobody_waits_for_a_model_that_stays(tmp_path):
    opener = Opener()
    pool = EnginePool(opener)
    await pool.load(spec("m"))
    await asyncio.wait_for(SavedStates(pool, tmp_path).purge("ann"), 1)
    await pool.close()
