"""Base rows and change feeds as Parquet, the same on every machine: every value is a function of its row's number and a seed.

A row has 20 columns: ``part`` and ``id`` are its key, ``seq`` orders its changes, 17 are payload. One event in ten is a delete, one in
forty repeats the event before it, one in forty is older than the row it meets, a tenth of the rest are new keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

KEYS = ["part", "id"]
SEQUENCE = "seq"
_LATER = 10_000_000_000  # sequences of the feed begin here, those of the base rows end before


@dataclass(frozen=True)
class Size:
    """How much data: rows and partitions of the table, events of a feed."""

    rows: int
    partitions: int
    events: int

    @property
    def slug(self) -> str:
        """The size as part of a folder's name."""
        return f"{self.rows}x{self.partitions}x{self.events}"


def payload(seed: Column) -> list[Column]:
    """Seventeen columns of the kinds that order and customer tables have."""

    def draw(salt: int, values: int) -> Column:
        return F.pmod(F.xxhash64(seed, F.lit(salt)), F.lit(values))

    def word(salt: int, *words: str) -> Column:
        return F.element_at(F.array(*map(F.lit, words)), (draw(salt, len(words)) + 1).cast("int"))

    return [
        F.concat(F.lit("Customer "), draw(1, 100_000)).alias("name"),
        F.concat(F.lit("user"), draw(2, 1_000_000), F.lit("@example.org")).alias("email"),
        F.lpad(draw(3, 10_000_000).cast("string"), 9, "0").alias("phone"),
        word(4, "new", "paid", "packed", "shipped", "returned").alias("status"),
        word(5, "web", "store", "phone", "partner").alias("channel"),
        word(6, "AT", "CH", "DE", "ES", "FR", "IT", "NL", "PL").alias("country"),
        F.concat(F.lit("City "), draw(7, 500)).alias("city"),
        F.concat(F.lit("SKU-"), draw(8, 20_000)).alias("product"),
        draw(9, 20).cast("int").alias("quantity"),
        (draw(10, 1_000_000) / 100).cast("decimal(12,2)").alias("price"),
        (draw(11, 10_000_000) / 100).cast("decimal(14,2)").alias("amount"),
        (draw(12, 100) / 100.0).alias("discount"),
        (draw(13, 1000) / 7.0).alias("score"),
        (draw(14, 2) == 0).alias("gift"),
        F.timestamp_seconds(draw(15, 86_400 * 365) + 1_700_000_000).alias("ordered_at"),
        F.date_add(F.lit("2024-01-01").cast("date"), draw(16, 366).cast("int")).alias("due_on"),
        F.concat(F.lit("note "), draw(17, 3_000)).alias("note"),
    ]


def base(spark: SparkSession, size: Size) -> DataFrame:
    """The table's rows, sorted by partition and key."""
    rows = spark.range(size.rows).select(_part(F.col("id"), size), "id", (F.col("id") + 1).alias(SEQUENCE), *payload(F.col("id")))
    return rows.repartitionByRange(max(2, size.rows // 1_000_000), "part").sortWithinPartitions("part", "id")


def feed(spark: SparkSession, size: Size, partitions: int, seed: int) -> DataFrame:
    """Events that fall into the first *partitions* of the table, in random order over its keys."""
    n, number = F.col("id"), F.col("n")
    rows_each = size.rows // size.partitions
    events = spark.range(size.events).select(F.when(n % 40 == 39, n - 1).otherwise(n).alias("n"), (n % 40 == 20).alias("late"))
    drawn = events.withColumns(
        {
            "part": F.pmod(F.xxhash64(number, F.lit(seed)), F.lit(partitions)),
            "row": F.pmod(F.xxhash64(number, F.lit(seed + 1)), F.lit(rows_each)),
            "kind": F.pmod(F.xxhash64(number, F.lit(seed + 2)), F.lit(10)),
        }
    )
    stands = F.col("row") * size.partitions + F.col("part")
    is_new = (F.col("kind") == 1) & ~F.col("late")
    id_ = F.when(is_new, stands + size.rows * 2).otherwise(stands)
    found = drawn.select(
        F.col("part").cast("int").alias("part"),
        id_.alias("id"),
        F.when(F.col("late"), -number).otherwise(number + _LATER).cast("bigint").alias(SEQUENCE),
        F.when((F.col("kind") == 0), "D").when(is_new, "I").otherwise("U").alias("op"),
        number,
    )
    values = [F.when(F.col("op") != "D", value).alias(name) for value, name in zip(payload(number + size.rows), PAYLOAD, strict=True)]
    return found.select("op", "part", "id", SEQUENCE, *values)


def _part(n: Column, size: Size) -> Column:
    return (n % size.partitions).cast("int").alias("part")


PAYLOAD = (
    "name", "email", "phone", "status", "channel", "country", "city", "product", "quantity", "price", "amount", "discount", "score",
    "gift", "ordered_at", "due_on", "note",
)  # fmt: skip
COLUMNS = ("part", "id", SEQUENCE, *PAYLOAD)


@dataclass(frozen=True)
class Files:
    """Where the generated data lies."""

    base: Path
    spread: Path
    local: Path


def generate(spark: SparkSession, folder: Path, size: Size) -> Files:
    """Write base rows and both feeds, unless they are there already."""
    home = folder / f"data-{size.slug}"
    files = Files(home / "base", home / "spread", home / "local")
    _write(base(spark, size), files.base)
    _write(feed(spark, size, size.partitions, seed=7).coalesce(4), files.spread)
    _write(feed(spark, size, max(1, size.partitions // 10), seed=11).coalesce(4), files.local)
    return files


def _write(df: DataFrame, path: Path) -> None:
    if not (path / "_SUCCESS").exists():
        df.write.mode("overwrite").parquet(str(path))
