"""Upsert planning for partial events: each column keeps its own latest authored value (C6).

An event may leave columns unauthored. A row is then a map of last-writer-wins registers, one for each column, above a floor: the
last delete, beneath which nothing counts. ``judge`` orders events inside the batch, ``meet`` shows each the row it meets,
``settle`` folds events and row into the row that follows, ``classify`` says what became of each event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.cdc import (
    ACTION,
    APPLIED,
    AT,
    BAD,
    BEYOND,
    CLASS,
    DEAD,
    DUPLICATE,
    IGNORED,
    INSERT,
    NOTHING,
    OLDER,
    OLDEST,
    REMOVE,
    REPEATED,
    SPREAD,
    STALE,
    TIED,
    TRUNCATION,
    UPDATE,
    VERDICT,
    is_live,
    whole,
)
from lakekit.changes import ABSENT, DELETE, HIDDEN, IGNORE, OP, REASON, SEQ, TRUNCATE, UPSERT
from lakekit.columns import all_of, any_of, col, comparable, quoted
from lakekit.memory import COLUMNS, FLOOR, STORED_SEQ

FLOOR_NOW, FLOOR_WAS, WAS = "_lk_floor", "_lk_floor_was", "_lk_was"
ROW_SEQ, NULLED, BURIED = "_lk_row_seq", "_lk_nulled", "_lk_buried"
STOOD, TIE = "_lk_stood", "_lk_tie"


@dataclass(frozen=True)
class Shape:
    """The columns that events author: those of the feed, those of the table, which of them were added after ``_lakekit``."""

    keys: tuple[str, ...]
    types: Mapping[str, T.DataType]
    feed: tuple[str, ...]
    table: tuple[str, ...]
    later: frozenset[str]
    sequence: T.StructType
    in_row: bool

    def new(self, name: str) -> str:
        """Name of the helper column with the sequence at which *name* was last authored by the batch."""
        return f"_lk_q{self.table.index(name)}"

    def was(self, name: str) -> str:
        """Name of the helper column with the sequence at which the stored value of *name* was authored."""
        return f"_lk_w{self.table.index(name)}"

    def stored(self, name: str) -> str:
        """Name of the helper column with the stored value of *name*."""
        return f"_lk_v{self.table.index(name)}"


def judge(events: DataFrame, keys: Sequence[str], payload: Sequence[str], ties: str) -> DataFrame:
    """Say of each ``gathered`` event what it is inside its batch: older (it takes part), repeated, tied, truncation, ignored or bad.

    Upserts of one key and sequence that author different columns are no tie. Under ``ties="content"`` each column takes the
    largest value that is authored at the sequence.
    """
    live = is_live()
    types = {f.name: f.dataType for f in events.schema.fields}
    absent = [col(ABSENT)] if ABSENT in events.columns else []
    content = [comparable(col(c), types[c]) for c in sorted(payload)]
    is_delete = col(OP) == DELETE
    by_key = [SPREAD, *map(quoted, keys)]
    at_sequence = Window.partitionBy(*by_key, SEQ).orderBy(is_delete.asc(), *(c.asc() for c in (*content, *absent)))
    again = (F.lag(OP).over(at_sequence) == col(OP)) & (
        is_delete | all_of(F.lag(c).over(at_sequence).eqNullSafe(c) for c in (*content, *absent))
    )
    seen = events.select(
        "*",
        F.coalesce(again, F.lit(False)).alias("_lk_again"),
        F.max(is_delete).over(whole(at_sequence)).alias("_lk_deleted_here"),
        *(_clash(events, c, types[c], at_sequence).alias(f"_lk_clash_{i}") for i, c in enumerate(payload)),
    )
    disputed = any_of(col(f"_lk_clash_{i}") & authored(events, c) for i, c in enumerate(payload))
    tied = live & ~is_delete & ~col("_lk_deleted_here") & disputed if ties != "content" else F.lit(False)
    what = (
        F.when(col(REASON).isNotNull(), BAD)
        .when(col(OP) == IGNORE, IGNORED)
        .when(col(OP) == TRUNCATE, TRUNCATION)
        .when(tied, TIED)
        .when(col("_lk_again"), REPEATED)
        .otherwise(OLDER)
    )
    values = {c: _largest(events, c, types[c], at_sequence) for c in payload} if ties == "content" else {}
    scratch = [SPREAD, "_lk_again", "_lk_deleted_here", *(f"_lk_clash_{i}" for i in range(len(payload)))]
    return seen.withColumns({CLASS: what, OLDEST: col(SEQ), **values}).drop(*scratch)


def authored(events: DataFrame, name: str) -> Column:
    """Whether an event authors a column: only upserts do."""
    is_upsert = col(OP) == UPSERT
    return is_upsert & ~F.array_contains(col(ABSENT), name) if ABSENT in events.columns else is_upsert


def _boxed(events: DataFrame, name: str, data_type: T.DataType) -> Column:
    """The authored value in a box, so that an authored NULL differs from none."""
    return F.when(authored(events, name), F.struct(comparable(col(name), data_type).alias("v")))


def _clash(events: DataFrame, name: str, data_type: T.DataType, at_sequence: WindowSpec) -> Column:
    box = _boxed(events, name, data_type)
    everyone = whole(at_sequence)
    return F.coalesce(F.min(box).over(everyone) != F.max(box).over(everyone), F.lit(False))


def _largest(events: DataFrame, name: str, data_type: T.DataType, at_sequence: WindowSpec) -> Column:
    largest = F.max_by(col(name), _boxed(events, name, data_type)).over(whole(at_sequence))
    return F.when(authored(events, name), largest).otherwise(col(name))


def state_columns(shape: Shape, stored: DataFrame, at: str) -> list[Column]:
    """A stored row as helper columns: sequence, floor, memory as text, and each value with the sequence that authored it."""
    remembers = HIDDEN in stored.columns and isinstance(stored.schema[HIDDEN].dataType, T.StructType)
    fields = stored.schema[HIDDEN].dataType.names if remembers else []  # type: ignore[attr-defined]
    floor = col(HIDDEN)[FLOOR] if FLOOR in fields else F.lit(None)
    was = F.to_json(col(HIDDEN)) if remembers else F.lit(None).cast("string")
    row = F.expr(at)
    columns = [row.alias(AT), floor.cast(shape.sequence).alias(FLOOR_WAS), was.alias(WAS)]
    for name in shape.table:
        columns.append(
            col(name).alias(shape.stored(name)) if name in stored.columns else F.lit(None).cast(shape.types[name]).alias(shape.stored(name))
        )
        columns.append(_stored_sequence(shape, name, row, COLUMNS in fields, name in stored.columns).alias(shape.was(name)))
    return columns


def _stored_sequence(shape: Shape, name: str, row: Column, mapped: bool, present: bool) -> Column:
    """When a stored value was authored: as the memory says; else with the row, unless the column came later than the row."""
    nothing = F.lit(None).cast(shape.sequence)
    default = nothing if name in shape.later or not present else row
    if not mapped:
        return default
    known = F.coalesce(F.array_contains(F.map_keys(col(HIDDEN)[COLUMNS]), name), F.lit(False))
    return F.when(known, col(HIDDEN)[COLUMNS][name]).otherwise(default)


def meet(shape: Shape, events: DataFrame, state: DataFrame | None, dead: DataFrame | None, horizon: Column, forgotten: Column) -> DataFrame:
    """Each event beside the row and the tombstone that it meets, with the floor that follows for its key.

    Adds ``_lk_tie`` (it authors another value at the very sequence of a stored one), ``_lk_stood`` (the table shows it, or part
    of it, already) and ``_lk_floor``.
    """
    keys = list(shape.keys)
    seen = events.drop(OLDEST)
    nothing = F.lit(None).cast(shape.sequence)
    if state is not None:
        seen = seen.join(state, keys, "left")
    else:
        empty = {AT: nothing, FLOOR_WAS: nothing, WAS: F.lit(None).cast("string")}
        empty |= {shape.stored(c): F.lit(None).cast(shape.types[c]) for c in shape.table} | {shape.was(c): nothing for c in shape.table}
        seen = seen.withColumns(empty)
    seen = seen.join(dead, keys, "left") if dead is not None else seen.withColumn(DEAD, nothing)
    meets = [(c, authored(events, c) & _equal(col(shape.was(c)), col(SEQ))) for c in shape.feed]
    differs = [here & ~_same(shape, c) for c, here in meets]
    old = F.coalesce(col(SEQ) <= forgotten, F.lit(False))
    counted = seen.withColumns(
        {
            STOOD: (col(OP) == UPSERT) & (any_of(here & _same(shape, c) for c, here in meets) | _equal(col(AT), col(SEQ))),
            TIE: any_of(differs),
        }
    ).withColumn("_lk_beyond", old & ~col(STOOD))
    deletes = F.max(F.when((col(OP) == DELETE) & ~col("_lk_beyond"), col(SEQ))).over(Window.partitionBy(*map(quoted, keys)))
    floored = counted.withColumn(FLOOR_NOW, F.greatest(deletes, col(DEAD), col(FLOOR_WAS), horizon))
    return floored.withColumn(TIE, col(TIE) & ~col("_lk_beyond") & _above(col(SEQ), col(FLOOR_NOW)))


def _equal(one: Column, other: Column) -> Column:
    return F.coalesce(one == other, F.lit(False))


def _same(shape: Shape, name: str) -> Column:
    kind = shape.types[name]
    return comparable(col(name), kind).eqNullSafe(comparable(col(shape.stored(name)), kind))


def settle(shape: Shape, met: DataFrame, horizon: Column, *, carry: Sequence[str] = (), marked: bool) -> DataFrame:
    """Fold the events of each key and its row into the row that follows: one row per key, with its action.

    Columns: keys, the table's columns, ``_lakekit``, ``_lk_action``, ``_lk_at``, ``_lk_buried`` (the key is gone by a delete that
    neither a tombstone nor the truncation *horizon* tells), *carry*, and what ``classify`` needs.
    ``_lk_nulled`` counts the columns that no event ever authored, where *marked* says that events may leave some out.
    """
    keys = list(shape.keys)
    counts = (col(OP) == UPSERT) & ~col("_lk_beyond") & _above(col(SEQ), col(FLOOR_NOW))
    firsts = [AT, FLOOR_WAS, WAS, DEAD, FLOOR_NOW, *(shape.stored(c) for c in shape.table), *(shape.was(c) for c in shape.table)]
    best = [_best(met, shape, c, counts).alias(f"{shape.new(c)}_box") for c in shape.feed]
    grouped = met.groupBy(*map(col, keys)).agg(
        F.max(F.when(counts, col(SEQ))).alias("_lk_newest"),
        *(F.first(col(c)).alias(c) for c in (*firsts, *carry)),
        *best,
    )
    alive = _above(col(AT), col(FLOOR_NOW))
    row_seq = F.greatest(col("_lk_newest"), F.when(alive, col(AT)))
    kept = grouped.withColumn(ROW_SEQ, row_seq)
    settled = kept.withColumns({shape.new(c): _sequence_after(shape, c) for c in shape.table})
    valued = settled.withColumns({f"_lk_n{i}": _value_after(shape, c) for i, c in enumerate(shape.table)})
    # Above the floor a later value guards its column itself; only a column that nothing authored needs the floor.
    floor = F.when(any_of(col(shape.new(c)).isNull() for c in shape.table), col(FLOOR_NOW))
    remembered = valued.withColumn("_lk_keep", floor)
    news = col(FLOOR_NOW).isNotNull() & _above(col(FLOOR_NOW), col(DEAD)) & _above(col(FLOOR_NOW), horizon)
    acted = remembered.withColumns({ACTION: _action(shape), BURIED: col(ROW_SEQ).isNull() & news})
    nulled = sum((col(shape.new(c)).isNull().cast("int") for c in shape.feed), F.lit(0)) if marked else F.lit(0)
    names = [(c, f"_lk_n{i}") for i, c in enumerate(shape.table)]
    values = [col(helper).alias(name) for name, helper in names]
    sequence = [col(ROW_SEQ).getField(f.name).alias(f.name) for f in shape.sequence.fields] if shape.in_row else []
    carried = [
        AT,
        WAS,
        DEAD,
        FLOOR_NOW,
        FLOOR_WAS,
        "_lk_keep",
        ROW_SEQ,
        ACTION,
        BURIED,
        *carry,
        *(shape.new(c) for c in shape.table),
        *(shape.was(c) for c in shape.table),
    ]
    return acted.select(*map(col, keys), *values, *sequence, _memory(shape).alias(HIDDEN), *map(col, carried), nulled.alias(NULLED))


def _above(sequence: Column, floor: Column) -> Column:
    return sequence.isNotNull() & F.coalesce(sequence > floor, F.lit(True))


def _best(met: DataFrame, shape: Shape, name: str, counts: Column) -> Column:
    """The latest authored value with its sequence; a tie that the policy lets through is decided by content."""
    here = counts & authored(met, name)
    order = F.struct(col(SEQ).alias("s"), comparable(col(name), shape.types[name]).alias("v"))
    return F.max_by(F.struct(col(SEQ).alias("s"), col(name).alias("v")), F.when(here, order))


def _stored_alive(shape: Shape, name: str) -> Column:
    """The sequence of a stored value that the floor has not killed."""
    alive = _above(col(AT), col(FLOOR_NOW)) & _above(col(shape.was(name)), col(FLOOR_NOW))
    return F.when(alive, col(shape.was(name)))


def _sequence_after(shape: Shape, name: str) -> Column:
    if name not in shape.feed:
        return _stored_alive(shape, name)
    return F.greatest(col(f"{shape.new(name)}_box")["s"], _stored_alive(shape, name))


def _value_after(shape: Shape, name: str) -> Column:
    kind = shape.types[name]
    stored = F.when(_stored_alive(shape, name).isNotNull(), col(shape.stored(name)))
    if name not in shape.feed:
        return stored
    box = col(f"{shape.new(name)}_box")
    boxed = F.struct(comparable(box["v"], kind).alias("v")) > F.struct(comparable(stored, kind).alias("v"))
    ours = box.isNotNull() & (_above(box["s"], _stored_alive(shape, name)) | (_equal(box["s"], _stored_alive(shape, name)) & boxed))
    return F.when(ours, box["v"]).otherwise(stored)


def _action(shape: Shape) -> Column:
    stands, follows = col(AT).isNotNull(), col(ROW_SEQ).isNotNull()
    moved = any_of(
        [
            ~col(AT).eqNullSafe(col(ROW_SEQ)),
            ~col(FLOOR_WAS).eqNullSafe(col("_lk_keep")),
            *(~col(shape.was(c)).eqNullSafe(col(shape.new(c))) for c in shape.table),
            *(
                ~comparable(col(shape.stored(c)), shape.types[c]).eqNullSafe(comparable(col(f"_lk_n{i}"), shape.types[c]))
                for i, c in enumerate(shape.table)
                if c in shape.feed
            ),
        ]
    )
    return F.when(stands & ~follows, REMOVE).when(~stands & follows, INSERT).when(stands & follows & moved, UPDATE).otherwise(NOTHING)


def _memory(shape: Shape) -> Column:
    """The ``_lakekit`` of the row that follows: entries only for columns whose sequence the row's own does not tell."""
    entries = [
        F.when(
            col(shape.new(c)).isNotNull() if c in shape.later else ~_equal(col(shape.new(c)), col(ROW_SEQ)),
            F.struct(F.lit(c).alias("key"), col(shape.new(c)).alias("value")),
        )
        for c in shape.table
    ]
    none = F.lit(None).cast(T.StructType([T.StructField("key", T.StringType()), T.StructField("value", shape.sequence)]))
    mapped = F.map_from_entries(F.array_compact(F.array(*entries, none)))
    fields = [] if shape.in_row else [col(ROW_SEQ).alias(STORED_SEQ)]
    return F.struct(*fields, col("_lk_keep").alias(FLOOR), mapped.alias(COLUMNS))


