"""Table: the noun that users hold. A verb is a pure plan and one format call."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import cached_property, partial
from types import MappingProxyType
from typing import Literal

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit import journal, reconcile, scd_shape, schema, upsert
from lakekit.changes import HIDDEN, ChangeFeed, check_columns
from lakekit.columns import check_condition, col, find, fit
from lakekit.commit import Commit
from lakekit.dimension import Dimension, Surrogate
from lakekit.dimension_tables import Options
from lakekit.errors import ConfigError, DataRejected, SchemaConflict, TableNotFound, UnsupportedOperation, in_table
from lakekit.formats import ADAPTERS, Adapter, adapter_for
from lakekit.formats.base import KEYS_PROPERTY, Spec, View
from lakekit.formats.failures import translated
from lakekit.gateway import remember_names
from lakekit.guard import counting, observed
from lakekit.memory import Memory, check_sequence, missing_fields, wanted
from lakekit.partitioning import Transform, parse
from lakekit.request import visible
from lakekit.rows import HasRows, rows_in


class Table(Dimension):
    """A lake table of any format. Constructing one touches nothing; calling a verb does.

    ``name`` has two parts (``sales.orders``), three parts, or is a path where the format knows paths. ``format`` may be left out
    for a table that exists.

    >>> orders = Table(spark, "sales.orders", format="iceberg")
    >>> orders
    Table('sales.orders', format='iceberg')
    """

    def __init__(self, spark: SparkSession, name: str, format: str | None = None) -> None:
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f"a table needs a name of two or three parts, or a path; given {name!r}.")
        self.spark = spark
        self.name = name
        self._format = format
        if format is not None:
            adapter_for(format)
        remember_names(spark)

    def __repr__(self) -> str:
        return f"Table({self.name!r}, format={self._format!r})"

    @property
    def format(self) -> str:
        """The table's format; detected where it was not given, with ``TableNotFound`` when no format knows the table."""
        return self._adapter.name

    @cached_property
    def _adapter(self) -> Adapter:
        if self._format is not None:
            return adapter_for(self._format)(self.spark, self.name)
        for adapter in ADAPTERS.values():
            found = _tolerant(adapter, self.spark, self.name)
            if found is not None:
                return found
        raise TableNotFound(f"{self.name}: no table of this name in any format ({', '.join(ADAPTERS)}). Name the format to create it.")

    def _beside(self, name: str) -> Adapter:
        return type(self._adapter)(self.spark, name)

    def exists(self) -> bool:
        """Whether the table exists."""
        try:
            return self._adapter.exists()
        except TableNotFound:
            return False

    def create(
        self,
        feed_or_schema: ChangeFeed | DataFrame | T.StructType | str,
        *,
        scd: int = 1,
        partition_by: str | Transform | Iterable[str | Transform] = (),
        merge_on_read: bool = False,
        properties: Mapping[str, object] | None = None,
        comment: str | None = None,
        dry_run: bool = False,
        track: str | Sequence[str] | None = None,
        valid_from: str | None = None,
        valid_to: str | None = None,
        end_of_time: str | date | None = None,
        current: str | None = None,
        version: str | None = None,
        surrogate: Surrogate | None = None,
        surrogate_key: str | None = None,
        inferred: str | None = None,
        history: str | None = None,
        durable_key: str | None = None,
        version_key: str | None = None,
    ) -> None:
        """Create an empty table in the shape that the verb of this SCD type writes; nothing happens when it exists.

        ``feed_or_schema`` is a feed (its keys and sequence are taken too), a DataFrame, a ``StructType`` or DDL text. For the types
        other than 1 it is a feed, and the options from ``track`` on are those of the type's verb, which is to be called with the same.
        ``dry_run`` checks what is asked for and makes nothing. Raises ``UnsupportedOperation`` for a partition transform that the format
        lacks, ``ConfigError`` for a column that is not there.
        """
        asked = {
            "track": track, "valid_from": valid_from, "valid_to": valid_to, "end_of_time": end_of_time, "current": current,
            "version": version, "surrogate": surrogate, "surrogate_key": surrogate_key, "inferred": inferred, "history": history,
            "durable_key": durable_key, "version_key": version_key,
        }  # fmt: skip
        shape = {name: value for name, value in asked.items() if value is not None}
        if scd != 1:
            made = {"merge_on_read": merge_on_read, "properties": properties, "comment": comment, "dry_run": dry_run}
            self._create_dimension(scd, feed_or_schema, partition_by, made, shape)
            return
        if shape:
            raise ConfigError(f"{self.name}: {', '.join(shape)} means nothing for scd={scd}.")
        columns = _schema_of(feed_or_schema)
        hidden: T.StructType | None = None
        keys: tuple[str, ...] = ()
        kept = {name: _property(self.name, name, value) for name, value in (properties or {}).items()}
        if isinstance(feed_or_schema, ChangeFeed):
            keys = feed_or_schema.keys
            hidden = wanted(columns, feed_or_schema).hidden
            kept[KEYS_PROPERTY] = json.dumps(keys)
        stored = T.StructType([*columns.fields, *([T.StructField(HIDDEN, hidden)] if hidden else [])])
        spec = Spec(stored, parse(partition_by), keys, merge_on_read, kept, comment)
        (self._adapter.check if dry_run else self._adapter.make)(spec)

    def df(self) -> DataFrame:
        """The table's rows now, without anything that lakekit keeps beside the user's columns."""
        return self._visible(self._adapter.read(self._adapter.view().version))

    def as_of(self, version_or_timestamp: str | int) -> DataFrame:
        """The table's rows at a version, or as they were at an instant (ISO text; UTC unless it names a zone).

        For an instant a table of versions (type 2, 6 or 7) answers with what was valid then, which needs its ``valid_from`` to be a
        date or a timestamp; else ``ConfigError``.
        """
        valid = self._valid_at(str(version_or_timestamp))
        if valid is not None:
            return self.df().where(valid)
        return self._visible(self._adapter.read(self._resolve(str(version_or_timestamp))))

    def versions(self) -> DataFrame:
        """The table's history: version, parent, committed_at, operation, files and rows added and removed where known."""
        return self._adapter.versions()

    def append(self, df: DataFrame) -> Commit:
        """Add rows as they are, cast to the table's types where that loses nothing; keys are not looked at."""
        self._create_if_missing(df.schema)
        fitted = self._fitted(df, self._adapter.view())
        with translated(self.name, "reading the rows to append"):
            if fitted.isEmpty():  # an empty commit would be a version in which nothing changed
                return self._unchanged("append")
        return self._write("append", lambda view, token: self._adapter.append(fitted, view, token))

    def overwrite(self, df: DataFrame, where: str | None = None) -> Commit:
        """Replace all rows, or those where the SQL condition holds; every new row must meet the condition."""
        self._create_if_missing(df.schema)
        view = self._adapter.view()
        fitted = self._fitted(df, view)
        if where is not None:
            message = F.lit("lakekit: a new row does not meet the condition of overwrite; it would stand outside what is overwritten")
            self._check_where(where, view)
            fitted = fitted.where(F.when(F.expr(where), F.lit(True)).otherwise(F.raise_error(message).cast("boolean")))
        replaced = self._count(where, view.version)
        with translated(self.name, "reading the new rows"):
            if not replaced and fitted.isEmpty():
                return self._unchanged("overwrite")
        commit = self._write("overwrite", lambda view, token: self._adapter.overwrite(fitted, where, view, token))
        # What meets the condition now is what came. Files alone do not tell: rows that stay are written anew beside it.
        added = commit.inserted if where is None else self._count(where, commit.version)
        return replace(commit, read=added, applied=added, inserted=added, deleted=replaced)

    def delete(self, where: str) -> Commit:
        """Delete the rows where the SQL condition holds. Not remembered: an older event may bring a key back."""
        view = self._adapter.view()
        self._check_where(where, view)
        matching = self._count(where, view.version)
        if not matching:
            return self._unchanged("delete")
        commit = self._write("delete", lambda _, token: self._adapter.delete(where, token))
        return replace(commit, deleted=matching)

    def upsert(
        self,
        feed: ChangeFeed,
        *,
        dry_run: bool = False,
        batch_id: str | None = None,
        quarantine: str | None = None,
        evolve: Sequence[schema.Kind] = (),
        tombstone_retention: str | None = None,
    ) -> Commit:
        """Apply a change feed: SCD type 1, a pure function of the set of events ever applied (contract C1–C10).

        A missing table is created with the defaults first. ``dry_run`` predicts the same counts and writes nothing. ``quarantine``
        names the table for bad rows (default ``<table>__quarantine``). ``evolve=["add"]`` lets new columns in.
        ``tombstone_retention`` (an interval such as ``"30 days"``) drops older tombstones after the write.

        Raises ``TieConflict``, ``SchemaConflict``, ``FeedError``, and ``CommitConflict`` when rivals won every retry.
        """
        options = Options(dry_run, batch_id, quarantine, evolve, tombstone_retention)
        seen = self._seen()
        feed = self._spelled(feed, seen)
        if seen is not None:
            scd_shape.refuse_versions(self.name, seen.scd)
            self._check_keys(feed, seen)
        view, make = self._prepare(feed, seen, evolve)
        return upsert.run(self._request(feed, wanted(view.schema, feed), options, view, makes=[make]), tombstone_retention)

    def scd1(
        self,
        feed: ChangeFeed,
        *,
        dry_run: bool = False,
        batch_id: str | None = None,
        quarantine: str | None = None,
        evolve: Sequence[schema.Kind] = (),
        tombstone_retention: str | None = None,
    ) -> Commit:
        """Type 1: ``upsert``, under the name that goes with the other types."""
        return self.upsert(
            feed, dry_run=dry_run, batch_id=batch_id, quarantine=quarantine, evolve=evolve, tombstone_retention=tombstone_retention
        )

    def reconcile(
        self,
        source_df: DataFrame | HasRows,
        *,
        keys: str | Sequence[str],
        columns: Sequence[str] | None = None,
        tolerance: Mapping[str, float] = MappingProxyType({}),
        on_difference: Literal["report", "fail"] = "report",
    ) -> reconcile.Reconciliation:
        """Compare the table with another copy of its data, such as the database that feeds it; writes nothing.

        ``columns`` (default: all of the source's but the keys) are compared by value, whatever their types: text ``'33002.00'`` equals
        decimal 33002.0, NULL equals NULL. ``tolerance`` says for numbers how far they may lie apart, for timestamps in seconds.
        The result is true where both sides are equal, and has counts, content hashes, and ``differences``: a frame of the keys and the
        columns that differ. Each side is read, and shuffled by key, once.

        Raises ``DataRejected`` for a difference with ``on_difference="fail"``, ``ConfigError`` and ``SchemaConflict`` for columns that
        are missing or never compare.
        """
        found = reconcile.differences(self.df(), rows_in(source_df), keys=keys, columns=columns, tolerance=tolerance)
        with counting(self.spark):
            evaluated = found.localCheckpoint(eager=True)
        outcome = reconcile.result(self.name, evaluated, observed(found))
        if on_difference == "fail" and not outcome:
            raise DataRejected(f"{outcome}.")
        return outcome

    def evolve(
        self, feed_or_schema: ChangeFeed | DataFrame | T.StructType | str, allow: Sequence[schema.Kind] = ("add",)
    ) -> tuple[schema.Operation, ...]:
        """Change the table's schema so that the incoming columns fit; returns the operations carried out.

        Raises ``SchemaConflict`` for an operation that ``allow`` does not name, ``UnsupportedOperation`` for one the format lacks.
        """
        view = self._adapter.view()
        if isinstance(feed_or_schema, ChangeFeed):
            feed_or_schema = self._spelled(feed_or_schema, view)
        operations = schema.allowed(schema.diff(view.schema, _schema_of(feed_or_schema)), allow, self.name)
        self._check_alterable(operations)
        if operations and isinstance(feed_or_schema, ChangeFeed) and view.scd is None:  # versions remember in their journal
            check_sequence(self.name, view.schema, feed_or_schema)
            self._check_journal(feed_or_schema, operations)
            self._adapter.add_columns(missing_fields(view.schema, self._memory(view.schema, feed_or_schema, operations)))
        self._alter(operations)
        return operations

    def rollback(self, version: str | int) -> Commit:
        """Make an earlier version current again, and forget the tombstones recorded since."""
        wanted_version = self._resolve(str(version))
        later = self._later_than(wanted_version)
        if wanted_version == self._adapter.view().version:
            commit = self._unchanged("rollback")
        else:
            commit = self._write("rollback", lambda _, token: self._adapter.rollback(wanted_version, token))
        beside = self._beside(journal.journal_name(self.name))
        if later and beside.exists():
            listed = ", ".join(f"'{v}'" for v in later)
            beside.delete(f"{journal.BASE} IN ({listed})", uuid.uuid4().hex)
        return commit

    def drop(self) -> None:
        """Drop the table with its journal (of type 3 also its history), and their files; the quarantine stays."""
        history = f"{self.name}__history"
        keeps = scd_shape.keeps_history(self._adapter.view().scd)
        self._adapter.drop()
        for name in (self.name, history) if keeps else (self.name,):
            for beside in (self._beside(journal.journal_name(name)), self._beside(name)):
                if beside.exists():
                    beside.drop()

    # ---- what the verbs share

    def _visible(self, df: DataFrame) -> DataFrame:
        own = {HIDDEN, *self._adapter.hidden, *self._adapter.locators}
        return df.select(*(col(c) for c in df.columns if c not in own))

    def _resolve(self, version_or_timestamp: str) -> str:
        if "-" not in version_or_timestamp:
            return self._adapter.resolve(version_or_timestamp)
        instant = self.spark.createDataFrame([(version_or_timestamp,)], "at string")
        at = fit("at", T.StringType(), T.TimestampType())[0]
        known = self._adapter.moments().crossJoin(instant.select(at.alias("_lk_instant")))
        row = (
            known.where("committed_at <= _lk_instant")
            .orderBy(F.desc("committed_at"), F.desc(F.length("version")), F.desc("version"))
            .first()
        )
        if row is not None:
            return str(row["version"])
        if instant.where(at.isNull()).isEmpty():
            raise TableNotFound(f"{self.name}: no version is as old as {version_or_timestamp}. See versions().")
        raise ConfigError(
            f"{self.name}: {version_or_timestamp!r} is neither a version nor an instant. "
            "Take a version from versions(), or write an instant like '2024-05-01 12:00:00'."
        )

    def _later_than(self, version: str) -> list[str]:
        history = self._adapter.versions()
        chosen = history.where(F.col("version") == version).select(F.col("committed_at").alias("_lk_since"))
        rows = history.crossJoin(chosen).where("committed_at >= _lk_since").select("version").take(100_000)
        return [str(r["version"]) for r in rows]

    def _count(self, where: str | None, version: str | None) -> int:
        """How many rows meet a condition."""
        with translated(self.name, "counting the rows that the condition means"):
            rows = self._adapter.read(version)
            return (rows if where is None else rows.where(where)).count()

    def _check_where(self, where: str, view: View) -> None:
        """Raise ``ConfigError`` unless Spark can read the condition; Spark's own error repeats it, and the values in it."""
        if not isinstance(where, str):
            raise ConfigError(f'{self.name}: where is a {type(where).__name__}. Write the condition as SQL text, like "id = 1".')
        check_condition(self._adapter.read(view.version), where, f"{self.name}: where", "table", visible(view), ConfigError)

    def _check_keys(self, feed: ChangeFeed, view: View) -> None:
        """Raise ``ConfigError`` where the table was made for other keys: rows that are one to them would be two to this feed."""
        made = None if view.keys is None else json.loads(view.keys)
        if made is not None and {k.lower() for k in made} != {k.lower() for k in feed.keys}:
            raise ConfigError(
                f"{self.name} was made with the keys {', '.join(made)}, the feed's keys are {', '.join(feed.keys)}. "
                f"Use the same columns, or build another table. The table keeps them in its property {KEYS_PROPERTY}."
            )

    def _create_if_missing(self, columns: T.StructType) -> None:
        if not self.exists():
            self.create(columns)

    def _prepare(self, feed: ChangeFeed, view: View | None, evolve: Sequence[str]) -> tuple[View, Callable[[], None] | None]:
        """The shape of table and hidden column that the feed needs, and what brings the table to it, where that is to be done."""
        if view is None:
            return View(None, _with_memory(feed.schema, wanted(feed.schema, feed)), empty=True), partial(self.create, feed)
        check_sequence(self.name, view.schema, feed)
        operations = schema.chosen(view.schema, feed.schema, evolve, self.name)
        self._check_alterable(operations)
        check_columns(feed, self.name, [*visible(view), *(o.name for o in operations)])
        self._check_journal(feed, operations)
        memory = self._memory(view.schema, feed, operations)
        if not operations and not missing_fields(view.schema, memory):
            return view, None
        shape = schema.applied(_with_memory(view.schema, memory), operations)
        return replace(view, schema=shape), partial(self._reshape, feed, evolve, memory)

    def _reshape(self, feed: ChangeFeed, evolve: Sequence[str], memory: Memory | None = None) -> None:
        """Bring the table, as it is now, to the shape that the feed needs."""
        stored = self._adapter.view().schema
        hidden = [] if memory is None else missing_fields(stored, memory)
        if hidden:
            self._adapter.add_columns(hidden)
        self._alter(schema.chosen(stored, feed.schema, evolve, self.name))

    def _check_journal(self, feed: ChangeFeed, operations: Iterable[schema.Operation]) -> None:
        """Before a column of the sequence is added: whether the journal, which is read only later, remembers deletes without it."""
        beside = self._beside(journal.journal_name(self.name))
        if {o.name for o in operations if isinstance(o, schema.AddColumn)} & set(feed.sequence_by) and beside.exists():
            journal.check_sequence(beside.table, beside.view().schema, feed.sequence_type)

    def _memory(self, stored: T.StructType, feed: ChangeFeed, operations: Iterable[schema.Operation]) -> Memory:
        """What the table must remember: rows that were there before a column came never authored it."""
        memory = wanted(schema.applied(stored, operations), feed)  # a new column may be one of the sequence
        grows = any(isinstance(o, schema.AddColumn) for o in operations)
        return replace(memory, partial=memory.partial or grows)

    def _check_alterable(self, operations: Iterable[schema.Operation]) -> None:
        """Refuse what the format lacks before anything is written."""
        for operation in operations:
            if isinstance(operation, schema.WidenColumn):
                self._adapter.check_widening(operation.name, operation.current, operation.data_type)
            else:
                self._adapter.can(self._adapter.alterations, operation.kind, f"{operation.kind} column {operation.name}")
                self._adapter.check_names([operation.name])

    def _alter(self, operations: Iterable[schema.Operation]) -> None:
        added = [T.StructField(o.name, o.data_type) for o in operations if isinstance(o, schema.AddColumn)]
        if added:
            self._adapter.add_columns(added)
        for operation in operations:
            if isinstance(operation, schema.WidenColumn):
                self._adapter.widen_column(operation.name, operation.data_type)

    def _fitted(self, df: DataFrame, view: View) -> DataFrame:
        """The frame in the table's columns and types; a column that the table lacks is a ``SchemaConflict``."""
        names = visible(view)
        new = [c for c in df.columns if find(names, c) is None]
        if new:
            raise SchemaConflict(
                f"{self.name} has no column {', '.join(new)}. Allow it with evolve(df, allow=['add']), or drop it from the frame."
            )
        with in_table(self.name):
            return df.select(*(_fitted_column(df, f) for f in view.schema.fields))

    def _unchanged(self, operation: str) -> Commit:
        version = self._adapter.view().version
        return Commit(operation, self.name, self._adapter.name, version_before=version, version=version)

    def _write(self, operation: str, act: Callable[[View, str], None]) -> Commit:
        started, token = time.monotonic(), uuid.uuid4().hex
        with self._adapter.guard():
            view = self._adapter.view()
            act(view, token)
            landing = self._adapter.landing(view, token, wrote=True)
        return Commit(
            operation,
            self.name,
            self._adapter.name,
            read=landing.rows_added or 0 if operation == "append" else 0,
            applied=landing.rows_added or 0 if operation == "append" else 0,
            inserted=landing.rows_added or 0 if operation in ("append", "overwrite") else 0,
            version_before=view.version,
            version=landing.version,
            files_added=landing.files_added,
            files_removed=landing.files_removed,
            bytes_added=landing.bytes_added,
            bytes_removed=landing.bytes_removed,
            seconds=round(time.monotonic() - started, 3),
        )


