"""Updates that change a key: a delete of the old key and an upsert of the new one, also where rows swap their keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from lakekit.changes import DELETE, OP, REASON, UPSERT
from lakekit.columns import all_of, any_of, col
from lakekit.sources.common import visible

STEP = "dms_step"
"""Last part of the order where feeds have before images: 0 is the delete of a key that a row left, 1 is every event itself."""

SameStatement = Callable[[Column], Column]
"""Whether the current row and an earlier one (a struct of the sequence and the incidental columns) may be of one statement."""

_MOVED, _OTHER, _AFTER, _BEFORE, _ARRIVAL = "_lk_moved", "_lk_other_key", "_lk_after", "_lk_before", "_lk_arrival"


def split(
    df: DataFrame,
    *,
    keys: Sequence[str],
    before: Mapping[str, str],
    sequence_by: Sequence[str],
    same_statement: SameStatement,
    incidental: Sequence[str] = (),
) -> DataFrame:
    """Make two events of each update whose before image holds another key, and add ``dms_step`` as the last sequence column.

    *before* names the before-image column of each column that has one; these columns are dropped.

    Rows that exchange keys in one statement (A→B, B→A) look like one row that moves to B and on: at B an arrival, then a departure.
    The images tell them apart: where the row that leaves B is not the row that arrived, B's old owner left, and its delete is placed
    right before the arrival. With before images beyond the keys this is known; with those of the keys alone the after images must
    do, which is believed only of two rows that swap. *incidental* columns tell of the event, not of the row: they are not compared,
    but *same_statement* may look at them.
    """
    payload = [c for c in visible(df.columns) if c not in (*keys, *sequence_by, *incidental, *before.values())]
    imaged = [c for c in payload if c in before]
    df = _two_events(df.withColumn(_MOVED, _moved(keys, before)), keys, before, imaged or payload)
    if payload:
        df = _old_owners_first(df, keys, sequence_by, incidental, same_statement, imaged=bool(imaged))
    return df.drop(_MOVED, _OTHER, _AFTER, _BEFORE, *before.values())


def _moved(keys: Sequence[str], before: Mapping[str, str]) -> Column:
    """An upsert whose before image names another key; inserts have no before image."""
    changed = any_of(col(before[k]).isNotNull() & (col(before[k]) != col(k)) for k in keys if k in before)
    return F.coalesce((col(OP) == UPSERT) & col(REASON).isNull() & changed, F.lit(False))


def _two_events(df: DataFrame, keys: Sequence[str], before: Mapping[str, str], compared: Sequence[str]) -> DataFrame:
    steps = F.when(col(_MOVED), F.array(F.lit(0), F.lit(1))).otherwise(F.array(F.lit(1)))
    df = df.withColumn(STEP, F.explode(steps))
    old = {k: F.coalesce(col(before[k]), col(k)) if k in before else col(k) for k in keys}
    leaves = col(_MOVED) & (col(STEP) == 0)
    images = {
        _OTHER: F.when(leaves, _struct({k: col(k) for k in keys})).when(col(_MOVED), _struct(old)),
        _AFTER: F.when((col(STEP) == 1) & (col(OP) == UPSERT), _struct({c: col(c) for c in compared})),
        _BEFORE: F.when(leaves, _struct({c: col(before.get(c, c)) for c in compared})),
    }
    moved = {**{k: F.when(leaves, old[k]).otherwise(col(k)) for k in keys}, OP: F.when(leaves, F.lit(DELETE)).otherwise(col(OP))}
    return df.withColumns(images).withColumns(moved)


def _old_owners_first(
    df: DataFrame,
    keys: Sequence[str],
    sequence_by: Sequence[str],
    incidental: Sequence[str],
    same_statement: SameStatement,
    *,
    imaged: bool,
) -> DataFrame:
    """Place the delete of a key before the arrival that took the key over, where another row than the arrived one leaves."""
    ordered = Window.partitionBy(*map(col, keys)).orderBy(*map(col, (*sequence_by, STEP)))
    arrival = F.struct(*(col(c).alias(c) for c in dict.fromkeys((*sequence_by, *incidental, _OTHER))))
    latest = F.last(F.when(col(_MOVED) & (col(STEP) == 1), arrival), ignorenulls=True)
    df = df.withColumn(_ARRIVAL, latest.over(ordered.rowsBetween(Window.unboundedPreceding, -1)))
    df = df.withColumn(_AFTER, F.lag(_AFTER).over(ordered))
    arrived = F.col(_ARRIVAL)
    another = ~col(_AFTER).eqNullSafe(col(_BEFORE))
    swap = F.lit(True) if imaged else arrived[_OTHER].eqNullSafe(col(_OTHER))
    tests = (col(_MOVED), col(STEP) == 0, arrived.isNotNull(), same_statement(arrived), another, swap)
    before_it = F.coalesce(all_of(tests), F.lit(False))
    return df.withColumns({c: F.when(before_it, arrived[c]).otherwise(col(c)) for c in sequence_by}).drop(_ARRIVAL)


def _struct(fields: Mapping[str, Column]) -> Column:
    return F.struct(*(value.alias(name) for name, value in fields.items()))
