"""Bound the journal: drop tombstones older than a retention, and remember up to which sequence events are forgotten.

First the horizon is added, then the tombstones are deleted: a crash in between only forgets a little earlier than it had to.
Events at or below the horizon no longer change the table; they are counted as stale and as ``beyond_horizon``.
"""

from __future__ import annotations

import uuid

from pyspark.errors import PySparkException
from pyspark.sql import functions as F

from lakekit import journal
from lakekit.batch import first_row
from lakekit.columns import col
from lakekit.errors import ConfigError
from lakekit.journal import FORGOTTEN, KIND, RECORDED, TOMBSTONE
from lakekit.literals import encoded_struct, literal_struct
from lakekit.request import Request


def cutoff(request: Request, retention: str) -> str:
    """The instant before which tombstones are dropped, as SQL; raises ``ConfigError`` for text that is no interval."""
    spark = request.target.table.spark
    ago = F.current_timestamp() - F.lit(retention).cast("interval")
    try:
        row = spark.range(1).select(F.unix_micros(ago).alias("at")).first()
    except PySparkException as error:
        raise ConfigError(f"tombstone_retention {retention!r} is no interval. Write it like '30 days'.") from error
    if row is None or row["at"] is None:
        raise ConfigError(f"tombstone_retention {retention!r} is no interval. Write it like '30 days'.")
    return f"timestamp_micros({row['at']})"


def tidy(request: Request, before: str) -> None:
    """Drop the tombstones recorded before an instant and move the forgotten horizon up to them."""
    beside = request.target.journal
    if not beside.exists():
        return
    view, sequence = beside.view(), request.memory.sequence
    kinds = " OR ".join(f"{KIND} = '{kind}'" for kind in (TOMBSTONE, journal.EVENT, journal.SHOWN))
    old = f"({kinds}) AND {RECORDED} < {before}"
    dropped = beside.read(view.version).where(old).agg(F.max(journal.JSEQ).alias("last"))
    last = literal_struct(first_row(dropped.select(*encoded_struct(col("last"), sequence, "last"))), sequence, "last")
    if last is None:
        return
    frame = beside.spark.sql(f"SELECT {last} AS _lk_seq")
    row = journal.marker(FORGOTTEN, frame, view.schema, journal.Stamp(request.batch_id, request.run_id, None))
    beside.append(row.select(*map(col, view.columns)), view, uuid.uuid4().hex)
    beside.delete(old, uuid.uuid4().hex)
