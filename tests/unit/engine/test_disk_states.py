"""The thread beside the loop: what it is told, what comes of it."""

import queue
import threading

import pytest

from webui.engine import disk_states, state_files
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
    disk.states.fetch(written.file)
    fetched = disk.get()
    assert isinstance(fetched, StateFetched)
    assert (fetched.file, fetched.state.data) == (written.file, b"x" * 100)
    disk.close()
    (file,) = Disk(tmp_path / "states").listed.files
    assert file.prefix.tokens == [1, 2, 3]


def test_who_waits_for_the_list_finds_its_mail(tmp_path, monkeypatch):
    may_list = threading.Event()
    monkeypatch.setattr(
        state_files, "tidy", lambda _root, _max_bytes: may_list.wait(10) or pytest.fail("not let")
    )
    mail = queue.SimpleQueue()
    states = DiskStates(tmp_path, 10_000, KEY, mail.put)
    states.start()
    states.wait_listed(0.01)
    assert mail.empty(), "nobody waits for ever"
    threading.Timer(0.05, may_list.set).start()
    states.wait_listed(10)
    assert isinstance(mail.get_nowait(), StatesListed)
    states.close(10)


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
    disk.states.fetch(file)
    assert disk.get().state is None
    disk.close()
    assert Disk(tmp_path).listed.files == []
    assert list(file.path.parent.iterdir()) == []


def test_file_that_is_gone_is_no_error(tmp_path, capsys):
    disk = Disk(tmp_path)
    disk.states.write(make())
    file = disk.get().file
    file.path.unlink()
    disk.states.fetch(file)
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
        disk.states.fetch(file)
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
    hangs = threading.Event()
    monkeypatch.setattr(DiskStates, "_run", lambda self: hangs.wait())
    states = DiskStates(tmp_path, 1 << 40, KEY, lambda mail: None)
    states.start()
    states.close(timeout_s)
    assert states._thread.is_alive()
    hangs.set()


class Slow:
    """A disk that writes when it is told to; notes what it wrote.

    Only below `root`: threads of tests before may still have something to write.
    """

    def __init__(self, monkeypatch, root):
        self.root = root
        self.write = state_files.write
        self.go = threading.Semaphore(0)
        self.begun = queue.SimpleQueue()
        self.owners = []
        monkeypatch.setattr(state_files, "write", self)

    def __call__(self, folder, key, state):
        if not folder.is_relative_to(self.root):
            return self.write(folder, key, state)
        self.begun.put(state.prefix.owner)
        assert self.go.acquire(timeout=10)
        self.owners.append(state.prefix.owner)
        return self.write(folder, key, state)


def test_what_is_given_in_a_hurry_comes_before_what_waits(tmp_path, monkeypatch):
    slow = Slow(monkeypatch, tmp_path)
    disk = Disk(tmp_path)
    waiting = [make(owner=f"old{index}") for index in range(3)]
    for state in waiting:
        disk.states.write(state)
    assert slow.begun.get(timeout=10) == "old0"
    assert disk.states.hurry() == waiting[1:], "old0 is being written"
    disk.states.write(make(owner="new"))
    disk.states.write(waiting[2].used_now())
    slow.go.release(10)
    disk.close()
    assert slow.owners == ["old0", "new", "old2", "old1"], "old2 is not written twice"


def test_purge_in_a_hurry_is_done_before_anything_is_written(tmp_path, monkeypatch):
    slow = Slow(monkeypatch, tmp_path)
    disk = Disk(tmp_path)
    for owner in ("ann", "bob", "ann"):
        disk.states.write(make(owner=owner))
    slow.begun.get(timeout=10)
    disk.states.purge("ann", None)
    disk.states.hurry()
    disk.states.write(make(owner="cid"))
    slow.go.release(10)
    disk.close()
    assert slow.owners == ["ann", "cid", "bob"], "what waited was never written"
    assert {file.prefix.owner for file in Disk(tmp_path).listed.files} == {"bob", "cid"}
    assert disk.states._num_pending_bytes == 0


def test_state_larger_than_the_room_waits_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_states, "MAX_PENDING_BYTES", 50)
    slow = Slow(monkeypatch, tmp_path)
    disk = Disk(tmp_path)
    assert disk.states.write(make(owner="large"))
    assert not disk.states.write(make(owner="more"))
    slow.go.release(10)
    assert isinstance(disk.get(), StateWritten)
    assert disk.states.write(make(owner="more"), timeout_s=10)
    disk.close()
    assert slow.owners == ["large", "more"]


def test_used_longest_ago_goes_first_whenever_it_was_written(tmp_path):
    disk = Disk(tmp_path, max_bytes=1200)
    states = [make([index]) for index in range(12)]
    for state in reversed(states):  # as at the end: used latest first
        disk.states.write(state)
    disk.close()
    kept = sorted(file.prefix.tokens[0] for file in Disk(tmp_path).listed.files)
    assert kept
    assert kept == list(range(12 - len(kept), 12))


def test_start_trims_to_a_bound_that_shrank_and_removes_what_died(tmp_path):
    disk = Disk(tmp_path)
    for index in range(6):
        disk.states.write(make([index]))
    disk.close()
    other = tmp_path / "other"
    other.mkdir()
    (folder,) = (path for path in tmp_path.iterdir() if path != other)
    for name in ("died.part", "foreign.state"):
        (other / name).write_bytes(b"half")
    good = state_files.write(other, "another model", make([9]))
    (other / "cut.state").write_bytes(good.path.read_bytes()[:-1])
    disk = Disk(tmp_path, max_bytes=700)
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*")) <= 700
    assert list(other.iterdir()) == [good.path]
    assert [file.prefix.tokens for file in disk.listed.files][-1:] != [[0]]
    assert len(list(folder.iterdir())) == len(disk.listed.files) < 6


def test_bound_of_nothing_removes_all(tmp_path):
    disk = Disk(tmp_path)
    disk.states.write(make())
    disk.close()
    state_files.tidy(tmp_path, 0)
    assert list(tmp_path.glob("*/*")) == []


def test_state_that_is_purged_from_outside_while_it_is_written_ends_nothing(tmp_path, monkeypatch):
    disk = Disk(tmp_path / "states")
    assert disk.listed.files == []
    replace = type(tmp_path).replace

    def purge_first(part, path):
        monkeypatch.undo()
        part.unlink()
        return replace(part, path)

    monkeypatch.setattr(type(tmp_path), "replace", purge_first)
    assert disk.states.write(make())
    assert disk.states.write(make())
    assert isinstance(disk.get(), StateWritten)
    assert not disk.states.is_refused
    disk.close()


def test_who_waits_for_a_state_does_not_wait_for_all_that_is_to_be_written(tmp_path, monkeypatch):
    disk = Disk(tmp_path)
    disk.states.write(make(owner="ann"))
    disk.states.write(make(owner="bob"))
    ann, bob = disk.get().file, disk.get().file
    slow = Slow(monkeypatch, tmp_path)
    for owner in ("cid", "dan", "eve"):
        disk.states.write(make(owner=owner))
    slow.begun.get(timeout=10)
    disk.states.fetch(ann)
    disk.states.fetch(bob)
    disk.states.purge("bob", None)
    slow.go.release()
    mail = [disk.get() for _ in range(3)]
    assert [type(one) for one in mail] == [StateWritten, StateFetched, StateFetched]
    assert mail[1].state.prefix.owner == "ann"
    assert mail[2].state is None, "it was purged before it was read"
    slow.go.release(10)
    disk.close()
