"""Upsert planning for complete events: which event of a key wins, and what the winner does to the row it meets.

Two pure steps. ``judge`` orders the events of each key by themselves; ``verdicts`` lets each winner meet what is known of its
key: its row, its tombstone, the truncation horizon. Events are a join semilattice (Shapiro et al. 2011, last-writer-wins
register with tombstones), so the answer does not depend on batches, order or repetition.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from lakekit.changes import DELETE, IGNORE, OP, REASON, SEQ, TRUNCATE, UPSERT
from lakekit.columns import all_of, col, comparable, quoted

SPREAD = "_lk_spread"
"""Tells events without a place in the order of a key apart, so that they need not come together."""

_PAYLOAD = "_lk_payload"

CLASS, OLDEST, NEXT = "_lk_class", "_lk_oldest", "_lk_next"
"""What became of an event inside its batch, the lowest sequence that the batch has of its key, and the next lower one."""

WINNER, OLDER, REPEATED, TIED, TRUNCATION, IGNORED, BAD = "winner", "older", "repeated", "tied", "truncation", "ignored", "bad"

AT, DEAD, BORN = "_lk_at", "_lk_dead", "_lk_old"
"""Sequence of the row that stands, highest known tombstone of the key, and where the row stands (format's own locators)."""

ACTION, VERDICT = "_lk_action", "_lk_verdict"
INSERT, UPDATE, REMOVE, NOTHING = "insert", "update", "delete", "nothing"
APPLIED, STALE, DUPLICATE, EQUAL, BEYOND = "applied", "stale", "duplicate", "equal", "beyond"


def judge(events: DataFrame, keys: Sequence[str], payload: Sequence[str], ties: str) -> DataFrame:
    """Say of each ``gathered`` event what it is inside its batch.

    Adds ``_lk_class`` (winner, older, repeated, tied, truncation, ignored, bad), ``_lk_oldest``, ``_lk_next``. One sort.
    """
    live = is_live()
    is_delete = col(OP) == DELETE
    # As one struct the payload is copied from window to window in one piece, not column by column.
    own = [c for c in sorted(payload) if c in events.columns]
    packed = events.withColumn(_PAYLOAD, F.struct(*map(col, own)) if own else F.lit(True)).drop(*own)
    content = comparable(col(_PAYLOAD), packed.schema[_PAYLOAD].dataType)
    # One sort serves both windows, and only plain columns order it: an expression would be carried beside its columns.
    order = [is_delete.asc(), content.asc()]
    by_key = [SPREAD, *map(quoted, keys)]
    at_sequence = Window.partitionBy(*by_key, SEQ).orderBy(*order)
    in_order = Window.partitionBy(*by_key).orderBy(col(SEQ).asc(), *order)

    shared = F.row_number().over(at_sequence) > 1
    alike = is_delete | F.lag(content).over(at_sequence).eqNullSafe(content)
    seen = packed.select(
        "*",
        shared.alias("_lk_shared"),
        (shared & (F.lag(OP).over(at_sequence) == col(OP)) & alike).alias("_lk_again"),
        F.max(is_delete).over(whole(at_sequence)).alias("_lk_deleted_here"),
    )
    clash = col("_lk_shared") & ~col("_lk_again") & ~col("_lk_deleted_here")
    tied = F.max(clash).over(whole(at_sequence)) if ties != "content" else F.lit(False)
    marked = seen.withColumn("_lk_tied", live & tied & ~is_delete)
    kept = live & ~col("_lk_again") & ~col("_lk_tied")
    so_far = F.sum(kept.cast("int")).over(in_order.rowsBetween(Window.unboundedPreceding, Window.currentRow))
    last = so_far == F.sum(kept.cast("int")).over(whole(in_order))
    what = (
        F.when(col(REASON).isNotNull(), BAD)
        .when(col(OP) == IGNORE, IGNORED)
        .when(col(OP) == TRUNCATE, TRUNCATION)
        .when(col("_lk_tied"), TIED)
        .when(col("_lk_again"), REPEATED)
        .when(last, WINNER)
        .otherwise(OLDER)
    )
    oldest = F.min(F.when(kept, col(SEQ))).over(whole(in_order))
    below = F.max(F.when(kept, col(SEQ))).over(in_order.rowsBetween(Window.unboundedPreceding, -1))
    judged = marked.withColumns({CLASS: what, OLDEST: oldest, NEXT: below})
    unpacked = {c: col(_PAYLOAD).getField(c).alias(c) for c in own}
    return judged.select(*(unpacked.get(c, col(c)) for c in events.columns if c != SPREAD), CLASS, OLDEST, NEXT)


def is_live() -> Column:
    """Whether an event has a place in the order of its key: bad and ignored ones and truncations have none."""
    return col(REASON).isNull() & col(OP).isin(UPSERT, DELETE)


def gathered(events: DataFrame, keys: Sequence[str], partitions: int | None = None) -> DataFrame:
    """The one shuffle: events of a key come together, events without a place in its order are spread by ``_lk_spread``.

    Named here, or Spark would shuffle once for the window over key and sequence and once more for the one over the key.
    """
    spread = events.withColumn(SPREAD, F.when(~is_live(), F.monotonically_increasing_id()))
    by = [col(SPREAD), *map(col, keys)]
    return spread.repartition(*by) if partitions is None else spread.repartition(partitions, *by)


def whole(window: WindowSpec) -> WindowSpec:
    return window.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)


