"""The shape of a type 2 table: what its verb was told, kept as a property of the table, and what follows from it.

The table remembers its keys, its sequence, what it tracks and how its interval columns are called, so that a later call that means
something else is refused before anything is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit import journal
from lakekit.changes import DELETE, HIDDEN, IGNORE, OP, RAW, REASON, SEQ, ChangeFeed
from lakekit.columns import col, find
from lakekit.errors import ConfigError, FeedError
from lakekit.literals import literal
from lakekit.memory import STORED_SEQ, Memory
from lakekit.scd import History
from lakekit.schema import columns_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Shape:
    """What makes a table a type 2 table. *coarse*: ``valid_from`` is a column of the feed, business time.

    *carries* are columns whose last known value stands on every version (type 6), *surrogate* says how versions are numbered in
    *surrogate_key*, *durable_key* identifies the key itself (type 7).
    """

    keys: tuple[str, ...]
    sequence_by: tuple[str, ...]
    track: tuple[str, ...] | None = None
    valid_from: str = "valid_from"
    valid_to: str = "valid_to"
    end_of_time: str | None = None
    current: str | None = None
    version: str | None = None
    coarse: bool = False
    type: int = 2
    carries: tuple[str, ...] = ()
    surrogate: str | None = None
    surrogate_key: str | None = None
    durable_key: str | None = None
    inferred: str | None = None

    @property
    def own(self) -> dict[str, str]:
        """The columns that the verb itself writes, by what they are called in messages."""
        named = {"valid_to": self.valid_to, "current": self.current, "version": self.version}
        named |= {"surrogate_key": self.surrogate_key, "durable_key": self.durable_key, "inferred": self.inferred}
        named |= {f"the current {c}": current_name(c) for c in self.carries}
        if not self.coarse:
            named["valid_from"] = self.valid_from
        return {role: name for role, name in named.items() if name is not None}

    def dumps(self) -> str:
        """The shape as the text of a table property."""
        return json.dumps(asdict(self), separators=(",", ":"))


def current_name(column: str) -> str:
    """What the column with another's last known value is called.

    >>> current_name("city")
    'current_city'
    """
    return f"current_{column}"


def loads(text: str) -> Shape:
    """Read a shape back."""
    known = {f.name for f in fields(Shape)}
    found: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(text).items() if k in known}
    return Shape(**found)


def asked(
    table: str,
    feed: ChangeFeed,
    columns: Sequence[str] = (),
    *,
    track: str | Sequence[str] | None = None,
    valid_from: str = "valid_from",
    valid_to: str = "valid_to",
    end_of_time: str | date | None = None,
    current: str | None = None,
    version: str | None = None,
    surrogate: str | None = None,
    surrogate_key: str = "surrogate_key",
    **more: Any,
) -> tuple[Shape, ChangeFeed]:
    """The shape that a call asks for, and the feed ordered by it; *columns* are those of the table.

    Raises ``FeedError`` or ``ConfigError`` before anything is read.
    """
    business = find(feed.columns, valid_from)
    coarse = business is not None
    if coarse:
        assert business is not None
        feed = replace(feed, sequence_by=(business, *(c for c in feed.sequence_by if c != business)))
    tracked = None if track is None else _tracked(table, feed, columns, (track,) if isinstance(track, str) else tuple(track))
    end = None if end_of_time is None else str(end_of_time)
    if surrogate not in (None, "hash", "sequence"):
        raise ConfigError(f"{table}: surrogate is {surrogate!r}; it must be 'hash' or 'sequence', or left out.")
    shape = Shape(
        keys=feed.keys, sequence_by=feed.sequence_by, track=tracked, valid_from=business or valid_from, valid_to=valid_to,
        end_of_time=end, current=current, version=version, coarse=coarse, surrogate=surrogate,
        surrogate_key=surrogate_key if surrogate else None, **more,
    )  # fmt: skip
    if shape.type == 6:
        shape = replace(shape, carries=_carried(feed, columns) if tracked is None else tracked)
    _check_names(table, feed, shape)
    end_literal(table, shape, _position_type(feed.sequence_type, shape))
    return shape, feed


def _payload(feed: ChangeFeed) -> list[str]:
    return [c for c in feed.columns if c not in feed.keys and c not in feed.sequence_by]


def _carried(feed: ChangeFeed, columns: Sequence[str]) -> tuple[str, ...]:
    """What a table of type 6 that tracks everything carries: what the feed authors, and what the table carries already."""
    already = (c for c in columns if find(columns, current_name(c)))
    return tuple(sorted({*_payload(feed), *already}))


def _tracked(table: str, feed: ChangeFeed, columns: Sequence[str], track: tuple[str, ...]) -> tuple[str, ...]:
    found = {name: find(feed.columns, name) or find(columns, name) for name in track}
    missing = [name for name, hit in found.items() if hit is None]
    if missing:
        raise FeedError(f"{table}: track names {', '.join(missing)}, which no column is called. There are: {', '.join(feed.columns)}.")
    names = tuple(sorted(hit for hit in found.values() if hit is not None))
    wrong = [name for name in names if name in (*feed.keys, *feed.sequence_by)]
    if wrong:
        raise FeedError(f"{table}: track names {', '.join(wrong)}; keys, sequence and valid_from are never tracked. Leave them out.")
    return names


def _check_names(table: str, feed: ChangeFeed, shape: Shape) -> None:
    names = list(shape.own.values())
    if len({n.lower() for n in names}) < len(names):
        raise ConfigError(f"{table}: valid_from, valid_to, current and version need names of their own; given: {', '.join(names)}.")
    for role, name in shape.own.items():
        if find(feed.columns, name) is not None:
            raise FeedError(f"{table}: the feed has a column {name}, which type 2 rows need for {role}. Rename it, or set {role}=.")
    taken = [c for c in feed.columns if c in journal.OWN]
    if taken:
        raise FeedError(f"{table}: a column named {', '.join(taken)} cannot be kept in the journal of a type 2 table. Rename it.")


def _position_type(sequence: T.StructType, shape: Shape) -> T.DataType:
    return sequence.fields[0].dataType if shape.coarse or len(sequence.fields) == 1 else sequence


def end_literal(table: str, shape: Shape, kind: T.DataType) -> str | None:
    """The end of time as SQL of the type of ``valid_to``; raises ``ConfigError`` where it is none of its values."""
    return None if shape.end_of_time is None else moment(table, "end_of_time", shape.end_of_time, kind)


def moment(table: str, role: str, text: str, kind: T.DataType) -> str:
    """A place in time as SQL of the type of ``valid_from``: ISO text, in UTC unless it names a zone, a whole number, or for text itself.

    >>> moment("t", "end_of_time", "9999-12-31", T.DateType()), moment("t", "end_of_time", "zz", T.StringType())
    ('date_from_unix_date(2932896)', "CAST(X'7a7a' AS STRING)")
    """
    try:
        if isinstance(kind, T.DateType):
            return literal(str((date.fromisoformat(text[:10]) - _EPOCH.date()).days), kind)
        if isinstance(kind, T.TimestampType):
            at = datetime.fromisoformat(text)
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
            return literal(str((at - _EPOCH) // timedelta(microseconds=1)), kind)
        if isinstance(kind, T.TimestampNTZType):
            return f"CAST('{datetime.fromisoformat(text).replace(tzinfo=None).isoformat(' ')}' AS timestamp_ntz)"
        if isinstance(kind, T.NumericType):
            return literal(str(int(text)), kind)
        if isinstance(kind, T.StringType):
            return literal(text.encode().hex(), kind)
    except ValueError as error:
        raise ConfigError(f"{table}: {role} {text!r} is no {kind.simpleString()}. Write it like '9999-12-31'.") from error
    told = f"{table}: {role} needs valid_to to be a date, a timestamp, a number or text; it is {kind.simpleString()}."
    raise ConfigError(f"{told} Leave it out.")


def refuse_other(table: str, stored: str | None, shape: Shape) -> None:
    """Raise ``ConfigError`` unless the table was made in this very shape."""
    if stored is None:
        raise ConfigError(
            f"{table} is no type 2 table of lakekit. Write it with upsert(), or make another with create(feed, scd=2) or scd2(feed)."
        )
    known = loads(stored)
    for part in fields(Shape):
        ours, theirs = getattr(shape, part.name), getattr(known, part.name)
        if _plain(ours) != _plain(theirs):
            raise ConfigError(
                f"{table} was made with {part.name}={_told(theirs)}, this call means {part.name}={_told(ours)}. "
                "The history of a table has one shape: call it as it was made, or build another table."
            )


def refuse_versions(table: str, stored: str | None) -> None:
    """Raise ``ConfigError`` where an upsert would break a table of versions, or one that follows from a history."""
    if stored is not None:
        kind = loads(stored).type
        raise ConfigError(f"{table} is a table of type {kind}, which upsert() would break. Write it with scd{kind}(feed).")


def keeps_history(stored: str | None) -> bool:
    """Whether a table has a history beside it that nobody else named."""
    return stored is not None and loads(stored).type == 3


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(str(v).lower() for v in value)
    return value.lower() if isinstance(value, str) else value


def _told(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def empty_schema(feed: ChangeFeed, shape: Shape) -> T.StructType:
    """The columns of a new table that the verb of this shape writes."""
    return stored_schema(feed, shape) if shape.type else present_schema(feed)


def present_schema(feed: ChangeFeed, previous: Mapping[str, str] = MappingProxyType({})) -> T.StructType:
    """The columns of a table of one row a key: those of the feed, and previous values under the names that *previous* gives."""
    columns = columns_of(feed.schema)
    fields = [*columns.fields, *(T.StructField(name, columns[c].dataType) for c, name in previous.items())]
    hidden = Memory(feed.sequence_type, feed.keeps_sequence, partial=False).hidden
    return T.StructType([*fields, *([] if hidden is None else [T.StructField(HIDDEN, hidden)])])


def stored_schema(feed: ChangeFeed, shape: Shape) -> T.StructType:
    """The columns of a new table of this shape."""
    position = _position_type(feed.sequence_type, shape)
    text = columns_of(feed.schema).fields
    number = T.LongType() if shape.surrogate == "sequence" else T.StringType()
    own: dict[str, T.DataType] = {"valid_from": position, "valid_to": position, "current": T.BooleanType(), "version": T.IntegerType()}
    own |= {"surrogate_key": number, "durable_key": T.StringType(), "inferred": T.BooleanType()}
    own |= {f"the current {f.name}": f.dataType for f in text}
    added = [T.StructField(shape.own[role], kind) for role, kind in own.items() if role in shape.own]
    memory = Memory(feed.sequence_type, keeps_sequence(feed, shape), partial=False).hidden
    hidden = [] if memory is None else [T.StructField(HIDDEN, memory)]
    return T.StructType([*text, *added, *hidden])


def keeps_sequence(feed: ChangeFeed, shape: Shape) -> bool:
    """Whether a row tells its last sequence in ordinary columns; a business time stands for where the row began."""
    return feed.keeps_sequence and not shape.coarse


def memory(schema: T.StructType, feed: ChangeFeed, shape: Shape) -> Memory:
    """Where the rows of the table keep their last sequence, in the table's types, and whether this feed leaves columns out."""
    hidden = schema[HIDDEN].dataType if HIDDEN in schema.names else T.StructType([])
    assert isinstance(hidden, T.StructType)
    in_row = STORED_SEQ not in hidden.names
    columns = T.StructType([T.StructField(c, schema[c].dataType) for c in shape.sequence_by if c in schema.names])
    sequence: Any = columns if in_row else hidden[STORED_SEQ].dataType
    missing = [c for c in payload(schema, shape) if c not in feed.columns]
    return Memory(sequence, in_row, feed.partial or bool(missing))


