"""Type 0, keys of versions, placeholders for members that facts name first, the unknown member."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

import lakekit as lk
from lakekit.testing import assert_same_rows, assert_scd2_valid
from tests.contract.harness import Mode, check_sum, data_files, files, in_plain_modes
from tests.frames import frame
from tests.oracle import Row

SCHEMA = "id string, lsn bigint, op string, city string, note string"
DESCRIBED = {"keys": "id", "sequence_by": "lsn", "delete_when": "op = 'D'", "except_columns": ["op"]}


def up(id: str, lsn: int, city: str | None, note: str | None = None) -> Row:
    return {"id": id, "lsn": lsn, "op": "U", "city": city, "note": note}


def gone(id: str, lsn: int) -> Row:
    return {"id": id, "lsn": lsn, "op": "D"}


def feed(table: lk.Table, *rows: Row, **more: Any) -> lk.ChangeFeed:
    return lk.changes(frame(table.spark, rows, SCHEMA), **{**DESCRIBED, **more})


def test_type_0(named: Callable[[str], lk.Table], mode: Mode) -> None:
    table, arrived = named("type0"), named("type0_loaded")
    first = [up("a", 5, "five"), up("a", 7, "seven"), up("b", 5, None), gone("b", 6), up("a", 5, "five"), up("tie", 5, "x")]
    later = [up("a", 3, "three"), up("a", 5, "five"), up("b", 9, "nine"), up("c", 1, "new"), gone("a", 1)]
    cases: list[tuple[lk.Table, dict[str, Any], list[tuple[str, int, str | None]], int]] = [
        (table, {}, [("a", 3, "three"), ("b", 5, None), ("c", 1, "new"), ("tie", 5, "x")], 1),
        (arrived, {"first": "loaded"}, [("a", 5, "five"), ("b", 5, None), ("c", 1, "new"), ("tie", 5, "x")], 0),
    ]
    for each, options, expected, updated in cases[:1] if mode.merge_on_read else cases:
        each.create(feed(each), scd=0, merge_on_read=mode.merge_on_read)
        commit = each.scd0(feed(each, *first), **options)
        check_sum(commit)
        assert (commit.read, commit.applied, commit.duplicate, commit.ignored, commit.inserted) == (6, 3, 1, 2, 3)
        dry = each.scd0(feed(each, *later), dry_run=True, **options)
        commit = each.scd0(feed(each, *later), **options)
        check_sum(commit)
        assert (commit.inserted, commit.updated, commit.duplicate) == (1, updated, 1) == (dry.inserted, dry.updated, dry.duplicate)
        assert_same_rows(each.df().select("id", "lsn", "city"), expected)
        before = data_files(each.spark, each.name)
        replay = each.scd0(feed(each, *first, *later), **options)
        assert not replay.changed and replay.applied == 0 and data_files(each.spark, each.name) == before
    with pytest.raises(lk.errors.TieConflict):
        table.scd0(feed(table, up("tie", 5, "y")))
    with pytest.raises(lk.errors.ConfigError, match="type 0"):
        table.upsert(feed(table, *first))


@in_plain_modes
def test_hashed_keys_and_what_must_be_rekeyed(named: Callable[[str], lk.Table], mode: Mode) -> None:
    table = named("hashed")
    table.create(feed(table), scd=2, track="city", surrogate="hash", merge_on_read=mode.merge_on_read)
    options: dict[str, Any] = {"track": "city", "surrogate": "hash"}
    table.scd2(feed(table, up("a", 5, "A"), up("a", 20, "C"), up("b", 5, "B"), gone("b", 9)), **options)
    keys = {(r["id"], r["valid_from"]): r["surrogate_key"] for r in table.df().collect()}
    commit = table.scd2(feed(table, up("a", 12, "late"), up("b", 7, "late"), up("b", 10, "back"), up("new", 1, "N")), **options)
    after = {(r["id"], r["valid_from"]): r["surrogate_key"] for r in table.df().collect()}
    assert all(after[at] == key for at, key in keys.items()), "a row that is split keeps its key"
    assert len(set(after.values())) == len(after) == 7
    assert_scd2_valid(table.df(), keys="id", track="city")
    moved = {(r["id"], r["valid_from"], r["valid_to"]): (r["old_key"], r["new_key"]) for r in commit.rekeyed.collect()}
    assert moved == {
        ("a", 12, 20): (keys["a", 5], after["a", 12]),
        ("b", 7, 9): (keys["b", 5], after["b", 7]),
        ("b", 10, None): (None, after["b", 10]),
        ("new", 1, None): (None, after["new", 1]),
    }
    with pytest.raises(lk.errors.ConfigError, match="surrogate"):
        table.scd2(feed(table, up("a", 30, "x")), track="city")


@in_plain_modes
def test_the_unknown_is_added_once_by_two_writers(named: Callable[[str], lk.Table]) -> None:
    table = named("unknown_twice")
    table.create(feed(table), scd=2, surrogate="sequence", partition_by="city")
    before = files(table.spark, table.name)
    assert table.unknown_member(dry_run=True).inserted == 1
    assert files(table.spark, table.name) == before, "a dry run writes nothing at all, no lock either"
    others = [lk.Table(table.spark.newSession(), table.name, format=table.format) for _ in range(2)]
    together = Barrier(len(others))

    def add(other: lk.Table) -> int:
        together.wait()
        return other.unknown_member().inserted

    with ThreadPoolExecutor() as pool:
        assert sum(pool.map(add, others)) == 1
    assert [(r["surrogate_key"], r["id"], r["valid_from"]) for r in table.df().collect()] == [(-1, None, None)]


def test_numbers_placeholders_and_the_unknown(named: Callable[[str], lk.Table], mode: Mode) -> None:
    table = named("numbered")
    options: dict[str, Any] = {"track": "city", "surrogate": "sequence", "inferred": "is_inferred", "surrogate_key": "sk"}
    table.create(feed(table), scd=2, merge_on_read=mode.merge_on_read, **options)

    def rows() -> dict[tuple[str, int], tuple[int, str | None, bool, int | None]]:
        found = table.df().where("sk > 0").collect()
        assert sorted(r["sk"] for r in found) == sorted({r["sk"] for r in found})
        return {(r["id"], r["valid_from"]): (r["sk"], r["city"], r["is_inferred"], r["valid_to"]) for r in found}

    table.scd2(feed(table, up("a", 5, "A"), up("b", 5, "B"), up("c", 5, "C")), **options)
    first = rows()
    assert {r[0] for r in first.values()} == {1, 2, 3}
    assert table.unknown_member().inserted == 1 and not table.unknown_member().changed
    members = frame(table.spark, [{"id": id, "lsn": 7} for id in "axy"], "id string, lsn bigint")
    commit = table.infer(members)
    assert (commit.inserted, commit.ignored, commit.operation) == (2, 1, "infer")
    placed = rows()
    assert {placed["x", 7][0], placed["y", 7][0]} == {4, 5} and placed["x", 7][1:] == (None, True, None)
    commit = table.scd2(feed(table, up("x", 20, "X", "known"), up("y", 5, "Y"), up("b", 9, "B2"), gone("c", 5)), **options)
    assert (commit.inserted, commit.updated, commit.deleted) == (2, 1, 2)
    filled = rows()
    assert filled["y", 5] == (placed["y", 7][0], "Y", False, None) and ("y", 7) not in filled, "filled by an older event: the same key"
    assert filled["x", 7] == (placed["x", 7][0], "X", False, None), "filled: the same version, the same key"
    assert filled["b", 9][0] == 6 and filled["b", 5][0] == first["b", 5][0] and ("c", 5) not in filled
    assert table.df().where("sk = -1 AND id IS NULL").count() == 1
    if mode.merge_on_read:
        return  # each of the verbs has written in this mode
    again = table.infer(lk.changes(members, keys="id", sequence_by="lsn"))
    assert not again.changed and again.rekeyed is not None
    table.scd2(feed(table, up("x", 12, "before"), up("y", 7, "Y7"), up("d", 1, "D"), gone("d", 3)), **options)
    late = rows()
    assert (late["y", 5][1:], late["y", 7][1:]) == (("Y", False, 7), ("Y7", False, None)), "the placeholder had said nothing at 7"
    assert (late["x", 7][1:], late["x", 20][1:]) == (("before", False, 20), ("X", False, None))
    new = {late["x", 20][0], late["y", 7][0], late["d", 1][0]}
    assert new == {7, 8, 9}, "numbers are dense, and those of rows that are gone are not given again"
    assert table.df().where("sk = -1 AND id IS NULL").count() == 1
    assert_scd2_valid(table.df(), keys="id", track="city")
