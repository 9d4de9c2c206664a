"""snapshot: a full load compared with what stands, as a change feed that has the deletes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.changes import DELETE, OP, RAW, REASON, RESERVED, UPSERT, ChangeFeed, changes
from lakekit.columns import all_of, any_of, as_condition, col, find, fit, fitting, instant, same_type, same_value
from lakekit.errors import ConfigError, FeedError
from lakekit.guard import Guard
from lakekit.rows import HasRows, rows_now
from lakekit.sources import common, snapshot_guard
from lakekit.sources.snapshot_guard import DELETED, FRESH, LATER, NEW, OUTSIDE, PAIRS, ROWS, SAME, STOOD, UNREADABLE

At = str | int | date | datetime
_Moment = int | datetime
_HERE, _KEY, _WAS, _FITTED, _CHANGED, _IS_NEW = "_lk_here", "_lk_k", "_lk_p", "_lk_f", "_lk_changed", "_lk_is_new"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def snapshot(
    previous: DataFrame | HasRows | None,
    current: DataFrame | ChangeFeed,
    *,
    keys: str | Sequence[str],
    at: At,
    sequence: str = "snapshot_at",
    scope: str | Column | None = None,
    max_delete_fraction: float = 0.2,
    allow_mass_delete: bool = False,
    previous_at: At | None = None,
    compare: Sequence[str] | None = None,
    except_columns: str | Sequence[str] = (),
) -> ChangeFeed:
    """Compare a full load with what stands: one event for each key that is new, differs, or is no longer there.

    *previous* is the table that the feed is for (its rows now; of a table of versions those that are true now), or a frame such as
    yesterday's load; ``None``, or a table that does not exist, is empty. *current* is the full load: a frame with one row a key, or what
    a reader gives (its bad rows stay bad; a bad row whose key is known deletes nothing). A key that *current* lacks is deleted.

    *at* is the time of the load: ISO text or ``datetime`` (UTC where it names no zone), ``date``, or a number. It becomes the
    column *sequence* of every event. Compared are the columns of *current* (or *compare*) by value, whatever types they have:
    NULL = NULL, NaN = NaN, -0.0 = 0.0, arrays in order, maps as sets, text as what it spells where *previous* holds no text. A column
    that *previous* lacks is NULL there; one that *current* lacks keeps its value. *except_columns* of *current* are left out.

    *scope* is an SQL condition for a load of a part (``"region = 'EU'"``): only what meets it can be deleted.

    Guards, counted while the verb evaluates the feed, raise ``DataRejected`` before it writes: no row at all; a key that stands more
    than once; a row outside of *scope*; an *at* that is not newer than *previous* shows in *sequence*, or than *previous_at* (the same
    load again, which changes nothing, passes); unreadable rows while keys are missing; and more than *max_delete_fraction* of the keys
    missing, unless *allow_mass_delete*, which also lets an empty load delete everything.

    One full outer join, each side read and shuffled once; evaluates nothing by itself. Raises ``FeedError`` for missing columns and for
    a *current* that holds changes, ``SchemaConflict`` for types that never fit, ``ConfigError`` for arguments that make no sense.

    >>> yesterday = spark.createDataFrame([(1, "Ann"), (2, "Bob"), (3, "Cid")], "id int, name string")
    >>> today = spark.createDataFrame([(1, "Ann"), (2, "Rob"), (4, "Dee")], "id int, name string")
    >>> feed = snapshot(yesterday, today, keys="id", at="2024-06-02", max_delete_fraction=0.5)
    >>> feed.df.select("id", "name", "_lk_op").sort("id").show()
    +---+----+------+
    | id|name|_lk_op|
    +---+----+------+
    |  2| Rob|upsert|
    |  3|NULL|delete|
    |  4| Dee|upsert|
    +---+----+------+
    """
    load, unordered = _load(current, except_columns)
    names = _named(load, keys, "keys")
    if find(load.columns, sequence) is not None:
        raise FeedError(f"the snapshot has a column {sequence} of its own, where its time would go. Name another: sequence='…'.")
    if not 0 <= max_delete_fraction <= 1:
        raise ConfigError(f"max_delete_fraction is {max_delete_fraction}; it must be between 0 and 1.")
    moment, last = _moment("at", at), None if previous_at is None else _moment("previous_at", previous_at)
    stands = rows_now(previous)
    stood = load.limit(0) if stands is None else stands if scope is None else stands.where(as_condition(scope))
    identity = [_Pair.of(load, stood, i, name) for i, name in enumerate(names)]
    content = [_Pair.of(load, stood, i, name) for i, name in enumerate(_compared(load, names, unordered, compare))]
    missing = [pair.name for pair in identity if pair.theirs is None]
    if missing:
        raise FeedError(f"keys: what stands has no column {', '.join(missing)}. It has: {', '.join(stood.columns)}.")
    counts = () if stands is None else _counts_before(stood, sequence, moment)  # of nothing, so that no join is planned for it
    events = _events(load, _now(load, identity, scope), _before(stood, identity, content, counts), identity, content)
    policy = snapshot_guard.Policy(
        sequence, max_delete_fraction, allow_mass_delete, _order(moment, last), _duplicates(load, stood, identity)
    )
    feed = changes(events.withColumn(sequence, _literal(moment)), keys=names, sequence_by=sequence, source="snapshot")
    return replace(feed, guard=Guard(partial(snapshot_guard.check, policy)))


@dataclass(frozen=True)
class _Pair:
    """A column of the load beside the one of its name that stands; its place gives helper columns their names."""

    place: int
    name: str
    theirs: str | None
    source: T.DataType
    target: T.DataType

    @classmethod
    def of(cls, load: DataFrame, stood: DataFrame, place: int, name: str) -> _Pair:
        theirs, source = find(stood.columns, name), load.schema[name].dataType
        return cls(place, name, theirs, source, source if theirs is None else stood.schema[theirs].dataType)

    @property
    def key(self) -> str:
        """The column that holds the load's key in the type that stands."""
        return self.name if same_type(self.source, self.target) else f"{_FITTED}{self.place}"

    def fitted(self) -> Column:
        """The load's value in the type that stands; NULL where that cannot hold it."""
        return fitting(fit(self.name, self.source, self.target))

    def same(self) -> Column:
        """Whether the load's value is the one that stood."""
        if self.theirs is None:
            return col(self.name).isNull()
        return same_value(self.name, self.source, f"{_WAS}{self.place}", self.target)


