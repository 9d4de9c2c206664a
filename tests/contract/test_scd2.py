"""Type 2: what issue 4 names case by case. Several keys share a table, a case each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pyspark.sql import SparkSession

import lakekit as lk
from tests.contract.harness import Mode, confs, data_files
from tests.contract.scd_harness import Past, counts, past
from tests.oracle import Row, Rules
from tests.scd_oracle import Dim, Ledger

SCHEMA = "id string, lsn bigint, op string, name string, note string"
RULES = Rules(("id",), ("lsn",), ("id", "lsn", "name", "note"))
DESCRIBED = {"delete_when": "op = 'D'", "truncate_when": "op = 'T'", "except_columns": ["op"]}


@pytest.fixture
def made(spark: SparkSession, mode: Mode) -> Iterator[Callable[..., Past]]:
    """Make a type 2 table in the mode."""
    before = confs(spark)
    yield lambda *args, **more: past(spark, mode, *args, **more)
    assert confs(spark) == before, "lakekit puts back every conf that it changes"
    assert spark._jsparkSession.sharedState().cacheManager().isEmpty(), "lakekit frees every frame that it keeps"


def up(id: str, lsn: int, name: str | None, note: str | None = None) -> Row:
    return {"id": id, "lsn": lsn, "op": "U", "name": name, "note": note}


def gone(id: str, lsn: int) -> Row:
    return {"id": id, "lsn": lsn, "op": "D"}


def intervals(subject: Past, id: str) -> list[tuple[Any, Any, Any]]:
    found = sorted((r for (key, _), r in subject.rows().items() if key == (id,)), key=lambda r: r["valid_from"])
    return [(r["name"], r["valid_from"], r["valid_to"]) for r in found]


def test_late_events_deletes_and_truncates(made: Callable[..., Past]) -> None:
    subject = made("late", SCHEMA, Dim(RULES, track=("name",)), **DESCRIBED).create()
    ledger = Ledger(subject.dim)

    def deliver(*rows: Row) -> lk.Commit:
        dry = subject.scd2(rows, dry_run=True)
        commit = subject.scd2(rows)
        assert counts(commit) == ledger.book(rows) == counts(dry)
        subject.check()
        return commit

    runs = [up("run", n, "Alice", f"n{n}") for n in (5, 10, 15)]
    first = [up("gap", 10, "A"), up("again", 10, "A"), up("early", 10, "A"), up("twice", 5, "A"), up("null", 5, None), up("back", 5, "A")]
    deliver(*runs, *first, up("untracked", 5, "A", "old"), up("end", 7, "x"), gone("unseen", 30), up("swept", 5, "A"), up("tie", 5, "A"))
    deliver(up("run", 20, "Charlie"), up("null", 9, "x"), up("untracked", 9, "A", "new"), gone("again", 20), gone("back", 9))
    commit = deliver(up("run", 12, "Bob"), gone("gap", 15), up("early", 3, "A"), up("null", 12, None), up("unseen", 20, "late"))
    assert intervals(subject, "run") == [("Alice", 5, 12), ("Bob", 12, 15), ("Alice", 15, 20), ("Charlie", 20, None)]
    assert intervals(subject, "unseen") == [("late", 20, 30)], "a tombstone keeps an older insert from being current"
    assert commit.split == 1 and commit.stale == 0
    deliver(up("gap", 30, "A"), up("again", 30, "A"), up("untracked", 7, "B", "between"), gone("run", 17))
    assert intervals(subject, "again") == [("A", 10, 20), ("A", 30, None)], "delete and insert of the same value keep the gap"
    deliver(gone("gap", 12), gone("again", 15), up("run", 18, "Dora"), up("tie", 5, "A"), gone("tie", 5), up("twice", 9, "A"))
    deliver(up("gap", 13, "B"), up("again", 17, "B"), gone("never", 5), gone("never", 9), up("never", 7, "late"))
    assert intervals(subject, "gap") == [("A", 10, 12), ("B", 13, 15), ("A", 30, None)], "the first delete is still known"
    deliver({"op": "T", "lsn": 40}, up("swept", 39, "late"), up("swept", 41, "new"), up("end", 40, "at the horizon"))
    assert intervals(subject, "swept") == [("A", 5, 39), ("late", 39, 40), ("new", 41, None)]
    commit = deliver({"op": "T", "lsn": 40}, {"op": "T", "lsn": 25}, up("fresh", 24, "closed history"), up("fresh", 50, "current"))
    assert intervals(subject, "fresh") == [("closed history", 24, 25), ("current", 50, None)]
    assert commit.duplicate == 1
    before = data_files(subject.spark, subject.table.name)
    replay = subject.scd2(subject.delivered)
    assert counts(replay) == ledger.book(subject.delivered[: len(subject.delivered) // 2])
    assert not replay.changed and replay.applied == 0 and data_files(subject.spark, subject.table.name) == before


