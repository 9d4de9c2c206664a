"""Each fact meets exactly the version that was valid at its time."""

from __future__ import annotations

import random
import re
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

import lakekit as lk
from lakekit.errors import ConfigError, SchemaConflict
from tests.core.sources.folding import conf
from tests.frames import frame

START = datetime(2024, 1, 1, tzinfo=UTC)
FAR = datetime(9999, 12, 31, tzinfo=UTC)


def at(hour: int) -> datetime:
    return START + timedelta(hours=hour)


def history(rng: random.Random, far: bool) -> list[dict[str, Any]]:
    """Versions that touch or leave gaps, the last of some keys open."""
    rows = []
    for id in range(8):
        edges = sorted(rng.sample(range(40), rng.choice([2, 4, 6])))
        spans = [(a, b) for a, b in pairwise(edges) if rng.random() < 0.8]
        rows += [{"id": id, "part": "x", "tier": f"{id}:{a}", "valid_from": at(a), "valid_to": at(b)} for a, b in spans]
        if rng.random() < 0.7:
            rows.append({"id": id, "part": "x", "tier": f"{id}:open", "valid_from": at(edges[-1]), "valid_to": FAR if far else None})
    return rows


WAYS = {"shuffled": (1, False, "-1"), "far end": (2, True, "-1"), "broadcast": (3, False, "10MB")}


@pytest.mark.parametrize(("seed", "far", "broadcast"), WAYS.values(), ids=WAYS)
def test_random_histories(spark: SparkSession, seed: int, far: bool, broadcast: str) -> None:
    rng = random.Random(seed)
    versions = history(rng, far)
    hours, customers = [None, *map(at, range(45))], [None, *range(9)]
    facts = [{"fact": n, "customer": rng.choice(customers), "part": "x", "seen": rng.choice(hours)} for n in range(300)]

    def valid(fact: dict[str, Any]) -> list[str]:
        if fact["seen"] is None:
            return []
        return [v["tier"] for v in versions if v["id"] == fact["customer"] and v["valid_from"] <= fact["seen"] < (v["valid_to"] or FAR)]

    seen, dimension_ = Observation(), frame(spark, versions, "id int, part string, tier string, valid_from timestamp, valid_to timestamp")
    if broadcast != "-1":
        dimension_ = dimension_.hint("broadcast")  # the size of rows that come from Python is not known
    with conf(spark, spark__sql__autoBroadcastJoinThreshold=broadcast):
        joined = lk.point_in_time_join(
            frame(spark, facts, "fact int, customer bigint, part string, seen timestamp"),
            dimension_,
            on={"customer": "id", "part": "part"}, at="seen", matched="known", observation=seen,
        )  # fmt: skip
        rows = joined.collect()
        plan = joined._jdf.queryExecution().executedPlan().toString().split("== Initial Plan ==")[0]
    assert joined.columns == ["fact", "customer", "part", "seen", "tier", "known"]
    assert len(rows) == len(facts), "no fact is lost, none stands twice"
    expected = {fact["fact"]: (valid(fact) or [None])[0] for fact in facts}
    assert max(len(valid(fact)) for fact in facts) == 1
    assert {row["fact"]: row["tier"] for row in rows} == expected
    assert {row["fact"] for row in rows if row["known"]} == {fact for fact, tier in expected.items() if tier}
    unmatched = sum(tier is None for tier in expected.values())
    counts = {"facts": 300, "unmatched": unmatched, "without_key_or_time": sum(f["customer"] is None or f["seen"] is None for f in facts)}
    assert seen.get == {**counts, "unmatched_rate": pytest.approx(unmatched / 300)}
    assert len(re.findall(r"\bExchange ", plan)) == (2 if broadcast == "-1" else 0), "each side is shuffled at most once"
    assert not re.search("NestedLoop|Cartesian", plan)


def dimension(spark: SparkSession, kind: str, *spans: tuple[str, str | None]) -> DataFrame:
    rows = [(1, f"v{n}", *span) for n, span in enumerate(spans)]
    df = spark.createDataFrame(rows, "id int, v string, valid_from string, valid_to string")
    if kind != "timestamp":
        return df.withColumns({c: F.expr(f"cast({c} as {kind})") for c in ("valid_from", "valid_to")})
    return df.withColumns({c: F.expr(f"cast(concat({c}, ' 00:00:00Z') as timestamp)") for c in ("valid_from", "valid_to")})


