"""Exact casts, comparable values, canonical events: small tables in, small tables out."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

import lakekit as lk
from lakekit.changes import events
from lakekit.columns import comparable, fit, widens
from lakekit.confs import confs
from lakekit.errors import FeedError, SchemaConflict

BAD = object()
CASES = [
    ("string", "int", [("12", 12), ("12.5", BAD), ("x", BAD), ("3000000000", BAD), (None, None)]),
    ("string", "decimal(10,2)", [("1.50", Decimal("1.50")), ("1.505", BAD), ("123456789.00", BAD)]),
    ("string", "decimal(38,0)", [("12345678901234567890123456789012345", Decimal("12345678901234567890123456789012345")), ("1.5", BAD)]),
    ("string", "date", [("2024-02-29", date(2024, 2, 29)), ("2023-02-29", BAD), ("2024-02-29 10:00:00", BAD)]),
    ("string", "boolean", [("true", True), ("perhaps", BAD)]),
    ("bigint", "int", [(7, 7), (3_000_000_000, BAD)]),
    ("bigint", "double", [(2**53, float(2**53)), (2**53 + 1, BAD)]),
    ("double", "int", [(2.0, 2), (2.5, BAD), (float("nan"), BAD)]),
    ("double", "decimal(5,2)", [(1.25, Decimal("1.25")), (1234.5, BAD)]),
    ("decimal(10,2)", "decimal(10,1)", [(Decimal("1.50"), Decimal("1.5")), (Decimal("1.55"), BAD)]),
    ("decimal(10,2)", "int", [(Decimal("3.00"), 3), (Decimal("3.01"), BAD)]),
    ("int", "string", [(5, "5")]),
]


@pytest.mark.parametrize("ansi", ["true", "false"])
def test_fit_casts_only_what_loses_nothing(spark: SparkSession, ansi: str) -> None:
    before = spark.conf.get("spark.sql.ansi.enabled")
    spark.conf.set("spark.sql.ansi.enabled", ansi)
    try:
        for source, target, cases in CASES:
            df = spark.createDataFrame([(i, value) for i, (value, _) in enumerate(cases)], f"i int, v {source}")
            value, bad = fit("v", df.schema["v"].dataType, T._parse_datatype_string(target))
            found = df.select("i", value.alias("v"), (F.lit(False) if bad is None else bad).alias("bad")).orderBy("i").collect()
            for row, (_, wanted) in zip(found, cases, strict=True):
                assert row.bad is (wanted is BAD), (source, target, row.i)
                assert wanted is BAD or row.v == wanted, (source, target, row.i)
    finally:
        spark.conf.set("spark.sql.ansi.enabled", before)


def test_text_instants_do_not_follow_the_session_time_zone(spark: SparkSession) -> None:
    texts = ["2024-06-01T10:00:00Z", "2024-06-01 12:00:00+02:00", "2024-06-01 10:00:00", "2024-06-01", "2024-06-01 10:00:00.1234567", "x"]
    df = spark.createDataFrame(list(enumerate(texts)), "i int, v string")
    value, bad = fit("v", T.StringType(), T.TimestampType())
    noon = int(datetime(2024, 6, 1, 10, tzinfo=UTC).timestamp()) * 1_000_000
    before = spark.conf.get("spark.sql.session.timeZone")
    for zone in ("UTC", "America/New_York"):
        spark.conf.set("spark.sql.session.timeZone", zone)
        try:
            rows = df.select("i", F.unix_micros(value).alias("micros"), bad.alias("bad")).orderBy("i").collect()
        finally:
            spark.conf.set("spark.sql.session.timeZone", before)
        assert [r.micros for r in rows][:4] == [noon, noon, noon, noon - 36_000_000_000]
        assert [r.bad for r in rows] == [False, False, False, False, True, True]


def test_types_that_never_fit(spark: SparkSession) -> None:
    with pytest.raises(SchemaConflict, match="qty is bigint in the table, incoming boolean"):
        fit("qty", T.BooleanType(), T.LongType())
    assert widens(T.IntegerType(), T.LongType()) and not widens(T.LongType(), T.IntegerType())


def test_maps_compare_as_sets_of_entries(spark: SparkSession) -> None:
    df = spark.sql("SELECT map('a', 1, 'b', 2) AS x, map('b', 2, 'a', 1) AS y, map('a', 1) AS z")
    kind = df.schema["x"].dataType
    same = comparable(F.col("x"), kind).eqNullSafe(comparable(F.col("y"), kind))
    other = comparable(F.col("x"), kind).eqNullSafe(comparable(F.col("z"), kind))
    assert tuple(df.select(same, other).first()) == (True, False)


def test_canonical_events(spark: SparkSession) -> None:
    df = spark.createDataFrame(
        [(1, "a", 1, "I"), (None, "b", 2, "I"), (3, "c", None, "I"), (4, "d", 4, None), (5, "e", 5, "X"), (6, "f", 6, "D")],
        "id int, name string, lsn long, op string",
    )
    feed = lk.changes(df, keys="id", sequence_by="lsn", delete_when="op = 'D'", upsert_when="op = 'I'", except_columns="op")
    types = {f.name: f.dataType for f in feed.schema.fields}
    found = events(feed, types, feed.sequence_type).orderBy("name").select("_lk_op", "_lk_reason", F.col("_lk_raw").isNotNull()).collect()
    assert [tuple(r) for r in found] == [
        ("upsert", None, False),
        ("upsert", "key column id is NULL", True),
        ("upsert", "sequence lsn is NULL", True),
        ("unknown", "unknown operation", True),
        ("unknown", "unknown operation", True),
        ("delete", None, False),
    ]


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"keys": ["nope"]}, "keys: the feed has no column nope"),
        ({"sequence_by": []}, "at least one column"),
        ({"except_columns": ["id"]}, "except_columns names a key column: id"),
        ({"ties": "coin"}, "ties is 'coin'"),
        ({"keys": ["id", "ID"]}, "keys names a column twice: id, id"),
        ({"delete_when": "lsn + 1"}, "delete_when is bigint, not true or false"),
        ({"truncate_when": "nope = '4711'"}, r"^truncate_when is no SQL condition [^0-9]* The feed has: id, lsn\.$"),
        ({"upsert_when": "lsn === '4711'"}, r"^upsert_when is no SQL condition [^0-9]* The feed has: id, lsn\.$"),
    ],
)
def test_a_feed_that_contradicts_itself(spark: SparkSession, described: dict[str, object], message: str) -> None:
    df = spark.createDataFrame([], "id int, lsn long")
    with pytest.raises(FeedError, match=message):
        lk.changes(df, **{"keys": ["id"], "sequence_by": ["lsn"], **described})


def test_confs_come_back_in_whatever_order_statements_end(spark: SparkSession) -> None:
    """Two threads of one session: the first to begin is the first to end."""
    key, before = "spark.sql.shuffle.partitions", spark.conf.get("spark.sql.shuffle.partitions")
    first, second, own = confs(spark, {key: "31"}), confs(spark, {key: "32"}), confs(spark, {"lakekit.test": "x"})
    with own:
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert spark.conf.get(key) == "32"
        second.__exit__(None, None, None)
    assert (spark.conf.get(key), spark.conf.get("lakekit.test", None)) == (before, None)
