"""The best statement that an engineer writes by hand for each format: row_number, then MERGE or Hudi's writer.

What the usual recipe gets wrong (no tombstones, ties by arrival, NULL keys: see FACTS) it gets wrong here too; on one batch of the
benchmark's feed its table is right, and the benchmark checks that it equals lakekit's.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from benchmarks.data import COLUMNS, KEYS, SEQUENCE
from benchmarks.modes import Mode
from lakekit.confs import confs


def load(spark: SparkSession, mode: Mode, name: str, rows: DataFrame) -> None:
    """First load: a plain INSERT into the empty table, for Hudi ``bulk_insert``."""
    if mode.format == "hudi":
        _hudi(rows, mode, name, {"hoodie.datasource.write.operation": "bulk_insert", "hoodie.bulkinsert.sort.mode": "NONE"})
        return
    rows.createOrReplaceTempView("_load")
    spark.sql(f"INSERT INTO {mode.sql_name(name)} SELECT {', '.join(COLUMNS)} FROM _load")


def upsert(spark: SparkSession, mode: Mode, name: str, events: DataFrame) -> None:
    """Apply a feed."""
    newest = Window.partitionBy(*KEYS).orderBy(F.desc(SEQUENCE))
    winners = events.withColumn("_n", F.row_number().over(newest)).where("_n = 1").drop("_n")
    if mode.format == "hudi":
        _hudi(_marked(winners), mode, name, {"hoodie.datasource.write.operation": "upsert"})
    else:
        _merge(spark, mode, name, winners)


def _merge(spark: SparkSession, mode: Mode, name: str, winners: DataFrame) -> None:
    # MERGE reads its source twice: keep it. The literal partition values spare the engine the files outside of them.
    kept = winners.persist()
    try:
        parts = sorted(row[0] for row in kept.select("part").distinct().collect())
        kept.createOrReplaceTempView("_changes")
        assignments = ", ".join(f"t.{c} = s.{c}" for c in COLUMNS)
        statement = f"""
            MERGE INTO {mode.sql_name(name)} t USING _changes s
            ON t.part IN ({", ".join(map(str, parts))}) AND t.part = s.part AND t.id = s.id
            WHEN MATCHED AND s.{SEQUENCE} > t.{SEQUENCE} AND s.op = 'D' THEN DELETE
            WHEN MATCHED AND s.{SEQUENCE} > t.{SEQUENCE} THEN UPDATE SET {assignments}
            WHEN NOT MATCHED AND s.op <> 'D' THEN INSERT ({", ".join(COLUMNS)}) VALUES ({", ".join(f"s.{c}" for c in COLUMNS)})"""
        # The source is cached, so Delta need not write it down once more.
        with confs(spark, {"spark.databricks.delta.merge.materializeSource": "none"}) if mode.format == "delta" else nullcontext():
            spark.sql(statement)
    finally:
        kept.unpersist()


def _marked(winners: DataFrame) -> DataFrame:
    return winners.withColumn("_hoodie_is_deleted", F.col("op") == "D").drop("op")


def _hudi(rows: DataFrame, mode: Mode, name: str, options: Mapping[str, str]) -> None:
    if "_hoodie_is_deleted" not in rows.columns:
        rows = rows.withColumn("_hoodie_is_deleted", F.lit(False))
    writer = rows.write.format("hudi").mode("append").options(**{**_HUDI, **options})
    writer = writer.option("hoodie.table.name", name.split(".")[1])
    writer = writer.option("hoodie.datasource.write.table.type", "MERGE_ON_READ" if mode.merge_on_read else "COPY_ON_WRITE")
    writer.save(str(mode.path(rows.sparkSession, name)))


# The id alone is unique; without the metadata table the writer is faster on a table of this size.
_HUDI = {
    "hoodie.datasource.write.recordkey.field": "id",
    "hoodie.datasource.write.partitionpath.field": "part",
    "hoodie.datasource.write.precombine.field": SEQUENCE,
    "hoodie.datasource.write.hive_style_partitioning": "true",
    "hoodie.combine.before.upsert": "false",
    "hoodie.metadata.enable": "false",
    "hoodie.upsert.shuffle.parallelism": "4",
    "hoodie.bulkinsert.shuffle.parallelism": "4",
}
