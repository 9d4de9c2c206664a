"""What is known of a key, as events of one shape: from the batch, from the rows that stand, from the journal.

A row says the event of its last sequence with all values, and, where its version has swallowed earlier ones, that something began at
its ``valid_from``. The end of a row that no other row continues is a delete. What the rows cannot say lies in the journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit import journal
from lakekit.batch import Batch
from lakekit.cdc import OLDER, WINNER
from lakekit.changes import ABSENT, DELETE, OP, SEQ, UPSERT
from lakekit.columns import all_of, col, quoted
from lakekit.scd import ANCHOR, BATCH, CLOSING, EVENT, OLD, ROW, SHOWN, SOURCE, TOMB, History, boxes

_SAYS = "_lk_says"


def of_batch(history: History, batch: Batch, *, silent: bool = False) -> DataFrame:
    """The distinct live events of a batch; *silent* ones say no more than that their key lives."""
    live = batch.of(WINNER, OLDER)
    absent = ABSENT in live.columns

    def authors(name: str) -> Column:
        if silent or name not in live.columns:
            return F.lit(False)
        return ~F.array_contains(col(ABSENT), name) if absent else F.lit(True)

    found = boxes(history, {c: authors(c) for c in history.payload}, live)
    upsert = col(OP) == UPSERT
    said = (_only(upsert, box, i) for i, box in enumerate(found))
    return live.select(*map(col, history.keys), col(SEQ), col(OP), F.lit(BATCH).alias(SOURCE), *said)


def of_rows(history: History, rows: DataFrame, at: str, places: Mapping[str, T.DataType], *, every: bool) -> DataFrame:
    """What rows say: of open ones what began, of all (*every*) rows of a key also what ended."""
    table = [c for c in rows.columns if c in history.types and c not in history.keys]
    old = F.struct(
        F.struct(*map(col, table)).alias("row"),
        F.expr(at).alias("at"),
        history.until().alias("to"),
        F.struct(*(col(name) for name in places), F.lit(None).cast("string").alias("_")).alias("places"),
    )
    begins = history.position(F.expr(at)).eqNullSafe(col(history.valid_from))
    first = history.lowest_at(col(history.valid_from))
    says = [
        _say(ROW, UPSERT, F.expr(at), begins),
        F.when(~begins, _say(ANCHOR, UPSERT, first, F.lit(True))),
    ]
    if every:
        in_order = Window.partitionBy(*map(quoted, history.keys)).orderBy(quoted(history.valid_from))
        rows = rows.withColumn("_lk_next", F.lead(quoted(history.valid_from)).over(in_order))
        ended = history.until().isNotNull() & ~history.until().eqNullSafe(col("_lk_next"))
        says.append(F.when(ended, _say(CLOSING, DELETE, history.lowest_at(history.until()), F.lit(False))))
    authored = {c: col(c).isNotNull() for c in history.later}
    if history.inferred:
        authored = {c: authored.get(c, F.lit(True)) & ~col(history.inferred) for c in history.payload}
    said = rows.withColumns({OLD: old, _SAYS: F.explode(F.array_compact(F.array(*says)))})
    upsert = col(_SAYS)["op"] == UPSERT
    return said.select(
        *map(col, history.keys),
        col(_SAYS)["at"].alias(SEQ),
        col(_SAYS)["op"].alias(OP),
        col(_SAYS)["source"].alias(SOURCE),
        *(_only(upsert, box, i) for i, box in enumerate(boxes(history, authored, said))),
        F.when(col(_SAYS)["holds"], col(OLD)).alias(OLD),
    )


def _say(source: str, op: str, at: Column, holds: Column) -> Column:
    return F.struct(F.lit(source).alias("source"), F.lit(op).alias("op"), at.alias("at"), holds.alias("holds"))


def _only(condition: Column, box: Column, i: int) -> Column:
    return F.when(condition, box).alias(f"_lk_b{i}")


def of_journal(history: History, rows: DataFrame) -> DataFrame:
    """What the journal's events and tombstones say."""
    kind = col(journal.KIND)
    said = col(journal.SAID) if journal.SAID in rows.columns else F.lit(None).cast("array<string>")

    def authors(name: str) -> Column:
        if name not in rows.columns:
            return F.lit(False)
        unsaid = col(name).isNotNull() if name in history.later else F.lit(True)
        return F.when(said.isNull(), unsaid).otherwise(F.array_contains(said, name))

    upsert = kind != journal.TOMBSTONE
    source = F.when(kind == journal.EVENT, EVENT).when(kind == journal.SHOWN, SHOWN).otherwise(TOMB)
    found = boxes(history, {c: authors(c) for c in history.payload}, rows)
    return rows.where(~journal.is_marker() & (kind != journal.ALLOCATED)).select(
        *map(col, history.keys),
        col(journal.JSEQ).cast(history.sequence).alias(SEQ),
        F.when(upsert, UPSERT).otherwise(DELETE).alias(OP),
        source.alias(SOURCE),
        *(_only(upsert, box, i) for i, box in enumerate(found)),
    )


def of_truncations(history: History, keys: DataFrame, truncations: DataFrame, source: str) -> DataFrame:
    """Each truncation (``_lk_seq``) as a delete of each key."""
    return keys.crossJoin(F.broadcast(truncations)).select(
        *map(col, history.keys), col(SEQ), F.lit(DELETE).alias(OP), F.lit(source).alias(SOURCE)
    )


def together(history: History, frames: Sequence[DataFrame], old: T.DataType) -> DataFrame:
    """All that is known, in one frame."""
    found = frames[0]
    for frame in frames[1:]:
        found = found.unionByName(frame, allowMissingColumns=True)
    return found if OLD in found.columns else found.withColumn(OLD, F.lit(None).cast(old))


def was_type(history: History, places: Mapping[str, T.DataType], columns: Sequence[str]) -> T.StructType:
    """The type of ``_lk_was``."""
    row = T.StructType([T.StructField(c, history.types[c]) for c in columns if c not in history.keys])
    spots = T.StructType([*(T.StructField(name, kind) for name, kind in places.items()), T.StructField("_", T.StringType())])
    return T.StructType(
        [
            T.StructField("row", row),
            T.StructField("at", history.sequence),
            T.StructField("to", history.position_type),
            T.StructField("places", spots),
        ]
    )


def journal_rows(history: History, settled: DataFrame, hidden: Column, buried: Column) -> DataFrame:
    """What the journal must learn of a settled frame: events with what they author, and tombstones."""
    # What a row left out it may come to show by inheritance: then only the journal knows that its event did not say it.
    complete = all_of(col(f"_lk_m{i}").isNotNull() for i in range(len(history.units)))
    copied = (col("_lk_news") == 0) & ~col("_lk_authored") & complete
    kind = F.when(buried, journal.TOMBSTONE).when(copied, journal.SHOWN).otherwise(journal.EVENT)
    units = list(enumerate(history.units))
    each = [F.when(col(f"_lk_m{i}").isNotNull(), F.lit(c)) for i, unit in units for c in unit]
    said = F.array_compact(F.array(*each)) if units else F.array()
    names = said.cast("array<string>") if history.partial or history.inferred else F.lit(None).cast("array<string>")
    values = {c: (i, c) for i, unit in units for c in unit}
    return settled.where(hidden | buried).select(
        kind.alias(journal.KIND),
        *map(col, history.keys),
        col(SEQ).alias(journal.JSEQ),
        names.alias(journal.SAID),
        *(F.when(hidden, col(f"_lk_m{i}").getField(c)).alias(c) for c, (i, _) in values.items()),
    )
