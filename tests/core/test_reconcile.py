"""Two copies of one table: equal by count and content, or the keys and columns that differ."""

from __future__ import annotations

import random
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from lakekit.errors import ConfigError, SchemaConflict
from lakekit.guard import counting, observed
from lakekit.reconcile import Reconciliation, differences, result
from tests.core.sources.folding import conf
from tests.frames import frame

NAN = float("nan")
NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)


def compare(table: DataFrame, source: DataFrame, **how: Any) -> Reconciliation:
    """As the table's verb does."""
    found = differences(table, source, **{"keys": "id", **how})
    with counting(found.sparkSession):
        evaluated = found.localCheckpoint(eager=True)
    return result("t", evaluated, observed(found))


def wrong(outcome: Reconciliation, *keys: str) -> set[tuple[Any, ...]]:
    rows = outcome.differences.collect()
    assert len(rows) == outcome.missing + outcome.unexpected + outcome.different + outcome.duplicate
    return {(*(row[k] for k in keys or ("id",)), row["difference"], tuple(row["columns"] or ())) for row in rows}


def test_equal_whatever_the_types(spark: SparkSession) -> None:
    table = frame(
        spark,
        [
            {"id": 1, "pay": Decimal("33002.0"), "qty": 7, "at": NOON, "day": date(2024, 6, 1), "rate": 0.0,
             "tags": {"a": 1, "b": 2}, "ok": True},
            {"id": 2, "rate": NAN, "qty": 2**40},
            {"id": None, "pay": Decimal("0.5"), "rate": 1.5},
        ],
        "id bigint, pay decimal(10,1), qty bigint, at timestamp, day date, rate double, tags map<string,int>, ok boolean, own string",
    )  # fmt: skip
    source = frame(
        spark,
        [
            {"ID": "1", "pay": "33002.00", "QTY": "7.00", "at": "2024-06-01T14:00:00+02:00", "day": "2024-06-01", "rate": "-0.0",
             "tags": {"b": 2, "a": 1}, "ok": "true"},
            {"ID": "2", "rate": "NaN", "QTY": "1099511627776"},
            {"ID": None, "pay": ".5", "rate": "1.50"},
        ],
        "ID string, pay string, QTY string, at string, day string, rate string, tags map<string,bigint>, ok string",
    )  # fmt: skip
    with conf(spark, spark__sql__session__timeZone="America/New_York"):
        there, back = compare(table, source), compare(source.withColumnRenamed("ID", "id"), table.drop("own"))
    for outcome in (there, back):
        assert outcome and outcome.equal and wrong(outcome) == set()
        assert (outcome.table_rows, outcome.source_rows, outcome.matched) == (3, 3, 3)
        assert outcome.table_hash == outcome.source_hash != "0" * 32
        assert str(outcome).startswith("reconcile t: equal, 3 rows, content ")
    same = compare(table, table.orderBy("rate"))
    assert same.equal and same.source_hash == same.table_hash
    assert same.as_dict()["by_column"] == dict.fromkeys(["pay", "qty", "at", "day", "rate", "tags", "ok", "own"], 0)


def test_the_keys_and_columns_that_differ(spark: SparkSession) -> None:
    schema = "id int, part string, a string, b double, m map<string,int>"
    base = {"part": "x", "a": "one", "b": 1.0, "m": {"k": 1}}
    table = [{"id": n, **base} for n in range(8)] + [{"id": None, **base}, {"id": 1, **base, "part": None}]
    source = [
        {"id": 0, **base}, {"id": 1, **base, "a": "One"}, {"id": 2, **base, "b": None, "m": {"k": 2}}, {"id": 3, **base, "m": None},
        {"id": 5, **base}, {"id": 5, **base}, {"id": 6, **base, "a": None}, {"id": 7, **base}, {"id": 9, **base},
        {"id": None, **base, "b": NAN}, {"id": 1, **base, "part": None},
    ]  # fmt: skip
    outcome = compare(frame(spark, table, schema), frame(spark, source, schema), keys=["id", "part"])
    assert not outcome
    assert wrong(outcome, "id", "part") == {
        (1, "x", "different", ("a",)),
        (2, "x", "different", ("b", "m")),
        (3, "x", "different", ("m",)),
        (4, "x", "unexpected", ()),
        (5, "x", "duplicate", ()),
        (6, "x", "different", ("a",)),
        (9, "x", "missing", ()),
        (None, "x", "different", ("b",)),
    }
    assert (outcome.matched, outcome.missing, outcome.unexpected, outcome.different, outcome.duplicate) == (3, 1, 1, 5, 1)
    assert outcome.by_column == {"a": 2, "b": 2, "m": 2} and outcome.table_hash != outcome.source_hash
    assert str(outcome) == (
        "reconcile t: differs, 10 rows in the table, 11 in the source: missing=1 unexpected=1 different=5 duplicate=1; "
        "columns: a (2), b (2), m (2)"
    )
    assert compare(frame(spark, table, schema), frame(spark, source[:2], schema), keys=["id", "part"], columns=["b"]).different == 0


