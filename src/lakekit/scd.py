"""Slowly changing dimensions: the history of a key as a pure function of the set of its events.

``settle`` takes what is known of some keys, whoever said it (the batch, the journal, the rows that stand), in any order and as often
as it was said, and gives one row for each key and sequence: what the events of that sequence amount to, whether a version starts or
ends there, and what the row that stands at that place must become. ``changed`` and ``remembered`` read from it what the table and the
journal have to take. Windows over one shuffle; no Python, no collect.

Intervals are half-open, coalesced on the tracked columns (Snodgrass 1999, Developing Time-Oriented Database Applications in SQL, on
coalescing), with a gap while the key is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.cdc import ACTION, APPLIED, AT, BEYOND, DUPLICATE, INSERT, NOTHING, REMOVE, STALE, TIED, UPDATE, whole
from lakekit.changes import DELETE, HIDDEN, OP, SEQ, UPSERT
from lakekit.columns import all_of, any_of, col, comparable, has_map, quoted
from lakekit.memory import STORED_SEQ

SOURCE = "_lk_source"
BATCH, SWEEP, EVENT, SHOWN, ROW, ANCHOR = "batch", "sweep", "event", "shown", "row", "anchor"
CLOSING, TOMB, TRUNCATED = "closing", "tomb", "truncated"
"""Who says an event: the batch, or its truncation; the journal (as authored, or copied from a row when its version swallowed it); a
row that stands, of its last event and of its first; the end of a row; a tombstone; an earlier truncation."""

OLD, TO_WAS = "_lk_was", "_lk_to"
"""The row that stands: ``struct<row, at, to, places>``; and where the row ended when this was planned."""

LAST, STARTS, FROM, TO, DEAD, HIDE = "_lk_last", "_lk_starts", "_lk_from", "_lk_until", "_lk_dead", "_lk_hide"
GONE, BEFORE, CUT, LATE, NULLED = "_lk_gone", "_lk_before", "_lk_cut", "_lk_late", "_lk_nulled"
CLOSED, SPLIT = "closed", "split"
VERDICTS = (APPLIED, STALE, DUPLICATE, BEYOND, TIED)


@dataclass(frozen=True)
class History:
    """The shape of a type 2 table: its keys, what events author, what opens a version, and the columns that tell its interval.

    *coarse*: ``valid_from`` is a column of the feed and the first part of the sequence; of the events of one such value the last
    counts. *end* is SQL of the end of time, ``None`` for NULL. *later* are columns that were added after the first rows.
    """

    keys: tuple[str, ...]
    payload: tuple[str, ...]
    track: tuple[str, ...]
    sequence: T.StructType
    types: Mapping[str, T.DataType]
    valid_from: str
    valid_to: str
    end: str | None = None
    coarse: bool = False
    current: str | None = None
    version: str | None = None
    carried: Mapping[str, str] = field(default_factory=dict)
    kept_sequence: tuple[str, ...] = ()
    in_row: bool = True
    later: frozenset[str] = frozenset()
    partial: bool = False

    @property
    def simple(self) -> bool:
        """Whether ``valid_from`` is one part of the sequence, not the whole of it."""
        return self.coarse or len(self.sequence.fields) == 1

    @property
    def position_type(self) -> T.DataType:
        """The type of ``valid_from`` and ``valid_to``."""
        return self.sequence.fields[0].dataType if self.simple else self.sequence

    def position(self, sequence: Column) -> Column:
        """Where on the axis of ``valid_from`` a sequence lies."""
        return sequence.getField(self.sequence.fields[0].name) if self.simple else sequence

    def lowest_at(self, position: Column) -> Column:
        """The lowest sequence at a position."""
        if not self.simple:
            return position
        rest = [F.lit(None).cast(f.dataType).alias(f.name) for f in self.sequence.fields[1:]]
        return F.struct(position.alias(self.sequence.fields[0].name), *rest)

    def until(self) -> Column:
        """Where a stored row ends; NULL: it is open."""
        return F.when(col(self.valid_to) != F.expr(self.end), col(self.valid_to)) if self.end else col(self.valid_to)

    @cached_property
    def units(self) -> tuple[tuple[str, ...], ...]:
        """Columns that are authored together: all of them, or each by itself where events may leave columns out."""
        if not self.payload:
            return ()
        return tuple((c,) for c in sorted(self.payload)) if self.partial else (tuple(sorted(self.payload)),)

    def unit_type(self, i: int) -> T.StructType:
        """The type of a unit's box."""
        return T.StructType([T.StructField(c, self.types[c]) for c in self.units[i]])

    def value(self, name: str, prefix: str = "_lk_v") -> Column:
        """The value of a payload column among the settled boxes."""
        i = next(i for i, unit in enumerate(self.units) if name in unit)
        return col(f"{prefix}{i}").getField(name)

    def order(self, i: int, box: Column) -> Column:
        """A box in a form that can be compared."""
        return comparable(box, self.unit_type(i))


