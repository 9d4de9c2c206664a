"""A first load whose keys stand there once each: nothing has to be ordered, so nothing is sorted and nothing kept in memory.

The load is shuffled once, which writing into partitions needs anyhow, and looked at twice through the files of that shuffle: to see
that it is so plain, and to write it.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.batch import CLASSES, Batch, first_row
from lakekit.cdc import CLASS, NEXT, OLDEST, SPREAD, WINNER
from lakekit.changes import OP, REASON, SEQ, UPSERT
from lakekit.columns import col
from lakekit.literals import null_struct

TASK_BYTES = 32 << 20  # of the source's files, for each task of the shuffle
_WIDE = 1 << 62  # nobody measured it: not to be broadcast


def tasks(source_bytes: int, cores: int, most: int) -> int:
    """Partitions to shuffle a load into; *most* where the source's size is not known.

    >>> tasks(1 << 20, cores=2, most=200), tasks(1 << 30, cores=2, most=200), tasks(1 << 60, cores=2, most=200)
    (2, 32, 200)
    """
    return min(most, max(cores, -(-source_bytes // TASK_BYTES)))


def read_off(spread: DataFrame, keys: Sequence[str], sequence: T.StructType, digits: Column | None) -> Batch | None:
    """The batch of a gathered load that is nothing but upserts of different keys; ``None`` for any other. One job."""
    is_plain = col(REASON).isNull() & (col(OP) == UPSERT)
    by_key = spread.groupBy(SPREAD, *map(col, keys)).agg(
        F.count(F.lit(1)).alias("n"),
        F.min(is_plain).alias("plain"),
        F.count_if(digits if digits is not None else F.lit(False)).alias("digits"),
    )
    found = first_row(by_key.agg(*(F.sum(n).alias(n) for n in ("n", "digits")), F.max("n").alias("most"), F.min("plain").alias("plain")))
    if not found["plain"] or found["most"] > 1:
        return None
    judged = spread.drop(SPREAD).withColumns({CLASS: F.lit(WINNER), OLDEST: col(SEQ), NEXT: F.expr(null_struct(sequence))})
    return Batch(
        events=judged,
        keys=tuple(keys),
        sequence=sequence,
        counts={**dict.fromkeys(CLASSES, 0), WINNER: found["n"]},
        deletes=0,
        truncations_at_last=0,
        digits=found["digits"],
        lowest=None,
        truncated=None,
        bounds=(),
        width=_WIDE,
    )