def payload(schema: T.StructType, shape: Shape) -> list[str]:
    """The columns of a table that events author."""
    own = {*shape.keys, *shape.sequence_by, shape.valid_from, *shape.own.values()}
    return [c for c in schema.names if c not in own and not c.startswith(HIDDEN)]


def history(table: str, schema: T.StructType, shape: Shape, remembers: Memory) -> History:
    """The shape in the table's own types."""
    names = schema.names
    authored = payload(schema, shape)
    behind = names[names.index(shape.valid_to) :]
    return History(
        keys=shape.keys,
        payload=tuple(authored),
        track=tuple(authored) if shape.track is None else shape.track,
        sequence=remembers.sequence,
        types={f.name: f.dataType for f in schema.fields},
        valid_from=shape.valid_from,
        valid_to=shape.valid_to,
        end=end_literal(table, shape, _position_type(remembers.sequence, shape)),
        coarse=shape.coarse,
        current=shape.current,
        version=shape.version,
        carried={current_name(c): c for c in shape.carries},
        surrogate=shape.surrogate_key if shape.surrogate == "hash" else None,
        numbered=shape.surrogate_key if shape.surrogate == "sequence" else None,
        durable=shape.durable_key,
        inferred=shape.inferred,
        kept_sequence=tuple(c for c in shape.sequence_by if c in names and c != shape.valid_from),
        in_row=remembers.in_row,
        later=frozenset(c for c in authored if c in behind),
        partial=remembers.partial,
    )


def checked(events: DataFrame, past: History, on_delete: str) -> DataFrame:
    """Canonical events as a type 2 table takes them: without deletes where these are ignored, and none that has no place in time."""
    if on_delete == "ignore":
        events = events.withColumn(OP, F.when(col(OP) == DELETE, F.lit(IGNORE)).otherwise(col(OP)))
    place = past.position(col(SEQ))
    live = col(REASON).isNull() & (col(OP) != IGNORE)
    reasons: list[Column] = []
    if past.coarse:
        reasons.append(F.when(live & place.isNull(), F.lit(f"{past.valid_from} is NULL")))
    if past.end is not None:
        reasons.append(F.when(live & (place >= F.expr(past.end)), F.lit("sequence is not before the end of time")))
    if not reasons:
        return events
    values = [c for c in events.columns if not c.startswith("_lk_")]
    raw = F.to_json(F.struct(*map(col, values), col(OP), col(SEQ)), {"ignoreNullFields": "false", "timeZone": "UTC"})
    found = events.withColumn(REASON, F.coalesce(col(REASON), *reasons))
    return found.withColumn(RAW, F.when(col(REASON).isNotNull(), F.coalesce(col(RAW), raw)))
