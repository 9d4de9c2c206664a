"""C7: bad rows go to quarantine with a reason and their raw content; the rest of the batch applies."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from pyspark.sql import DataFrame

import lakekit as lk
from tests.contract.harness import Mode, Subject, check_sum, conf, data_files, in_plain_modes, no_empty_text
from tests.frames import frame
from tests.oracle import Row, Rules

RULES = Rules(("id",), ("seq",), ("id", "seq", "qty", "price", "name"))
TABLE = "id bigint, seq bigint, op string, qty int, price decimal(5,2), name string"
# What arrives is wider than the table, and partly text.
ARRIVING = "id decimal(20,2), seq bigint, op string, qty string, price decimal(12,4), name string"

GOOD: list[Row] = [
    {"id": Decimal("1.00"), "seq": 1, "op": "I", "qty": "12", "price": Decimal("1.5000"), "name": "fits"},
    {"id": Decimal("2.00"), "seq": 1, "op": "I", "qty": None, "price": None, "name": None},
    {"id": Decimal("3.00"), "seq": 1, "op": "D", "qty": "s3cret", "price": Decimal("0.0001"), "name": "a delete needs its key only"},
]
BAD: dict[str, Row] = {
    "no key": {"id": None, "seq": 2, "op": "U", "qty": "1", "name": "s3cret"},
    "no key to delete": {"id": None, "seq": 2, "op": "D"},
    "no sequence": {"id": Decimal("1.00"), "seq": None, "op": "U", "qty": "2", "name": "s3cret"},
    "unknown operation": {"id": Decimal("1.00"), "seq": 3, "op": "X", "qty": "3", "name": "s3cret"},
    "no operation": {"id": Decimal("1.00"), "seq": 4, "op": None, "qty": "4", "name": "s3cret"},
    "unparsable": {"id": Decimal("1.00"), "seq": 5, "op": "U", "qty": "s3cret", "name": "x"},
    "too large": {"id": Decimal("1.00"), "seq": 6, "op": "U", "qty": "2147483648", "name": "x"},
    "too many digits": {"id": Decimal("1.00"), "seq": 7, "op": "U", "qty": "1", "price": Decimal("1.2345")},
    "overflow": {"id": Decimal("1.00"), "seq": 8, "op": "U", "qty": "1", "price": Decimal("1000.0000")},
    "key with a fraction": {"id": Decimal("1.50"), "seq": 9, "op": "U", "qty": "1"},
}


ANSI = "spark.sql.ansi.enabled"


@in_plain_modes
def test_bad_rows_are_kept_with_their_reason(new: Callable[..., Subject]) -> None:
    subject = new("bad", TABLE, RULES, delete_when="op = 'D'", upsert_when="op IN ('I', 'U')", except_columns=["op"])
    subject.create()
    rows = [*GOOD, *BAD.values()]
    with conf(subject.spark, ANSI, "true"):
        commit = subject.table.upsert(subject.feed(rows, ARRIVING, source="file.csv"), batch_id="monday")
    check_sum(commit)
    assert (commit.read, commit.quarantined, commit.applied) == (len(rows), len(BAD), len(GOOD))
    subject.delivered += [{**row, "qty": row["qty"] and int(row["qty"])} for row in GOOD if row["op"] != "D"] + [GOOD[2]]
    subject.check()

    kept = _quarantine(subject).collect()
    assert len(kept) == len(BAD)
    assert {(record.batch_id, record.source) for record in kept} == {("monday", "file.csv")}
    assert all(record.reason and "s3cret" not in record.reason and record.quarantined_at for record in kept)
    raw = [json.loads(record.raw) for record in kept]
    assert sorted(str(r["seq"]) for r in raw) == sorted(str(row["seq"]) for row in BAD.values())
    assert sum(r.get("name") == "s3cret" for r in raw) == 4

    before = data_files(subject.spark, subject.table.name + "__quarantine")
    with conf(subject.spark, ANSI, "false"):
        commit = subject.table.upsert(subject.feed([BAD["no key"]] * 2, ARRIVING), quarantine=f"{subject.table.name}_elsewhere")
    check_sum(commit)
    assert (commit.read, commit.quarantined, commit.changed) == (2, 2, False)
    assert data_files(subject.spark, subject.table.name + "__quarantine") == before
    assert lk.Table(subject.spark, f"{subject.table.name}_elsewhere", format=subject.mode.format).df().count() > 0
    subject.check()


def _quarantine(subject: Subject) -> DataFrame:
    return lk.Table(subject.spark, f"{subject.table.name}__quarantine", format=subject.mode.format).df()


PLACED = Rules(("id", "area"), ("seq",), ("id", "area", "seq", "region", "note"))
PLACED_ROWS: list[Row] = [
    {"id": 1, "area": "a", "seq": 1, "op": "U", "region": "eu", "note": "stands"},
    {"id": 1, "area": "a", "seq": 2, "op": "U", "region": "", "note": "s3cret"},
    {"id": 2, "area": "", "seq": 1, "op": "U", "region": "eu", "note": "s3cret"},
    {"id": 3, "area": "a", "seq": 1, "op": "U", "region": "__HIVE_DEFAULT_PARTITION__", "note": "s3cret"},
    {"id": 4, "area": "a", "seq": 1, "op": "U", "region": None, "note": "NULL is a partition of its own"},
    {"id": 5, "area": "a", "seq": 1, "op": "U", "region": " ", "note": "a blank is a text"},
    {"id": 5, "area": "a", "seq": 2, "op": "D", "region": "", "note": "a delete places nothing"},
    {"id": 6, "area": "a", "seq": 1, "op": "U", "region": "=", "note": ""},
]


@in_plain_modes
def test_an_empty_text_in_a_partition_column_is_bad_where_the_format_would_lose_it(new: Callable[..., Subject], mode: Mode) -> None:
    """Delta and Hudi would read it back as NULL. The rest of the batch applies; a frame that is appended is refused as a whole."""
    rules = replace(PLACED, unstorable=no_empty_text(mode, "area", "region"))
    schema = "id int, area string, seq int, op string, region string, note string"
    subject = new("placed", schema, rules, delete_when="op = 'D'", except_columns=["op"])
    subject.create(partition_by=["area", "region"])
    bad = 3 if rules.unstorable else 0
    commit = subject.upsert(PLACED_ROWS)
    check_sum(commit)
    assert commit.quarantined == bad
    subject.check()
    if bad:
        kept = _quarantine(subject).collect()
        assert sorted(r.reason.partition(" (")[0] for r in kept) == [f"column {c}: an empty text" for c in ("area", "region", "region")]
        assert all("NULL" in r.reason and "s3cret" in r.raw and "s3cret" not in r.reason for r in kept)
        version = subject.table.versions().count()
        arrived = frame(subject.spark, [PLACED_ROWS[1]], schema).drop("op")
        for write in (subject.table.append, subject.table.overwrite):
            with pytest.raises(lk.errors.DataRejected, match=r"column region: an empty text .* Nothing was written"):
                write(arrived)
        assert subject.table.versions().count() == version
        subject.check()


@in_plain_modes
def test_a_null_delete_condition_means_upsert(new: Callable[..., Subject]) -> None:
    subject = new("lenient", TABLE, RULES, delete_when="op = 'D'", except_columns=["op"])
    commit = subject.upsert([{"id": 1, "seq": 1, "op": None, "name": "x"}, {"id": 2, "seq": 1, "op": "?", "name": "y"}])
    assert (commit.applied, commit.quarantined) == (2, 0)
    subject.check()
