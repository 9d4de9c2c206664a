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

from lakekit.cdc import ACTION, APPLIED, BEYOND, DUPLICATE, INSERT, NOTHING, STALE, TIED, UPDATE, whole
from lakekit.changes import HIDDEN, OP, SEQ, UPSERT
from lakekit.columns import all_of, any_of, col, comparable, has_map, quoted
from lakekit.fingerprint import fingerprint
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
HELD, GIVEN = "_lk_held", "_lk_given"
"""The key of the placeholder that a version took in; the keys that versions of the same key have."""

CLOSED, SPLIT = "closed", "split"
VERDICTS = (APPLIED, STALE, DUPLICATE, BEYOND, TIED)


@dataclass(frozen=True)
class History:
    """The shape of a type 2 table: its keys, what events author, what opens a version, and the columns that tell its interval.

    *coarse*: ``valid_from`` is a column of the feed and the first part of the sequence; of the events of one such value the last
    counts. *carried* columns hold, on every version, the last known value of another. *surrogate* and *durable* identify a version and
    its key by a fingerprint, *numbered* a version by a number. *inferred* tells rows of which nothing but the key is known. *whole*:
    every key needs all its versions; *previous* are columns whose value before the present one is asked for. *end* is SQL of the end
    of time, ``None`` for NULL. *later* are columns that were added after the first rows.
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
    whole: bool = False
    previous: tuple[str, ...] = ()
    surrogate: str | None = None
    numbered: str | None = None
    inferred: str | None = None
    durable: str | None = None
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

    @property
    def needs_all(self) -> bool:
        """Whether every key needs all its versions."""
        return self.whole or bool(self.carried)

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


def gathered(history: History, known: DataFrame, parts: int) -> DataFrame:
    """The one shuffle: all that is known of a key comes together."""
    return known.repartition(parts, *map(col, history.keys))


def settle(history: History, known: DataFrame, forgotten: Column | None, ties: str, doubt: Doubt | None = None) -> DataFrame:
    """Fold all that is known of some keys into one row for each key and sequence; see the module.

    *known*, one key in one partition (``gathered``), has the keys, ``_lk_seq``, ``_lk_op``, ``_lk_source``, one box for each unit and the
    row that stands (``_lk_was``, on the event of its ``valid_from`` only). With *doubt*, ``_lk_late`` marks keys that need more.
    """
    states = _states(history, _met(history, known), forgotten, ties)
    if doubt is not None:
        states = _mark_late(history, states, doubt)
    return _versions(history, states, lanes=_has_lanes(history, forgotten, ties))


@dataclass(frozen=True)
class Doubt:
    """What makes a key late beside its own row: *horizon*, the last truncation or what is forgotten; *closed*: a key without an open
    row needs its closed ones, because its versions are counted."""

    horizon: Column | None = None
    closed: bool = False
    all_keys: bool = False


def _has_lanes(history: History, forgotten: Column | None, ties: str) -> bool:
    """Whether some sequences take no part in the order of their key; else the sort need not know of them."""
    return history.coarse or forgotten is not None or ties == "quarantine"


def _met(history: History, known: DataFrame) -> DataFrame:
    """One row for each key and sequence: the batch's events there, and the most that is known beside them, unit by unit.

    What the journal says was authored; what a row shows may be inherited, so it counts only where the journal is silent; that a
    version began there counts only where nothing else is known.
    """
    source, upsert = col(SOURCE), col(OP) == UPSERT
    batch = source == BATCH
    weight = F.when(source == EVENT, 2).when(source.isin(ROW, SHOWN), 1).when(source == ANCHOR, 0)
    units = range(len(history.units))
    event = F.struct(F.lit(0).alias("_"), *(col(f"_lk_b{i}").alias(f"b{i}") for i in units))
    return known.groupBy(*map(col, history.keys), col(SEQ)).agg(
        F.collect_list(F.when(batch & upsert, event)).alias("_lk_events"),
        _ever(batch & ~upsert).alias("_lk_removed"),
        _ever(source == SWEEP).alias("_lk_swept"),
        _ever(source.isin(CLOSING, TOMB, TRUNCATED)).alias("_lk_ended"),
        _ever(source == TOMB).alias("_lk_buried"),
        _ever(source == SHOWN).alias("_lk_shown"),
        _ever(source == ROW).alias("_lk_row"),
        F.max(weight).alias("_lk_weight"),
        F.first(OLD, ignorenulls=True).alias(OLD),
        *(_heaviest(history, i, weight).alias(f"_lk_k{i}") for i in units),
    )


def _ever(condition: Column) -> Column:
    return F.coalesce(F.max(condition), F.lit(False))


def _heaviest(history: History, i: int, weight: Column) -> Column:
    box = col(f"_lk_b{i}")
    known = F.when(weight.isNotNull(), F.struct(weight.alias("w"), box.alias("b")))
    if not has_map(history.unit_type(i)):
        return F.max(known)["b"]
    return F.max_by(known, F.when(weight.isNotNull(), F.struct(weight.alias("w"), history.order(i, box).alias("b"))))["b"]


def _states(history: History, met: DataFrame, forgotten: Column | None, ties: str) -> DataFrame:
    """What each event of the batch is beside what is known, and what a key is at each sequence: dead, alive with boxes, or void."""
    known = F.coalesce(col("_lk_weight") > 0, F.lit(False))
    told = {i: F.when(known, col(f"_lk_k{i}")) for i in range(len(history.units))}
    old = F.coalesce(col(SEQ) <= forgotten, F.lit(False)) if forgotten is not None else F.lit(False)
    looked = _looked_at(history, met, known, told, old, ties)
    found = _judged(history, _merged(history, looked, known, told, old), known, told, old)
    return found.drop("_lk_events", "_lk_taken", "_lk_verdicts", "_lk_removal", "_lk_weight", "_lk_ended", "_lk_swept", "_lk_removed")


def _equal(history: History, i: int, one: Column, other: Column) -> Column:
    return history.order(i, one).eqNullSafe(history.order(i, other))


def _looked_at(history: History, met: DataFrame, known: Column, told: Mapping[int, Column], old: Column, ties: str) -> DataFrame:
    """Each event with whether it says just what is known, is forgotten, or is tied; and those that count (``_lk_taken``)."""
    units = range(len(history.units))
    ends = col("_lk_ended") | col("_lk_swept") | col("_lk_removed")

    def first_look(event: Column) -> Column:
        same = known & all_of(event[f"b{i}"].isNull() | _equal(history, i, event[f"b{i}"], told[i]) for i in units)
        beyond = old & ~same
        differs = any_of(event[f"b{i}"].isNotNull() & told[i].isNotNull() & ~_equal(history, i, event[f"b{i}"], told[i]) for i in units)
        tied = differs & ~ends & ~beyond if ties != "content" else F.lit(False)
        boxes = [event[f"b{i}"].alias(f"b{i}") for i in units]
        return F.struct(same.alias("same"), beyond.alias("beyond"), tied.alias("tied"), *boxes)

    looked = met.withColumn("_lk_events", F.transform("_lk_events", first_look))
    return looked.withColumn("_lk_taken", F.filter("_lk_events", lambda e: ~e["beyond"] & ~e["tied"]))


def _merged(history: History, looked: DataFrame, known: Column, told: Mapping[int, Column], old: Column) -> DataFrame:
    """What the sequence amounts to: its boxes, whether the key is dead there or alive, whether the journal says so already."""
    only_began = (col("_lk_weight") == 0) & (F.size("_lk_taken") == 0)
    merged = {
        f"_lk_m{i}": F.when(only_began, col(f"_lk_k{i}")).otherwise(_largest(history, i, col("_lk_taken"), box)) for i, box in told.items()
    }
    dead = col("_lk_ended") | col("_lk_swept") | (col("_lk_removed") & ~_unheard(old))
    alive = known | F.coalesce(only_began, F.lit(False)) | (F.size("_lk_taken") > 0)
    authored = F.coalesce(col("_lk_weight") == 2, F.lit(False))
    return looked.withColumns({**merged, DEAD: dead, "_lk_alive": alive & ~dead, "_lk_authored": authored})


def _unheard(old: Column) -> Column:
    """Whether a delete of the batch is forgotten."""
    return old & ~col("_lk_buried")


def _judged(history: History, merged: DataFrame, known: Column, told: Mapping[int, Column], old: Column) -> DataFrame:
    """The verdicts on the batch's events, counted, and what is news of them."""
    units = range(len(history.units))

    def verdict(event: Column) -> Column:
        said = [event[f"b{i}"].isNotNull() for i in units]
        wins = any_of(
            said[i] & _equal(history, i, event[f"b{i}"], col(f"_lk_m{i}")) & ~_equal(history, i, event[f"b{i}"], told[i]) for i in units
        )
        return (
            F.when(event["beyond"], BEYOND)
            .when(event["tied"], TIED)
            .when(event["same"] & ~col("_lk_ended"), DUPLICATE)
            .when(col(DEAD), STALE)
            .when(wins | (~known & ~any_of(said)), APPLIED)
            .otherwise(STALE)
        )

    removal = F.when(~col("_lk_removed"), "").when(_unheard(old), BEYOND).when(col("_lk_buried"), DUPLICATE).otherwise(APPLIED)
    found = merged.withColumns({"_lk_verdicts": F.transform("_lk_events", verdict), "_lk_removal": removal})

    def count(verdict: str) -> Column:
        return F.size(F.filter("_lk_verdicts", lambda v: v == verdict))

    return found.withColumns(
        {
            **{f"_lk_is_{v}": count(v) + (col("_lk_removal") == v).cast("int") for v in VERDICTS},
            "_lk_news": count(APPLIED),
            "_lk_burial": (col("_lk_removal") == APPLIED).cast("int"),
            "_lk_disputed": col("_lk_row") & (col("_lk_removed") | F.exists("_lk_events", lambda e: ~e["same"])),
            "_lk_batch": col("_lk_removed") | (F.size("_lk_events") > 0),
            "_lk_pos": history.position(col(SEQ)),
        }
    )