def boxes(history: History, authored: Mapping[str, Column], frame: DataFrame) -> list[Column]:
    """The payload of a frame as one box for each unit, NULL where the event does not author it."""
    found = []
    for i, unit in enumerate(history.units):
        values = F.struct(*(_typed(frame, history, c).alias(c) for c in unit))
        said = all_of(authored[c] for c in unit if c in authored)
        found.append(F.when(said, values).alias(f"_lk_b{i}"))
    return found


def _typed(frame: DataFrame, history: History, name: str) -> Column:
    kind = history.types[name]
    return col(name).cast(kind) if name in frame.columns else F.lit(None).cast(kind)


def gathered(history: History, known: DataFrame) -> DataFrame:
    """The one shuffle: all that is known of a key comes together."""
    return known.repartition(*map(col, history.keys))


def mark_late(history: History, known: DataFrame, horizon: Column | None, *, everything: bool) -> DataFrame:
    """Say of each key whether its events need more than its open row: ``_lk_late``.

    They do when one is not newer than all that is known, and is not just what the row says already: whatever takes the place of the
    row's last event may uncover what that had hidden. *horizon* is the last truncation or what is forgotten; with *everything* a
    key without an open row needs its closed ones (its versions are counted), or each key does (all its versions carry a value).
    """
    key = Window.partitionBy(*map(quoted, history.keys))

    def of(source: str, fold: Callable[[Column], Column]) -> Column:
        return fold(F.when(col(SOURCE) == source, col(SEQ))).over(key)

    first, standing, buried = of(BATCH, F.min), of(ROW, F.max), of(TOMB, F.max)
    overtaken = first <= standing if history.partial else first < standing
    late = F.coalesce(overtaken, F.lit(False)) | F.coalesce(first < buried, F.lit(False))
    if not history.partial:
        known = known.withColumn("_lk_disputes", _disputes(history, key))
        late = late | F.coalesce(F.max("_lk_disputes").over(key), F.lit(False))
    if horizon is not None:
        late = late | F.coalesce(first <= horizon, F.lit(False))
    if everything:
        late = F.lit(True) if history.carried else late | standing.isNull()
    return known.withColumn(LATE, late)


def _disputes(history: History, key: WindowSpec) -> Column:
    """Whether an event of the batch stands where the row's last event does and is another one."""
    here = col(SOURCE) == BATCH

    def of_row(value: Column) -> Column:
        return F.first(F.when(col(SOURCE) == ROW, value), ignorenulls=True).over(key)

    units = range(len(history.units))
    same = all_of(history.order(i, col(f"_lk_b{i}")).eqNullSafe(history.order(i, of_row(col(f"_lk_b{i}")))) for i in units)
    again = (col(SEQ) == of_row(col(SEQ))) & (col(OP) == UPSERT) & same
    return here & (history.position(col(SEQ)) == history.position(of_row(col(SEQ)))) & ~again


def settle(history: History, known: DataFrame, forgotten: Column | None, ties: str) -> DataFrame:
    """Fold all that is known of some keys into one row for each key and sequence; see the module.

    *known*, one key in one partition (``gathered``), has the keys, ``_lk_seq``, ``_lk_op``, ``_lk_source``, one box for each unit and the
    row that stands (``_lk_was``, on the event of its ``valid_from`` only).
    """
    weighed = _weighed(history, known, forgotten, ties)
    return _versions(history, _states(history, weighed), lanes=_has_lanes(history, forgotten, ties))


def _has_lanes(history: History, forgotten: Column | None, ties: str) -> bool:
    """Whether some sequences take no part in the order of their key; else the sort need not know of them."""
    return history.coarse or forgotten is not None or ties == "quarantine"


