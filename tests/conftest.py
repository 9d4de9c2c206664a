"""How the suite is shared out between the processes that run it, and how Spark evaluates in which tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.contract.harness import MODES, Mode, conf
from tests.evaluation import INTERPRETED

COMPILED = {"test_random_feeds", "test_scd2_random"}
_MODE = re.compile(rf"tests/(?:contract|formats)/.*\[({'|'.join(sorted((mode.id for mode in MODES), key=len, reverse=True))})[\]-]")


class ByMode(LoadScopeScheduling):
    """Tests of one table format and mode stay together, in order, and so do those of a file: they share tables and servers."""

    def _split_scope(self, nodeid: str) -> str:
        mode = _MODE.match(nodeid)
        place = nodeid.split("::", 1)[0]
        # Scopes of few tests come last: a long test alone in its own would keep one process busy while the other has nothing to do.
        return mode.group(1) if mode else MODES[-1].format if place.endswith("test_kill.py") else place


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByMode | None:
    """By mode, unless the run says otherwise: one that has most of its tests in one mode is better shared out by file."""
    return ByMode(config, log) if config.getoption("dist") == "load" else None


@pytest.fixture(autouse=True)
def evaluation(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compiled are the random feeds in the first mode and the readers of sources, interpreted all the rest."""
    mode, place = _mode(request), request.node.path
    compiled = place.stem in COMPILED if mode == MODES[0] else mode is None and place.parent.name == "sources"
    with ExitStack() as stack:
        for key, value in () if compiled else INTERPRETED.items():
            stack.enter_context(conf(request.getfixturevalue("spark"), key, value))
        yield


@pytest.fixture(autouse=True)
def forgetful(request: pytest.FixtureRequest) -> Iterator[None]:
    """Delta keeps the state of every table that it has met for an hour; hundreds of them fill half of the heap."""
    yield
    mode = _mode(request)
    if mode is not None and mode.format == "delta":
        request.getfixturevalue("spark")._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()


def _mode(request: pytest.FixtureRequest) -> Mode | None:
    """The table format and mode that a test runs in, where it has one."""
    return request.node.callspec.params.get("mode") if hasattr(request.node, "callspec") else None