def _largest(history: History, i: int, taken: Column, known: Column) -> Column:
    """The largest of the boxes of some events and of what is known."""
    boxes = F.filter(F.concat(F.transform(taken, lambda e: e[f"b{i}"]), F.array(known)), lambda b: b.isNotNull())
    if not has_map(history.unit_type(i)):
        return F.array_max(boxes)
    kind = history.unit_type(i)
    return F.aggregate(
        boxes,
        F.lit(None).cast(kind),
        lambda a, b: F.when(a.isNull() | (comparable(b, kind) > comparable(a, kind)), b).otherwise(a),
    )


def _mark_late(history: History, states: DataFrame, doubt: Doubt) -> DataFrame:
    """Say of each key whether its events need more than its open row: ``_lk_late``.

    They do when one is not newer than all that is known, and is not just what the row says already: whatever takes the place of the
    row's last event may uncover what that had hidden.
    """
    if doubt.all_keys:
        return states.withColumn(LATE, F.lit(True))
    key = whole(Window.partitionBy(*map(quoted, history.keys)).orderBy(SEQ))  # in the order that the versions need too: one sort

    def of(flag: str, fold: Callable[[Column], Column]) -> Column:
        return fold(F.when(col(flag), col(SEQ))).over(key)

    first, standing, buried = of("_lk_batch", F.min), of("_lk_row", F.max), of("_lk_buried", F.max)

    def reaches(known: Column, strictly: bool = False) -> Column:
        """Whether the first event is not newer; of one business time the last event counts, so that one may undo another there."""
        if history.coarse:
            return F.coalesce(history.position(first) <= history.position(known), F.lit(False))
        return F.coalesce(first < known if strictly else first <= known, F.lit(False))

    late = reaches(standing, strictly=not history.partial) | reaches(buried, strictly=True) | F.max("_lk_disputed").over(key)
    if doubt.horizon is not None:
        late = late | reaches(doubt.horizon)
    return states.withColumn(LATE, late | standing.isNull() if doubt.closed else late)


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
            **_held(history, so_far, whole(in_order)),
        }
    )
    found = _before_present(history, found)
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
    if not history.partial and not history.inferred:
        return states.withColumns({f"_lk_v{i}": col(f"_lk_m{i}") for i in units})
    ordered = Window.partitionBy(*map(quoted, history.keys)).orderBy(SEQ).rowsBetween(Window.unboundedPreceding, Window.currentRow)
    lives = states.withColumn("_lk_life", F.sum(col(DEAD).cast("int")).over(ordered))
    life = Window.partitionBy(*map(quoted, history.keys), "_lk_life").orderBy(SEQ)
    so_far = life.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    said = {f"_lk_v{i}": F.last(F.when(col("_lk_alive"), col(f"_lk_m{i}")), ignorenulls=True).over(so_far) for i in units}
    valued = lives.withColumns(said)
    return (_foretold(history, valued, life) if history.inferred else valued).drop("_lk_life")


