import asyncio
import os
import stat
import time

import pytest

from webui.engine import saved_states, state_files
from webui.engine.saved_states import SavedStates
from webui.engine.state_files import BadStateFile
from webui.engine.states import SHARED_OWNER, Prefix, State

KEY = "model and options"


def make(owner="ann", conversation_id="c1", tokens=(1, 2, 3), data=b"state"):
    return State(Prefix(owner, conversation_id, list(tokens)), memoryview(data))


@pytest.fixture
def folder(tmp_path):
    folder = state_files.folder_of(tmp_path, KEY)
    folder.mkdir(mode=0o700)
    return folder


def test_state_comes_back_as_it_was_written(folder):
    file = state_files.write(folder, KEY, make(data=bytes(range(256)) * 999))
    listed = state_files.read_header(file.path, KEY)
    assert (listed.prefix.owner, listed.prefix.conversation_id) == ("ann", "c1")
    assert listed.prefix.tokens == [1, 2, 3]
    assert listed.num_bytes == 256 * 999
    state = state_files.read(file.path, KEY)
    assert state.data == bytes(range(256)) * 999
    assert state.prefix.tokens == [1, 2, 3]


def test_state_remembers_the_scales_of_its_adapters(folder):
    prefix = Prefix("ann", None, [1, 2], scales=(0.5, -1.0))
    file = state_files.write(folder, KEY, State(prefix, memoryview(b"state")))
    for found in (state_files.read_header(file.path, KEY), state_files.read(file.path, KEY)):
        assert found.prefix.is_for("ann", (0.5, -1.0))
        assert not found.prefix.is_for("ann", (0.5, 1.0))
        assert not found.prefix.is_for("ann", ())


def test_file_is_for_its_owner_alone_and_names_nobody(folder):
    file = state_files.write(folder, KEY, make(owner="ann.smith", conversation_id="secret-chat"))
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert "ann" not in file.path.name
    assert "secret" not in file.path.name
    assert len(list(folder.iterdir())) == 1


def test_any_changed_byte_is_noticed(folder):
    path = state_files.write(folder, KEY, make(data=b"0123456789")).path
    whole = path.read_bytes()
    for index in range(len(whole)):
        spoilt = bytearray(whole)
        spoilt[index] ^= 0x41
        path.write_bytes(spoilt)
        with pytest.raises(BadStateFile):
            state_files.read(path, KEY)


def test_any_cut_is_noticed_without_reading_the_state(folder):
    path = state_files.write(folder, KEY, make(data=b"0123456789")).path
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(BadStateFile):
            state_files.read_header(path, KEY)
    path.write_bytes(whole + b"x")
    with pytest.raises(BadStateFile):
        state_files.read_header(path, KEY)


def test_state_of_another_model_is_not_taken(folder):
    path = state_files.write(folder, KEY, make()).path
    with pytest.raises(BadStateFile):
        state_files.read(path, "another")


def test_purge_finds_the_files_of_all_models(tmp_path):
    kept = []
    for key in ("a", "b"):
        folder = state_files.folder_of(tmp_path, key)
        folder.mkdir()
        state_files.write(folder, key, make("ann", "c1"))
        kept += [
            state_files.write(folder, key, make(*whose)).path
            for whose in (("ann", "c2"), ("ann", None), ("bob", "c1"))
        ]
    state_files.purge(tmp_path, "ann", "c1")
    assert sorted(tmp_path.glob("*/*")) == sorted(kept)
    state_files.purge(tmp_path, "ann", None)
    left = [state_files.read_header(path, key) for key in "ab" for path in _in(tmp_path, key)]
    assert {file.prefix.owner for file in left} == {"bob"}


def _in(root, key):
    return list(state_files.folder_of(root, key).iterdir())


def test_what_was_used_longest_ago_goes_when_there_is_too_much(tmp_path, folder):
    files = [state_files.write(folder, KEY, make(tokens=[i], data=bytes(1000))) for i in range(4)]
    for age, file in enumerate(files):
        os.utime(file.path, (1000 - age, 1000 - age))
    state_files.read(files[3].path, KEY)  # the oldest is used now
    size = files[0].path.stat().st_size
    assert state_files.trim(tmp_path, 2 * size) == [files[2].path, files[1].path]
    assert state_files.trim(tmp_path, 2 * size) == []


def _write_old(folder, *whose, age_s):
    path = state_files.write(folder, KEY, make(*whose)).path
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_what_belongs_to_no_conversation_goes_with_its_age(tmp_path, folder):
    _write_old(folder, "ann", None, age_s=7200)
    kept = [
        _write_old(folder, "ann", None, age_s=1800),
        _write_old(folder, "ann", "c1", age_s=7200),
        _write_old(folder, SHARED_OWNER, None, age_s=7200),
    ]
    state_files.expire(tmp_path, time.time_ns() - 3600 * 10**9)
    assert sorted(folder.iterdir()) == sorted(kept)


async def test_old_ones_are_looked_for_again_and_again(tmp_path, folder):
    first = _write_old(folder, "ann", None, age_s=7200)
    task = asyncio.create_task(
        saved_states.keep_fresh(SavedStates(None, tmp_path), 3600, every_s=0.001)
    )
    async with asyncio.timeout(10):
        while first.exists():  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.001)
        second = _write_old(folder, "ann", None, age_s=7200)
        while second.exists():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait({task})


def test_write_that_fails_leaves_nothing(folder, monkeypatch):
    def refuse(_number):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="no space"):
        state_files.write(folder, KEY, make())
    assert list(folder.iterdir()) == []