def _now(load: DataFrame, identity: Sequence[_Pair], scope: str | Column | None) -> DataFrame:
    """The load with its keys in the types that stand, counted."""
    outside = F.lit(False) if scope is None else ~F.coalesce(as_condition(scope), F.lit(False))
    counted = load.observe("_lk_now", F.count(F.lit(1)).alias(ROWS), F.count_if(outside).alias(OUTSIDE))
    return counted.withColumns({_HERE: F.lit(True), **{pair.key: pair.fitted() for pair in identity if pair.key != pair.name}})


def _before(stood: DataFrame, identity: Sequence[_Pair], content: Sequence[_Pair], counts: Sequence[Column]) -> DataFrame:
    """What stood, counted: keys and compared columns under names of their own. A row without a key stands for nothing."""
    rows = stood.where(all_of(col(str(pair.theirs)).isNotNull() for pair in identity))
    rows = rows.observe("_lk_before", *counts) if counts else rows
    keys = [col(str(pair.theirs)).alias(f"{_KEY}{pair.place}") for pair in identity]
    return rows.select(*keys, *(col(pair.theirs).alias(f"{_WAS}{pair.place}") for pair in content if pair.theirs))


def _events(load: DataFrame, now: DataFrame, before: DataFrame, identity: Sequence[_Pair], content: Sequence[_Pair]) -> DataFrame:
    """The full outer join without the rows that are the same on both sides, counted.

    Keys compare with ``=``: none that stands is NULL, and a NULL key of the load, a bad row, must match nothing. (``<=>`` would sort by
    twice as many columns.) Rows are counted between the join and the filter, and those that the filter drops are emptied before:
    counting ends Spark's generated code, so that each counted row is written out.
    """
    joined = now.join(before, all_of(col(pair.key) == col(f"{_KEY}{pair.place}") for pair in identity), "full_outer")
    here, there = col(_HERE).isNotNull(), col(f"{_KEY}0").isNotNull()
    same = all_of([here, there, _reason(load).isNull(), *(pair.same() for pair in content)])
    judged = joined.select("*", (~F.coalesce(same, F.lit(False))).alias(_CHANGED))
    keys = {pair.name: F.coalesce(col(pair.key), col(f"{_KEY}{pair.place}")) for pair in identity}
    columns = {name: keys.get(name, col(name)) for name in load.columns if name not in RESERVED} | _badness(load, identity)
    told = judged.select(
        *(F.when(col(_CHANGED), value).alias(name) for name, value in columns.items()),
        F.when(here, F.lit(UPSERT)).otherwise(F.lit(DELETE)).alias(OP),
        (here & ~there).alias(_IS_NEW),
        _CHANGED,
    )
    return told.observe("_lk_joined", *_counts(told, identity)).where(col(_CHANGED)).drop(_CHANGED, _IS_NEW)


def _counts(told: DataFrame, identity: Sequence[_Pair]) -> list[Column]:
    keyless = any_of(col(pair.name).isNull() for pair in identity)
    return [
        F.count(F.lit(1)).alias(PAIRS),
        F.count_if(col(_IS_NEW)).alias(NEW),
        F.count_if(col(OP) == DELETE).alias(DELETED),
        F.count_if(col(_CHANGED) & ~keyless & _reason(told).isNull()).alias(FRESH),
        F.count_if(col(_CHANGED) & keyless & _reason(told).isNotNull()).alias(UNREADABLE),
    ]


def _reason(df: DataFrame) -> Column:
    return col(REASON) if REASON in df.columns else F.lit(None).cast("string")