def _weighed(history: History, known: DataFrame, forgotten: Column | None, ties: str) -> DataFrame:
    """Say of each event of the batch what it is beside what is known of its key and sequence, and what all of them author together."""
    here = whole(_at_sequence(history))
    units = range(len(history.units))
    upsert, batch, news = col(OP) == UPSERT, col(SOURCE) == BATCH, col(SOURCE).isin(BATCH, SWEEP)
    authored = _any(col(SOURCE) == EVENT, here)
    seen = known.withColumn("_lk_authored", authored)
    # What a row shows may be inherited; what the journal says was authored.
    counts = upsert & ~batch & (col(SOURCE) != ANCHOR) & ((col(SOURCE) == EVENT) | ~col("_lk_authored"))
    seen = seen.withColumn("_lk_counts", counts).withColumns(
        {
            **{f"_lk_k{i}": _largest(history, i, col("_lk_counts"), here) for i in units},
            "_lk_known": _any(col("_lk_counts"), here),
            "_lk_dead_known": _any((col(OP) == DELETE) & ~news, here),
            "_lk_buried": _any(col(SOURCE) == TOMB, here),
            "_lk_dead_batch": _any((col(OP) == DELETE) & news, here),
        }
    )
    same = [~_said(i) | history.order(i, col(f"_lk_b{i}")).eqNullSafe(history.order(i, col(f"_lk_k{i}"))) for i in units]
    shown = col("_lk_known") & all_of(same)
    old = F.coalesce(col(SEQ) <= forgotten, F.lit(False)) if forgotten is not None else F.lit(False)
    beyond = old & F.when(upsert, ~shown).otherwise(~col("_lk_buried"))
    differs = any_of(_said(i) & col(f"_lk_k{i}").isNotNull() & ~same[i] for i in units)
    tied = upsert & differs & ~col("_lk_dead_known") & ~col("_lk_dead_batch") & ~beyond if ties != "content" else F.lit(False)
    seen = seen.withColumns({"_lk_same": shown, "_lk_beyond": batch & beyond, "_lk_tied": batch & tied})
    takes = F.when(batch, ~col("_lk_beyond") & ~col("_lk_tied")).otherwise((col(OP) == DELETE) | col("_lk_counts"))
    seen = seen.withColumn("_lk_takes", takes).withColumn("_lk_told", _any(upsert & col("_lk_takes"), here))
    # That a version began here, in what values nobody tells any more.
    says = upsert & (col("_lk_takes") | ((col(SOURCE) == ANCHOR) & ~col("_lk_told")))
    seen = seen.withColumns(
        {
            DEAD: _any((col(OP) == DELETE) & col("_lk_takes"), here),
            "_lk_alive": _any(says, here),
            **{f"_lk_m{i}": _largest(history, i, says, here) for i in units},
        }
    )
    return seen.withColumn("_lk_verdict", F.when(batch, _verdict(history)))


def _at_sequence(history: History) -> WindowSpec:
    return Window.partitionBy(*map(quoted, history.keys), SEQ).orderBy(SOURCE)


def _any(condition: Column, window: WindowSpec) -> Column:
    return F.coalesce(F.max(condition).over(window), F.lit(False))


def _said(i: int) -> Column:
    return col(f"_lk_b{i}").isNotNull()


def _largest(history: History, i: int, where: Column, window: WindowSpec) -> Column:
    box = F.when(where, col(f"_lk_b{i}"))
    if not has_map(history.unit_type(i)):
        return F.max(box).over(window)
    return F.max_by(box, history.order(i, box)).over(window)


def _verdict(history: History) -> Column:
    """How an event of the batch counts (C8)."""
    units = range(len(history.units))
    wins = any_of(
        _said(i)
        & history.order(i, col(f"_lk_b{i}")).eqNullSafe(history.order(i, col(f"_lk_m{i}")))
        & ~history.order(i, col(f"_lk_b{i}")).eqNullSafe(history.order(i, col(f"_lk_k{i}")))
        for i in units
    )
    upsert = (
        F.when(col("_lk_same") & ~col("_lk_dead_known"), DUPLICATE)
        .when(col(DEAD), STALE)
        .when(wins | (~col("_lk_known") & ~any_of(map(_said, units))), APPLIED)
        .otherwise(STALE)
    )
    removal = F.when(col("_lk_buried"), DUPLICATE).otherwise(APPLIED)
    return (
        F.when(col("_lk_beyond"), BEYOND).when(col("_lk_tied"), TIED).when(col(OP) == DELETE, removal).otherwise(upsert)
    )