@pytest.mark.parametrize("kind", ["date", "timestamp", "timestamp_ntz"])
def test_times_of_other_types_are_of_utc(spark: SparkSession, kind: str) -> None:
    with conf(spark, spark__sql__session__timeZone="America/New_York"):
        versions = dimension(spark, kind, ("2024-06-01", "2024-06-02"), ("2024-06-02", None))
        texts = ["2024-05-31T23:59:59.999999Z", "2024-06-01", "2024-06-01 23:59:59.999999", "2024-06-02", "2024-06-01T23:00:00-05:00"]
        texts += ["soon", None]
        facts = spark.createDataFrame(list(enumerate(texts)), "n int, t string").withColumn("id", F.lit("1"))
        as_text = lk.point_in_time_join(facts, versions, on="id", at="t")
        assert [row["v"] for row in as_text.sort("n").collect()] == [None, "v0", "v0", "v1", "v1", None, None]
        days = facts.where("n in (1, 3)").withColumn("t", F.col("t").cast("date"))
        assert [row["v"] for row in lk.point_in_time_join(days, versions, on="id", at="t").sort("n").collect()] == ["v0", "v1"]


def test_sequences_that_are_no_times(spark: SparkSession) -> None:
    versions = spark.sql("SELECT * FROM VALUES (1, 'a', NULL, 10), (1, 'b', 10, NULL) AS (id, v, valid_from, valid_to)")
    facts = spark.sql("SELECT * FROM VALUES (1, 9L), (1, 10L), (1, NULL) AS (id, lsn)")
    found = lk.point_in_time_join(facts, versions, on="id", at="lsn", columns=["v", "valid_from"], prefix="then_")
    rows = {(row["lsn"], row["then_v"], row["then_valid_from"]) for row in found.collect()}
    assert rows == {(9, "a", None), (10, "b", 10), (None, None, None)}
    composite = versions.selectExpr("id", "v", "struct(1 x, coalesce(valid_from, 0) y) valid_from", "struct(2 x, 0 y) valid_to")
    keyed = facts.where("lsn = 9").selectExpr("id", "struct(1 x, 9 y) s")
    assert lk.point_in_time_join(keyed, composite.where("v = 'a'"), on="id", at="s").first()["v"] == "a"


class Held:
    """Shows rows as a table does."""

    def __init__(self, df: DataFrame) -> None:
        self._df = df

    def exists(self) -> bool:
        return True

    def df(self) -> DataFrame:
        return self._df


def test_a_table_and_repeated_facts(spark: SparkSession) -> None:
    versions = dimension(spark, "date", ("2024-06-01", None))
    facts = spark.createDataFrame([(1, date(2024, 6, 3))] * 3 + [(2, date(2024, 6, 3))], "id int, d date")
    rows = lk.point_in_time_join(facts, Held(versions), on=["id"], at="d").collect()
    assert sorted(str(row["v"]) for row in rows) == ["None", "v0", "v0", "v0"]


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"on": "nr"}, ConfigError, "on names nr, which is no column. There are: id, v, t"),
        ({"on": []}, ConfigError, "on needs at least one key column"),
        ({"on": {"id": "nr"}}, ConfigError, "on names nr"),
        ({"at": "nr"}, ConfigError, "at names nr"),
        ({"valid_to": "until"}, ConfigError, "valid_to names until"),
        ({"columns": ["w"]}, ConfigError, "columns names w"),
        ({}, ConfigError, "v would stand twice in the result. Give prefix="),
        ({"prefix": "then_", "matched": "ID"}, ConfigError, "id would stand twice"),
        ({"prefix": "then_", "at": "id"}, SchemaConflict, "id is int, which is no date or time"),
    ],
)
def test_mistakes(spark: SparkSession, how: dict[str, Any], error: type[Exception], message: str) -> None:
    facts = spark.createDataFrame([], "id int, v string, t timestamp")
    with pytest.raises(error, match=re.escape(message)):
        lk.point_in_time_join(facts, dimension(spark, "date", ("2024-06-01", None)), **{"on": "id", "at": "t", **how})
