"""Model files and the loaded model, with an engine that opens when a test says so."""

import asyncio
import logging
import threading
from contextlib import asynccontextmanager

import pytest

from tests.tiny_gguf import write_tiny_gguf, write_tiny_lora
from tests.unit.engine.contract import collect, make_request
from webui.actor import LOCAL_USER_ID, Actor, Permission
from webui.chat.events import JobChanged, ModelsChanged
from webui.chat.model_options import LAST_MODEL
from webui.chat.models import Models
from webui.engine.fake import FakeEngine
from webui.engine.pool import EnginePool
from webui.errors import (
    Conflict,
    EngineDied,
    InvalidRequest,
    LoadFailed,
    NotFound,
    PermissionDenied,
)
from webui.hub.catalog import Catalog
from webui.hub.starter import adopt_starter
from webui.jobs import Jobs
from webui.settings import Settings
from webui.storage import settings as settings_table

pytestmark = pytest.mark.integration


class Opener:
    """Opens fake engines; waits or fails when told."""

    def __init__(self):
        self.specs = []
        self.may_open = asyncio.Event()
        self.may_open.set()
        self.error = None

    async def __call__(self, spec, on_progress, on_state):
        self.specs.append(spec)
        on_progress(0.5)
        await self.may_open.wait()
        error, self.error = self.error, None
        if error is not None:
            raise error
        return FakeEngine(1000)


