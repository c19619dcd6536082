"""What all tests share: `--soak`, time limits, a clean environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

UNIT_TIMEOUT_S = 30
STAGES = ("unit", "integration", "bench", "browser")
MARKERS_BY_DEFAULT = "not bench and not soak and not gpu"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--soak", action="store_true", help="run the long proofs in full, not a sample of each"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--soak") and config.option.markexpr == MARKERS_BY_DEFAULT:
        config.option.markexpr = "not bench and not gpu"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run unit and integration tests, each shuffled in itself, then the browser's as written.

    Playwright keeps an event loop running once it has started, in which no other can run; and
    the browser tests of a file tell one story.
    """
    for item in items:
        if stage_of(item) == "unit" and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(UNIT_TIMEOUT_S))
    items.sort(key=place)


def place(item: pytest.Item) -> tuple[int, str, int]:
    """Return where a test comes in the run; equal places keep their shuffled order."""
    stage = stage_of(item)
    line = item.location[1] or 0
    return (STAGES.index(stage), *((str(item.path), line) if stage == "browser" else ("", 0)))


def stage_of(item: pytest.Item) -> str:
    """Return the folder of tests/ in which a test lies."""
    return item.path.relative_to(Path(__file__).parent).parts[0]


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> bool:
    """Whether a long proof is to run in full."""
    return bool(request.config.getoption("--soak"))


@pytest.fixture(autouse=True, scope="session")
def own_environment() -> None:
    """Keep settings of the person who runs the tests out of them."""
    for name in [name for name in os.environ if name.startswith("WEBUI_")]:
        if not name.startswith("WEBUI_TEST_"):
            del os.environ[name]
