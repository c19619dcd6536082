"""All scenarios of `bench engine`, in the order in which they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.cli.bench.memory_scenario import WorkerMemory
from webui.cli.bench.owner_scenarios import OwnerShare, PoolFilled, SharedPrompt
from webui.cli.bench.served_scenarios import (
    BusyCore,
    IdleChats,
    Newcomer,
    OneStream,
    Restart,
    SecondTurn,
    SeveralStreams,
)
from webui.cli.bench.speculation_scenario import Speculation
from webui.cli.bench.threads_scenario import AdaptiveReading, AdaptiveThreads
from webui.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.cli.bench.scenario import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    OneStream(),
    SeveralStreams(4),
    SeveralStreams(8),
    SeveralStreams(16),
    IdleChats(),
    Newcomer(),
    OwnerShare(),
    SecondTurn(),
    Restart(),
    SharedPrompt(),
    BusyCore(),
    AdaptiveThreads(),
    AdaptiveReading(),
    PoolFilled(),
    WorkerMemory(),
    Speculation(),
)


def choose(names: Sequence[str]) -> list[Scenario]:
    """Return the scenarios of these names, all without any; `several_streams` names all three.

    Raises:
        NotFound: There is no such scenario.
    """
    chosen: list[Scenario] = []
    for name in names:
        found = [one for one in SCENARIOS if one.name == name or one.name.startswith(f"{name}_")]
        if not found:
            known = ", ".join(one.name for one in SCENARIOS)
            raise NotFound(f"there is no scenario {name}", f"There are: {known}.")
        chosen += [one for one in found if one not in chosen]
    return chosen or list(SCENARIOS)
