"""The formats and modes under test, where their tables lie, and how a table's folder is put back to where a run began."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

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


@dataclass(frozen=True)
class Contender:
    """One way of writing into one table, and the copy of the table's folder from which each of its runs begins."""

    spark: SparkSession
    mode: Mode
    who: str

    prefix: ClassVar[str] = ""

    @property
    def name(self) -> str:
        """The table's name."""
        return f"{DB}.{self.prefix}{self.who.split('-')[0]}_{self.mode.id.replace('-', '_')}"

    @property
    def path(self) -> Path:
        """The table's folder."""
        return self.mode.path(self.spark, self.name)

    @property
    def table(self) -> lk.Table:
        """The table as lakekit holds it; what Hudi's own writer made is only read through it."""
        return lk.Table(self.spark, self.name, format=self.mode.format)

    def restore(self) -> None:
        """Put table and journal back to where the runs begin."""
        journal = lk.Table(self.spark, f"{self.name}__journal", format=self.mode.format)
        if journal.exists():
            journal.drop()
        keep(self._copy, self.path)
        forget_caches(self.spark)
        self.table.df().isEmpty()  # all begin with the table's metadata read

    def forget(self) -> None:
        """Free the disk."""
        for folder in (self.path, self._copy, self.path.with_name(self.path.name + "__journal")):
            shutil.rmtree(folder, ignore_errors=True)

    def fingerprint(self, columns: Iterable[str]) -> tuple[int, int]:
        """Number of rows and a sum over their values."""
        hashes = self.table.df().select(F.xxhash64(*columns).cast("decimal(38,0)").alias("h"))
        row = hashes.agg(F.count("*"), F.sum("h")).first()
        assert row is not None
        return int(row[0]), int(row[1] or 0)

    @property
    def _copy(self) -> Path:
        return self.path.with_name(self.path.name + "__start")


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
