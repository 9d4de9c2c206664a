"""Traps that DESIGN and FACTS name: odd keys, nested values, clocks, moving rows, new columns, empty batches."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

import lakekit as lk
from tests.contract.harness import Subject, check_sum, conf, data_files, files, in_plain_modes, utc
from tests.frames import frame
from tests.oracle import Row, Rules

SCHEMA = """a string, b string, at timestamp, scn decimal(38,0), op string, region string,
    tags map<string,int>, lines array<struct<n:int,s:string>>, inner struct<x:double,y:string>, raw binary"""
PAYLOAD = ("region", "tags", "lines", "inner", "raw")
RULES = Rules(("a", "b"), ("at", "scn"), ("a", "b", "at", "scn", *PAYLOAD))
BIG = 20240601_0930000000000000000000000017  # as long as a DMS change sequence; equal as a double to its neighbours
ZONE = "spark.sql.session.timeZone"
FOLD_EARLY, FOLD_LATE = utc("2024-11-03T05:30:00"), utc("2024-11-03T06:30:00")  # both print 01:30 in New York


def row(
    a: str | None, b: str | None, scn: int = 1, op: str = "U", at: object = FOLD_EARLY, region: str | None = "eu", **more: object
) -> Row:
    payload = {"tags": {"k": 1, "l": None}, "lines": [(1, "x"), (None, None)], "inner": (1.5, None), "raw": b"\x00\xff"}
    return {"a": a, "b": b, "at": at, "scn": Decimal(scn), "op": op, **({"region": region, **payload} if op == "U" else {}), **more}


ODD_KEYS = [
    ("x,b:y", "z"),
    ("x", "y,b:z"),
    ("", ""),
    ("", " "),
    ("__null__", "null"),
    ("__HIVE_DEFAULT_PARTITION__", "__empty__"),
    ("k", "É"),
    ("k", "é"),
    ("k", "e\u0301"),
    ("'", '"'),
    ("\\", "%"),
    ("line\nbreak", "tab\t"),
    ("ÿ" * 300, "😀"),
]


def test_odd_keys_nested_values_and_clocks(new: Callable[..., Subject]) -> None:
    subject = new("special", SCHEMA, RULES, delete_when="op = 'D'", except_columns=["op"])
    subject.create(partition_by=["region"])

    first = [row(a, b) for a, b in ODD_KEYS]
    first += [row("tie", "map", tags={"l": None, "k": 1}), row("tie", "map")]  # one event, its map spelled in two orders
    first += [row("big", "seq", BIG + 1, inner=None, region="us"), row("big", "seq", BIG, tags=None)]
    commit = subject.upsert(first)
    assert (commit.inserted, commit.duplicate, commit.stale) == (len(ODD_KEYS) + 2, 1, 1)
    subject.check()

    moved = [row(a, b, 2, region=None if n % 3 else "a/b=c") for n, (a, b) in enumerate(ODD_KEYS)]
    fold = [row("fold", "1", 1, at=FOLD_LATE, lines=[]), row("fold", "1", 9, at=FOLD_EARLY), row("fold", "2", 1, "D", at=FOLD_LATE)]
    with conf(subject.spark, ZONE, "America/New_York"):
        subject.upsert(moved + fold)
        subject.check()
        subject.upsert([row(a, b, 3, "D") for a, b in ODD_KEYS[::2]] + [row("fold", "2", 99, at=FOLD_EARLY), row("big", "seq", BIG)])
        subject.check()


@in_plain_modes
def test_columns_spelled_otherwise_missing_and_new(new: Callable[..., Subject]) -> None:
    subject = new("columns", "id int, seq bigint, op string, name string, qty int", Rules(("id",), ("seq",), ("id", "seq", "name", "qty")))
    subject.described |= {"delete_when": "op = 'D'", "except_columns": ["op"]}
    first = subject.upsert([{"id": 1, "seq": 1, "name": "one", "qty": 1}, {"id": 2, "seq": 1, "name": "two", "qty": 2}])
    assert first.inserted == 2 and subject.table.exists(), "a verb on a missing table creates it"

    shouted = [{"ID": 1, "SEQ": 2, "OP": "U", "NAME": "ONE", "QTY": 10}]
    df = frame(subject.spark, shouted, "QTY int, NAME string, ID int, OP string, SEQ bigint")
    subject.table.upsert(lk.changes(df, keys="ID", sequence_by="SEQ", delete_when="OP = 'D'", except_columns="OP"))
    subject.delivered += [{name.lower(): value for name, value in shouted[0].items()}]
    subject.check()

    wider = subject.schema + ", channel string"
    brought = [
        {"id": 2, "seq": 3, "name": "two", "qty": 3, "channel": "s3cret"},
        {"id": 3, "seq": 1, "name": "three", "qty": 3, "channel": "shop"},
    ]
    before = files(subject.spark, subject.table.name)
    with pytest.raises(lk.errors.SchemaConflict, match="channel") as refused:
        subject.table.upsert(subject.feed(brought, wider))
    assert "s3cret" not in str(refused.value)
    assert files(subject.spark, subject.table.name) == before
    with pytest.raises(lk.errors.SchemaConflict, match="qty"):
        subject.table.upsert(subject.feed([{"id": 1, "seq": 9}], "id int, seq bigint, op string, name string, qty timestamp"))
    with pytest.raises(lk.errors.TieConflict):  # refused as a whole, it does not bring its column either
        subject.table.upsert(subject.feed([{"id": 9, "seq": 1, "channel": name} for name in "ab"], wider), evolve=["add"])
    assert files(subject.spark, subject.table.name) == before

    subject.rules = Rules(("id",), ("seq",), (*subject.rules.columns, "channel"))
    subject.delivered = [{**old, "channel": None} for old in subject.delivered]
    subject.upsert(brought, wider, evolve=["add"])
    subject.check()
    subject.upsert([{"id": 1, "seq": 5, "name": "uno", "qty": 1}, {"id": 2, "seq": 4, "op": "D"}])  # the old producer again
    subject.check()
    subject.upsert([{"id": 3, "seq": 2, "qty": 4}], "id int, seq bigint, op string, qty int")
    subject.check()


@in_plain_modes
def test_batches_that_change_nothing(new: Callable[..., Subject]) -> None:
    subject = new("nothing", "id int, seq bigint, op string, v string", Rules(("id",), ("seq",), ("id", "seq", "v")))
    subject.described |= {"delete_when": "op = 'D'", "except_columns": ["op"]}
    subject.create()
    empty = subject.upsert([])
    assert not empty.changed and empty.read == 0
    first = subject.upsert([{"id": 1, "seq": 5, "v": "x"}, {"id": 2, "seq": 5, "op": "D"}])
    assert first.changed
    before, versions = data_files(subject.spark, subject.table.name), subject.table.versions().count()
    batches = {
        "empty": [],
        "replay": [{"id": 1, "seq": 5, "v": "x"}, {"id": 2, "seq": 5, "op": "D"}],
        "late": [{"id": 1, "seq": 4, "v": "w"}, {"id": 2, "seq": 5, "v": "beaten"}, {"id": 2, "seq": 1, "op": "D"}],
    }
    for name, batch in batches.items():
        commit = subject.upsert(batch)
        check_sum(commit)
        assert (commit.applied, commit.changed, commit.files_added, commit.files_removed) == (0, False, 0, 0), name
    assert data_files(subject.spark, subject.table.name) == before
    assert subject.table.versions().count() == versions
    subject.check()


@in_plain_modes
def test_a_truncate_is_remembered(new: Callable[..., Subject]) -> None:
    subject = new("truncated", "id int, seq bigint, op string, v string", Rules(("id",), ("seq",), ("id", "seq", "v")))
    subject.described |= {"delete_when": "op = 'D'", "truncate_when": "op = 'T'", "except_columns": ["op"]}
    subject.create()
    subject.upsert(
        [{"id": 1, "seq": 1, "v": "old"}, {"id": 2, "seq": 9, "v": "newer than the truncate"}, {"id": 3, "seq": 5, "v": "at it"}]
    )
    alone = subject.upsert([{"op": "T", "seq": 5}])
    assert (alone.read, alone.applied, alone.deleted) == (1, 1, 2)
    subject.check()
    late = subject.upsert(
        [{"id": 1, "seq": 4, "v": "late"}, {"id": 4, "seq": 5, "v": "at it"}, {"id": 5, "seq": 6, "v": "new"}, {"op": "T", "seq": 5}]
    )
    assert (late.applied, late.stale, late.duplicate) == (1, 2, 1)
    subject.check()
    subject.upsert(
        [{"op": "T", "seq": 7}, {"op": "T", "seq": 3}, {"id": 6, "seq": 8, "v": "same batch, after"}, {"id": 7, "seq": 7, "v": "dead"}]
    )
    subject.check()
