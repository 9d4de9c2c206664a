"""The verbs of slowly changing dimensions: what ``Table`` has for types 0 to 7."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit import plan_first, plan_scd, retention, scd_shape, schema, upsert
from lakekit.batch import Batch
from lakekit.changes import HIDDEN, IGNORE, OP, RAW, REASON, UPSERT, ChangeFeed, check_columns, spelled_like
from lakekit.columns import col, find
from lakekit.commit import Commit
from lakekit.errors import CommitConflict, ConfigError, EngineError, FeedError
from lakekit.formats.base import SCD_PROPERTY, Adapter, Spec, View
from lakekit.journal import journal_name
from lakekit.memory import Memory, memory_of
from lakekit.partitioning import Transform, parse
from lakekit.plan import Plan
from lakekit.plan_present import previous_name
from lakekit.quarantine import quarantine_name
from lakekit.request import Pinned, Request, Target, Verb, visible
from lakekit.scd import History
from lakekit.scd_keys import rekeyed
from lakekit.scd_shape import Shape

OnDelete = Literal["close", "ignore"]
Surrogate = Literal["hash", "sequence"]
_PLAIN = ("track", "valid_from", "valid_to", "end_of_time", "current", "version")
_VERSIONED = (2, 6, 7)
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


class Dimension(ABC):
    """The dimension verbs; ``Table`` is one."""

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
    def _alter(self, operations: Iterable[schema.Operation]) -> None: ...

    def scd2(
        self,
        feed: ChangeFeed,
        *,
        track: str | Sequence[str] | None = None,
        on_delete: OnDelete = "close",
        valid_from: str = "valid_from",
        valid_to: str = "valid_to",
        end_of_time: str | date | None = None,
        current: str | None = None,
        version: str | None = None,
        surrogate: Surrogate | None = None,
        surrogate_key: str = "surrogate_key",
        inferred: str | None = None,
        dry_run: bool = False,
        batch_id: str | None = None,
        quarantine: str | None = None,
        evolve: Sequence[str] = (),
        tombstone_retention: str | None = None,
    ) -> Commit:
        """Apply a change feed as type 2 history: half-open rows ``[valid_from, valid_to)``, a function of the set of events (C1–C10).

        A change of a column in *track* (default: of any payload column) opens a version; other columns take the latest value of
        their version. ``valid_from`` has the type of ``sequence_by``, a struct where it has several columns, unless it names a
        column of the feed: then that is business time, and ``sequence_by`` orders the events of one such value, the last of which
        counts. *end_of_time* stands in ``valid_to`` of an open row in place of NULL; *current* and *version* name a boolean and a
        number column to be kept. ``surrogate`` gives each version a key of its own in the column *surrogate_key*: ``"hash"`` (128 bits
        over key and ``valid_from``) or ``"sequence"`` (dense numbers). A row that is split keeps its key; ``Commit.rekeyed`` says which
        facts must change theirs. *inferred* names a boolean column for ``infer``. ``on_delete="ignore"`` lets rows live on. The other
        options are those of ``upsert``.

        Raises what ``upsert`` raises, and ``ConfigError`` for a table that is no type 2 table of this shape.
        """
        shape, feed = self._asked(
            feed, track=track, valid_from=valid_from, valid_to=valid_to, end_of_time=end_of_time, current=current, version=version,
            surrogate=surrogate, surrogate_key=surrogate_key, inferred=inferred,
        )  # fmt: skip
        return self._versioned("scd2", shape, feed, on_delete, Options(dry_run, batch_id, quarantine, evolve, tombstone_retention))

    def scd0(
        self,
        feed: ChangeFeed,
        *,
        first: Literal["sequence", "loaded"] = "sequence",
        dry_run: bool = False,
        batch_id: str | None = None,
        quarantine: str | None = None,
        evolve: Sequence[str] = (),
    ) -> Commit:
        """Type 0: keep the first event of each key; later ones, deletes and truncations count as ignored.

        First is the lowest in sequence, so that an earlier event that comes late takes the row over; with ``first="loaded"`` it is
        the first that arrived, and the row never changes. Options and errors are those of ``upsert``.
        """
        if first not in ("sequence", "loaded"):
            raise ConfigError(f"{self.name}: first is {first!r}; it must be 'sequence' or 'loaded'.")
        if feed.partial:
            raise FeedError(f"{self.name}: scd0 keeps whole events; leave ignore_nulls and unchanged out, or use scd1(feed).")
        feed = self._spelled(feed)
        options = Options(dry_run, batch_id, quarantine, evolve)
        shape = Shape(feed.keys, feed.sequence_by, type=0)
        assumed = self._shaped(shape, feed, options)
        remembers = replace(memory_of((assumed or self._adapter.view()).schema, feed), partial=False)

        def plan(request: Request, batch: Batch, pinned: Pinned, stack: ExitStack) -> Plan:
            return plan_first.plan(request, batch, pinned, stack, loaded=first == "loaded")

        return upsert.run(self._request(feed, remembers, options, assumed, Verb("scd0", plan, plan_first.only_upserts)))

    def scd3(
        self,
        feed: ChangeFeed,
        *,
        track: str | Sequence[str],
        dry_run: bool = False,
        batch_id: str | None = None,
        quarantine: str | None = None,
        evolve: Sequence[str] = (),
        tombstone_retention: str | None = None,
    ) -> Commit:
        """Type 3: one row a key, with ``previous_<column>`` for each column of *track*: the value it had before the present one.

        A late event corrects the previous value too; a delete ends what came before it. For that the history is kept beside the
        table, in ``<table>__history``. Options and errors are those of ``scd2``.
        """
        options = Options(dry_run, batch_id, quarantine, evolve, tombstone_retention)
        return self._with_history("scd3", f"{self.name}__history", feed, {"track": track}, "close", options)

    def scd4(
        self,
        feed: ChangeFeed,
        *,
        history: str,
        track: str | Sequence[str] | None = None,
        on_delete: OnDelete = "close",
        valid_from: str = "valid_from",
        valid_to: str = "valid_to",
        end_of_time: str | date | None = None,
        current: str | None = None,
        version: str | None = None,
        dry_run: bool = False,
        batch_id: str | None = None,
        quarantine: str | None = None,
        evolve: Sequence[str] = (),
        tombstone_retention: str | None = None,
    ) -> Commit:
        """Type 4: this table keeps the present rows, the table named *history* the type 2 rows, in one call.

        The history is written first and the present rows follow from it, so that running a batch again mends whatever a crash left
        between the two. ``inserted``, ``updated`` and ``deleted`` count present rows, ``closed`` and ``split`` those of the history.
        """
        asked = {
            "track": track, "valid_from": valid_from, "valid_to": valid_to, "end_of_time": end_of_time, "current": current,
            "version": version,
        }  # fmt: skip
        options = Options(dry_run, batch_id, quarantine, evolve, tombstone_retention)
        return self._with_history("scd4", history, feed, asked, on_delete, options)

    def scd6(
        self,
        feed: ChangeFeed,
        *,
        track: str | Sequence[str] | None = None,
        on_delete: OnDelete = "close",
        valid_from: str = "valid_from",
        valid_to: str = "valid_to",
        end_of_time: str | date | None = None,
        current: str | None = None,
        version: str | None = None,
        dry_run: bool = False,
        batch_id: str | None = None,
        quarantine: str | None = None,
        evolve: Sequence[str] = (),
        tombstone_retention: str | None = None,
    ) -> Commit:
        """Type 6: type 2 rows that each carry ``current_<column>`` of every tracked column: its present value.

        While a key is deleted its rows carry the last known value. Options and errors are those of ``scd2``.
        """
        shape, feed = self._asked(
            feed, track=track, valid_from=valid_from, valid_to=valid_to, end_of_time=end_of_time, current=current, version=version, type=6
        )
        return self._versioned("scd6", shape, feed, on_delete, Options(dry_run, batch_id, quarantine, evolve, tombstone_retention))

    def scd7(
        self,
        feed: ChangeFeed,
        *,
        track: str | Sequence[str] | None = None,
        on_delete: OnDelete = "close",
        durable_key: str = "durable_key",
        version_key: str = "version_key",
        surrogate: Surrogate = "hash",
        valid_from: str = "valid_from",
        valid_to: str = "valid_to",
        end_of_time: str | date | None = None,
        current: str | None = None,
        version: str | None = None,
        dry_run: bool = False,
        batch_id: str | None = None,
        quarantine: str | None = None,
        evolve: Sequence[str] = (),
        tombstone_retention: str | None = None,
    ) -> Commit:
        """Type 7: type 2 rows with a key for the version and a durable key for the entity; facts carry both.

        ``as_was(facts)`` then shows facts beside what was true at their time, ``as_is(facts)`` beside what is true now. Options and
        errors are those of ``scd2``.
        """
        shape, feed = self._asked(
            feed, track=track, valid_from=valid_from, valid_to=valid_to, end_of_time=end_of_time, current=current, version=version,
            surrogate=surrogate, surrogate_key=version_key, durable_key=durable_key, type=7,
        )  # fmt: skip
        return self._versioned("scd7", shape, feed, on_delete, Options(dry_run, batch_id, quarantine, evolve, tombstone_retention))

    def infer(self, members: ChangeFeed, *, dry_run: bool = False, batch_id: str | None = None) -> Commit:
        """Insert placeholders for members that facts name before the dimension knows them: key and ``valid_from``, nothing else.

        *members* is a feed with the keys of the table, ordered by the fact's time, as many columns as the table's sequence has and of its
        types; a placeholder begins at the first of them. Other columns are left out, and keys that the table has are ignored. The first
        event that tells anything of a placeholder fills it: its row keeps its beginning and its key, and ``is_inferred``, or however
        ``scd2(inferred=…)`` called the column, turns false. Raises ``ConfigError`` for a table that has no such column.
        """
        shape = self._shape("infer", 2)
        if shape.inferred is None:
            raise ConfigError(f"{self.name} has no column that tells inferred rows. Make it with scd2(feed, inferred='is_inferred').")
        members = self._spelled(members)
        if set(members.keys) != set(shape.keys) or len(members.sequence_by) != len(shape.sequence_by):
            raise FeedError(
                f"{self.name}: members to infer need the table's keys, {', '.join(shape.keys)}, and as many sequence columns as it has: "
                f"{', '.join(shape.sequence_by)}. Describe them with keys= and sequence_by=."
            )
        known = self.df().select(*map(col, shape.keys)).distinct().withColumn("_lk_stands", F.lit(True))
        met = members.df.join(known, list(shape.keys), "left")
        said = F.coalesce(col(OP), F.lit(UPSERT)) if OP in met.columns else F.lit(UPSERT)
        op = F.when(col("_lk_stands") | (said != UPSERT), F.lit(IGNORE)).otherwise(F.lit(UPSERT)).alias(OP)
        times = [col(theirs).alias(ours) for theirs, ours in zip(members.sequence_by, shape.sequence_by, strict=True)]
        bad = [col(c) for c in (REASON, RAW) if c in met.columns]
        stored = visible(self._adapter.view())
        unstored = tuple(c for c in shape.sequence_by if c not in stored)
        feed = ChangeFeed(met.select(*map(col, shape.keys), *times, op, *bad), shape.keys, shape.sequence_by, except_columns=unstored)
        return self._versioned("infer", shape, feed, "close", Options(dry_run, batch_id), silent=True)

    def unknown_member(self, *, dry_run: bool = False) -> Commit:
        """Add the row that facts of no known member point to, once: key −1 (``"-1"`` where keys are text), NULL in every other column.

        Raises ``ConfigError`` for a table whose versions have no keys of their own.
        """
        shape = self._shape("unknown_member", 2, 7)
        if shape.surrogate_key is None:
            raise ConfigError(f"{self.name}: its versions have no keys of their own. Make it with scd2(feed, surrogate='sequence').")
        view = self._adapter.view()
        stands = not self.df().where(col(shape.surrogate_key).cast("string") == "-1").isEmpty()
        said = Commit(
            "unknown_member",
            self.name,
            self.format,
            inserted=int(not stands),
            version_before=view.version,
            version=view.version,
            dry_run=dry_run,
        )
        if stands or dry_run:
            return said
        own, token = {shape.surrogate_key, shape.durable_key}, uuid.uuid4().hex
        row = self.spark.range(1).select(
            *((F.lit(-1) if f.name in own else F.lit(None)).cast(f.dataType).alias(f.name) for f in view.schema.fields)
        )
        with self._adapter.guard():
            self._adapter.append(row, view, token)
            landing = self._adapter.landing(view, token, wrote=True)
        return replace(said, version=landing.version, files_added=landing.files_added, bytes_added=landing.bytes_added)

    def current(self) -> DataFrame:
        """The rows that are true now, one a key, without the columns of their versions: what an upsert of the same events makes (C5).

        Of a table without versions all rows, as ``df()`` has them.
        """
        view = self._adapter.view()
        if view.scd is None or (shape := scd_shape.loads(view.scd)).type not in _VERSIONED:
            return self.df()
        ends = scd_shape.end_literal(self.name, shape, view.schema[shape.valid_to].dataType)
        is_open = col(shape.valid_to).isNull() if ends is None else col(shape.valid_to) == F.expr(ends)
        # The row for facts of no known member is open too, but true of nobody.
        return self.df().where(is_open & col(shape.valid_from).isNotNull()).drop(*shape.own.values())

    def as_was(self, facts: DataFrame) -> DataFrame:
        """Facts beside the version that their version key names: what was true at their time. A left join; unknown keys give NULL."""
        shape = self._shape("as_was", 7)
        assert shape.surrogate_key is not None
        return self._beside_facts(facts, self.df(), shape.surrogate_key, shape)

    def as_is(self, facts: DataFrame) -> DataFrame:
        """Facts beside what their durable key's entity is now, or was last: a left join on the durable key."""
        shape = self._shape("as_is", 7)
        assert shape.durable_key is not None
        newest = Window.partitionBy(shape.durable_key).orderBy(F.desc(shape.valid_from))
        last = self.df().withColumn("_lk_n", F.row_number().over(newest)).where("_lk_n = 1").drop("_lk_n")
        return self._beside_facts(facts, last, shape.durable_key, shape)

    # ---- what the verbs share

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
            previous = tuple(shape.track or ()) if scd == 3 else ()
            self._make(present_schema(feed, shape, previous), shape.keys, replace(shape, type=scd), parse(partition_by), **made)
            return
        if scd == 0:
            self._make_versions(feed, Shape(feed.keys, feed.sequence_by, type=0), partition_by, **made)
            return
        if scd == 7:
            keys = {"surrogate_key": asked.pop("version_key", "version_key"), "durable_key": asked.pop("durable_key", "durable_key")}
            asked = {"surrogate": "hash", **asked, **keys}
        shape, feed = self._asked(feed, **asked, **({"type": scd} if scd != 2 else {}))
        self._make_versions(feed, shape, partition_by, **made)

    def _spelled(self, feed: ChangeFeed) -> ChangeFeed:
        return spelled_like(feed, visible(self._adapter.view())) if self.exists() else feed

    def _valid_at(self, text: str) -> Column | None:
        """The rows of a table of versions that are valid at an instant; ``None`` for other tables and for versions of the table."""
        view = self._adapter.view()
        if view.scd is None or "-" not in text or (shape := scd_shape.loads(view.scd)).type not in _VERSIONED:
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
        columns = visible(self._adapter.view()) if self.exists() else []
        return scd_shape.asked(self.name, self._spelled(feed), columns, **options)

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
        past = type(self)(self.spark, history, self.format)
        shape, feed = past._asked(self._spelled(feed), **asked)
        kind = replace(shape, type=int(operation[-1]))
        previous = tuple(shape.track or ()) if kind.type == 3 else ()
        columns = present_schema(feed, shape, previous)
        if self.exists():
            scd_shape.refuse_other(self.name, self._adapter.view().scd, kind)
            new = [f for f in columns.fields if f.name not in self._adapter.view().columns]
            if new and not options.dry_run and "add" in options.evolve:
                self._adapter.add_columns(new)
        elif not options.dry_run:
            self._make(columns, shape.keys, kind)
        more: dict[str, Any] = {"previous": previous, "whole": bool(previous)}
        return past._versioned(operation, shape, feed, on_delete, options, second=self._adapter, present=columns, **more)

    def _versioned(
        self,
        operation: str,
        shape: Shape,
        feed: ChangeFeed,
        on_delete: str,
        options: Options,
        *,
        second: Adapter | None = None,
        present: T.StructType | None = None,
        silent: bool = False,
        **more: Any,
    ) -> Commit:
        """Apply a feed to the versions of this table."""
        if on_delete not in ("close", "ignore"):
            raise ConfigError(f"{self.name}: on_delete is {on_delete!r}; it must be 'close' or 'ignore'.")
        assumed = self._shaped(shape, feed, options)
        view = assumed or self._adapter.view()
        remembers = scd_shape.memory(view.schema, feed, shape)
        past = replace(scd_shape.history(self.name, view.schema, shape, remembers), **more)
        if silent:
            remembers, past = replace(remembers, partial=False), replace(past, partial=False)
        verb = replace(_verb(operation, past, on_delete), silent=silent, second=second, present=present)
        request = self._request(feed, remembers, options, assumed, verb)
        before = None if options.tombstone_retention is None else retention.cutoff(request, options.tombstone_retention)
        commit = upsert.run(request)
        if before is not None and not options.dry_run:
            retention.tidy(request, before)
        if shape.surrogate_key is None or not commit.changed or commit.version_before is None or commit.dry_run:
            return commit
        old, new = (self._adapter.read(version) for version in (commit.version_before, commit.version))
        return replace(commit, rekeyed=rekeyed(past, shape.surrogate_key, old, new))

    def _request(self, feed: ChangeFeed, remembers: Memory, options: Options, assumed: View | None, verb: Verb) -> Request:
        bad = self._beside(options.quarantine or quarantine_name(self.name))
        target = Target(self._adapter, self._beside(journal_name(self.name)), bad)
        return Request(target, feed, remembers, options.batch_id or uuid.uuid4().hex, options.dry_run, assumed, verb)

    def _shaped(self, shape: Shape, feed: ChangeFeed, options: Options) -> View | None:
        """Bring the table to the shape that the feed needs; a dry run assumes the shape instead."""
        if not self.exists():
            columns = scd_shape.stored_schema(feed, shape) if shape.type else present_schema(feed, shape, ())
            if options.dry_run:
                return View(None, columns, empty=True, scd=shape.dumps())
            self._make_versions(feed, shape)
            return None
        view = self._adapter.view()
        scd_shape.refuse_other(self.name, view.scd, shape)
        operations = [o for o in schema.diff(view.schema, feed.schema) if o.kind in options.evolve]
        check_columns(feed, self.name, [*visible(view), *(o.name for o in operations)])
        self._check_alterable(operations)
        if options.dry_run:
            return replace(view, schema=_evolved(view.schema, operations)) if operations else None
        self._alter(operations)
        return None

    def _make_versions(
        self,
        feed: ChangeFeed,
        shape: Shape,
        partition_by: str | Transform | Iterable[str | Transform] = (),
        merge_on_read: bool = False,
        properties: Mapping[str, str] | None = None,
        comment: str | None = None,
    ) -> None:
        """Make an empty type 2 table that remembers its shape."""
        made = (parse(partition_by), merge_on_read, properties, comment)
        if shape.type == 0:
            self._make(present_schema(feed, shape, ()), shape.keys, shape, *made)
            return
        self._make(scd_shape.stored_schema(feed, shape), (*shape.keys, shape.valid_from), shape, *made)

    def _make(
        self,
        columns: T.StructType,
        keys: tuple[str, ...],
        shape: Shape,
        transforms: tuple[Transform, ...] = (),
        merge_on_read: bool = False,
        properties: Mapping[str, str] | None = None,
        comment: str | None = None,
    ) -> None:
        kept = {**(properties or {}), SCD_PROPERTY: shape.dumps()}
        spec = Spec(columns, transforms, keys, merge_on_read, kept, comment)
        try:
            self._adapter.create(spec)
        except (CommitConflict, EngineError):
            if not self._adapter.exists():  # two writers may both find it missing; one of them makes it
                raise


