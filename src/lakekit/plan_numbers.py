"""Numbers of versions: given out once and without gaps, and different for every version even when two writers give them out at once."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from lakekit import journal
from lakekit.batch import first_row
from lakekit.cdc import ACTION, AT, OLDER, UPDATE, WINNER
from lakekit.changes import SEQ
from lakekit.columns import col, quoted
from lakekit.scd import GONE, OLD, TO_WAS, History
from lakekit.scd_attempt import Attempt
from lakekit.scd_keys import numbered


def last_number(attempt: Attempt) -> int:
    """The highest number that a version has or ever had."""
    name, noted = attempt.history.numbered, attempt.noted()
    assert name is not None
    given = 0 if attempt.pinned.table.empty else _highest(attempt.stored(), name)
    if noted is None or name not in noted.columns:
        return given
    return max(given, _highest(noted.where(col(journal.KIND) == journal.ALLOCATED), name))


def _highest(rows: DataFrame, name: str) -> int:
    """The highest number in a column, at least 0: the unknown member's is below."""
    return int(first_row(rows.agg(F.greatest(F.max(col(name)), F.lit(0)).alias("n")))["n"])


def given_twice(attempt: Attempt) -> tuple[DataFrame, int] | None:
    """Versions that got their numbers at the same moment as a rival's, with new ones, and how many; ``None`` where all are different.

    The rival may have told the world of its numbers already, so the rows of this batch give way.
    """
    history, batch = attempt.history, attempt.batch
    if history.numbered is None or attempt.pinned.table.empty:
        return None
    ours = attempt.few(batch.of(WINNER, OLDER).select(*map(col, attempt.keys), F.lit(True).alias("_lk_ours")).distinct())
    rows = attempt.stored().where(col(history.numbered) > 0).join(ours, attempt.keys, "left")
    sharing = Window.partitionBy(quoted(history.numbered))
    in_turn = sharing.orderBy(col("_lk_ours").asc_nulls_first(), *map(quoted, [*attempt.keys, history.valid_from]))
    twice = rows.withColumn("_lk_turn", F.row_number().over(in_turn)).where("_lk_turn > 1")
    late = attempt.keep(
        twice.select(
            *map(col, attempt.pinned.table.columns),
            F.lit(UPDATE).alias(ACTION),
            F.expr(attempt.request.memory.at()).alias(AT),
            history.until().alias(TO_WAS),
            *map(col, attempt.places),
        )
    )
    count = int(first_row(late.agg(F.count(F.lit(1)).alias("n")))["n"])
    return (attempt.keep(numbered(late, history.numbered, last_number(attempt), F.lit(True))), count) if count else None


def retired(history: History, settled: DataFrame) -> DataFrame:
    """The numbers of rows that are to go."""
    assert history.numbered is not None
    number = col(OLD)["row"].getField(history.numbered).alias(history.numbered)
    kind, at = F.lit(journal.ALLOCATED).alias(journal.KIND), col(SEQ).alias(journal.JSEQ)
    gone = settled.where(col(GONE)).select(kind, *map(col, history.keys), at, number)
    return gone.withColumn(journal.SAID, F.lit(None).cast("array<string>"))
