"""snapshot: a full load against what stands; equality by type, guards by count, one join."""

from __future__ import annotations

import random
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

import lakekit as lk
from lakekit.changes import ChangeFeed
from lakekit.errors import ConfigError, DataRejected, FeedError, SchemaConflict
from lakekit.guard import observed
from lakekit.sources import snapshot
from tests.core.sources.folding import conf
from tests.frames import frame

NAN, DAY = float("nan"), datetime(2024, 6, 1, tzinfo=UTC)


def events(feed: ChangeFeed, again: int = 0) -> list[dict[str, Any]]:
    """Evaluate the feed as a verb does: once, then the guard."""
    rows = [row.asDict(recursive=True) for row in feed.df.collect()]
    assert feed.guard is not None
    feed.guard.check(observed(feed.df), again)
    return rows


def ops(feed: ChangeFeed, again: int = 0) -> dict[Any, str]:
    found = events(feed, again)
    keyed = {tuple(row[k] for k in feed.keys): row["_lk_op"] for row in found}
    assert len(keyed) == len(found)
    return {key[0] if len(key) == 1 else key: op for key, op in keyed.items()}


def diff(spark: SparkSession, schema: str, before: list[dict[str, Any]], now: list[dict[str, Any]], **more: Any) -> ChangeFeed:
    given = {"keys": "id", "at": "2024-06-02", "max_delete_fraction": 1.0, **more}
    return snapshot(frame(spark, before, schema), frame(spark, now, given.pop("schema_now", schema)), **given)


# column type → values that are the same, values that differ
EQUALITY: dict[str, tuple[list[tuple[Any, Any]], list[tuple[Any, Any]]]] = {
    "string": ([("a", "a"), ("", ""), (None, None)], [("a", "A"), ("a", "a "), ("", None), (None, "null"), ("é", "e\u0301")]),
    "double": ([(NAN, NAN), (0.0, -0.0), (1.5, 1.5)], [(NAN, None), (0.0, None), (1.0, 1.0000000000000002), (NAN, 0.0)]),
    "boolean": ([(True, True)], [(False, None), (True, False)]),
    "decimal(10,2)": ([(Decimal("1.50"), Decimal("1.5"))], [(Decimal("0.00"), None), (Decimal("1.50"), Decimal("1.51"))]),
    "binary": ([(b"\x00", b"\x00")], [(b"", b"\x00"), (b"", None)]),
    "date": ([(date(2024, 2, 29), date(2024, 2, 29))], [(date(2024, 2, 29), None)]),
    "timestamp": ([(DAY, DAY)], [(DAY, DAY.replace(microsecond=1))]),
    "array<int>": ([([1, None], [1, None]), ([], [])], [([1, 2], [2, 1]), ([], None), ([None], [])]),
    "map<string,double>": ([({"a": 1.0, "b": NAN}, {"b": NAN, "a": 1.0}), ({}, {})],
                           [({"a": None}, {}), ({"a": 1.0}, {"a": 2.0}), ({}, None)]),
    "struct<x:int,m:map<int,int>>": ([({"x": 1, "m": {1: 1, 2: 2}}, {"x": 1, "m": {2: 2, 1: 1}})], [({"x": None, "m": None}, None)]),
}  # fmt: skip


def test_equality_by_type(spark: SparkSession) -> None:
    """Every pair in one frame: a column for each type, and all other columns NULL."""
    schema = "id int, " + ", ".join(f"c{i} {kind}" for i, kind in enumerate(EQUALITY))
    before, now, changed = [], [], set()
    for i, (same, differ) in enumerate(EQUALITY.values()):
        for old, new in [*same, *differ]:
            id = len(before)
            before.append({"id": id, f"c{i}": old})
            now.append({"id": id, f"c{i}": new})
            changed |= {id} if (old, new) in differ else set()
    assert ops(diff(spark, schema, before, now)) == dict.fromkeys(changed, "upsert")
    assert ops(diff(spark, schema, now, before)) == dict.fromkeys(changed, "upsert")