def _foretold(history: History, valued: DataFrame, life: WindowSpec) -> DataFrame:
    """States of which nothing is known yet take the values of the first event that tells any: it fills them, and opens no version."""
    units = range(len(history.units))
    nothing = all_of(col(f"_lk_v{i}").isNull() for i in units)
    told = F.when(~nothing, F.struct(F.lit(0).alias("_"), *(col(f"_lk_v{i}").alias(f"v{i}") for i in units)))
    later = F.first(told, ignorenulls=True).over(life.rowsBetween(1, Window.unboundedFollowing))
    seen = valued.withColumn("_lk_later", F.when(col("_lk_alive") & nothing, later))
    filled = {f"_lk_v{i}": F.coalesce(col(f"_lk_v{i}"), col("_lk_later")[f"v{i}"]) for i in units}
    return seen.withColumns(filled).drop("_lk_later")


def _tracked(history: History) -> Column:
    values = [comparable(history.value(c), history.types[c]).alias(f"c{i}") for i, c in enumerate(history.track)]
    return F.struct(*values) if values else F.lit(True)


def _before_present(history: History, states: DataFrame) -> DataFrame:
    """The value that each asked column had before the one that it has, in the same life of the key: ``_lk_p<i>``."""
    if not history.previous:
        return states
    keys = list(map(quoted, history.keys))
    so_far = Window.partitionBy(*keys, HIDE).orderBy(SEQ).rowsBetween(Window.unboundedPreceding, Window.currentRow)
    life = Window.partitionBy(*keys, HIDE, "_lk_life").orderBy(SEQ)
    lived = states.withColumn("_lk_life", F.sum(col(DEAD).cast("int")).over(so_far))
    boxes = {f"_lk_p{i}": F.when(col("_lk_alive"), F.struct(history.value(c).alias("v"))) for i, c in enumerate(history.previous)}
    lived = lived.withColumns(boxes)
    kinds = {f"_lk_p{i}": T.StructType([T.StructField("v", history.types[c])]) for i, c in enumerate(history.previous)}
    other = {
        name: F.when(~comparable(F.lag(name).over(life), kind).eqNullSafe(comparable(col(name), kind)), F.lag(name).over(life))
        for name, kind in kinds.items()
    }
    moved = lived.withColumns(other)
    until_now = life.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    return moved.withColumns({name: F.last(name, ignorenulls=True).over(until_now) for name in kinds}).drop("_lk_life")


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


