"""What is common to the files of a DMS task, and its Parquet files as one frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.changes import DELETE, OP, RAW, REASON, UPSERT
from lakekit.columns import col, find
from lakekit.errors import SourceError
from lakekit.sources import common
from lakekit.sources.common import Paths
from lakekit.sources.delimited import FILE, POSITION, Dialect

PHASE = "dms_phase"
OPCODE = "_lk_opcode"
"""The operation as DMS writes it, in upper case; dropped once it is translated and every column is parsed."""


@dataclass(frozen=True)
class Layout:
    """What is said of the files: the arguments of `dms`. ``counted``: whether rows need their position."""

    keys: tuple[str, ...]
    before_prefix: str
    columns: T.StructType | None
    op_column: str | None
    header: bool | None
    full_load_op: bool | None
    multiline: bool
    counted: bool
    dialect: Dialect
    unchanged: str | None


def listing(spark: SparkSession, path: Paths) -> list[str]:
    """All files below the path, in the order of their names. Reads no file."""
    reader = spark.read.option("recursiveFileLookup", "true")
    return sorted(common.load(reader, "binaryFile", path, called="files of DMS").inputFiles(), key=name_of)


def kind_of(path: Paths, files: Iterable[str]) -> str:
    """``csv`` or ``parquet``, by the endings of the files; ``SourceError`` where both or none are there."""
    names = [name_of(file).lower() for file in files]
    kinds = [kind for kind in ("csv", "parquet") if any(f".{kind}" in name for name in names)]
    if len(kinds) == 1:
        return kinds[0]
    place = ", ".join(common.paths(path))
    if kinds:
        raise SourceError(f"{place} holds .csv and .parquet files. Pass format='csv' or format='parquet', or point at one kind.")
    raise SourceError(f"{place} holds no .csv or .parquet file. Pass format= if the files are named otherwise.")


def pattern(files: Iterable[str], kind: str) -> str:
    """The glob of a kind's files; of all files where none is named after it, because then the caller has said what they are.

    >>> pattern(["a/LOAD1.CSV.gz", "a/notes.txt"], "csv"), pattern(["a/LOAD1.txt"], "csv")
    ('*.[cC][sS][vV]*', '*')
    """
    named = any(f".{kind}" in name_of(file).lower() for file in files)
    return "*." + "".join(f"[{c}{c.upper()}]" for c in kind) + "*" if named else "*"


def name_of(file: str) -> str:
    """A file's name without its folders."""
    return PurePosixPath(file).name


def full_load(name: str) -> bool:
    """Whether a file's name is one of the full load.

    >>> full_load("LOAD0000000A.csv"), full_load("20240601-093000001.csv")
    (True, False)
    """
    return name.upper().startswith("LOAD")


def phase() -> Column:
    """0 for a row of a full-load file, 1 for a change: `full_load` as a column."""
    return F.when(F.upper(FILE).startswith("LOAD"), 0).otherwise(1)


def operation(layout: Layout, *, bare: Column) -> Column:
    """DMS's operation in lakekit's words; NULL where it is unknown. *bare*: the row's file has no operations.

    Without operations a full-load row is an insert, and so is a change where the feed is said to have none.
    """
    if layout.op_column is None:
        return F.lit(UPSERT)
    known = F.when(col(OPCODE).isin("I", "U"), F.lit(UPSERT)).when(col(OPCODE) == "D", F.lit(DELETE))
    return F.when(bare & (col(PHASE) == 0), F.lit(UPSERT)).when(~bare, known)


def matters(schema: T.StructType, layout: Layout) -> dict[str, Column]:
    """A delete is told by its key: what else stands in its row need not be of its type."""
    needed = {name.lower() for key in layout.keys for name in (key, layout.before_prefix + key)}
    return {name: ~col(OP).eqNullSafe(F.lit(DELETE)) for name in schema.names if name.lower() not in needed}


def read_parquet(spark: SparkSession, path: Paths, files: Iterable[str], layout: Layout) -> DataFrame:
    """All Parquet files by column name, their schemas merged; declared columns in the declared types.

    Adds ``_lk_op``, ``_lk_reason``, ``_lk_raw``, ``_lk_file``, ``_lk_position`` and ``dms_phase``.
    """
    reader = spark.read.option("recursiveFileLookup", "true").option("mergeSchema", "true")
    reader = reader.option("pathGlobFilter", pattern(files, "parquet"))
    df = common.load(reader, "parquet", path)
    position = (F.col("_metadata.row_index") + 1).alias(POSITION)
    df = common.instants(df.select("*", F.col("_metadata.file_name").alias(FILE), position)).withColumn(PHASE, phase())
    op = find(df.columns, layout.op_column) if layout.op_column else None
    opcode = F.upper(F.trim(col(op))) if op else F.lit(None).cast("string")
    df = df.withColumn(OPCODE, opcode)
    # Merged schemas give full-load rows a NULL operation where only the changes have the column.
    df = df.withColumn(OP, operation(layout, bare=F.lit(op is None) | ((col(PHASE) == 0) & col(OPCODE).isNull())))
    known = layout.columns or df.schema
    schema = T.StructType([f for f in known.fields if f.name not in (op, PHASE) and not f.name.startswith("_lk_")])
    df = common.parsed(df, schema, matters(schema, layout))
    return df.select(*map(col, (*schema.names, PHASE, FILE, POSITION, OP, REASON, RAW)))