def test_values_of_other_types(spark: SparkSession) -> None:
    """Wider numbers and text are compared in the type that stands; what it cannot hold is a change."""
    typed = "id int, qty int, amount decimal(10,1), at timestamp, day date, tags map<string,int>"
    text = "id string, qty bigint, amount string, at string, day string, tags map<string,bigint>"
    row = {"qty": 7, "amount": Decimal("33002.0"), "at": DAY, "day": date(2024, 6, 1), "tags": {"a": 1}}
    same = {"qty": 7, "amount": "33002.00", "at": "2024-06-01T02:00:00+02:00", "day": "2024-06-01", "tags": {"a": 1}}
    changed = [{"qty": 2**40}, {"amount": "33002.04"}, {"amount": "many"}, {"at": "2024-06-01 00:00:01"}, {"day": None}, {"tags": {}}]
    now = [{"id": "0", **same}, *({"id": str(i), **same, **one} for i, one in enumerate(changed, 1)), {"id": "seven", **same}]
    before = [{"id": i, **row} for i in range(len(changed) + 1)]
    with conf(spark, spark__sql__session__timeZone="Asia/Tokyo"):
        feed = diff(spark, typed, before, now, schema_now=text)
        found = {row["id"]: row for row in events(feed)}
    assert {id: row["_lk_op"] for id, row in found.items()} == dict.fromkeys([*range(1, len(changed) + 1), None], "upsert")
    assert found[1]["qty"] == 2**40 and found[3]["amount"] == "many", "the load's own values: the verb judges whether they fit"
    assert found[None]["_lk_reason"] == "key column id: not a int" and '"id":"seven"' in found[None]["_lk_raw"]
    with pytest.raises(DataRejected, match="1 rows of the snapshot cannot be read, not even their keys, and 1 keys are missing"):
        events(diff(spark, typed, [*before, {"id": 7, **row}], now, schema_now=text))
    wide = [{"id": i, "qty": 2**40} for i in range(2)]
    schemas = "id bigint, qty bigint, m map<string,bigint>", "id int, qty double, m map<string,int>"
    assert ops(diff(spark, schemas[0], wide, [{**row, "qty": 2.0**40} for row in wide], schema_now=schemas[1])) == {}
    with pytest.raises(SchemaConflict, match="tags"):
        diff(spark, typed, before, [], schema_now=text.replace("map<string,bigint>", "int"))


def test_columns_of_one_side_only(spark: SparkSession) -> None:
    before = [{"id": 1, "a": "x", "old": 1}, {"id": 2, "a": "x", "old": 1}]
    feed = diff(spark, "id int, a string, old int", before, [{"ID": 1, "a": "x", "new": None}, {"ID": 2, "a": "x", "new": 5}],
                schema_now="ID int, a string, new int, loaded int", keys="id", except_columns="loaded")  # fmt: skip
    assert feed.columns == ["ID", "a", "new", "snapshot_at"] and feed.keys == ("ID",), "a column that the load lacks is not authored"
    assert ops(feed) == {2: "upsert"}
    only_a = diff(spark, "id int, a string, b int", [{"id": 1, "a": "x", "b": 1}, {"id": 2, "a": "x", "b": 1}],
                  [{"id": 1, "a": "x", "b": 2}, {"id": 2, "a": "y", "b": 3}], compare=["a"])  # fmt: skip
    assert [(row["id"], row["b"]) for row in events(only_a)] == [(2, 3)], "what is not compared comes along"


@pytest.mark.parametrize("seed", range(4))
def test_random_loads(spark: SparkSession, seed: int) -> None:
    rng = random.Random(seed)
    keys = [(n, part) for n in range(12) for part in ("a", "b")]

    def load() -> dict[tuple[int, str], dict[str, Any]]:
        chosen = rng.sample(keys, 14)
        return {key: {"n": key[0], "part": key[1], "v": rng.choice([None, 0.0, NAN]), "w": rng.choice([None, "", "w"])} for key in chosen}

    before, now = load(), load()
    expected = dict.fromkeys(before.keys() - now.keys(), "delete")
    expected |= {key: "upsert" for key, row in now.items() if repr(before.get(key)) != repr(row)}
    nameless = [{"n": None, "part": "a", "v": 1.0, "w": "no key"}, {"n": None, "part": "a", "v": 2.0, "w": "none either"}]
    feed = diff(spark, "n int, part string, v double, w string", [*before.values(), nameless[0]], list(now.values()), keys=["n", "part"])
    assert ops(feed) == expected
    feed = diff(spark, "n int, part string, v double, w string", list(before.values()), [*now.values(), *nameless], keys=["n", "part"])
    found = events(feed)
    assert {(row["n"], row["part"]): row["_lk_op"] for row in found if row["n"] is not None} == expected
    assert sum(row["n"] is None for row in found) == 2, "rows without a key reach the verb, which puts them into quarantine"


ROWS = [{"id": n, "region": "EU" if n < 6 else "US", "snapshot_at": 10} for n in range(10)]
SCHEMA, NOW = "id int, region string, snapshot_at bigint", "id int, region string"


def without(*ids: int) -> list[dict[str, Any]]:
    return [{"id": row["id"], "region": row["region"]} for row in ROWS if row["id"] not in ids]


