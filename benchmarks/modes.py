"""The formats and modes under test, where their tables lie, and how a table's folder is put back to where a run began."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

import lakekit as lk

DB = "bench"


@dataclass(frozen=True)
class Mode:
    """A format and its way of writing updates."""

    format: str
    merge_on_read: bool

    @property
    def id(self) -> str:
        """The mode's name in tables: ``iceberg-cow``, ``delta-dv``."""
        return f"{self.format}-{_LABELS.get(self.format, ('cow', 'mor'))[self.merge_on_read]}"

    def sql_name(self, name: str) -> str:
        """A table as SQL names it."""
        return f"lake.{name}" if self.format == "iceberg" else name

    def path(self, spark: SparkSession, name: str) -> Path:
        """The table's folder."""
        warehouse = Path(spark.conf.get("spark.sql.warehouse.dir", "").removeprefix("file:"))  # type: ignore[union-attr]
        database, table = name.split(".")
        return warehouse / (database if self.format == "iceberg" else f"{database}.db") / table


_LABELS = {"delta": ("cow", "dv")}
MODES = [Mode(f, m) for f in ("iceberg", "delta", "hudi") for m in (False, True)]


def create(spark: SparkSession, mode: Mode, name: str, rows: DataFrame) -> lk.Table:
    """An empty table, both ways of writing begin with the same."""
    table = lk.Table(spark, name, format=mode.format)
    if table.exists():
        table.drop()
    feed = lk.changes(rows, keys=["part", "id"], sequence_by=["seq"])
    table.create(feed, partition_by=["part"], merge_on_read=mode.merge_on_read)
    return table


def keep(source: Path, copy: Path) -> None:
    """Copy a table's folder: data files, which nobody changes, as hard links, all else as files of their own."""
    shutil.rmtree(copy, ignore_errors=True)
    if source.exists():
        shutil.copytree(source, copy, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> None:
    if source.endswith((".parquet", ".parquet.crc")):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def forget_caches(spark: SparkSession) -> None:
    """Formats remember what they read of a table; after its folder was put back they must not."""
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()  # type: ignore[union-attr]
    spark.catalog.clearCache()


def data_files(folder: Path) -> dict[str, int]:
    """Data and delete files with their sizes."""
    found = (p for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".crc") and "_delta_log" not in p.parts)
    return {str(p): p.stat().st_size for p in found if p.suffix in (".parquet", ".bin", ".puffin") or ".log." in p.name}