def present_schema(feed: ChangeFeed, shape: Shape, previous: Sequence[str]) -> T.StructType:
    """The columns of a table of present rows: those of the feed, and the previous values."""
    fields = [T.StructField(f.name, T.StringType() if isinstance(f.dataType, T.NullType) else f.dataType) for f in feed.schema.fields]
    types = {f.name: f.dataType for f in fields}
    fields += [T.StructField(previous_name(c), types[c]) for c in previous]
    hidden = Memory(feed.sequence_type, feed.keeps_sequence, partial=False).hidden
    return T.StructType([*fields, *([] if hidden is None else [T.StructField(HIDDEN, hidden)])])


def _verb(operation: str, past: History, on_delete: str) -> Verb:
    def plan(request: Request, batch: Batch, pinned: Pinned, stack: ExitStack) -> Plan:
        return plan_scd.plan(request, batch, pinned, stack, past)

    return Verb(operation, plan, lambda events: scd_shape.checked(events, past, on_delete), _remembered(past))


def _remembered(past: History) -> tuple[str, ...]:
    """The columns of the table that its journal has too."""
    return (*past.payload, past.numbered) if past.numbered else past.payload


def _evolved(current: T.StructType, operations: Iterable[schema.Operation]) -> T.StructType:
    types = {f.name: f.dataType for f in current.fields}
    types.update({o.name: o.data_type for o in operations})
    return T.StructType([T.StructField(n, t) for n, t in types.items()])
