"""Types 3, 4, 6 and 7: random feeds against independent answers from the set of events, dry run, replay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pyspark.sql import SparkSession

import lakekit as lk
from lakekit.scd_shape import asked
from lakekit.testing import assert_scd2_valid, random_changes, scramble
from tests import oracle, scd_oracle
from tests.contract.harness import MODES, Mode, check_sum, data_files, files, in_plain_modes, rows_by_key, same
from tests.contract.scd_harness import Past, plain_rows
from tests.frames import frame
from tests.oracle import Row, Rules
from tests.scd_oracle import Dim

SCHEMA = "feed int, id string, lsn bigint, op string, city string, tier string, note string"
RULES = Rules(("feed", "id"), ("lsn",), ("feed", "id", "lsn", "city", "tier", "note"))
DESCRIBED = {"keys": ["feed", "id"], "sequence_by": "lsn", "delete_when": "op = 'D'", "truncate_when": "op = 'T'", "except_columns": ["op"]}
VALUES = {"city": [None, "Kiel", "Köln"], "tier": ["a", "b"], "note": [None, "x", "y", "z"]}


def deliveries(mode: Mode, seed: int) -> list[list[Row]]:
    """Feeds of three keys, sixty in the first mode and thirty-six in each of the others, delivered badly, a truncate among them."""
    feeds = 60 if mode == MODES[0] else 36
    keys = [{"feed": feed, "id": name} for feed in range(feeds) for name in ("k", "K", "k ")]
    sequences = [{"lsn": lsn} for lsn in (*range(8), 10, 2**40)]
    changes = random_changes(seed, keys=keys, sequences=sequences, values=VALUES, events=25 * feeds, deletes=0.12, conflicts=True)
    batches = scramble(changes, seed=MODES.index(mode), batches=3 if mode == MODES[0] else 2)
    batches[1].append({"op": "T", "lsn": 2})
    return batches


def feed(table: lk.Table, rows: list[Row], **more: Any) -> lk.ChangeFeed:
    return lk.changes(frame(table.spark, rows, SCHEMA), **{**DESCRIBED, "ties": "content", **more})


def deliver(table: lk.Table, mode: Mode, verb: str, batches: list[list[Row]], check: Callable[[list[Row]], None], **options: Any) -> None:
    """Deliver batches one by one; a dry run before the last, all of them again at the end.

    Merge on read only writes rows in another way: there neither says anything new.
    """
    write = getattr(table, verb)
    delivered: list[Row] = []
    plain = not mode.merge_on_read
    for n, batch in enumerate(batches):
        if plain and n == len(batches) - 1:
            before = files(table.spark, table.name)
            dry = write(feed(table, batch), dry_run=True, **options)
            assert files(table.spark, table.name) == before
        commit = write(feed(table, batch), **options)
        check_sum(commit)
        assert (commit.operation, commit.table, commit.changed) == (verb, table.name, True)
        delivered += batch
        check(delivered)
    if not plain:
        return
    effects = ("read", "applied", "stale", "duplicate", "inserted", "updated", "closed", "split", "deleted")
    assert {c: getattr(dry, c) for c in effects} == {c: getattr(commit, c) for c in effects}
    before_files = data_files(table.spark, table.name)
    replay = write(feed(table, delivered, keys=["ID", "feed"]), **options)  # in any order and spelling
    check_sum(replay)
    assert replay.applied == 0 and not replay.changed and data_files(table.spark, table.name) == before_files


def test_type_3(named: Callable[[str], lk.Table], mode: Mode) -> None:
    table = named("type3")
    names = {"city": "previous_city", "tier": "previous_tier"}
    table.create(feed(table, []), scd=3, track=list(names), merge_on_read=mode.merge_on_read)

    def check(delivered: list[Row]) -> None:
        rules = Rules(RULES.keys, RULES.sequence_by, (*RULES.columns, *names.values()))
        same(rows_by_key(table.df(), rules), scd_oracle.with_previous(delivered, Dim(RULES, track=tuple(names)), names))

    deliver(table, mode, "scd3", deliveries(mode, 3), check, track=list(names))


def test_type_4(named: Callable[[str], lk.Table], mode: Mode) -> None:
    table, past_table = named("type4"), named("type4_past")
    table.create(feed(table, []), scd=4, history=past_table.name, track="city", merge_on_read=mode.merge_on_read)
    dim = Dim(RULES, track=("city",))

    def check(delivered: list[Row]) -> None:
        same(rows_by_key(table.df(), RULES), oracle.table(delivered, RULES))
        beside = Past(mode, past_table, SCHEMA, RULES, {}, delivered, dim=dim)
        beside.check()

    deliver(table, mode, "scd4", deliveries(mode, 4), check, history=past_table.name, track="city")
    assert_scd2_valid(past_table.df(), keys=["feed", "id"], track="city")


@in_plain_modes
def test_a_crash_between_the_two_tables(named: Callable[[str], lk.Table], mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Type 4: history or present rows were written last, or neither; the same batch again mends it."""
    table, past_table = named("crash4"), named("crash4_past")
    told = {"history": past_table.name, "track": "city"}
    table.create(feed(table, []), scd=4, merge_on_read=mode.merge_on_read, **told)
    rows = [{"feed": 1, "id": id, "lsn": lsn, "op": "U", "city": f"{id}{lsn}", "tier": "a"} for id in "xyz" for lsn in (2, 5)]
    table.scd4(feed(table, rows), **told)
    batch = [{**rows[0], "lsn": 7, "city": "new"}, {"feed": 1, "id": "y", "lsn": 6, "op": "D"}, {**rows[4], "lsn": 1, "city": "late"}]
    plain = type(table._adapter).apply
    for allowed in (0, 1):
        done: list[object] = []

        def killed(adapter: Any, *args: Any, done: list[object] = done, allowed: int = allowed) -> None:
            if len(done) == allowed:
                raise RuntimeError("killed")
            done.append(args)
            plain(adapter, *args)

        with monkeypatch.context() as patched:
            patched.setattr(type(table._adapter), "apply", killed)
            with pytest.raises(RuntimeError, match="killed"):
                table.scd4(feed(table, batch), **told)
    again = table.scd4(feed(table, batch), **told)
    assert again.changed and (again.updated, again.deleted) == (1, 1)
    same(rows_by_key(table.df(), RULES), oracle.table([*rows, *batch], RULES))
    Past(mode, past_table, SCHEMA, RULES, {}, [*rows, *batch], dim=Dim(RULES, track=("city",))).check()
    if mode != MODES[0]:
        return  # how often an event counts is no matter of the format
    lost: list[object] = []

    def beaten(adapter: Any, *args: Any) -> None:
        if adapter.table == table.name and not lost:
            lost.append(args)
            raise lk.errors.CommitConflict("a rival was faster")
        plain(adapter, *args)

    with monkeypatch.context() as patched:
        patched.setattr(type(table._adapter), "apply", beaten)
        last = table.scd4(feed(table, [*batch, {**rows[0], "lsn": 9, "city": "newer"}]), **told)
    assert (last.applied, last.duplicate, last.updated, last.closed, last.attempts) == (1, 3, 1, 1, 2), "counted once"
    assert not table.scd4(feed(table, batch), **told).changed