def _tolerant(adapter: type[Adapter], spark: SparkSession, name: str) -> Adapter | None:
    """The adapter if this table is of its format; a session without that format does not have it."""
    try:
        found = adapter(spark, name)
        return found if found.exists() else None
    except (ConfigError, SchemaConflict, UnsupportedOperation):  # not configured here, or no such names in this format
        return None


def _property(table: str, name: str, value: object) -> str:
    """A table property as the formats spell it."""
    if not isinstance(value, str | int | float):
        raise ConfigError(f"{table}: the property {name} is a {type(value).__name__}; it must be text, a number or a truth value.")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _schema_of(given: ChangeFeed | DataFrame | T.StructType | str) -> T.StructType:
    found = schema.parsed(given) if isinstance(given, str) else given if isinstance(given, T.StructType) else given.schema
    return schema.columns_of(found)


def _with_memory(columns: T.StructType, memory: Memory) -> T.StructType:
    """The schema with the hidden column in its place: where it is, else behind the columns that are there."""
    if memory.hidden is None:
        return columns
    if HIDDEN not in columns.names:
        return T.StructType([*columns.fields, T.StructField(HIDDEN, memory.hidden)])
    return T.StructType([T.StructField(f.name, memory.hidden if f.name == HIDDEN else f.dataType) for f in columns.fields])


def _fitted_column(df: DataFrame, field: T.StructField) -> F.Column:  # type: ignore[name-defined]
    name = find(df.columns, field.name)
    if name is None:
        return F.lit(None).cast(field.dataType).alias(field.name)
    value, bad = fit(name, df.schema[name].dataType, field.dataType)
    if bad is not None:
        value = F.when(bad, F.raise_error(F.lit(f"lakekit: column {name} holds a value that its type in the table cannot hold"))).otherwise(
            value
        )
    return value.alias(field.name)
