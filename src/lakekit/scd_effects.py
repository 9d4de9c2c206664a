"""What a settled history does: the rows of the table that change, what the journal must learn, and the counts of both."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.cdc import ACTION, APPLIED, AT, INSERT, NOTHING, REMOVE, UPDATE
from lakekit.columns import all_of, any_of, col
from lakekit.literals import encoded
from lakekit.scd import BEFORE, CLOSED, CUT, GONE, HIDE, LAST, LATE, NULLED, OLD, SPLIT, TO_WAS, VERDICTS, History, stored


def changed(history: History, settled: DataFrame, places: Mapping[str, T.DataType]) -> DataFrame:
    """The rows of the table that change, in its columns, with ``_lk_action``, ``_lk_at``, ``_lk_to`` and where the row stands."""

    def whereabouts(old: Column) -> list[Column]:
        spots = [old["places"].getField(name).alias(name) for name in places]
        return [old["at"].alias(AT), old["to"].alias(TO_WAS), *spots]

    keys = list(map(col, history.keys))
    rows = stored(history)
    new = settled.where(col(ACTION) != NOTHING).select(
        *keys, *(value.cast(history.types[name]).alias(name) for name, value in rows.items()), col(ACTION), *whereabouts(col(BEFORE))
    )
    gone = settled.where(col(GONE)).select(
        *keys, *(col(OLD)["row"].getField(name).alias(name) for name in rows), F.lit(REMOVE).alias(ACTION), *whereabouts(col(OLD))
    )
    return new.unionByName(gone)


def hidden_news(history: History) -> Column:
    """Whether the journal must learn an event: no row says it by itself, and the journal does not say it yet."""
    apart = col(LAST)
    whole_event = F.lit(True)
    if history.partial:
        whole_event = all_of(col(f"_lk_m{i}").isNotNull() for i in range(len(history.units)))
        unsaid = any_of(col(f"_lk_m{i}").getField(c).isNull() for i, (c, *_) in enumerate(history.units) if c in history.later)
        whole_event = whole_event & ~F.coalesce(unsaid, F.lit(False))
    elif history.inferred:  # a placeholder that shows what another event told no longer says by itself that it told nothing
        whole_event = all_of(col(f"_lk_m{i}").isNotNull() | col(f"_lk_v{i}").isNull() for i in range(len(history.units)))
    counts = F.lit(True) if history.partial else ~col(HIDE)
    needed = col("_lk_alive") & counts & (~apart | ~whole_event | col("_lk_authored"))
    said = col("_lk_authored") | col("_lk_shown")
    return needed & ((col("_lk_news") > 0) | (~said & col("_lk_row")))


def burial_news(history: History) -> Column:
    """Whether the journal must learn a delete."""
    return (col("_lk_burial") > 0) & (F.lit(True) if history.partial else ~col(HIDE))


def tally(history: History, settled: DataFrame) -> DataFrame:
    """One row that counts the verdicts, the effects on rows and what the journal must learn.

    ``since``: where the first closed row that changes ended, encoded; NULL where only open ones do.
    """
    cut = col(CUT)
    shadowed = F.lit(0) if history.partial else F.when(col(HIDE), col(f"_lk_is_{APPLIED}")).otherwise(0)
    update = col(ACTION) == UPDATE
    counts = {v: F.sum(f"_lk_is_{v}") for v in VERDICTS} | {"shadowed": F.sum(shadowed)}
    effects = {
        "inserted": col(ACTION) == INSERT,
        "closed": update & cut.eqNullSafe(CLOSED),
        "split": update & cut.eqNullSafe(SPLIT),
        "updated": update & cut.isNull(),
        "deleted": col(GONE),
        "hidden": hidden_news(history),
        "burials": burial_news(history),
    }
    ended = F.least(F.when(col(ACTION) != NOTHING, col(BEFORE)["to"]), F.when(col(GONE), col(OLD)["to"]))
    place = history.position_type
    since = F.lit(None).cast("string") if isinstance(place, T.StructType) else encoded(F.min(ended), place)
    nulled = F.sum(F.when((col(ACTION) != NOTHING) & (col("_lk_news") > 0), col(NULLED)))
    summed = {**counts, "markers_nulled": nulled}
    return settled.agg(
        *(F.coalesce(value, F.lit(0)).alias(name) for name, value in summed.items()),
        *(F.count_if(condition).alias(name) for name, condition in effects.items()),
        F.count_if(col(LATE)).alias("late") if LATE in settled.columns else F.lit(0).alias("late"),
        since.alias("since"),
    )