def _badness(load: DataFrame, identity: Sequence[_Pair]) -> dict[str, Column]:
    """Why a row is bad, and its raw content: as its reader says, or because its key is of another type than the keys that stand."""
    cast = [pair for pair in identity if pair.key != pair.name]
    if not cast and REASON not in load.columns:
        return {}
    misfits = [
        F.when(col(pair.name).isNotNull() & col(pair.key).isNull(), F.lit(f"key column {pair.name}: not a {pair.target.simpleString()}"))
        for pair in cast
    ]
    reason = F.coalesce(_reason(load), *misfits)
    raw = [col(RAW)] if RAW in load.columns else []
    return {REASON: reason, RAW: F.when(reason.isNotNull(), F.coalesce(*raw, common.as_json(load)))}


def _load(current: DataFrame | ChangeFeed, except_columns: str | Sequence[str]) -> tuple[DataFrame, tuple[str, ...]]:
    """The full load's own rows, and the columns that are no content."""
    unordered: tuple[str, ...] = ()
    if isinstance(current, DataFrame):
        df, events = current, OP in current.columns
    else:
        df, unordered = current.df.drop(*current.except_columns), current.sequence_by
        whens = (current.delete_when, current.truncate_when, current.upsert_when)
        events = OP in df.columns or current.partial or any(when is not None for when in whens)
    if events:
        raise FeedError("current holds changes, not the rows of a full load: upsert it as it is.")
    return df.drop(*_named(df, except_columns, "except_columns")), unordered


def _named(df: DataFrame, names: str | Sequence[str], role: str) -> tuple[str, ...]:
    wanted = (names,) if isinstance(names, str) else tuple(names)
    missing = [name for name in wanted if find(df.columns, name) is None]
    if missing:
        raise FeedError(f"{role}: there is no column {', '.join(missing)}. There are: {', '.join(common.visible(df.columns))}.")
    return tuple(hit for name in wanted if (hit := find(df.columns, name)))


def _compared(load: DataFrame, keys: tuple[str, ...], unordered: tuple[str, ...], compare: Sequence[str] | None) -> tuple[str, ...]:
    if compare is not None:
        return _named(load, compare, "compare")
    return tuple(c for c in load.columns if c not in keys and c not in unordered and c not in RESERVED)


def _counts_before(stood: DataFrame, sequence: str, at: _Moment) -> list[Column]:
    """How many rows stand, and how many of them know the load's time, or a later one."""
    name = find(stood.columns, sequence)
    known = F.lit(None).cast("bigint") if name is None else _known(name, stood.schema[name].dataType, at)
    when = F.lit(0) if name is None else _literal(at)
    return [F.count(F.lit(1)).alias(STOOD), F.count_if(known > when).alias(LATER), F.count_if(known == when).alias(SAME)]


def _known(name: str, data_type: T.DataType, at: _Moment) -> Column:
    if isinstance(at, int) == isinstance(data_type, T.NumericType):
        return col(name) if isinstance(at, int) else instant(name, data_type)
    raise FeedError(f"at is a {'number' if isinstance(at, int) else 'time'}, and {name} is {data_type.simpleString()} where it stands.")


def _moment(role: str, given: At) -> _Moment:
    """A number, or an instant; what names no zone is UTC."""
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    try:
        found = datetime.fromisoformat(given) if isinstance(given, str) else given
    except ValueError as error:
        raise ConfigError(f"{role} is no time. Write it as in 2024-05-01 or 2024-05-01T12:00:00Z.") from error
    if not isinstance(found, date):
        raise ConfigError(f"{role} must be a time (text, datetime, date) or a whole number, not {type(given).__name__}.")
    if not isinstance(found, datetime):
        found = datetime(found.year, found.month, found.day)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _literal(at: _Moment) -> Column:
    return F.lit(at).cast("bigint") if isinstance(at, int) else F.timestamp_micros(F.lit((at - _EPOCH) // timedelta(microseconds=1)))


def _order(at: _Moment, last: _Moment | None) -> int:
    """1 where *at* is later than *last* or nothing is known, 0 where it is the same, -1 where it is earlier."""
    if last is None:
        return 1
    if isinstance(at, int) and isinstance(last, int):
        return (at > last) - (at < last)
    if isinstance(at, datetime) and isinstance(last, datetime):
        return (at > last) - (at < last)
    raise ConfigError("at and previous_at must both be times, or both be numbers.")


def _duplicates(load: DataFrame, stood: DataFrame, identity: Sequence[_Pair]) -> dict[str, DataFrame]:
    """The keys that stand more than once, on either side, and how often."""
    mine = [col(pair.name).alias(f"k{pair.place}") for pair in identity]
    theirs = [col(str(pair.theirs)).alias(f"k{pair.place}") for pair in identity]
    return {"the snapshot": _repeated(load.select(*mine)), "what stands": _repeated(stood.select(*theirs))}


def _repeated(keys: DataFrame) -> DataFrame:
    names = keys.columns
    return keys.where(all_of(col(k).isNotNull() for k in names)).groupBy(*names).count().where("count > 1").select("count")