def _held(history: History, so_far: WindowSpec, key: WindowSpec) -> dict[str, Column]:
    """The key that a version takes over from a placeholder by beginning before it: facts carry that key already."""
    named = history.surrogate or history.numbered
    if not history.inferred or not named:
        return {}
    row = col(OLD)["row"]
    nothing = F.struct(F.lit(None).cast(history.types[named]).alias("key"))
    taken = F.when(col(STARTS), nothing).when(row.getField(history.inferred), F.struct(row.getField(named).alias("key")))
    given = {GIVEN: F.collect_set(row.getField(named)).over(key)} if history.surrogate else {}
    return {HELD: F.last(taken, ignorenulls=True).over(so_far).getField("key"), **given}


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
    if history.surrogate:
        columns[history.surrogate] = _hashed(history, history.surrogate)
    if history.numbered:
        given = col(BEFORE)["row"].getField(history.numbered)
        columns[history.numbered] = F.coalesce(given, col(HELD)) if history.inferred else given
    if history.inferred:
        columns[history.inferred] = ~any_of(col(f"_lk_v{i}").isNotNull() for i in range(len(history.units)))
    if history.durable:
        columns[history.durable] = fingerprint(history.keys, history.types)
    if not history.in_row:
        columns[HIDDEN] = F.struct(col(SEQ).alias(STORED_SEQ))
    return columns


def _hashed(history: History, name: str) -> Column:
    """The key of a version: what it had, or took over from a placeholder, else 128 bits that none of its neighbours has."""
    types = {**history.types, FROM: history.position_type}
    plain = fingerprint([*history.keys, FROM], types)
    if not history.inferred:
        return plain
    # Where a placeholder began another version may hold its key, if that was taken over by one that began before.
    fresh = F.when(F.array_contains(GIVEN, plain), fingerprint([*history.keys, FROM, FROM], types)).otherwise(plain)
    return F.coalesce(col(BEFORE)["row"].getField(name), col(HELD), fresh)
