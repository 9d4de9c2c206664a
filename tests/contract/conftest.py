"""Every contract test runs on every format and mode that the installed Spark line offers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from pyspark.sql import SparkSession

from tests.contract.harness import MODES, Mode, Subject, confs, subject
from tests.oracle import Rules

_SEEN: list[Subject] = []


@pytest.fixture(params=MODES, ids=lambda mode: mode.id)
def mode(request: pytest.FixtureRequest) -> Mode:
    """One format and mode after the other."""
    return request.param


@pytest.fixture
def new(spark: SparkSession, mode: Mode) -> Iterator[Callable[..., Subject]]:
    """Make a subject in the mode; at the end of the suite its table is read by another engine too."""

    def make(name: str, schema: str, rules: Rules, **described: object) -> Subject:
        made = subject(spark, mode, name, schema, rules, **described)
        _SEEN.append(made)
        return made

    before = confs(spark)
    yield make
    assert confs(spark) == before, "lakekit puts back every conf that it changes"
    assert spark._jsparkSession.sharedState().cacheManager().isEmpty(), "lakekit frees every frame that it keeps"


@pytest.fixture
def seen() -> list[Subject]:
    """All subjects made so far, in this mode and the others."""
    return _SEEN


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Other engines read last, when every table has its final rows; the rest is grouped by mode as written."""
    items.sort(key=lambda item: "test_read_by_others" in item.nodeid)