def test_tolerance(spark: SparkSession) -> None:
    table = frame(spark, [{"id": n, "pay": Decimal("10.00"), "rate": 1.0, "at": NOON, "n": 10} for n in range(5)],
                  "id int, pay decimal(10,2), rate double, at timestamp, n int")  # fmt: skip
    source = frame(
        spark,
        [
            {"id": 0, "pay": "10.004", "rate": "1.05", "at": NOON.replace(microsecond=900_000), "n": 12},
            {"id": 1, "pay": "10.011", "rate": "1.05", "at": NOON, "n": 13},
            {"id": 2, "pay": "10", "rate": "NaN", "at": NOON.replace(second=2), "n": 8},
            {"id": 3, "pay": None, "rate": None, "at": None, "n": None},
            {"id": 4, "pay": "ten", "rate": "1", "at": NOON, "n": 10},
        ],
        "id int, pay string, rate string, at timestamp, n bigint",
    )
    outcome = compare(table, source, tolerance={"pay": 0.01, "RATE": 0.1, "at": 1, "n": 2})
    assert wrong(outcome) == {
        (1, "different", ("pay", "n")),
        (2, "different", ("rate", "at")),
        (3, "different", ("pay", "rate", "at", "n")),
        (4, "different", ("pay",)),
    }
    assert outcome.table_hash == outcome.source_hash, "what has a tolerance is no part of the content hash"


def test_keys_of_another_type(spark: SparkSession) -> None:
    table = frame(spark, [{"id": 1, "v": "a"}, {"id": 2, "v": "b"}, {"id": None, "v": "c"}], "id int, v string")
    source = frame(spark, [{"id": "1", "v": "a"}, {"id": "two", "v": "b"}, {"id": "three", "v": "b"}], "id string, v string")
    assert wrong(compare(table, source)) == {
        ("2", "unexpected", ()), (None, "unexpected", ()), ("two", "missing", ()), ("three", "missing", ()),
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_random_copies(spark: SparkSession, seed: int) -> None:
    rng = random.Random(seed)
    values = [None, 0.0, 1.0, NAN, 1.0000000000000002]

    def copy() -> list[dict[str, Any]]:
        return [{"id": rng.choice([None, *range(30)]), "v": rng.choice(values), "w": rng.choice(["", "w", None])} for _ in range(30)]

    table, source = copy(), copy()
    source = [*source, *table[:10]]
    sides = [{id: [r for r in rows if r["id"] == id] for id in {r["id"] for r in rows}} for rows in (table, source)]
    expected = set()
    for id in sides[0].keys() | sides[1].keys():
        one, other = sides[0].get(id, []), sides[1].get(id, [])
        if len(one) > 1 or len(other) > 1:
            expected.add((id, "duplicate", ()))
        elif not (one and other):
            expected.add((id, "unexpected" if one else "missing", ()))
        elif columns := tuple(c for c in ("v", "w") if repr(one[0][c]) != repr(other[0][c])):
            expected.add((id, "different", columns))
    schema = "id int, v double, w string"
    outcome = compare(frame(spark, table, schema), frame(spark, source, schema))
    assert wrong(outcome) == expected
    assert (outcome.table_rows, outcome.source_rows) == (30, 40)
    assert (outcome.table_hash == outcome.source_hash) == (sorted(map(repr, table)) == sorted(map(repr, source)))


def test_empty_sides(spark: SparkSession) -> None:
    rows, none = spark.range(3).selectExpr("id", "1 v"), spark.range(3).selectExpr("id", "1 v").where("id > 5")
    assert compare(none, none).equal
    outcome = compare(rows, none)
    assert (outcome.unexpected, outcome.table_rows, outcome.source_rows, outcome.source_hash) == (3, 3, 0, "0" * 32)
    assert compare(none, rows).missing == 3


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"keys": "nr"}, ConfigError, "the table has no column nr; there are id, v, m"),
        ({"keys": []}, ConfigError, "keys needs at least one column"),
        ({"columns": ["w"]}, ConfigError, "the table has no column w"),
        ({"columns": ["v", "extra"]}, ConfigError, "the table has no column extra"),
        ({"columns": ["m"]}, SchemaConflict, "m is map<string,int> in the table, incoming int"),
        ({"columns": ["v"], "tolerance": {"v": -1}}, ConfigError, "the tolerance of v is negative"),
        ({"columns": ["v"], "tolerance": {"w": 1}}, ConfigError, "tolerance has no column w"),
        ({"columns": ["v"], "tolerance": {"extra": 1}}, ConfigError, "tolerance names extra, which is not compared"),
        ({"columns": ["m"], "tolerance": {"m": 1}}, ConfigError, "Only numbers and times"),
    ],
)
def test_mistakes(spark: SparkSession, how: dict[str, Any], error: type[Exception], message: str) -> None:
    table, source = frame(spark, [], "id int, v int, m map<string,int>"), frame(spark, [], "id int, v int, m int, extra int")
    if how.get("tolerance") == {"m": 1}:
        source = table
    with pytest.raises(error, match=re.escape(message)):
        differences(table, source, **{"keys": "id", **how})


@pytest.mark.parametrize("kind", ["string", "int"])
def test_each_side_is_shuffled_once(spark: SparkSession, kind: str) -> None:
    table, source = (spark.range(n).selectExpr("cast(id as int) id", "cast(id % 7 as double) v") for n in (1000, 900))
    with conf(spark, spark__sql__autoBroadcastJoinThreshold="-1"):
        found = differences(table, source.selectExpr(f"nullif(cast(id as {kind}), -1) id", "v"), keys="id")
        assert found.count() == 100
        plan = found._jdf.queryExecution().executedPlan().toString().split("== Initial Plan ==")[0]
    assert len(re.findall(r"\bExchange ", plan)) == 2 and len(re.findall("Join", plan)) == 1
