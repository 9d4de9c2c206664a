"""Keys of versions: numbers given out densely and once, and which facts must change theirs after a late event."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from lakekit.columns import col, quoted
from lakekit.scd import History

_ROW_BITS = 33  # of monotonically_increasing_id: the number of a row inside its partition


def numbered(rows: DataFrame, name: str, last: int, which: Column) -> DataFrame:
    """Give those rows of a kept frame that meet a condition the numbers after *last*, without bringing them into one partition.

    The frame must be kept: a row's number follows from its place in it.
    """
    new = rows.where(which)
    sizes = {row["p"]: row["n"] for row in new.groupBy(F.spark_partition_id().alias("p")).agg(F.count(F.lit(1)).alias("n")).collect()}
    before, starts = last, {}
    for part in sorted(sizes):
        starts[part], before = before, before + sizes[part]
    if not starts:
        return rows
    offsets = F.create_map(*(F.lit(v) for pair in starts.items() for v in pair))
    place = F.monotonically_increasing_id().bitwiseAND((1 << _ROW_BITS) - 1) + 1
    given = new.withColumn(name, (offsets[F.spark_partition_id()] + place).cast("bigint"))
    return given.unionByName(rows.where(~which))


def rekeyed(history: History, key: str, before: DataFrame, after: DataFrame) -> DataFrame:
    """Where facts point to another version than they did: keys, ``old_key``, ``new_key``, ``valid_from``, ``valid_to``.

    A NULL key stands for "no version": facts of a new gap, or of one that a late event filled. Lazy.
    """
    keys = list(history.keys)

    def named(rows: DataFrame, side: str) -> DataFrame:
        ends = history.until().alias(f"_lk_to_{side}")
        return rows.select(*map(col, keys), col(key).alias(f"{side}_key"), col(history.valid_from).alias(f"_lk_from_{side}"), ends)

    old, new = named(before, "old"), named(after, "new")
    places = [side.select(*map(col, keys), col(c).alias("_lk_at")) for side in (old, new) for c in side.columns[-2:]]
    points = places[0]
    for more in places[1:]:
        points = points.unionByName(more)
    in_order = Window.partitionBy(*map(quoted, keys)).orderBy("_lk_at")
    spans = points.where(col("_lk_at").isNotNull()).distinct().withColumn("_lk_until", F.lead("_lk_at").over(in_order))
    for side, rows in (("old", old), ("new", new)):
        inside = (F.col(f"_lk_from_{side}") <= F.col("_lk_at")) & (
            F.col(f"_lk_to_{side}").isNull() | (F.col("_lk_at") < F.col(f"_lk_to_{side}"))
        )
        renamed = rows.withColumnsRenamed({k: f"_lk_k{i}" for i, k in enumerate(keys)})
        same = inside
        for i, k in enumerate(keys):
            same = same & (col(k) == col(f"_lk_k{i}"))
        spans = spans.join(renamed, same, "left").drop(*(f"_lk_k{i}" for i in range(len(keys))))
    moved = spans.where(~col("old_key").eqNullSafe(col("new_key")))
    return moved.select(
        *map(col, keys), "old_key", "new_key", col("_lk_at").alias(history.valid_from), col("_lk_until").alias(history.valid_to)
    )
