import os

import psutil
import pytest

from webui.engine import cores
from webui.engine.cores import num_cores


class Group:
    """A control group that gets so many cores' time."""

    def __init__(self, granted):
        self._granted = granted

    def num_cores(self):
        return self._granted


@pytest.fixture
def linux(monkeypatch):
    monkeypatch.setattr(cores.sys, "platform", "linux")


@pytest.mark.usefixtures("linux")
@pytest.mark.parametrize(
    ("physical", "allowed", "granted", "num"),
    [
        (64, 128, None, 64),
        (64, 2, None, 2),
        (64, 128, 2.0, 2),
        (64, 128, 2.9, 2),
        (64, 128, 0.5, 1),
        (4, 8, 16.0, 4),
        (64, 3, 2.0, 2),
        (None, 8, None, 1),
        (8, 1, 4.0, 1),
    ],
)
def test_cores_are_no_more_than_the_system_lets_us_have(
    monkeypatch, physical, allowed, granted, num
):
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: 99 if logical else physical)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(allowed)), raising=False)
    assert num_cores(Group(granted)) == num


def test_other_systems_bind_nobody_to_cores(monkeypatch):
    monkeypatch.setattr(cores.sys, "platform", "darwin")
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: 10)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert num_cores(Group(None)) == 10


def test_this_machine_has_at_least_one():
    assert 1 <= num_cores() <= (psutil.cpu_count() or 1)