@pytest.fixture
def models_dir(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    write_tiny_gguf(folder / "tiny.gguf")
    (folder / "broken.gguf").write_bytes(b"GGUF and nothing more")
    return folder


@pytest.fixture
def opener():
    return Opener()


@pytest.fixture
async def open_models(open_house, models_dir, opener, tmp_path):
    @asynccontextmanager
    async def open_it(**settings):
        async with open_house(pool=EnginePool(opener)) as house:
            jobs = Jobs(house.database)
            house.models = Models(
                house.pool,
                Catalog(models_dir),
                jobs,
                house.database,
                house.events,
                Settings(data_dir=tmp_path / "data", **settings),
            )
            house.jobs = jobs
            try:
                yield house
            finally:
                await jobs.close()
                await house.models.close()

    return open_it


async def state(house, wanted):
    async def reached():
        return house.models.status.state == wanted

    await house.until(reached)
    return house.models.status


async def test_list_shows_figures_and_what_is_wrong(open_models):
    async with open_models() as house:
        found = await house.models.list(house.me)
        broken, tiny = found.models
        assert (tiny.id, tiny.name, tiny.architecture, tiny.error) == (
            "tiny.gguf",
            "tiny",
            "llama",
            None,
        )
        assert tiny.size_bytes > 0
        assert tiny.parameters > 0
        assert tiny.context_length == 2048
        assert broken.error
        assert found.status.state == "none"
        assert not found.starter.available
        assert found.starter.size_bytes == 93_000_000


async def test_starter_is_offered_where_no_model_can_be_loaded(open_models, models_dir):
    (models_dir / "tiny.gguf").unlink()
    async with open_models() as house:
        assert (await house.models.list(house.me)).starter.available


async def test_load_returns_at_once_and_everybody_hears_of_it(open_models, opener):
    opener.may_open.clear()
    async with open_models() as house:
        mine, theirs = house.events.cursor("local"), house.events.cursor("other")
        status = await house.models.load(house.me, "tiny.gguf", {"context_length": 512})
        assert (status.state, status.model_id, status.name) == ("loading", "tiny.gguf", "tiny")
        with pytest.raises(Conflict):
            await house.models.load(house.me, "tiny.gguf")
        opener.may_open.set()
        status = await state(house, "ready")
        assert status.info.context_length == 8192
        assert opener.specs[0].options.context_length == 512
        for owner, cursor in (("local", mine), ("other", theirs)):
            seen = []
            async for entry in house.follow(owner, cursor):
                if not isinstance(entry.event, ModelsChanged):
                    continue
                seen.append((entry.event.status.state, entry.event.status.fraction))
                if seen[-1][0] == "ready":
                    break
            assert seen == [("loading", 0.0), ("loading", 0.5), ("ready", None)]


async def test_two_loads_at_once_are_one_load_and_a_conflict(open_models, opener):
    opener.may_open.clear()
    async with open_models() as house:
        loads = [house.models.load(house.me, "tiny") for _ in range(3)]
        outcomes = await asyncio.gather(*loads, return_exceptions=True)
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 2
        opener.may_open.set()
        await state(house, "ready")
        assert len(opener.specs) == 1


async def test_load_failed_says_why_and_leaves_the_old_model(open_models, opener, caplog):
    async with open_models() as house:
        await house.models.load(house.me, "tiny")
        await state(house, "ready")
        opener.error = LoadFailed("The context does not fit", "Make it smaller")
        with caplog.at_level(logging.WARNING):
            await house.models.load(house.me, "tiny", {"context_length": 2000})

            async def failed():
                return house.models.status.error is not None

            await house.until(failed)
            await state(house, "ready")
        assert house.models.status.error.message == "The context does not fit"
        assert [spec.options.context_length for spec in opener.specs] == [0, 2000, 0]
        options = await house.models.options_for(house.me, "tiny")
        assert options.context_length == 0


async def test_load_refuses_what_it_can_see_is_wrong(open_models):
    async with open_models() as house:
        with pytest.raises(NotFound):
            await house.models.load(house.me, "nothing")
        with pytest.raises(LoadFailed, match="broken"):
            await house.models.load(house.me, "broken.gguf")
        assert house.models.status.state == "failed"
        assert "broken cannot be loaded" in house.models.status.error.message
        for options in ({"context_length": -1}, {"context_length": float("nan")}):
            with pytest.raises(InvalidRequest) as caught:
                await house.models.load(house.me, "tiny", options)
            assert caught.value.field == "context_length"
        with pytest.raises(InvalidRequest) as caught:
            await house.models.load(house.me, "tiny", {"unknown": 1})
        assert caught.value.field == "unknown"
        assert house.models.status.model_id == "broken.gguf"


async def test_options_that_cannot_work_with_the_file_leave_the_loaded_model(open_models, opener):
    async with open_models() as house:
        await house.models.load(house.me, "tiny")
        await state(house, "ready")
        loaded = house.pool.current
        for options, field in (
            ({"context_length": 100_000}, "context_length"),
            ({"cache_type_k": "q8_0"}, "cache_type_k"),
            ({"cache_type_v": "q8_0", "flash_attn": "off"}, "cache_type_v"),
        ):
            with pytest.raises(LoadFailed) as caught:
                await house.models.load(house.me, "tiny", options)
            assert caught.value.field == field
            assert house.models.status.error.message == caught.value.message
        assert house.pool.current is loaded
        assert len(opener.specs) == 1
        assert (await house.models.options_for(house.me, "tiny")).context_length == 0


async def test_cancel_ends_the_load(open_models, opener, caplog):
    opener.may_open.clear()
    async with open_models() as house:
        await house.models.load(house.me, "tiny")
        status = await house.models.cancel(house.me)
        assert (status.state, house.pool.current) == ("none", None)
        opener.may_open.set()
        assert (await house.models.load(house.me, "tiny")).state == "loading"
        await state(house, "ready")


async def test_last_model_is_loaded_again_with_its_options(open_models, opener):
    async with open_models() as house:
        await house.models.reopen_last()
        assert house.models.status.state == "none"
        await house.models.load(house.me, "tiny", {"slots": 2})
        await state(house, "ready")

        async def remembered():
            return (await house.models.options_for(house.me, "tiny")).slots == 2

        await house.until(remembered)
    async with open_models() as house:
        await house.models.reopen_last()
        await state(house, "ready")
        assert (opener.specs[-1].model_id, opener.specs[-1].options.slots) == ("tiny.gguf", 2)
        await house.models.unload(house.me)
        assert house.models.status.state == "none"
        num_loads = len(opener.specs)
        await house.models.reopen_last()
        await asyncio.sleep(0)
        assert len(opener.specs) == num_loads


async def test_model_of_the_settings_goes_first_and_a_missing_one_is_logged(
    open_models, models_dir, opener, caplog
):
    write_tiny_gguf(models_dir / "second.gguf")
    async with open_models(model="second") as house:
        await house.models.reopen_last()
        await state(house, "ready")
        assert opener.specs[-1].model_id == "second.gguf"
    async with open_models(model="gone") as house:
        with caplog.at_level(logging.WARNING):
            await house.models.reopen_last()
        assert "gone" in caplog.text
        assert house.models.status.state == "none"


async def test_load_is_refused_while_replies_of_an_unload_end(open_models):
    async with open_models() as house:
        await house.models.load(house.me, "tiny")
        await state(house, "ready")
        endless = make_request("long 1000000", max_tokens=1_000_000)
        reply = asyncio.create_task(collect(house.pool.current, endless))
        await asyncio.sleep(0)
        assert (await house.models.unload(house.me)).state == "unloading"
        with pytest.raises(Conflict, match="is being unloaded"):
            await house.models.load(house.me, "tiny")
        await house.models.unload(house.me, force=True)
        assert house.models.status.state == "none"
        with pytest.raises(EngineDied):
            await reply


async def test_options_are_kept_for_each_model(open_models):
    async with open_models() as house:
        saved = await house.models.update_options(house.me, "tiny", lambda _: {"threads": 3})
        assert saved.threads == 3
        assert await house.models.options_for(house.me, "tiny") == saved
        with pytest.raises(InvalidRequest):
            await house.models.update_options(house.me, "tiny", lambda _: {"threads": "many"})
        assert await house.models.options_for(house.me, "tiny") == saved
        with pytest.raises(NotFound):
            await house.models.options_for(house.me, "nothing")


async def test_adapters_are_found_in_the_models_folder_and_kept_as_named(
    open_models, models_dir, opener
):
    poet = write_tiny_lora(models_dir / "poet.gguf")
    async with open_models() as house:
        listed = await house.models.list(house.me)
        assert [card.id for card in listed.adapters] == ["poet.gguf"]
        assert "poet.gguf" not in [card.id for card in listed.models]
        with pytest.raises(NotFound, match="no adapter"):
            await house.models.load(house.me, "tiny", {"lora": [{"path": "../poet.gguf"}]})
        with pytest.raises(InvalidRequest):
            await house.models.load(house.me, "tiny", {"lora": [{"path": "poet", "scale": 1000}]})
        with pytest.raises(LoadFailed, match="is an adapter"):
            await house.models.load(house.me, "poet")
        await house.models.load(house.me, "tiny", {"lora": [{"path": "poet", "scale": 0.5}]})
        await state(house, "ready")
        (located,) = opener.specs[-1].options.lora
        assert (located.path, located.scale) == (str(poet), 0.5)

        async def remembered():
            saved = await house.models.options_for(house.me, "tiny")
            return [one.path for one in saved.lora] == ["poet"]

        await house.until(remembered)


async def test_draft_model_is_found_in_the_models_folder_and_nowhere_else(
    open_models, models_dir, opener
):
    (models_dir / "family").mkdir()
    small = write_tiny_gguf(models_dir / "family" / "small.gguf")
    outside = write_tiny_gguf(models_dir.parent / "outside.gguf")
    write_tiny_lora(models_dir / "poet.gguf")
    (models_dir / "cut.gguf").write_bytes(small.read_bytes()[:5000])
    async with open_models() as house:
        for name in (str(outside), "../outside.gguf", "gone"):
            with pytest.raises(NotFound, match="no draft model"):
                await house.models.load(house.me, "tiny", {"draft_model": name})
        for name in ("poet", "cut"):
            with pytest.raises(LoadFailed, match=f"The draft model {name} cannot be used"):
                await house.models.load(house.me, "tiny", {"draft_model": name})
        assert opener.specs == []
        for name in ("family/small.gguf", "small", "small.gguf"):
            await house.models.load(house.me, "tiny", {"draft_model": name})
            await state(house, "ready")
            assert opener.specs[-1].options.draft_model == str(small)

        async def remembered():
            saved = await house.models.options_for(house.me, "tiny")
            return saved.draft_model == "small.gguf"

        await house.until(remembered)


async def test_options_changed_at_once_are_all_kept(open_models):
    changes = [{"threads": 3}, {"slots": 2}, {"context_length": 512}, {"batch_size": 64}]
    async with open_models() as house:
        await asyncio.gather(
            *(
                house.models.update_options(
                    house.me, "tiny", lambda saved, one=one: saved.model_copy(update=one)
                )
                for one in changes
            )
        )
        options = (await house.models.options_for(house.me, "tiny")).model_dump()
        assert all(options.items() >= change.items() for change in changes)


@pytest.mark.parametrize("given", [None, {"slots": 2}])
async def test_options_changed_while_the_model_loads_stay(open_models, opener, given):
    opener.may_open.clear()
    async with open_models() as house:
        await house.models.load(house.me, "tiny", given)
        await house.models.update_options(house.me, "tiny", lambda _: {"threads": 3})
        opener.may_open.set()
        await state(house, "ready")

        async def remembered():
            last = await house.database.read(settings_table.find, LOCAL_USER_ID, LAST_MODEL)
            return last == "tiny.gguf"

        await house.until(remembered)
        options = await house.models.options_for(house.me, "tiny")
        assert (options.threads, options.slots) == (3, type(options)().slots)


async def test_status_tells_how_the_latest_load_ended(open_models, opener):
    async with open_models() as house:
        await house.models.load(house.me, "tiny")
        assert (await state(house, "ready")).outcome == "loaded"
        opener.may_open.clear()
        assert (await house.models.load(house.me, "tiny")).outcome is None
        cancelling = asyncio.create_task(house.models.cancel(house.me))
        await asyncio.sleep(0)
        opener.may_open.set()
        await cancelling
        status = await state(house, "ready")
        assert (status.model_id, status.outcome) == ("tiny.gguf", "cancelled")


async def test_starter_from_a_file_is_a_job_and_is_loaded(open_models, models_dir, tmp_path):
    given = tmp_path / "given.gguf"
    (models_dir / "tiny.gguf").rename(given)
    async with open_models() as house:
        cursor = house.events.cursor("local")
        job = await house.models.starter(house.me, given)
        assert (job.kind, job.status, job.unit) == ("starter", "running", "bytes")
        status = await state(house, "ready")
        assert status.model_id == "given.gguf"
        told = []
        async for entry in house.follow("local", cursor):
            told.append(entry.event)
            if isinstance(entry.event, JobChanged) and entry.event.job.status == "done":
                break
        assert any(isinstance(event, ModelsChanged) and event.changed for event in told)


async def test_starter_that_fails_says_why_and_may_be_tried_again(open_models, tmp_path, caplog):
    async with open_models() as house:
        job = await house.models.starter(house.me, tmp_path / "missing.gguf")
        ended = await house.jobs.wait(house.me, job.id)
        assert ended.status == "failed"
        assert "missing.gguf" in ended.error
        await house.models.starter(house.me, tmp_path / "missing.gguf")


async def test_starter_is_fetched_once_however_often_it_is_asked_for(
    open_models, models_dir, tmp_path, monkeypatch
):
    (models_dir / "tiny.gguf").rename(tmp_path / "given.gguf")
    may_end = threading.Event()

    def fetch(models_dir, progress, cancelled):
        may_end.wait(30)
        return adopt_starter(tmp_path / "given.gguf", models_dir)

    monkeypatch.setattr("webui.chat.models.fetch_starter", fetch)
    async with open_models() as house:
        jobs = await asyncio.gather(*(house.models.starter(house.me) for _ in range(3)))
        assert len({job.id for job in jobs}) == 1
        assert len(await house.jobs.list(house.me)) == 1
        assert not (await house.models.list(house.me)).starter.available
        with pytest.raises(Conflict):
            await house.models.starter(house.me, tmp_path / "given.gguf")
        with pytest.raises(Conflict):
            await house.models.starter(house.other)
        may_end.set()
        assert (await house.jobs.wait(house.me, jobs[0].id)).status == "done"
        again = await house.models.starter(house.me)
        assert again.id != jobs[0].id
        await house.jobs.wait(house.me, again.id)


async def test_starter_that_was_cancelled_before_it_began_may_be_tried_again(
    open_models, monkeypatch
):
    monkeypatch.setattr("webui.chat.models.fetch_starter", lambda *_: pytest.fail("it was begun"))
    async with open_models() as house:
        job = await house.models.starter(house.me)
        await house.jobs.cancel(house.me, job.id)
        assert (await house.jobs.wait(house.me, job.id)).status == "cancelled"
        again = await house.models.starter(house.me)
        assert again.id != job.id
        await house.jobs.cancel(house.me, again.id)
        await house.jobs.wait(house.me, again.id)


async def test_permissions_are_asked_for(open_models, models_dir):
    chatter = Actor("local", "Guest", frozenset({Permission.CHAT}))
    async with open_models() as house:
        for call in (
            house.models.load(chatter, "tiny"),
            house.models.cancel(chatter),
            house.models.unload(chatter),
            house.models.starter(chatter),
            house.models.update_options(chatter, "tiny", lambda saved: saved),
        ):
            with pytest.raises(PermissionDenied):
                await call
        assert (await house.models.list(chatter)).models


async def test_close_ends_a_load(open_models, opener):
    opener.may_open.clear()
    async with open_models() as house:
        await house.models.load(house.me, "tiny")
        async with asyncio.timeout(30):
            await house.models.close()
            await house.models.close()
