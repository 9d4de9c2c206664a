"""The tables that dimension verbs write: made in a shape, held to it, brought up to a feed, written by the engine of the upsert."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit import plan_scd, scd_shape, schema, upsert
from lakekit.batch import Batch
from lakekit.cdc import ACTION, INSERT
from lakekit.changes import ChangeFeed, check_columns, spelled_like
from lakekit.columns import col, find
from lakekit.commit import Commit
from lakekit.errors import ConfigError, FeedError
from lakekit.formats.base import SCD_PROPERTY, Adapter, ChangeSet, Spec, View
from lakekit.journal import journal_name
from lakekit.memory import Memory
from lakekit.partitioning import Transform, parse
from lakekit.plan import Plan
from lakekit.plan_present import previous_name
from lakekit.quarantine import quarantine_name
from lakekit.request import Pinned, Request, Target, Verb, places, visible
from lakekit.scd import History
from lakekit.scd_keys import rekeyed
from lakekit.scd_shape import Shape

_PLAIN = ("track", "valid_from", "valid_to", "end_of_time", "current", "version")
VERSIONED = (2, 6, 7)
_SHAPED: dict[int, tuple[str, ...]] = {
    0: (),
    2: (*_PLAIN, "surrogate", "surrogate_key", "inferred"),
    3: ("track",),
    4: (*_PLAIN, "history"),
    6: _PLAIN,
    7: (*_PLAIN, "surrogate", "durable_key", "version_key"),
}


def creation(verb: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """What ``create`` must be told to make the table that a verb writes, out of what the verb is told; nothing for ``upsert`` and the like.

    >>> creation("scd2", {"track": ["city"], "on_delete": "ignore"})
    {'scd': 2, 'track': ['city']}
    >>> creation("upsert", {"evolve": ["add"]})
    {}
    """
    kind = next((kind for kind in _SHAPED if verb == f"scd{kind}"), None)
    return {} if kind is None else {"scd": kind, **{name: value for name, value in told.items() if name in _SHAPED[kind]}}


@dataclass(frozen=True)
class Options:
    """What every verb that applies a feed may be told."""

    dry_run: bool = False
    batch_id: str | None = None
    quarantine: str | None = None
    evolve: Sequence[str] = ()
    tombstone_retention: str | None = None


class DimensionTable(ABC):
    """What the dimension verbs share; ``Table`` gives it the rest."""

    name: str
    spark: SparkSession

    @abstractmethod
    def __init__(self, spark: SparkSession, name: str, format: str | None = None) -> None: ...

    @property
    @abstractmethod
    def format(self) -> str:
        """The table's format."""

    @property
    @abstractmethod
    def _adapter(self) -> Adapter: ...

    @abstractmethod
    def _beside(self, name: str) -> Adapter: ...

    @abstractmethod
    def exists(self) -> bool:
        """Whether the table exists."""

    @abstractmethod
    def df(self) -> DataFrame:
        """The table's rows now."""

    @abstractmethod
    def _check_alterable(self, operations: Iterable[schema.Operation]) -> None: ...

    @abstractmethod
    def _reshape(self, feed: ChangeFeed, evolve: Sequence[str]) -> None: ...

    @abstractmethod
    def _write(self, operation: str, act: Callable[[View, str], None]) -> Commit: ...

    @abstractmethod
    def _unchanged(self, operation: str) -> Commit: ...

    def _create_dimension(
        self,
        scd: int,
        feed: object,
        partition_by: str | Transform | Iterable[str | Transform],
        made: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        """Make an empty table for the verb of a type. Raises ``ConfigError`` for a type that has no shape of its own."""
        if scd not in _SHAPED:
            raise ConfigError(f"{self.name}: scd={scd} is no type of dimension; use one of 1, {', '.join(map(str, _SHAPED))}.")
        if not isinstance(feed, ChangeFeed):
            raise ConfigError(f"{self.name}: scd={scd} needs a feed, whose keys and sequence it takes. Describe one with lakekit.changes.")
        unknown = set(options) - set(_SHAPED[scd])
        if unknown:
            raise ConfigError(f"{self.name}: create(scd={scd}) knows no {', '.join(sorted(unknown))}. It knows: {', '.join(_SHAPED[scd])}.")
        if not self.exists():
            self._create_shaped(scd, feed, partition_by, made, dict(options))

    def _create_shaped(self, scd: int, feed: ChangeFeed, partition_by: Any, made: Mapping[str, Any], asked: dict[str, Any]) -> None:
        if scd in (3, 4):
            history = asked.pop("history", f"{self.name}__history")
            past = type(self)(self.spark, history, self.format)
            past._create_shaped(2, feed, partition_by if scd == 4 else (), made, asked)
            shape, feed = past._asked(feed, **asked)
            self._make(_present(feed, shape, scd), shape.keys, replace(shape, type=scd), partition_by, **made)
            return
        if scd == 0:
            self._make_empty(feed, Shape(feed.keys, feed.sequence_by, type=0), partition_by, **made)
            return
        if scd == 7:
            keys = {"surrogate_key": asked.pop("version_key", "version_key"), "durable_key": asked.pop("durable_key", "durable_key")}
            asked = {"surrogate": "hash", **asked, **keys}
        shape, feed = self._asked(feed, **asked, **({"type": scd} if scd != 2 else {}))
        self._make_empty(feed, shape, partition_by, **made)

    def _seen(self) -> View | None:
        """The table as it is now; ``None`` where there is none."""
        return self._adapter.view() if self.exists() else None

    def _spelled(self, feed: ChangeFeed, view: View | None) -> ChangeFeed:
        """The feed with the table's own spelling of its columns, and its keys in the order that the table remembers."""
        if not isinstance(feed, ChangeFeed):
            raise FeedError(f"{self.name}: this takes a feed, not a {type(feed).__name__}. Make one with lakekit.changes(df, …).")
        if view is None:
            return feed
        feed = spelled_like(feed, visible(view))
        keys = () if view.scd is None else scd_shape.loads(view.scd).keys
        return replace(feed, keys=keys) if sorted(keys) == sorted(feed.keys) else feed

    def _valid_at(self, text: str) -> Column | None:
        """The rows of a table of versions that are valid at an instant; ``None`` for other tables and for versions of the table."""
        view = self._adapter.view()
        if view.scd is None or "-" not in text or (shape := scd_shape.loads(view.scd)).type not in VERSIONED:
            return None
        kind = view.schema[shape.valid_from].dataType
        if not isinstance(kind, (T.DateType, T.TimestampType, T.TimestampNTZType)):
            raise ConfigError(
                f"{self.name}: {shape.valid_from} is {kind.simpleString()}, which no instant can be compared with. "
                "Name a version of the table, or compare the interval columns of df() yourself."
            )
        at = F.expr(scd_shape.moment(self.name, "as_of", text, kind))
        ends = col(shape.valid_to)
        return (col(shape.valid_from) <= at) & (ends.isNull() | (at < ends))

    def _asked(self, feed: ChangeFeed, **options: Any) -> tuple[Shape, ChangeFeed]:
        seen = self._seen()
        columns = [] if seen is None else visible(seen)
        return scd_shape.asked(self.name, self._spelled(feed, seen), columns, **options)

    def _shape(self, asker: str, *types: int) -> Shape:
        """The shape that the table remembers; raises ``ConfigError`` where it is of none of these types."""
        text = self._adapter.view().scd
        shape = None if text is None else scd_shape.loads(text)
        if shape is None or shape.type not in types:
            wanted = " or ".join(map(str, types))
            raise ConfigError(f"{self.name} is no table of type {wanted}, which {asker} needs. Write it with scd{types[0]}(feed).")
        return shape

    def _beside_facts(self, facts: DataFrame, rows: DataFrame, key: str, shape: Shape) -> DataFrame:
        other = {shape.surrogate_key, shape.durable_key} - {key}
        shown = rows.select(*(col(c) for c in rows.columns if c not in other))
        if find(facts.columns, key) is None:
            raise ConfigError(f"{self.name}: the facts have no column {key}. They have: {', '.join(facts.columns)}.")
        both = [c for c in shown.columns if c != key and find(facts.columns, c) is not None]
        if both:
            raise ConfigError(f"{self.name}: facts and dimension both have {', '.join(both)}. Rename or drop them in the facts.")
        return facts.join(shown, key, "left")

    def _with_history(
        self, operation: str, history: str, feed: ChangeFeed, asked: Mapping[str, Any], on_delete: str, options: Options
    ) -> Commit:
        """Apply a feed to a history beside this table, and derive this table's present rows from it."""
        if find([self.name], history):
            raise ConfigError(f"{self.name}: history= names this very table. Name another for its versions.")
        _check_on_delete(self.name, on_delete)
        past = type(self)(self.spark, history, self.format)
        seen, seen_past = self._seen(), past._seen()
        shape, feed = past._asked(self._spelled(feed, seen), **asked)
        if seen_past is not None:
            scd_shape.refuse_other(history, seen_past.scd, shape)
        kind = replace(shape, type=int(operation[-1]))
        previous = _previous(shape, kind.type)
        taken = [name for c in previous if (name := find(feed.columns, previous_name(c)))]
        if taken:
            raise FeedError(f"{self.name}: the feed has a column {', '.join(taken)}, which type 3 writes itself. Rename or drop it.")
        columns = _present(feed, shape, kind.type)
        make: Callable[[], None] | None = partial(self._make, columns, shape.keys, kind)
        if seen is not None:
            scd_shape.refuse_other(self.name, seen.scd, kind)
            lacks = "add" in options.evolve and any(f.name not in seen.columns for f in columns.fields)
            make = partial(self._add, columns) if lacks else None
        more: dict[str, Any] = {"previous": previous, "whole": bool(previous)}
        return past._versioned(operation, shape, feed, on_delete, options, second=self._adapter, make=make, present=columns, **more)

    def _versioned(
        self,
        operation: str,
        shape: Shape,
        feed: ChangeFeed,
        on_delete: str,
        options: Options,
        *,
        second: Adapter | None = None,
        make: Callable[[], None] | None = None,
        present: T.StructType | None = None,
        silent: bool = False,
        **more: Any,
    ) -> Commit:
        """Apply a feed to the versions of this table; *make* makes the *second* one where that is missing."""
        _check_on_delete(self.name, on_delete)
        view, own = self._shaped(shape, feed, options)
        remembers = scd_shape.memory(view.schema, feed, shape)
        past = replace(scd_shape.history(self.name, view.schema, shape, remembers), **more)
        if silent:
            remembers, past = replace(remembers, partial=False), replace(past, partial=False)
        verb = replace(_verb(operation, past, on_delete), silent=silent, second=second, present=present)
        request = self._request(feed, remembers, options, view, verb, makes=(own, make))
        commit = upsert.run(request, options.tombstone_retention)
        if shape.surrogate_key is None or commit.dry_run:
            return commit
        new = self._adapter.read(commit.version)
        old = new.limit(0) if commit.version_before is None else self._adapter.read(commit.version_before)
        return replace(commit, rekeyed=rekeyed(past, shape.surrogate_key, old, new))

    def _request(
        self,
        feed: ChangeFeed,
        remembers: Memory,
        options: Options,
        view: View,
        verb: Verb | None = None,
        makes: Iterable[Callable[[], None] | None] = (),
    ) -> Request:
        """The upsert of a feed into a table of the shape *view*; *makes* bring it there, once the batch is accepted."""
        wanted = () if options.dry_run else tuple(make for make in makes if make is not None)
        bad = self._beside(options.quarantine or quarantine_name(self.name))
        target = Target(self._adapter, self._beside(journal_name(self.name)), bad)
        assumed = view if options.dry_run or wanted else None
        batch_id = options.batch_id or uuid.uuid4().hex
        return Request(target, feed, remembers, batch_id, options.dry_run, assumed, wanted, verb)

    def _shaped(self, shape: Shape, feed: ChangeFeed, options: Options) -> tuple[View, Callable[[], None] | None]:
        """The shape of the table that the feed needs, and what brings it there, or makes a missing one, where that is to be done."""
        view = self._seen()
        if view is None:
            assumed = View(None, scd_shape.empty_schema(feed, shape), empty=True, scd=shape.dumps())
            return assumed, partial(self._make_empty, feed, shape)
        scd_shape.refuse_other(self.name, view.scd, shape)
        operations = schema.chosen(view.schema, feed.schema, options.evolve, self.name)
        check_columns(feed, self.name, [*visible(view), *(o.name for o in operations)])
        self._check_alterable(operations)
        if not operations:
            return view, None
        return replace(view, schema=schema.applied(view.schema, operations)), partial(self._reshape, feed, options.evolve)

    def _add(self, columns: T.StructType) -> None:
        """Add those of the columns that the table lacks now."""
        stored = self._adapter.view().columns
        self._adapter.add_columns([f for f in columns.fields if f.name not in stored])

    def _make(self, columns: T.StructType, keys: tuple[str, ...], shape: Shape, partition_by: Any = (), **made: Any) -> None:
        """Make an empty table that remembers its shape; only see whether one can be made, where ``dry_run`` is among *made*."""
        act = self._adapter.check if made.pop("dry_run", False) else self._adapter.make
        kept = {**(made.pop("properties", None) or {}), SCD_PROPERTY: shape.dumps()}
        act(Spec(columns, parse(partition_by), keys, properties=kept, **made))

    def _make_empty(self, feed: ChangeFeed, shape: Shape, partition_by: Any = (), **made: Any) -> None:
        """Make an empty table for the verb of a shape."""
        row = (*shape.keys, shape.valid_from) if shape.type else shape.keys
        self._make(scd_shape.empty_schema(feed, shape), row, shape, partition_by, **made)


def _check_on_delete(table: str, on_delete: str) -> None:
    if on_delete not in ("close", "ignore"):
        raise ConfigError(f"{table}: on_delete is {on_delete!r}; it must be 'close' or 'ignore'.")


def _previous(shape: Shape, kind: int) -> tuple[str, ...]:
    """The columns whose previous value a table of a type keeps."""
    return tuple(shape.track or ()) if kind == 3 else ()


def _present(feed: ChangeFeed, shape: Shape, kind: int) -> T.StructType:
    """The columns of the table of present rows beside a history."""
    return scd_shape.present_schema(feed, {c: previous_name(c) for c in _previous(shape, kind)})


def _verb(operation: str, past: History, on_delete: str) -> Verb:
    def plan(request: Request, batch: Batch, pinned: Pinned, stack: ExitStack) -> Plan:
        return plan_scd.plan(request, batch, pinned, stack, past)

    return Verb(operation, plan, lambda events: scd_shape.checked(events, past, on_delete), _remembered(past))


def _remembered(past: History) -> tuple[str, ...]:
    """The columns of the table that its journal has too."""
    return (*past.payload, past.numbered) if past.numbered else past.payload


def unknown(table: Adapter, view: View, shape: Shape) -> ChangeSet:
    """The row of the unknown member: where a rival has just added it, none."""
    assert shape.surrogate_key is not None
    own = {shape.surrogate_key, shape.durable_key}
    values = ((F.lit(-1) if f.name in own else F.lit(None)).cast(f.dataType).alias(f.name) for f in view.schema.fields)
    nowhere = (F.lit(None).cast(kind).alias(name) for name, kind in places(table, view).items())
    rows = table.spark.range(1).select(*values, *nowhere, F.lit(INSERT).alias(ACTION))
    return ChangeSet(rows, (shape.surrogate_key,), tuple(view.columns), unmoved="true", inserts=1)