def _states(history: History, weighed: DataFrame) -> DataFrame:
    """One row for each key and sequence: dead, alive with the boxes that its events author, or void."""
    at_sequence = _at_sequence(history)
    here = whole(at_sequence)
    verdict = col("_lk_verdict")
    counted = weighed.withColumns(
        {
            "_lk_n": F.row_number().over(at_sequence),
            "_lk_old": F.first(OLD, ignorenulls=True).over(here),
            "_lk_news": F.count_if((verdict == APPLIED) & (col(OP) == UPSERT)).over(here),
            "_lk_burial": F.count_if((verdict == APPLIED) & (col(OP) == DELETE)).over(here),
            "_lk_shown": _any(col(SOURCE) == SHOWN, here),
            "_lk_row": _any(col(SOURCE) == ROW, here),
            **{f"_lk_is_{v}": F.count_if(verdict == v).over(here) for v in VERDICTS},
        }
    ).where("_lk_n = 1")
    one = counted.withColumn("_lk_alive", col("_lk_alive") & ~col(DEAD))
    units = [f"_lk_{kind}{i}" for i in range(len(history.units)) for kind in "mk"]
    kept = [SEQ, DEAD, "_lk_alive", "_lk_authored", "_lk_shown", "_lk_row", "_lk_news", "_lk_burial", *units]
    verdicts = [f"_lk_is_{v}" for v in VERDICTS]
    kept += [LATE] if LATE in weighed.columns else []
    lone = one.select(*map(col, history.keys), *map(col, kept), col("_lk_old").alias(OLD), *map(col, verdicts))
    return lone.withColumn("_lk_pos", history.position(col(SEQ)))


def _versions(history: History, states: DataFrame, *, lanes: bool) -> DataFrame:
    """Order the states of each key and find where versions start and end, and what becomes of the rows that stand."""
    keys = list(map(quoted, history.keys))
    if lanes:
        states = _into_lanes(history, states)
    in_order = Window.partitionBy(*keys, *([HIDE] if lanes else [])).orderBy(SEQ)
    so_far = in_order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    valued = _inherit(history, states if lanes else states.withColumn(HIDE, F.lit(False)))
    tracked = _tracked(history)
    before, after = F.lag("_lk_alive").over(in_order), F.lead("_lk_alive").over(in_order)
    same = F.lag(tracked).over(in_order).eqNullSafe(tracked) if history.track else F.lit(True)
    alike = F.lead(tracked).over(in_order).eqNullSafe(tracked) if history.track else F.lit(True)
    alive = col("_lk_alive") & ~col(HIDE)
    found = valued.withColumns(
        {
            STARTS: alive & ~(F.coalesce(before, F.lit(False)) & same),
            LAST: alive & ~(F.coalesce(after, F.lit(False)) & alike),
            TO: F.lead("_lk_pos").over(in_order),
        }
    )
    found = found.withColumns(
        {
            FROM: F.max(F.when(col(STARTS), col("_lk_pos"))).over(so_far),
            "_lk_number": F.sum(col(STARTS).cast("int")).over(so_far) + _numbered(history, whole(in_order)),
            BEFORE: F.last(F.when(col(STARTS), F.struct(col(OLD).alias("old"))), ignorenulls=True).over(so_far).getField("old"),
            **_carried(history, whole(in_order)),
        }
    )
    return _acted(history, found)


def _into_lanes(history: History, states: DataFrame) -> DataFrame:
    """Put aside the states that take no part: void ones, and of one position all but the last."""
    void = ~col("_lk_alive") & ~col(DEAD)
    states = states.withColumn("_lk_void", void)
    if not history.coarse:
        return states.withColumn(HIDE, col("_lk_void")).drop("_lk_void")
    at_position = Window.partitionBy(*map(quoted, history.keys), "_lk_pos").orderBy(col("_lk_void").desc(), SEQ)
    everyone = whole(at_position)
    shadowed = F.lead(F.lit(True)).over(at_position).isNotNull()
    moved = states.withColumns({HIDE: col("_lk_void") | shadowed, "_lk_olds": F.first(OLD, ignorenulls=True).over(everyone)})
    return moved.withColumn(OLD, F.when(~col(HIDE), col("_lk_olds"))).drop("_lk_olds", "_lk_void")


def _inherit(history: History, states: DataFrame) -> DataFrame:
    """The value of each unit at each state: what its events author, else what the key's life has had so far."""
    units = range(len(history.units))
    if not history.partial:
        return states.withColumns({f"_lk_v{i}": col(f"_lk_m{i}") for i in units})
    ordered = Window.partitionBy(*map(quoted, history.keys)).orderBy(SEQ).rowsBetween(Window.unboundedPreceding, Window.currentRow)
    lives = states.withColumn("_lk_life", F.sum(col(DEAD).cast("int")).over(ordered))
    life = Window.partitionBy(*map(quoted, history.keys), "_lk_life").orderBy(SEQ)
    so_far = life.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    said = {f"_lk_v{i}": F.last(F.when(col("_lk_alive"), col(f"_lk_m{i}")), ignorenulls=True).over(so_far) for i in units}
    return lives.withColumns(said).drop("_lk_life")


