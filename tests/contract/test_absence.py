"""C6: what an event does not say, it does not change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lakekit as lk
from tests.contract.harness import Subject, check_sum, in_first_mode, in_plain_modes
from tests.frames import frame
from tests.oracle import Row, Rules

RULES = Rules(("id",), ("seq",), ("id", "seq", "a", "b", "n"))
SCHEMA = "id int, seq bigint, op string, a string, b string, n int"
MARK = "__debezium_unavailable_value"


def up(id: int, seq: int, **values: Any) -> Row:
    return {"id": id, "seq": seq, "op": "U", **values}


def gone(id: int, seq: int) -> Row:
    return {"id": id, "seq": seq, "op": "D"}


@in_plain_modes
def test_missing_columns_and_explicit_nulls(new: Callable[..., Subject]) -> None:
    subject = new("absent", SCHEMA, RULES, delete_when="op = 'D'", except_columns=["op"])
    subject.create()
    subject.upsert([up(n, 1, a=f"a{n}", b=f"b{n}", n=n) for n in range(1, 8)])
    without_b = "id int, seq bigint, op string, a string, n int"
    subject.upsert(
        [up(1, 3, a=None, n=None), up(2, 3, a="a", n=2), up(8, 3, a="new", n=8), gone(3, 3), up(3, 4, a="again", n=3)], without_b
    )
    subject.check()
    without_a = "id int, seq bigint, op string, b string, n int"
    # older and newer than what the other producer said of its own columns
    subject.upsert(
        [up(1, 2, b="late, and all that is said of b", n=1), up(2, 4, b=None, n=4), up(8, 2, b="before", n=2), up(3, 2, b="dead", n=2)],
        without_a,
    )
    subject.check()
    # a delete between two sparse events takes away what the newer one had inherited
    subject.upsert([gone(1, 2), gone(8, 2)])
    subject.check()
    subject.upsert([gone(4, 5)])
    subject.upsert([up(4, 6, a="back", n=4)], without_b)
    subject.check()


@in_first_mode
def test_markers_and_ignored_nulls(new: Callable[..., Subject]) -> None:
    rules = Rules(RULES.keys, RULES.sequence_by, ("id", "seq", "a", "b", "n", "blob"), unchanged=MARK, ignore_nulls=frozenset({"n"}))
    schema = SCHEMA + ", blob binary"
    subject = new("markers", schema, rules, delete_when="op = 'D'", except_columns=["op"], unchanged=MARK, ignore_nulls=["n"])
    subject.create()
    full = [up(n, 1, a=f"a{n}", b=f"b{n}", n=n, blob=b"\x01") for n in range(1, 6)]
    commit = subject.upsert([*full, up(1, 2, a=MARK, b="b", n=None, blob=b"\x02"), up(1, 3, a="A", b=MARK, n=None, blob=b"\x02")])
    assert commit.markers_nulled == 0
    subject.check()
    commit = subject.upsert([up(9, 2, a=MARK, b="b", n=1, blob=b"\x00"), gone(2, 3), up(2, 4, a="a", b=MARK, n=1, blob=b"\x00")])
    assert commit.markers_nulled == 2, "a new key, and a key whose delete took what the marker stood for"
    subject.check()
    commit = subject.upsert([up(9, 1, a="before", b="x", n=0, blob=b"\x09"), up(3, 0, a="too old", b="x", n=0, blob=b"\x09")])
    subject.check()
    check_sum(commit)
    stored = subject.table.df()
    assert stored.where(f"a = '{MARK}' OR b = '{MARK}' OR cast(blob AS string) = '{MARK}'").count() == 0


@in_first_mode
def test_bytes_that_mark_the_unchanged(new: Callable[..., Subject]) -> None:
    rules = Rules(("id",), ("seq",), ("id", "seq", "blob", "v"))
    subject = new("blobs", "id int, seq bigint, blob binary, v string", rules, unchanged=MARK)
    subject.upsert([{"id": 1, "seq": 1, "blob": b"\x01\x02", "v": "x"}])
    marked = [{"id": 1, "seq": 2, "blob": MARK.encode(), "v": "y"}]
    subject.table.upsert(subject.feed(marked))
    subject.delivered += [{"id": 1, "seq": 2, "v": "y"}]
    subject.check()


@in_first_mode
def test_reserved_column_names_what_is_absent(new: Callable[..., Subject]) -> None:
    subject = new("reserved", "id int, seq bigint, a string, b string", Rules(("id",), ("seq",), ("id", "seq", "a", "b")))
    schema = "id int, seq bigint, a string, b string, _lk_op string, _lk_absent array<string>"

    def deliver(*rows: Row) -> lk.Commit:
        df = frame(subject.spark, rows, schema)
        commit = subject.table.upsert(lk.changes(df, keys="id", sequence_by="seq"))
        for row in rows:
            said = {c: v for c, v in row.items() if c not in (row.get("_lk_absent") or [])}
            if row["_lk_op"] != "ignore":
                subject.delivered.append(said | {"op": {"delete": "D"}.get(row["_lk_op"], "U")})
        check_sum(commit)
        subject.check()
        return commit

    heartbeat = {"_lk_op": "ignore"}
    commit = deliver({"id": 1, "seq": 1, "a": "a", "b": "b", "_lk_op": "upsert", "_lk_absent": []}, heartbeat, heartbeat)
    assert (commit.read, commit.ignored, commit.applied) == (3, 2, 1)
    deliver({"id": 1, "seq": 3, "a": "A", "b": None, "_lk_op": "upsert", "_lk_absent": ["b"]})
    deliver({"id": 1, "seq": 2, "a": None, "b": None, "_lk_op": "upsert", "_lk_absent": ["a"]})
    deliver({"id": 1, "seq": 4, "_lk_op": "delete"}, {"id": 1, "seq": 5, "b": "back", "_lk_op": "upsert", "_lk_absent": ["a"]})


@in_first_mode
def test_ignoring_every_null(new: Callable[..., Subject]) -> None:
    rules = Rules(RULES.keys, RULES.sequence_by, ("id", "a", "b", "n"), ignore_nulls=frozenset({"a", "b", "n"}))
    subject = new("nulls", SCHEMA, rules, delete_when="op = 'D'", except_columns=["op", "seq"], ignore_nulls=True)
    subject.upsert([up(1, 1, a="a", b="b", n=1), up(1, 5, a="A"), up(1, 3, b="B", n=3), up(2, 2, b="x"), gone(3, 2)])
    subject.check()
    subject.upsert([up(1, 4, a="late", n=4), up(2, 1, a="first", b="old"), up(3, 1, a="dead"), up(3, 3, n=3)])
    subject.check()
    subject.upsert([gone(1, 4), gone(2, 1)])
    subject.check()
