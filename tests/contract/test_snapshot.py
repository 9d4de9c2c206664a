"""Full loads: the table is the last load, deletes included; a load that must not be believed changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmarks.meter import metered

import lakekit as lk
from lakekit.errors import DataRejected
from lakekit.sources import snapshot
from lakekit.testing import assert_same_rows
from tests.contract.harness import MODES, Subject, check_sum, counts, files, in_first_mode, in_plain_modes
from tests.frames import frame
from tests.oracle import Rules

RULES = Rules(("id",), ("snapshot_at",), ("id", "region", "v", "snapshot_at"))
SCHEMA = "id int, region string, v double, snapshot_at bigint"
LOAD = "id int, region string, v double"


def load(first: int, count: int, changed: int = 0, region: str = "EU") -> list[dict[str, Any]]:
    """Consecutive ids; the first *changed* of them hold other values than other loads."""
    values = {n: float("nan") if n % 5 == 0 else n + 0.5 * (n < first + changed) for n in range(first, first + count)}
    return [{"id": n, "region": region, "v": value} for n, value in values.items()]


def compared(subject: Subject, rows: list[dict[str, Any]], at: int, **more: Any) -> lk.ChangeFeed:
    return snapshot(subject.table, frame(subject.spark, rows, LOAD), keys="id", at=at, **more)


def holds(subject: Subject, *loads: list[dict[str, Any]]) -> None:
    rows = [(row["id"], row["region"], row["v"]) for rows in loads for row in rows]
    assert_same_rows(subject.table.df().select("id", "region", "v"), rows)


@in_plain_modes
def test_loads_day_by_day(new: Callable[..., Subject], tmp_path: Path) -> None:
    subject = new("snapshots", SCHEMA, RULES)
    subject.create()
    day1, day2, day3 = load(0, 40), load(4, 40, changed=3), load(2, 40)
    first = subject.table.upsert(compared(subject, day1, 1))
    assert (first.read, first.inserted) == (40, 40)
    holds(subject, day1)

    frame(subject.spark, day2, LOAD).coalesce(1).write.orc(str(tmp_path / "day2"))  # no table under test is of ORC
    delivered = subject.spark.read.schema(LOAD).orc(str(tmp_path / "day2"))
    foretold = subject.table.upsert(snapshot(subject.table, delivered, keys="id", at=2), dry_run=True)
    with metered(subject.spark) as found:
        second = subject.table.upsert(snapshot(subject.table, delivered, keys="id", at=2))
    assert found.scanned("orc") == len(day2), "the load is read once, its guards included"
    assert counts(foretold) == counts(second)
    assert (second.read, second.inserted, second.updated, second.deleted) == (10, 4, 2, 4)  # 4 and 6 changed, 5 is NaN in both
    check_sum(second)
    holds(subject, day2)

    before = files(subject.spark, subject.table.name)
    again = subject.table.upsert(compared(subject, day2, 2))
    assert not again.changed and again.read == 0, "the same load again"
    refusals = [
        ([], 3, {}, "the snapshot is empty, and 40 keys stand"),
        (load(4, 20), 3, {}, "20 of 40 keys"),
        ([*day2, *load(4, 1, changed=1)], 3, {}, "1 keys stand more than once in the snapshot, in 2 rows"),
        ([*day2, *load(90, 1), *load(90, 1)], 3, {}, "1 keys stand more than once in the snapshot, in 2 rows"),
        (day3, 2, {}, "not newer than what stands"),
        (day3, 1, {}, "older than what stands"),
        (day3, 3, {"scope": "id < 40"}, "of 40 rows of the snapshot lie outside of its scope"),
    ]
    if subject.mode != MODES[0]:
        refusals = refusals[:1]  # none of them gets as far as the format
    for rows, at, more, message in refusals:
        with pytest.raises(DataRejected, match=message):
            subject.table.upsert(compared(subject, rows, at, **more))
        with pytest.raises(DataRejected, match=message):
            subject.table.upsert(compared(subject, rows, at, **more), dry_run=True)
    assert files(subject.spark, subject.table.name) == before, "refused before any write"

    third = subject.table.upsert(compared(subject, day3, 3))
    assert (third.inserted, third.updated, third.deleted) == (2, 2, 2)  # 42 and 43 are gone; 2 and 3 are back
    holds(subject, day3)
    emptied = subject.table.upsert(compared(subject, [], 4, allow_mass_delete=True))
    assert emptied.deleted == 40 and subject.table.df().isEmpty()


@in_first_mode
def test_loads_of_a_part(new: Callable[..., Subject]) -> None:
    subject = new("snapshot_scopes", SCHEMA, RULES)
    subject.create(partition_by=["region"])
    subject.table.upsert(compared(subject, [*load(0, 10), *load(10, 10, region="US")], 1))
    moved = load(9, 1, region="US")
    eu, us = load(1, 8), [*load(10, 9, region="US"), *moved]
    commit = subject.table.upsert(compared(subject, eu, 2, scope="region = 'EU'"))
    assert (commit.inserted, commit.updated, commit.deleted) == (0, 0, 2), "nobody in the US is deleted"
    commit = subject.table.upsert(compared(subject, us, 3, scope="region = 'US'"))
    assert (commit.inserted, commit.updated, commit.deleted) == (1, 0, 1)
    holds(subject, eu, us)
    late = subject.table.upsert(compared(subject, [*eu, *load(0, 1)], 2, scope="region = 'EU'", previous_at=1))
    assert (late.inserted, late.stale) == (0, 1), "a tombstone of the same time wins"
    nameless = [*us, {"id": None, "region": "US", "v": 1.0}]
    commit = subject.table.upsert(compared(subject, nameless, 4, scope="region = 'US'"))
    assert (commit.read, commit.quarantined, commit.changed) == (1, 1, False)
    holds(subject, eu, us)