def classify(shape: Shape, met: DataFrame, settled: DataFrame) -> DataFrame:
    """Each event's verdict: applied when something of it is kept that was not there, duplicate when it was, else stale; and ``_lk_tie``."""
    narrow = settled.select(
        *map(col, shape.keys),
        col(ROW_SEQ),
        col(ACTION),
        col("_lk_keep"),
        col(FLOOR_NOW).alias("_lk_floor_after"),
        *(col(shape.new(c)).alias(f"_lk_a{i}") for i, c in enumerate(shape.table)),
    )
    seen = met.join(narrow, list(shape.keys))
    after = {c: col(f"_lk_a{i}") for i, c in enumerate(shape.table)}
    news = any_of(
        authored(met, c) & _equal(after[c], col(SEQ)) & ~(_equal(col(shape.was(c)), col(SEQ)) & _same(shape, c)) for c in shape.feed
    )
    newest = _equal(col(ROW_SEQ), col(SEQ)) & ~_equal(col(AT), col(SEQ))
    upsert = F.when(col(TIE) & ~news, STALE).when(news | newest, APPLIED).when(col(STOOD), DUPLICATE).otherwise(STALE)
    last = _equal(col("_lk_floor_after"), col(SEQ))
    known = _equal(col(DEAD), col(SEQ))
    gone = col(ROW_SEQ).isNull()
    removal = (
        F.when(gone & last & known & col(AT).isNull(), DUPLICATE)
        .when(gone & last, APPLIED)
        .when(~gone & _equal(col("_lk_keep"), col(SEQ)) & _equal(col(FLOOR_WAS), col(SEQ)), DUPLICATE)
        .when(~gone & _equal(col("_lk_keep"), col(SEQ)), APPLIED)
        .when(known, DUPLICATE)
        .otherwise(STALE)
    )
    verdict = F.when(col("_lk_beyond"), BEYOND).when(col(OP) == DELETE, removal).otherwise(upsert)
    return seen.select(verdict.alias(VERDICT), TIE)


def tally_rows(settled: DataFrame) -> DataFrame:
    """One row that counts what happens to rows."""
    action = col(ACTION)
    return settled.agg(
        F.count_if(action == INSERT).alias("inserted"),
        F.count_if(action == UPDATE).alias("updated"),
        F.count_if(action == REMOVE).alias("deleted"),
        F.count_if((action == NOTHING) & col(AT).isNotNull()).alias("unchanged"),
        F.coalesce(F.sum(F.when(action.isin(INSERT, UPDATE), col(NULLED))), F.lit(0)).alias("markers_nulled"),
        F.count_if(col(BURIED)).alias("tombstones"),
    )


def burials(settled: DataFrame, keys: Sequence[str]) -> DataFrame:
    """The tombstones of keys that are gone by a delete of this batch, as events that ``journal.tombstones`` takes."""
    return settled.where(col(BURIED)).select(
        *map(col, keys), F.lit(DELETE).alias(OP), col(FLOOR_NOW).alias(SEQ), F.lit(APPLIED).alias(VERDICT), col(DEAD)
    )