@pytest.mark.parametrize(
    ("now", "more", "message"),
    [
        ([], {}, "the snapshot is empty, and 10 keys stand"),
        ([], {"max_delete_fraction": 1.0}, "the snapshot is empty"),
        (without(0, 1, 2), {}, r"3 of 10 keys \(30\.0%\) are missing from the snapshot of 7 rows, more than max_delete_fraction=0\.2"),
        (without(0, 1), {"max_delete_fraction": 0.1}, "2 of 10 keys"),
        (without(0, 1), {"scope": "region = 'EU'"}, "4 of 8 rows of the snapshot lie outside of its scope"),
        (without(0, 1, 6, 7, 8, 9), {"scope": "region = 'EU'"}, r"2 of 6 keys \(33\.3%\)"),
        ([*without(), *without(*range(8))], {}, "2 keys stand more than once in the snapshot, in 4 rows"),
        ([*without(), {"id": 3, "region": "changed"}], {}, "1 keys stand more than once in the snapshot, in 2 rows"),
        (without(0), {"at": 9}, "the snapshot is older than what stands: 10 of 10 rows have a later snapshot_at"),
        (without(0), {"at": 10}, "not newer than what stands: 10 of 10 rows have its very snapshot_at, and it says otherwise of 1 keys"),
        (without(0), {"previous_at": 11}, "not newer than what stands: 0 of 10 rows"),
        (without(0), {"previous_at": 12}, "the snapshot is older"),
    ],
)  # fmt: skip
def test_guards_stop(spark: SparkSession, now: list[dict[str, Any]], more: dict[str, Any], message: str) -> None:
    feed = diff(spark, SCHEMA, ROWS, now, schema_now=NOW, **{"at": 11, "max_delete_fraction": 0.2, **more})
    with pytest.raises(DataRejected, match=message) as raised:
        events(feed)
    assert str(raised.value).endswith("Nothing was written.") and "changed" not in str(raised.value)


def test_guards_let_pass(spark: SparkSession) -> None:
    def passes(now: list[dict[str, Any]], **more: Any) -> dict[Any, str]:
        return ops(diff(spark, SCHEMA, ROWS, now, schema_now=NOW, **{"at": 11, "max_delete_fraction": 0.2, **more}))

    assert passes(without(0, 1)) == {0: "delete", 1: "delete"}
    assert passes([], allow_mass_delete=True) == dict.fromkeys(range(10), "delete")
    assert passes(without(*range(9)), allow_mass_delete=True) == dict.fromkeys(range(9), "delete")
    assert passes(without(0, 6, 7, 8, 9), scope="region = 'EU'") == {0: "delete"}, "nothing outside of the scope is deleted"
    assert passes(without(0, 6, 7, 8, 9), scope=F.col("region") == "EU") == {0: "delete"}
    assert passes(without(), at=10) == {}, "the same snapshot again"
    assert passes([*without(), {"id": None, "region": "x"}], at=10) == {None: "upsert"}, "and its bad rows again"
    moved = [*without(*range(6, 10)), {"id": 6, "region": "EU"}]
    assert passes(moved, scope="region = 'EU'") == {6: "upsert"}, "a row that moved into the scope"


def test_duplicates_that_only_the_verb_meets(spark: SparkSession) -> None:
    """A new key that stands twice meets nothing in the join: the verb sees two events of one key, and says so."""
    feed = diff(spark, NOW, without(), [*without(), *[{"id": 99, "region": "US"}] * 2])
    assert len(events(feed, again=0)) == 2
    with pytest.raises(DataRejected, match="1 keys stand more than once in the snapshot, in 2 rows"):
        events(feed, again=1)
    history = [*without(), {"id": 1, "region": "before"}]
    with pytest.raises(DataRejected, match=r"1 keys stand more than once in what stands, in 2 rows.*of a type 2 table"):
        events(diff(spark, NOW, history, without()))


def test_nothing_stands(spark: SparkSession) -> None:
    missing = lk.Table(spark, "snapshots.nowhere", format="delta")
    for previous in (None, missing):
        feed = snapshot(previous, frame(spark, without(), NOW), keys="id", at=1)
        assert ops(feed) == dict.fromkeys(range(10), "upsert")
        assert "Join" not in feed.df._jdf.queryExecution().optimizedPlan().toString()
    with pytest.raises(DataRejected, match="the snapshot is empty, and 0 keys stand"):
        events(snapshot(None, frame(spark, [], NOW), keys="id", at=1))


