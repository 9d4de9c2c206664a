"""ChangeFeed: incoming changes, many rows per key, and the canonical events they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.columns import all_of, any_of, as_condition, canonical_float, check_condition, col, find, fit, quoted
from lakekit.errors import FeedError, SchemaConflict
from lakekit.guard import Guard

OP, REASON, RAW, ABSENT = "_lk_op", "_lk_reason", "_lk_raw", "_lk_absent"
"""Reserved columns that a reader may put into its frame; see ``changes``."""

SEQ = "_lk_seq"
"""The sequence of a canonical event: one struct with the fields of ``sequence_by``, NULL lowest."""

UPSERT, DELETE, TRUNCATE, IGNORE = "upsert", "delete", "truncate", "ignore"
RESERVED = (OP, REASON, RAW, ABSENT)
HIDDEN = "_lakekit"
_NO_LOSS = "a value that its type in the table cannot hold without loss"
Refusal = tuple[Callable[[Column], Column], str]
"""Whether a value is one that the table cannot hold, and why in words."""
Ties = Literal["fail", "quarantine", "content"]


@dataclass(frozen=True)
class ChangeFeed:
    """A described frame of changes: what identifies a row, what orders its changes, what each change does.

    Made by ``lakekit.changes`` or a reader of ``lakekit.sources``. Holding one evaluates nothing. A reader's *guard* may refuse the
    feed as a whole once it is evaluated, before anything is written.
    """

    df: DataFrame
    keys: tuple[str, ...]
    sequence_by: tuple[str, ...]
    delete_when: str | Column | None = None
    upsert_when: str | Column | None = None
    truncate_when: str | Column | None = None
    except_columns: tuple[str, ...] = ()
    ignore_nulls: bool | tuple[str, ...] = False
    unchanged: str | None = None
    ties: Ties = "fail"
    source: str | None = None
    guard: Guard | None = None

    @cached_property
    def schema(self) -> T.StructType:
        """The columns that reach the table: everything but the excluded and the reserved ones."""
        gone = {c.lower() for c in (*self.except_columns, *RESERVED)}
        return T.StructType([T.StructField(f.name, f.dataType, True) for f in self.df.schema.fields if f.name.lower() not in gone])

    @property
    def columns(self) -> list[str]:
        """Names of the columns that reach the table."""
        return self.schema.names

    @property
    def keeps_sequence(self) -> bool:
        """Whether every sequence column stays in the table, so that a row tells its own sequence."""
        return all(c in self.columns for c in self.sequence_by)

    @property
    def partial(self) -> bool:
        """Whether an event may leave a column unauthored."""
        return bool(self.ignore_nulls) or self.unchanged is not None or ABSENT in self.df.columns

    @property
    def sequence_type(self) -> T.StructType:
        """The type of ``_lk_seq``: one nullable field for each sequence column."""
        return T.StructType([T.StructField(c, self.df.schema[c].dataType, True) for c in self.sequence_by])

    @property
    def payload(self) -> list[str]:
        """Columns whose values an event authors: all but the keys and the sequence."""
        return [c for c in self.columns if c not in self.keys and c not in self.sequence_by]

    def with_frame(self, df: DataFrame) -> ChangeFeed:
        """The same description over another frame of the same columns."""
        return replace(self, df=df)


def changes(
    df: DataFrame,
    *,
    keys: str | Sequence[str],
    sequence_by: str | Sequence[str],
    delete_when: str | Column | None = None,
    upsert_when: str | Column | None = None,
    truncate_when: str | Column | None = None,
    except_columns: str | Sequence[str] = (),
    ignore_nulls: bool | str | Sequence[str] = False,
    unchanged: str | None = None,
    ties: Ties = "fail",
    source: str | None = None,
) -> ChangeFeed:
    """Describe a frame of changes: one row an event, any number of events a key, in any order.

    ``keys`` identify a row, ``sequence_by`` orders the changes of one key (a typed tuple, NULL lowest). ``delete_when`` and
    ``truncate_when`` are SQL conditions; a NULL condition means upsert, unless ``upsert_when`` is given: then a row that meets
    no condition is bad. ``except_columns`` do not reach the table. With ``ignore_nulls`` (all or named columns) a NULL, and with
    ``unchanged`` this literal text, mean that the event does not author the column. ``ties`` says what becomes of upserts that
    disagree at one key and sequence: ``fail``, ``quarantine`` or ``content`` (the larger payload wins).

    A reader may have added the reserved columns ``_lk_op`` (upsert, delete, truncate, ignore; else a bad row), ``_lk_reason``
    (why the row is bad), ``_lk_raw`` (its raw content) and ``_lk_absent`` (array of column names it does not author).

    Raises ``FeedError`` when a named column is missing or the description contradicts itself. Reads no data.

    >>> df = spark.createDataFrame([(1, "a", 10, "I")], "id int, name string, lsn long, op string")
    >>> feed = changes(df, keys=["id"], sequence_by=["lsn"], delete_when="op = 'D'", except_columns=["op"])
    >>> feed.columns, feed.payload
    (['id', 'name', 'lsn'], ['name'])
    """
    known = df.columns
    feed = ChangeFeed(
        df=df,
        keys=_named(known, keys, "keys"),
        sequence_by=_named(known, sequence_by, "sequence_by"),
        delete_when=delete_when,
        upsert_when=upsert_when,
        truncate_when=truncate_when,
        except_columns=_named(known, except_columns, "except_columns"),
        ignore_nulls=ignore_nulls if isinstance(ignore_nulls, bool) else _named(known, ignore_nulls, "ignore_nulls"),
        unchanged=unchanged,
        ties=ties,
        source=source,
    )
    _check(feed)
    return feed


def _named(known: Sequence[str], names: str | Sequence[str], role: str) -> tuple[str, ...]:
    wanted = (names,) if isinstance(names, str) else tuple(names)
    found = tuple(find(known, name) for name in wanted)
    missing = [name for name, hit in zip(wanted, found, strict=True) if hit is None]
    if missing:
        raise FeedError(f"{role}: the feed has no column {', '.join(missing)}. It has: {', '.join(_shown(known))}.")
    return tuple(name for name in found if name is not None)


def _shown(columns: Iterable[str]) -> list[str]:
    """The columns that a message names: not those that readers add for lakekit."""
    return [name for name in columns if name not in RESERVED]


def _check(feed: ChangeFeed) -> None:
    lowered = [c.lower() for c in feed.df.columns]
    twice = sorted({c for c in lowered if lowered.count(c) > 1})
    if twice:
        raise FeedError(f"the feed has more than one column named {', '.join(twice)}. Rename or drop one of them.")
    if not feed.keys or not feed.sequence_by:
        raise FeedError("keys and sequence_by each need at least one column: what identifies a row, and what orders its changes.")
    for role, named in (("keys", feed.keys), ("sequence_by", feed.sequence_by)):
        if len(set(named)) < len(named):
            raise FeedError(f"{role} names a column twice: {', '.join(named)}. Name each once.")
    if set(feed.keys) & set(feed.except_columns):
        raise FeedError(f"except_columns names a key column: {', '.join(sorted(set(feed.keys) & set(feed.except_columns)))}.")
    if feed.ties not in ("fail", "quarantine", "content"):
        raise FeedError(f"ties is {feed.ties!r}; it must be 'fail', 'quarantine' or 'content'.")
    if OP in feed.df.columns and any(c is not None for c in (feed.delete_when, feed.upsert_when, feed.truncate_when)):
        raise FeedError(f"the reader already set the operation in {OP}; leave delete_when, upsert_when and truncate_when out.")
    if any(c.lower().startswith(("_lk_", HIDDEN)) for c in feed.columns):
        raise FeedError(f"column names that start with _lk_ or {HIDDEN} are lakekit's own. Rename the column in the source.")
    for name in (*feed.keys, *feed.sequence_by):
        if isinstance(feed.df.schema[name].dataType, (T.MapType, T.ArrayType, T.StructType, T.NullType)):
            raise FeedError(f"{name} is {feed.df.schema[name].dataType.simpleString()}; a key or sequence column must be a plain value.")
    for role in ("delete_when", "upsert_when", "truncate_when"):
        if getattr(feed, role) is not None:
            check_condition(feed.df, getattr(feed, role), role, "feed", _shown(feed.df.columns), FeedError)


def events(
    feed: ChangeFeed, types: Mapping[str, T.DataType], sequence: T.StructType, unstorable: Mapping[str, Refusal] | None = None
) -> DataFrame:
    """The feed as canonical events, cast to the table's types; *unstorable* says what the table's format cannot hold in a column.

    Columns: the table's columns that the feed has (in *types*), then ``_lk_op``, ``_lk_seq`` (struct *sequence*), ``_lk_reason``
    (non-NULL: a bad row), ``_lk_raw`` (only where bad), and ``_lk_absent`` when an event may leave columns unauthored.
    Raises ``SchemaConflict`` for a column that can never fit its type. One projection: the source is evaluated once.
    """
    fitted = {name: fit(name, feed.df.schema[name].dataType, types[name]) for name in feed.columns}
    ordered = {c: fit(c, feed.df.schema[c].dataType, sequence[c].dataType) for c in feed.sequence_by}
    absent = _absent(feed)
    values = [_value(feed, name, fitted[name][0], types[name], absent).alias(name) for name in feed.columns]
    unfit = {**{n: bad for n, (_, bad) in fitted.items()}, **{c: bad for c, (_, bad) in ordered.items()}}
    refused = {name: (test(fitted[name][0]), why) for name, (test, why) in (unstorable or {}).items() if name in fitted}
    reason = _reason(feed, _operation(feed), unfit, refused, absent)
    extra = [F.array_compact(F.array(*_absent_names(feed, absent))).alias(ABSENT)] if feed.partial else []
    raw = F.to_json(F.struct(*(col(c) for c in feed.df.columns if c not in RESERVED)), {"ignoreNullFields": "false", "timeZone": "UTC"})
    if RAW in feed.df.columns:
        raw = F.coalesce(col(RAW), raw)
    return feed.df.select(
        *values,
        _operation(feed).alias(OP),
        F.struct(*(canonical_float(ordered[c][0], sequence[c].dataType).alias(c) for c in feed.sequence_by)).alias(SEQ),
        reason.alias(REASON),
        F.when(reason.isNotNull(), raw).alias(RAW),
        *extra,
    )


def _operation(feed: ChangeFeed) -> Column:
    if OP in feed.df.columns:
        return F.coalesce(col(OP), F.lit("unknown"))
    otherwise = (
        F.lit(UPSERT) if feed.upsert_when is None else F.when(as_condition(feed.upsert_when), F.lit(UPSERT)).otherwise(F.lit("unknown"))
    )
    for condition, op in ((feed.delete_when, DELETE), (feed.truncate_when, TRUNCATE)):
        if condition is not None:
            otherwise = F.when(as_condition(condition), F.lit(op)).otherwise(otherwise)
    return otherwise


def _absent(feed: ChangeFeed) -> dict[str, Column]:
    """For each payload column that an event may leave unauthored: when it does."""
    if not feed.partial:
        return {}
    tests = {name: _absent_tests(feed, name) for name in feed.payload}
    return {name: any_of(found) for name, found in tests.items() if found}


def _absent_tests(feed: ChangeFeed, name: str) -> list[Column]:
    tests = []
    data_type = feed.df.schema[name].dataType
    if feed.ignore_nulls is True or (feed.ignore_nulls and name in feed.ignore_nulls):
        tests.append(col(name).isNull())
    if feed.unchanged is not None and isinstance(data_type, (T.StringType, T.BinaryType)):
        marker = F.lit(feed.unchanged)
        wanted = F.encode(marker, "UTF-8") if isinstance(data_type, T.BinaryType) else marker
        tests.append(col(name).eqNullSafe(wanted))
    if ABSENT in feed.df.columns:
        tests.append(F.coalesce(F.array_contains(col(ABSENT), name), F.lit(False)))
    return tests


def _absent_names(feed: ChangeFeed, absent: dict[str, Column]) -> Iterable[Column]:
    return [F.when(test, F.lit(name)) for name, test in absent.items()] or [F.lit(None).cast("string")]


def _value(feed: ChangeFeed, name: str, value: Column, data_type: T.DataType, absent: dict[str, Column]) -> Column:
    if name in feed.keys:
        return canonical_float(value, data_type)
    if name in absent:
        return F.when(~absent[name], value)
    return value


def _reason(
    feed: ChangeFeed, op: Column, unfit: Mapping[str, Column | None], refused: Mapping[str, tuple[Column, str]], absent: dict[str, Column]
) -> Column:
    """Why a row is bad, or NULL; the text names columns, never values."""
    given = [col(REASON)] if REASON in feed.df.columns else []
    row = op.isin(UPSERT, DELETE)
    found = [
        F.when(~op.isin(UPSERT, DELETE, TRUNCATE, IGNORE), F.lit("unknown operation")),
        *(F.when(row & col(k).isNull(), F.lit(f"key column {k} is NULL")) for k in feed.keys),
        F.when(
            op != IGNORE,
            F.when(all_of(col(c).isNull() for c in feed.sequence_by), F.lit(f"sequence {', '.join(feed.sequence_by)} is NULL")),
        ),
        *(_misfit(feed, name, bad, _NO_LOSS, op, absent) for name, bad in unfit.items() if bad is not None),
        *(_misfit(feed, name, bad, why, op, absent) for name, (bad, why) in refused.items()),
    ]
    return F.coalesce(*given, *found)


def _misfit(feed: ChangeFeed, name: str, bad: Column, why: str, op: Column, absent: dict[str, Column]) -> Column:
    """A value that the table cannot hold. Payload only matters on an upsert, keys on a delete too, the sequence always."""
    matters = op != IGNORE if name in feed.sequence_by else op.isin(UPSERT, DELETE) if name in feed.keys else op == UPSERT
    if name in absent:
        matters = matters & ~absent[name]
    return F.when(matters & bad, F.lit(f"column {name}: {why}"))


def digits_as_text(feed: ChangeFeed) -> Column | None:
    """True for a row whose sequence is digits in a text column, where ``'9' > '10'``; ``None`` when no such column exists."""
    texts = [c for c in feed.sequence_by if isinstance(feed.df.schema[c].dataType, T.StringType)]
    return any_of(F.coalesce(F.col(f"{SEQ}.{quoted(c)}").rlike(r"^\s*[0-9]+\s*$"), F.lit(False)) for c in texts) if texts else None


def check_columns(feed: ChangeFeed, table: str, columns: Sequence[str]) -> None:
    """Raise ``SchemaConflict`` when the feed brings columns that the table lacks."""
    new = [name for name in feed.columns if find(columns, name) is None]
    if new:
        raise SchemaConflict(
            f"{table} has no column {', '.join(new)}, which the feed brings. "
            "Allow it with evolve(feed, allow=['add']) or upsert(feed, evolve=['add']), or leave it out with except_columns."
        )


def spelled_like(feed: ChangeFeed, columns: Sequence[str]) -> ChangeFeed:
    """The feed in the table's own spelling of its column names."""
    renamed = {name: find(columns, name) for name in feed.columns}
    spelled = {name: hit for name, hit in renamed.items() if hit is not None and hit != name}
    return _respelled(feed, spelled) if spelled else feed


def _respelled(feed: ChangeFeed, names: Mapping[str, str]) -> ChangeFeed:
    def spell(columns: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names.get(c, c) for c in columns)

    ignore = feed.ignore_nulls if isinstance(feed.ignore_nulls, bool) else spell(feed.ignore_nulls)
    df = feed.df.withColumnsRenamed(dict(names))
    return replace(feed, df=df, keys=spell(feed.keys), sequence_by=spell(feed.sequence_by), ignore_nulls=ignore)
