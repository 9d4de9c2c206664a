"""The demo's feed: changes of an order table, delivered twice, with some late and some again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import lakekit as lk
from lakekit.changes import ChangeFeed
from lakekit.testing import orders

LATE, AGAIN = 20, 25
"""One event in so many of the first delivery comes late, or comes again with the second."""


def deliveries(spark: SparkSession, events: int, *, seed: int) -> tuple[DataFrame, DataFrame]:
    """Two deliveries of ``events`` changes of 14 columns, in no order; the same seed makes the same rows on any machine.

    The first holds the older three fifths, but for those that are late; the second all others, and some of the first again.

    >>> first, second = deliveries(spark, 1000, seed=1)
    >>> first.count() + second.count(), first.join(second, "lsn", "left_semi").count()
    (1026, 26)
    """
    changes = orders(spark, events, seed=seed)
    older = F.expr(f"lsn < {events * 3 // 5}")
    late = older & F.expr(f"pmod(xxhash64(lsn, 'late', {seed}L), {LATE}) = 0")
    again = older & F.expr(f"pmod(xxhash64(lsn, 'again', {seed}L), {AGAIN}) = 0")
    return changes.where(older & ~late), changes.where(~older | late | again)


def land(spark: SparkSession, folder: Path, events: int, *, seed: int) -> tuple[str, str]:
    """Write the two deliveries as Parquet files and return their folders."""
    paths = (str(folder / "delivery=1"), str(folder / "delivery=2"))
    for frame, path in zip(deliveries(spark, events, seed=seed), paths, strict=True):
        frame.write.parquet(path)
    return paths


def described(df: DataFrame, source: str) -> ChangeFeed:
    """A delivery as a change feed."""
    return lk.changes(
        df,
        keys="order_id",
        sequence_by="lsn",
        delete_when="op = 'D'",
        upsert_when="op IN ('I', 'U')",
        except_columns="op",
        source=source,
    )


def samples(first: DataFrame, second: DataFrame) -> Mapping[int, str]:
    """One order of each kind of fate, with its fate."""
    tagged = first.withColumn("delivery", F.lit(1)).unionByName(second.withColumn("delivery", F.lit(2)))
    orders_ = tagged.groupBy("order_id").agg(
        F.expr("max_by(op, lsn) FILTER (WHERE delivery = 1) AS stood"),
        F.expr("max_by(op, lsn) AS last"),
        F.expr("max(lsn) FILTER (WHERE delivery = 1) AS seen"),
        F.expr("max(lsn) FILTER (WHERE delivery = 2) AS new"),
    )
    fate = (
        F.when(F.expr("stood IS NULL AND last <> 'D'"), "is new")
        .when(F.expr("stood <> 'D' AND new > seen AND last <> 'D'"), "has news")
        .when(F.expr("stood <> 'D' AND new > seen AND last = 'D'"), "is deleted")
        .when(F.expr("stood <> 'D' AND new < seen"), "has late news only")
        .when(F.expr("stood = 'D' AND new < seen"), "was deleted and has late news only")
    )
    rows = orders_.groupBy(fate.alias("fate")).agg(F.min("order_id").alias("order_id")).where("fate IS NOT NULL").collect()
    return {row["order_id"]: row["fate"] for row in sorted(rows, key=lambda row: row["order_id"])}


def last_words(*parts: DataFrame) -> DataFrame:
    """What the table must hold, computed without lakekit from the set of events: of each order its last event, unless a delete."""
    everything = parts[0]
    for part in parts[1:]:
        everything = everything.unionByName(part)
    last = everything.groupBy("order_id").agg(F.max_by(F.struct(*everything.columns), "lsn").alias("last"))
    return last.select("last.*").where("op <> 'D'").drop("op")
