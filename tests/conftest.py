"""How the suite is shared out between the processes that run it, and how Spark evaluates in which tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.contract.harness import conf

INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}


@pytest.hookimpl(tryfirst=True)  # before xdist takes note of the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of one table format and mode stay together, in order, and so do those of a file: they share tables and servers."""
    for item in items:
        mode = _mode(item)
        item.add_marker(pytest.mark.xdist_group(mode.id if mode else str(item.path)))


@pytest.fixture(autouse=True)
def evaluation(request: pytest.FixtureRequest) -> Iterator[None]:
    """Spark has two ways to evaluate, compiled and interpreted: the merge-on-read modes run the second, which is quicker to start."""
    mode = _mode(request.node)
    with ExitStack() as stack:
        for key, value in INTERPRETED.items() if mode and mode.merge_on_read else ():
            stack.enter_context(conf(request.getfixturevalue("spark"), key, value))
        yield


def _mode(item: Any) -> Any:
    """The format and mode that a test is parametrised with, if it is."""
    return item.callspec.params.get("mode") if hasattr(item, "callspec") else None
