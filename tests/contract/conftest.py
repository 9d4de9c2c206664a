"""Every contract test runs on every format and mode that the installed Spark line offers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pyspark.sql import SparkSession

import lakekit as lk
from tests.contract.harness import DB, MODES, Mode, Subject, confs, subject
from tests.contract.scd_harness import Past, past
from tests.oracle import Rules

_SEEN: list[Subject] = []


@pytest.fixture(params=MODES, ids=lambda mode: mode.id)
def mode(request: pytest.FixtureRequest) -> Mode:
    """One format and mode after the other."""
    return request.param


@pytest.fixture
def tidy(spark: SparkSession) -> Iterator[None]:
    """What every test of a verb asserts at its end, whatever else it does."""
    before = confs(spark)
    yield
    assert confs(spark) == before, "lakekit puts back every conf that it changes"
    assert spark._jsparkSession.sharedState().cacheManager().isEmpty(), "lakekit frees every frame that it keeps"


@pytest.fixture
def new(spark: SparkSession, mode: Mode, tidy: None) -> Callable[..., Subject]:
    """Make a subject in the mode; at the end of the suite its table is read by another engine too."""

    def make(name: str, schema: str, rules: Rules, **described: object) -> Subject:
        made = subject(spark, mode, name, schema, rules, **described)
        _SEEN.append(made)
        return made

    return make


@pytest.fixture
def history(spark: SparkSession, mode: Mode, tidy: None) -> Iterator[Callable[..., Past]]:
    """Make a type 2 table in the mode; whatever the test did to it, it ends as a valid history."""
    made: list[Past] = []

    def make(*args: Any, **more: Any) -> Past:
        made.append(past(spark, mode, *args, **more))
        return made[-1]

    yield make
    for each in made:
        each.check_at_end()


@pytest.fixture
def named(spark: SparkSession, mode: Mode, tidy: None) -> Callable[[str], lk.Table]:
    """A table of the mode, not made yet."""
    return lambda name: lk.Table(spark, f"{DB}.{name}_{mode.slug}", format=mode.format)


@pytest.fixture
def seen() -> list[Subject]:
    """All subjects made so far, in this mode and the others."""
    return _SEEN


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Other engines read last, when every table has its final rows; the rest is grouped by mode as written."""
    items.sort(key=lambda item: "test_read_by_others" in item.nodeid)