def test_type_6(named: Callable[[str], lk.Table], mode: Mode) -> None:
    table = named("type6")
    names = {"city": "current_city", "tier": "current_tier"}
    table.create(feed(table, []), scd=6, track=list(names), merge_on_read=mode.merge_on_read)

    def check(delivered: list[Row]) -> None:
        found = {((r["feed"], r["id"]), r["valid_from"]): r for r in plain_rows(table.df())}
        same(found, scd_oracle.carrying(delivered, Dim(RULES, track=tuple(names)), names))

    deliver(table, mode, "scd6", deliveries(mode, 6), check, track=list(names))
    assert_scd2_valid(table.df(), keys=["feed", "id"], track=list(names))


def test_type_6_carries_on_what_a_feed_leaves_out(spark: SparkSession) -> None:
    df = spark.createDataFrame([], "id int, lsn int, name string, zip string")
    made, _ = asked("t", lk.changes(df, keys="id", sequence_by="lsn"), type=6)
    columns = [*df.columns, *made.own.values()]
    later, _ = asked("t", lk.changes(df.drop("name"), keys="id", sequence_by="lsn"), columns, type=6)
    assert made.carries == later.carries == ("name", "zip")


def test_type_7(named: Callable[[str], lk.Table], mode: Mode) -> None:
    table = named("type7")
    table.create(feed(table, []), scd=7, track="city", merge_on_read=mode.merge_on_read)
    dim = Dim(RULES, track=("city",))
    keys: dict[Any, str] = {}

    def check(delivered: list[Row]) -> None:
        rows = plain_rows(table.df())
        found = {((r["feed"], r["id"]), r["valid_from"]): r for r in rows}
        own = ("durable_key", "version_key")
        same({at: {c: v for c, v in r.items() if c not in own} for at, r in found.items()}, scd_oracle.table(delivered, dim))
        assert len({r["version_key"] for r in rows}) == len(rows) and all(len(r["version_key"]) == 32 for r in rows)
        assert len({r["durable_key"] for r in rows}) == len({at[0] for at in found})
        assert all(keys.setdefault(at, r["version_key"]) == r["version_key"] for at, r in found.items()), "a version keeps its key"

    deliver(table, mode, "scd7", deliveries(mode, 7), check, track="city")
    assert_scd2_valid(table.df(), keys=["feed", "id"], track="city")
    facts = table.df().selectExpr("version_key", "durable_key", "city AS then", "valid_from AS since")
    was = table.as_was(facts)
    assert was.count() == facts.count() and was.where("NOT (city <=> then) OR NOT (valid_from <=> since)").isEmpty()
    now = table.as_is(facts)
    assert now.groupBy("feed", "id").count().count() == len({(r["feed"], r["id"]) for r in plain_rows(table.df())})
    assert now.where("since > valid_from").isEmpty()