def _tracked(history: History) -> Column:
    values = [comparable(history.value(c), history.types[c]).alias(f"c{i}") for i, c in enumerate(history.track)]
    return F.struct(*values) if values else F.lit(True)


def _numbered(history: History, key: WindowSpec) -> Column:
    """How many versions of the key lie before those that were looked at."""
    if history.version is None:
        return F.lit(0)
    return F.coalesce(F.min(col(OLD)["row"].getField(history.version)).over(key) - 1, F.lit(0))


def _carried(history: History, key: WindowSpec) -> dict[str, Column]:
    """The last known value of each column that every version of a key carries."""
    alive = col("_lk_alive") & ~col(HIDE)
    return {
        f"_lk_c{i}": F.last(F.when(alive, F.struct(history.value(c).alias("v"))), ignorenulls=True).over(key).getField("v")
        for i, c in enumerate(history.carried.values())
    }


def _acted(history: History, found: DataFrame) -> DataFrame:
    """What happens to the row at each version's start, and to rows where no version starts any more."""
    stands = col(BEFORE).isNotNull()
    was_open = col(BEFORE)["to"].isNull()
    ends = F.when(col(LAST), col(TO))
    cut = stands & ends.isNotNull() & (was_open | (ends < col(BEFORE)["to"]))
    swallowed = ends <= history.position(col(BEFORE)["at"])
    moved = any_of(~_same(history, name, value) for name, value in stored(history).items() if name != history.valid_from)
    action = F.when(~col(LAST), NOTHING).when(~stands, INSERT).when(moved, UPDATE).otherwise(NOTHING)
    return found.withColumns(
        {
            ACTION: action,
            CUT: F.when(col(LAST) & cut, F.when(was_open & ~F.coalesce(swallowed, F.lit(False)), CLOSED).otherwise(SPLIT)),
            GONE: col(OLD).isNotNull() & ~col(STARTS),
            NULLED: sum((col(f"_lk_v{i}").isNull().cast("int") for i in range(len(history.units))), F.lit(0)),
        }
    )


def _same(history: History, name: str, value: Column) -> Column:
    kind = history.types[name]
    return comparable(col(BEFORE)["row"].getField(name), kind).eqNullSafe(comparable(value, kind))


def stored(history: History) -> dict[str, Column]:
    """The columns of a version's row beside its keys, out of a settled frame."""
    ends = F.when(col(LAST), col(TO))
    columns = {c: history.value(c) for c in history.payload}
    columns |= {c: col(SEQ).getField(c) for c in history.kept_sequence}
    columns |= {history.valid_from: col(FROM), history.valid_to: F.coalesce(ends, F.expr(history.end)) if history.end else ends}
    if history.current:
        columns[history.current] = ends.isNull()
    if history.version:
        columns[history.version] = col("_lk_number").cast(history.types[history.version])
    columns |= {name: col(f"_lk_c{i}") for i, name in enumerate(history.carried)}
    if not history.in_row:
        columns[HIDDEN] = F.struct(col(SEQ).alias(STORED_SEQ))
    return columns


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
    counts = F.lit(True) if history.partial else ~col(HIDE)
    needed = col("_lk_alive") & counts & (~apart | ~whole_event | col("_lk_authored"))
    said = col("_lk_authored") | col("_lk_shown")
    return needed & ((col("_lk_news") > 0) | (~said & col("_lk_row")))


def burial_news(history: History) -> Column:
    """Whether the journal must learn a delete."""
    return (col("_lk_burial") > 0) & (F.lit(True) if history.partial else ~col(HIDE))


def tally(history: History, settled: DataFrame) -> DataFrame:
    """One row that counts the verdicts, the effects on rows and what the journal must learn."""
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
    nulled = F.sum(F.when((col(ACTION) != NOTHING) & (col("_lk_news") > 0), col(NULLED)))
    summed = {**counts, "markers_nulled": nulled}
    return settled.agg(
        *(F.coalesce(value, F.lit(0)).alias(name) for name, value in summed.items()),
        *(F.count_if(condition).alias(name) for name, condition in effects.items()),
        F.count_if(col(LATE)).alias("late") if LATE in settled.columns else F.lit(0).alias("late"),
    )
