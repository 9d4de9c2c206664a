"""The quarantine table: bad rows with reason and raw content, each once however often a batch is run."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.changes import OP, RAW, REASON, SEQ
from lakekit.columns import col

SCHEMA = T.StructType(
    [
        T.StructField("quarantine_id", T.StringType()),
        T.StructField("batch_id", T.StringType()),
        T.StructField("source", T.StringType()),
        T.StructField("reason", T.StringType()),
        T.StructField("raw", T.StringType()),
        T.StructField("quarantined_at", T.TimestampType()),
    ]
)


def quarantine_name(table: str) -> str:
    """The default quarantine table beside a table.

    >>> quarantine_name("sales.orders")
    'sales.orders__quarantine'
    """
    return f"{table.rstrip('/')}__quarantine"


def tie_reason(sequence_by: tuple[str, ...]) -> str:
    """Why a tied row is held back."""
    return f"ambiguous tie: another event of this key and {', '.join(sequence_by)} authors other values"


def tied(events: DataFrame, columns: list[str], reason: str) -> DataFrame:
    """Tied events as bad rows: their values as JSON."""
    raw = F.to_json(F.struct(*map(col, columns), col(OP), col(SEQ)), {"ignoreNullFields": "false", "timeZone": "UTC"})
    return events.select(F.lit(reason).alias(REASON), raw.alias(RAW))


def records(bad: DataFrame, batch_id: str, source: str | None) -> DataFrame:
    """Bad rows (``_lk_reason``, ``_lk_raw``) as quarantine records.

    The id is a digest of source, reason, raw content and the number among equals, so a re-run makes the same ids.
    """
    origin = F.lit(source).cast("string")
    parts = [F.coalesce(origin, F.lit("")), col(REASON), F.coalesce(col(RAW), F.lit(""))]
    number = F.row_number().over(Window.partitionBy(REASON, RAW).orderBy(F.lit(1)))
    sized = [F.concat(F.length(p).cast("string"), F.lit(":"), p) for p in (*parts, col("_lk_n").cast("string"))]
    return bad.select(REASON, RAW, number.alias("_lk_n")).select(
        F.sha2(F.concat(*sized), 256).alias("quarantine_id"),
        F.lit(batch_id).alias("batch_id"),
        origin.alias("source"),
        col(REASON).alias("reason"),
        col(RAW).alias("raw"),
        F.current_timestamp().alias("quarantined_at"),
    )


def news(found: DataFrame, stored: DataFrame) -> DataFrame:
    """The records that the quarantine table does not hold yet."""
    return found.join(stored.select("quarantine_id"), "quarantine_id", "left_anti").select(*SCHEMA.names)
