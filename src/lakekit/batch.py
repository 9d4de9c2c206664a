"""One evaluation of a feed: its judged events, kept, and the facts about them that planning needs as values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit import pruning
from lakekit.cdc import BAD, CLASS, IGNORED, OLDER, REPEATED, TIED, TRUNCATION, WINNER
from lakekit.changes import DELETE, OP, SEQ
from lakekit.columns import col
from lakekit.confs import ONE_JOB, confs
from lakekit.literals import encoded, encoded_struct, literal, literal_struct

CLASSES = (WINNER, OLDER, REPEATED, TIED, TRUNCATION, IGNORED, BAD)


@dataclass(frozen=True)
class Batch:
    """The judged events of one feed and what they add up to."""

    events: DataFrame
    keys: tuple[str, ...]
    sequence: T.StructType
    counts: dict[str, int]
    deletes: int
    truncations_at_last: int
    digits: int
    lowest: str | None
    truncated: str | None
    bounds: tuple[pruning.Bound, ...]
    width: int
    placed: bool = False
    """Whether the events of one partition of the table lie in one partition of the frame."""

    @property
    def read(self) -> int:
        """All events, bad and ignored ones too."""
        return sum(self.counts.values())

    @property
    def winners(self) -> int:
        """Keys that have an event left to apply."""
        return self.counts[WINNER]

    def truncation_is(self, known: str | None) -> int:
        """Whether the batch's last truncation is newer (1), the same (0) or older (-1) than the one the journal knows."""
        if known is None:
            return 1
        spark = self.events.sparkSession
        row = (
            spark.range(1)
            .select(F.expr(f"CASE WHEN {self.truncated} > {known} THEN 1 WHEN {self.truncated} = {known} THEN 0 ELSE -1 END"))
            .first()
        )
        return int(row[0]) if row else 1

    def of(self, *classes: str) -> DataFrame:
        """The events of some classes."""
        return self.events.where(col(CLASS).isin(*classes))


@contextmanager
def kept(df: DataFrame) -> Iterator[DataFrame]:
    """Keep a frame in memory, or on disk where memory ends, from its first use on; free it afterwards.

    A local checkpoint rather than ``persist``: the plan ends here, so what is built on it neither analyses the source again nor
    could ever evaluate it twice. An executor lost meanwhile fails the write, and running the batch again is harmless.
    """
    checkpointed = df.localCheckpoint(eager=False)
    try:
        yield checkpointed
    finally:
        _rows(checkpointed).unpersist(False)


def shuffled(df: DataFrame) -> DataFrame:
    """A frame whose plan ends in a shuffle, to be looked at more than once: Spark keeps the shuffle's files while the frame lives.

    What lies beneath runs once, and unlike a kept frame nothing is copied. The frame still tells how its rows are partitioned.
    """
    session = df.sparkSession
    jvm: Any = session._jvm
    with confs(session, ONE_JOB):  # adaptive execution would hand out the rows of a stage of its own
        rows = df._jdf.queryExecution().toRdd()
    module = getattr(getattr(jvm.org.apache.spark.sql.execution, "LogicalRDD$"), "MODULE$")
    leaf = module.fromDataset(rows, df._jdf, False)  # what a checkpoint of Spark's is made of
    frames = getattr(jvm, df._jdf.getClass().getName())  # Spark 4 has moved the class
    return DataFrame(frames.ofRows(session._jsparkSession, leaf), session)


def _rows(checkpointed: DataFrame) -> Any:
    return checkpointed._jdf.queryExecution().logical().rdd()


def first_row(df: DataFrame) -> dict[str, Any]:
    """The one row of an aggregate, in one job."""
    with confs(df.sparkSession, ONE_JOB):
        row = df.first()
    assert row is not None
    return row.asDict()


def evaluate(judged: DataFrame, keys: Sequence[str], partition_keys: Sequence[str], sequence: T.StructType, digits: Column | None) -> Batch:
    """Run the one job over the source and read off the facts. *judged* must be kept."""
    types = {f.name: f.dataType for f in judged.schema.fields}
    live = col(CLASS).isin(WINNER, OLDER, REPEATED, TIED)
    first = sequence.fields[0]
    truncation = F.max(F.when(col(CLASS) == TRUNCATION, col(SEQ)))
    summary = judged.select("*", F.when(live, col(SEQ).getField(first.name)).alias("_lk_first")).agg(
        *(F.count_if(col(CLASS) == c).alias(c) for c in CLASSES),
        F.count_if((col(CLASS) == WINNER) & (col(OP) == DELETE)).alias("deletes"),
        F.count_if(live & col("_lk_first").isNull()).alias("unbounded"),
        F.count_if(digits if digits is not None else F.lit(False)).alias("digits"),
        encoded(F.min("_lk_first"), first.dataType).alias("lowest"),
        *encoded_struct(truncation, sequence, "truncated"),
        *pruning.measures(keys, partition_keys, types, col(CLASS).isin(WINNER, OLDER)),
    )
    found = first_row(summary)
    truncated = literal_struct(found, sequence, "truncated")
    return Batch(
        events=judged,
        keys=tuple(keys),
        sequence=sequence,
        counts={c: found[c] for c in CLASSES},
        deletes=found["deletes"],
        truncations_at_last=_count_at(judged, truncated),
        digits=found["digits"],
        lowest=None if found["unbounded"] or found["lowest"] is None else literal(found["lowest"], first.dataType),
        truncated=truncated,
        bounds=pruning.bounds(found, keys, partition_keys, types),
        width=_width(judged),
    )


def _count_at(judged: DataFrame, truncated: str | None) -> int:
    """How often the last truncation stands in the batch: once applied, the others are duplicates."""
    if truncated is None:
        return 0
    return judged.where((col(CLASS) == TRUNCATION) & F.expr(f"{SEQ} = {truncated}")).count()


def leaf_rows(df: DataFrame) -> int | None:
    """How many rows the scan beneath a filtered table reads at most, where its statistics say so; no job runs."""
    rows = df._jdf.queryExecution().optimizedPlan().collectLeaves().apply(0).stats().rowCount()
    return int(str(rows.get())) if rows.isDefined() else None


def size_of(df: DataFrame) -> int:
    """Spark's estimate of a frame's size in bytes; a huge number where it has none."""
    return int(str(df._jdf.queryExecution().optimizedPlan().stats().sizeInBytes()))


def _width(kept_frame: DataFrame) -> int:
    """The kept frame's size in bytes, in memory and on disk, as Spark measured it."""
    wanted = _rows(kept_frame).id()
    infos = kept_frame.sparkSession.sparkContext._jsc.sc().getRDDStorageInfo()
    return sum(int(info.memSize() + info.diskSize()) for info in infos if info.id() == wanted)
