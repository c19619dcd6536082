"""Quotas and counts of control groups, from folders as Linux, Docker and systemd lay them out."""

import pytest

from webui.engine.control_group import ControlGroup

UNIFIED = "0::/app/worker\n"
CONTAINER = "0::/\n"
OUTSIDE = "0::/../../elsewhere\n"
SPLIT = "9:name=systemd:/x\n7:memory:/docker/a:b\n4:cpu,cpuacct:/docker/a:b\n"
HYBRID = "4:memory:/jail\n1:cpu:/\n0::/\n"


def group(tmp_path, membership, files):
    groups = tmp_path / "groups"
    for name, text in files.items():
        file = groups / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "membership").write_text(membership)
    return ControlGroup(tmp_path / "membership", groups)


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        (UNIFIED, {"app/worker/cpu.max": "150000 100000\n"}, 1.5),
        (UNIFIED, {"app/worker/cpu.max": "max 100000\n"}, None),
        (UNIFIED, {"app/worker/cpu.max": "max 100000\n", "app/cpu.max": "400000 200000\n"}, 2.0),
        (UNIFIED, {"app/worker/cpu.max": "300000 100000\n", "cpu.max": "100000 100000\n"}, 1.0),
        (UNIFIED, {"other/cpu.max": "100000 100000\n"}, None),
        (UNIFIED, {"app/worker/cpu.max": "much\n"}, None),
        (UNIFIED, {"app/worker/cpu.max": "100000 0\n"}, None),
        (UNIFIED, {}, None),
        (CONTAINER, {"cpu.max": "200000 100000\n"}, 2.0),
        (OUTSIDE, {"cpu.max": "200000 100000\n"}, 2.0),
        (
            SPLIT,
            {
                "cpu,cpuacct/docker/a:b/cpu.cfs_quota_us": "250000\n",
                "cpu,cpuacct/docker/a:b/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
        (
            SPLIT,  # a container sees its own group at the top
            {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            0.5,
        ),
        (
            HYBRID,
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            None,
        ),
        (HYBRID, {"cpu/cpu.cfs_quota_us": "100000\n"}, None),
        ("", {"cpu.max": "100000 100000\n"}, None),
        ("nonsense\n", {}, None),
    ],
)
def test_cores_are_those_of_the_tightest_group(tmp_path, membership, files, cores):
    assert group(tmp_path, membership, files).num_cores() == cores


@pytest.mark.parametrize(
    ("membership", "files", "num"),
    [
        (UNIFIED, {"app/worker/memory.events": "oom 5\noom_kill 3\noom_group_kill 9\n"}, 3),
        (
            UNIFIED,
            {"app/worker/memory.events": "oom_kill 0\n", "app/memory.events": "oom_kill 7\n"},
            0,
        ),
        (UNIFIED, {"app/memory.events": "oom_kill 7\n"}, 7),
        (UNIFIED, {"app/worker/memory.events": "oom 5\n"}, None),
        (HYBRID, {"memory/jail/memory.oom_control": "under_oom 0\noom_kill 2\n"}, 2),
        (HYBRID, {"memory/memory.oom_control": "oom_kill 4\n"}, 4),
        (HYBRID, {"unified/memory.events": "oom_kill 6\n"}, 6),
        (SPLIT, {"memory/docker/a:b/memory.oom_control": "oom_kill_disable 0\n"}, None),
        ("", {"memory.events": "oom_kill 1\n"}, None),
    ],
)
def test_kills_are_counted_where_the_group_is(tmp_path, membership, files, num):
    assert group(tmp_path, membership, files).num_oom_kills() == num


def test_system_without_control_groups_says_nothing(tmp_path):
    nowhere = ControlGroup(tmp_path / "membership", tmp_path / "groups")
    assert nowhere.num_cores() is None
    assert nowhere.num_oom_kills() is None


def test_what_is_no_text_bounds_nothing(tmp_path):
    found = group(tmp_path, CONTAINER, {"cpu.max": ""})
    (tmp_path / "groups" / "cpu.max").write_bytes(b"\xff\xfe 100000")
    assert found.num_cores() is None
