"""The journal: what a table cannot say by itself, in a small table beside it.

``<table>__journal`` holds tombstones (a key was deleted at a sequence), truncations (everything up to a sequence is gone) and the
forgotten horizon (tombstones up to a sequence were dropped by retention). Beside a type 2 table it also holds the events that no row
says: those that a version swallowed because they changed nothing tracked, and those that left columns out. It is only added to
before the table changes, and tidied after. It exists from the first such news on; a table that never had any has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.cdc import APPLIED, DEAD, VERDICT
from lakekit.changes import DELETE, OP, SEQ
from lakekit.columns import col
from lakekit.errors import SchemaConflict

KIND, JSEQ, BATCH, RUN, BASE, RECORDED = "_kind", "_seq", "_batch", "_run", "_base", "_recorded_at"
TOMBSTONE, TRUNCATION, FORGOTTEN = "tombstone", "truncation", "forgotten"
EVENT, SHOWN, PARTIAL, SAID = "event", "shown", "partial", "_said"
"""Of a type 2 table: an event as authored (``_said`` names its columns, NULL: all), the last event of a row that a later one swallowed,
and the note that events have left columns out."""
ALLOCATED = "allocated"
"""Of a type 2 table with numbered versions: the number of a row that is no more, never to be given again."""
OWN = (KIND, JSEQ, BATCH, RUN, BASE, RECORDED, SAID)
MARKERS = (TRUNCATION, FORGOTTEN, PARTIAL)
"""Kinds of journal rows without a key."""


def journal_name(table: str) -> str:
    """The journal's name beside a table's name or path.

    >>> journal_name("sales.orders"), journal_name("s3a://lake/orders/")
    ('sales.orders__journal', 's3a://lake/orders__journal')
    """
    return f"{table.rstrip('/')}__journal"


def journal_schema(keys: Sequence[T.StructField], sequence: T.StructType, payload: Sequence[T.StructField] | None = None) -> T.StructType:
    """The journal's columns: kind, the table's key columns, sequence, batch, run, version planned on, time of record.

    Beside a type 2 table also the authored columns and their values (*payload*).
    """
    events = [] if payload is None else [T.StructField(SAID, T.ArrayType(T.StringType())), *payload]
    return T.StructType(
        [
            T.StructField(KIND, T.StringType()),
            *(T.StructField(k.name, k.dataType) for k in keys),
            T.StructField(JSEQ, sequence),
            T.StructField(BATCH, T.StringType()),
            T.StructField(RUN, T.StringType()),
            T.StructField(BASE, T.StringType()),
            T.StructField(RECORDED, T.TimestampType()),
            *events,
        ]
    )


def flat(schema: T.StructType) -> dict[str, T.DataType]:
    """The types of a journal's columns that follow the table's, those within the sequence as ``_seq/name``."""
    sequence = schema[JSEQ].dataType
    assert isinstance(sequence, T.StructType)
    return {f.name: f.dataType for f in schema.fields if f.name not in OWN} | {f"{JSEQ}/{f.name}": f.dataType for f in sequence.fields}


def check_sequence(table: str, schema: T.StructType, sequence: T.StructType) -> None:
    """Raise ``SchemaConflict`` where a journal remembers another sequence: its tombstones could not be compared with the events."""
    remembered = schema[JSEQ].dataType
    assert isinstance(remembered, T.StructType)
    if [c.lower() for c in remembered.names] != [c.lower() for c in sequence.names]:
        raise SchemaConflict(
            f"{table} remembers deletes by the sequence {', '.join(remembered.names)}, the feed is ordered by {', '.join(sequence.names)}. "
            "Order it by the same columns."
        )


@dataclass(frozen=True)
class Stamp:
    """Which batch and run of it wrote a journal row, on top of which version of the table."""

    batch: str
    run: str
    base: str | None

    def columns(self) -> list[Column]:
        """The stamp as journal columns."""
        return [
            F.lit(self.batch).alias(BATCH),
            F.lit(self.run).alias(RUN),
            F.lit(self.base).cast("string").alias(BASE),
            F.current_timestamp().alias(RECORDED),
        ]


def tombstones(decided: DataFrame, keys: Sequence[str], stamp: Stamp) -> DataFrame:
    """Journal rows for the deletes of a batch that must be remembered."""
    news = (col(OP) == DELETE) & (col(VERDICT) == APPLIED) & F.coalesce(col(SEQ) > col(DEAD), F.lit(True))
    return decided.where(news).select(F.lit(TOMBSTONE).alias(KIND), *map(col, keys), col(SEQ).alias(JSEQ), *stamp.columns())


def marker(kind: str, sequence: DataFrame, schema: T.StructType, stamp: Stamp) -> DataFrame:
    """A journal row without a key: *sequence* is a frame of one ``_lk_seq``."""
    return noted(kind, sequence, schema).select("*", *stamp.columns())


def noted(kind: str, sequence: DataFrame, schema: T.StructType) -> DataFrame:
    """A journal row without a key and without its stamp."""
    others = [F.lit(None).cast(f.dataType).alias(f.name) for f in schema.fields if f.name not in OWN or f.name == SAID]
    return sequence.select(F.lit(kind).alias(KIND), *others, col(SEQ).alias(JSEQ))


def not_older(sequence: T.StructType, lowest: str | None) -> Column:
    """Journal rows that events from *lowest* on can meet: a bound on the first sequence column, which file statistics know."""
    first = sequence.fields[0].name
    return F.expr(f"{JSEQ}.`{first}` >= {lowest}") if lowest is not None else F.lit(True)


def dead(journal: DataFrame, keys: Sequence[str], run: str) -> DataFrame:
    """Tombstones as keys and ``_lk_dead``; what this very run added in a failed attempt is no news of others."""
    return journal.where((col(KIND) == TOMBSTONE) & (col(RUN) != run)).select(*map(col, keys), col(JSEQ).alias(DEAD))


def dead_at(dead: DataFrame, keys: Sequence[str]) -> DataFrame:
    """The highest tombstone of each key."""
    return dead.groupBy(*map(col, keys)).agg(F.max(DEAD).alias(DEAD))


def is_marker() -> Column:
    """Journal rows without a key."""
    # Not IN: Delta prunes that as a range, and tombstones lie inside it.
    return (col(KIND) == TRUNCATION) | (col(KIND) == FORGOTTEN) | (col(KIND) == PARTIAL)


def horizons(journal: DataFrame) -> DataFrame:
    """One row: the latest truncation and the forgotten horizon, each NULL where there is none, and whether events left columns out."""
    return journal.select(
        F.max(F.when(col(KIND) == TRUNCATION, col(JSEQ))).alias("truncated"),
        F.max(F.when(col(KIND) == FORGOTTEN, col(JSEQ))).alias("forgotten"),
        F.coalesce(F.max(col(KIND) == PARTIAL), F.lit(False)).alias("partial"),
    )