def verdicts(winners: DataFrame, horizon: Column, truncated: Column, forgotten: Column) -> DataFrame:
    """Say what each winner does to what is known of its key.

    *winners* has the keys, ``_lk_op``, ``_lk_seq``, ``_lk_at`` (NULL: no row stands) and ``_lk_dead`` (NULL: no tombstone).
    *horizon* is the latest truncation that the journal knows, *truncated* that of the batch, *forgotten* the sequence up to which
    tombstones were dropped; each may be NULL.
    Adds ``_lk_action`` (what happens to the row) and ``_lk_verdict`` (how the event counts). ``equal``: the event has the
    sequence of the living row, so only its payload tells a duplicate from a tie.
    """
    dead = F.greatest(col(DEAD), horizon, truncated)
    stands = col(AT).isNotNull()
    # A crash between journal and table leaves a row standing that its tombstone already killed.
    alive = stands & ~F.coalesce(col(AT) <= dead, F.lit(False))
    mend = F.when(stands & ~alive, REMOVE).otherwise(NOTHING)
    beyond = F.coalesce(col(SEQ) <= forgotten, F.lit(False)) & ~F.coalesce(col(AT) == col(SEQ), F.lit(False))
    hidden = F.coalesce(col(SEQ) <= dead, F.lit(False))
    upsert = col(OP) == UPSERT
    # What the table shows until this batch changes it; a truncation of the batch itself does not make a repetition stale.
    shown = stands & (col(SEQ) == col(AT)) & ~F.coalesce(col(AT) <= F.greatest(col(DEAD), horizon), F.lit(False))
    action = (
        F.when(beyond, mend)
        .when(upsert & hidden, mend)
        .when(upsert & alive & (col(SEQ) > col(AT)), UPDATE)
        .when(upsert & alive, NOTHING)
        .when(upsert, F.when(stands, UPDATE).otherwise(INSERT))
        .when(stands & (col(AT) <= col(SEQ)), REMOVE)
        .otherwise(mend)
    )
    verdict = (
        F.when(beyond, BEYOND)
        .when(upsert & shown, EQUAL)
        .when(upsert & hidden, STALE)
        .when(upsert & alive & (col(SEQ) < col(AT)), STALE)
        .when(upsert, APPLIED)
        .when(stands & (col(AT) <= col(SEQ)), F.when(F.coalesce(col(SEQ) < dead, F.lit(False)), STALE).otherwise(APPLIED))
        .when(stands & alive, STALE)
        .when(F.coalesce((col(SEQ) == col(DEAD)) & (col(SEQ) == dead), F.lit(False)), DUPLICATE)
        .when(hidden, STALE)
        .otherwise(APPLIED)
    )
    return winners.withColumns({ACTION: action, VERDICT: verdict})


def same_key(left: DataFrame, right: DataFrame, keys: Sequence[str]) -> Column:
    """The join condition on key columns, which are never NULL here."""
    return all_of(left[f"`{k}`"] == right[f"`{k}`"] for k in keys)
