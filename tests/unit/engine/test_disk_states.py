"""The thread beside the loop: what it is told, what comes of it."""

import queue

import pytest

from webui.engine import state_files
from webui.engine.disk_states import MAX_PENDING_BYTES, DiskStates
from webui.engine.mail import StateFetched, StatesListed, StateWritten
from webui.engine.states import Prefix, State

KEY = "model"


def make(tokens=(1, 2, 3), owner="ann", conversation_id="c1", data=b"x" * 100):
    return State(Prefix(owner, conversation_id, list(tokens)), memoryview(data))


class Disk:
    def __init__(self, root, max_bytes=10_000):
        self.mail = queue.SimpleQueue()
        self.states = DiskStates(root, max_bytes, KEY, self.mail.put)
        self.states.start()
        self.listed = self.get()
        assert isinstance(self.listed, StatesListed)

    def get(self):
        return self.mail.get(timeout=10)

    def close(self):
        self.states.close(10)


def test_written_state_is_listed_by_the_next_one(tmp_path):
    disk = Disk(tmp_path / "states")
    assert disk.listed.files == []
    assert disk.states.write(make())
    written = disk.get()
    assert isinstance(written, StateWritten)
    disk.states.fetch("r1", written.file)
    fetched = disk.get()
    assert isinstance(fetched, StateFetched)
    assert (fetched.request_id, fetched.state.data) == ("r1", b"x" * 100)
    disk.close()
    (file,) = Disk(tmp_path / "states").listed.files
    assert file.prefix.tokens == [1, 2, 3]


def test_folder_is_for_its_owner_alone(tmp_path):
    disk = Disk(tmp_path / "states")
    disk.states.write(make())
    disk.get()
    for folder in (tmp_path / "states", next((tmp_path / "states").iterdir())):
        assert folder.stat().st_mode & 0o077 == 0


def test_longer_state_takes_the_place_of_the_shorter(tmp_path):
    disk = Disk(tmp_path)
    disk.states.write(make([1, 2]))
    old = disk.get().file
    disk.states.write(make([1, 2, 3]), (old.path,))
    assert disk.get().gone == (old.path,)
    disk.close()
    assert len(Disk(tmp_path).listed.files) == 1


def test_state_that_waits_to_be_written_is_purged_too(tmp_path):
    disk = Disk(tmp_path)
    disk.states.write(make(conversation_id="c1"))
    disk.states.write(make(conversation_id="c2"))
    disk.states.purge("ann", "c1")
    disk.close()
    (file,) = Disk(tmp_path).listed.files
    assert file.prefix.conversation_id == "c2"


def test_bytes_on_disk_are_bounded(tmp_path):
    disk = Disk(tmp_path, max_bytes=1200)
    for index in range(12):
        disk.states.write(make([index]))
    disk.close()
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*")) <= 1200
    assert Disk(tmp_path).listed.files


def test_damaged_and_foreign_files_are_removed_and_never_given_out(tmp_path):
    disk = Disk(tmp_path)
    disk.states.write(make())
    file = disk.get().file
    (file.path.parent / "died.part").write_bytes(b"half")
    (file.path.parent / "foreign.state").write_bytes(b"GGUF and more")
    spoilt = bytearray(file.path.read_bytes())
    spoilt[-1] ^= 1
    file.path.write_bytes(spoilt)
    disk.states.fetch("r1", file)
    assert disk.get().state is None
    disk.close()
    assert Disk(tmp_path).listed.files == []
    assert list(file.path.parent.iterdir()) == []


def test_file_that_is_gone_is_no_error(tmp_path, capsys):
    disk = Disk(tmp_path)
    disk.states.write(make())
    file = disk.get().file
    file.path.unlink()
    disk.states.fetch("r1", file)
    assert disk.get().state is None
    assert capsys.readouterr().err == ""


def test_file_that_cannot_be_read_today_is_left_for_tomorrow(tmp_path, monkeypatch):
    disk = Disk(tmp_path)
    disk.states.write(make())
    file = disk.get().file

    def refuse(*_):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(state_files, "read", refuse)
        patch.setattr(state_files, "read_header", refuse)
        disk.states.fetch("r1", file)
        assert disk.get().state is None
        assert Disk(tmp_path).listed.files == []
    assert len(Disk(tmp_path).listed.files) == 1


def test_disk_that_refuses_is_left_alone_after_one_warning(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state_files, "write", refuse)
    disk = Disk(tmp_path)
    for _ in range(3):
        disk.states.write(make())
    disk.close()
    said = capsys.readouterr().err
    assert said.count("No space left") == 1
    assert not disk.states.write(make())


def test_what_waits_to_be_written_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(DiskStates, "_run", lambda self: None)  # a disk that hangs
    states = DiskStates(tmp_path, 1 << 40, KEY, lambda mail: None)
    states.start()
    large = make(data=bytearray(MAX_PENDING_BYTES // 2))
    assert [states.write(large) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("timeout_s", [0.0, 0.01])
def test_close_does_not_wait_for_a_disk_that_hangs(tmp_path, monkeypatch, timeout_s):
    monkeypatch.setattr(DiskStates, "_run", lambda self: self._work.get() and self._work.get())
    states = DiskStates(tmp_path, 1 << 40, KEY, lambda mail: None)
    states.start()
    states.close(timeout_s)