def test_bad_rows_of_a_reader(spark: SparkSession) -> None:
    def read(rows: list[tuple[Any, ...]]) -> ChangeFeed:
        df = spark.createDataFrame(rows, "id int, v string, _lk_reason string, _lk_raw string")
        return lk.changes(df, keys="id", sequence_by="id")

    before = spark.createDataFrame([(1, "a"), (2, "b"), (3, "c")], "id int, v string")
    given = {"keys": "id", "at": date(2024, 6, 2), "max_delete_fraction": 0.5}
    bad = read([(1, "a", None, None), (2, None, "column v: not a string", "2;?"), (3, "c", None, None)])
    (event,) = events(snapshot(before, bad, **given))
    assert (event["id"], event["_lk_reason"], event["_lk_raw"]) == (2, "column v: not a string", "2;?")
    unreadable = read([(1, "a", None, None), (None, None, "column id: not a int", "x;b"), (3, "c", None, None)])
    with pytest.raises(DataRejected, match="1 rows of the snapshot cannot be read, not even their keys, and 1 keys are missing"):
        events(snapshot(before, unreadable, **given))


def test_observations_of_the_user_are_left_alone(spark: SparkSession) -> None:
    seen = Observation("mine")
    load = frame(spark, without(), NOW).observe(seen, F.avg("id").alias("mean"), F.max("region").alias("last"))
    assert ops(snapshot(frame(spark, without(0), NOW), load, keys="id", at=1)) == {0: "upsert"}
    assert seen.get == {"mean": 4.5, "last": "US"}


def test_the_time_is_the_sequence(spark: SparkSession) -> None:
    with conf(spark, spark__sql__session__timeZone="America/New_York"):
        for at in ("2024-06-01", "2024-06-01T02:00:00+02:00", date(2024, 6, 1), DAY, DAY.replace(tzinfo=None)):
            feed = snapshot(None, frame(spark, without(), NOW), keys="id", at=at, sequence="seen_at")
            assert feed.sequence_by == ("seen_at",)
            assert feed.df.select(F.unix_micros("seen_at")).first() == (int(DAY.timestamp()) * 1_000_000,)
    assert dict(snapshot(None, frame(spark, without(), NOW), keys="id", at=7).df.dtypes)["snapshot_at"] == "bigint"


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"keys": "nr"}, FeedError, "keys: there is no column nr. There are: id, region"),
        ({"at": "yesterday"}, ConfigError, "at is no time. Write it as in 2024-05-01"),
        ({"at": True}, ConfigError, "not bool"),
        ({"at": "2024-06-01"}, FeedError, "at is a time, and snapshot_at is bigint where it stands"),
        ({"previous_at": "2024-06-01"}, ConfigError, "both be numbers"),
        ({"max_delete_fraction": 20}, ConfigError, "max_delete_fraction is 20; it must be between 0 and 1"),
        ({"compare": ["nr"]}, FeedError, "compare: there is no column nr"),
        ({"sequence": "region"}, FeedError, "has a column region of its own"),
    ],
)
def test_mistakes_are_found_at_once(spark: SparkSession, more: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        diff(spark, SCHEMA, ROWS, without(), schema_now=NOW, **{"at": 11, **more})


def test_changes_are_no_full_load(spark: SparkSession) -> None:
    df = frame(spark, [{"id": 1, "op": "D"}], "id int, op string")
    with pytest.raises(FeedError, match="current holds changes, not the rows of a full load"):
        snapshot(None, lk.changes(df, keys="id", sequence_by="id", delete_when="op = 'D'"), keys="id", at=1)
    with pytest.raises(FeedError, match="what stands has no column id"):
        snapshot(df.select("op"), df, keys="id", at=1)


def test_one_join_that_shuffles_each_side_once(spark: SparkSession, tmp_path: Path) -> None:
    def rows(count: int) -> DataFrame:
        return spark.range(count).selectExpr("cast(id as int) id", "cast(id % 7 as double) v", "map('k', id) m")

    rows(1000).withColumn("not_compared", F.lit("x")).write.parquet(str(tmp_path / "before"))
    feed = snapshot(spark.read.parquet(str(tmp_path / "before")), rows(900), keys="id", at=1)
    with conf(spark, spark__sql__autoBroadcastJoinThreshold="-1"):
        assert len(events(feed)) == 100
        plan = feed.df._jdf.queryExecution().executedPlan().toString().split("== Initial Plan ==")[0]
    assert len(re.findall(r"\bExchange ", plan)) == 2 and len(re.findall("Join", plan)) == 1 and "FullOuter" in plan
    assert "Aggregate" not in plan and "Window" not in plan and "hash(" not in plan
    assert "not_compared" not in plan, "only what is compared is read"
