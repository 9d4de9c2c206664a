"""The verbs of slowly changing dimensions: what ``Table`` has for types 0 to 7."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal

from pyspark.sql import types as T

from lakekit import plan_scd, retention, scd_shape, schema, upsert
from lakekit.batch import Batch
from lakekit.changes import ChangeFeed, check_columns, spelled_like
from lakekit.commit import Commit
from lakekit.errors import CommitConflict, ConfigError, EngineError
from lakekit.formats.base import SCD_PROPERTY, Adapter, Spec, View
from lakekit.journal import journal_name
from lakekit.partitioning import Transform, parse
from lakekit.plan import Plan
from lakekit.quarantine import quarantine_name
from lakekit.request import Pinned, Request, Target, Verb, visible
from lakekit.scd import History
from lakekit.scd_shape import Shape

OnDelete = Literal["close", "ignore"]
_TYPE2 = ("track", "valid_from", "valid_to", "end_of_time", "current", "version")
_SHAPED = {2: _TYPE2}


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

    @property
    @abstractmethod
    def _adapter(self) -> Adapter: ...

    @abstractmethod
    def _beside(self, name: str) -> Adapter: ...

    @abstractmethod
    def exists(self) -> bool:
        """Whether the table exists."""

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
        number column to be kept. ``on_delete="ignore"`` lets rows live on. The other options are those of ``upsert``.

        Raises what ``upsert`` raises, and ``ConfigError`` for a table that is no type 2 table of this shape.
        """
        shape, feed = scd_shape.asked(
            self.name, self._spelled(feed), self._columns(), track=track, valid_from=valid_from, valid_to=valid_to, end_of_time=end_of_time,
            current=current, version=version,
        )  # fmt: skip
        return self._versioned("scd2", shape, feed, on_delete, Options(dry_run, batch_id, quarantine, evolve, tombstone_retention))

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
            raise ConfigError(f"{self.name}: scd={scd} is no type of dimension; use one of 0, 1, {', '.join(map(str, _SHAPED))}.")
        if not isinstance(feed, ChangeFeed):
            raise ConfigError(f"{self.name}: scd={scd} needs a feed, whose keys and sequence it takes. Describe one with lakekit.changes.")
        unknown = set(options) - set(_SHAPED[scd])
        if unknown:
            raise ConfigError(f"{self.name}: create(scd={scd}) knows no {', '.join(sorted(unknown))}. It knows: {', '.join(_SHAPED[scd])}.")
        if not self.exists():
            shape, feed = scd_shape.asked(self.name, feed, **options)
            self._make_versions(feed, shape, partition_by, **made)

    def _spelled(self, feed: ChangeFeed) -> ChangeFeed:
        return spelled_like(feed, visible(self._adapter.view())) if self.exists() else feed

    def _columns(self) -> list[str]:
        return visible(self._adapter.view()) if self.exists() else []

    def _versioned(self, operation: str, shape: Shape, feed: ChangeFeed, on_delete: str, options: Options) -> Commit:
        """Apply a feed to the versions of this table."""
        if on_delete not in ("close", "ignore"):
            raise ConfigError(f"{self.name}: on_delete is {on_delete!r}; it must be 'close' or 'ignore'.")
        assumed = self._shaped(shape, feed, options)
        view = assumed or self._adapter.view()
        remembers = scd_shape.memory(view.schema, feed, shape)
        past = scd_shape.history(self.name, view.schema, shape, remembers)
        request = Request(
            Target(
                self._adapter, self._beside(journal_name(self.name)), self._beside(options.quarantine or quarantine_name(self.name))
            ),
            feed,
            remembers,
            options.batch_id or uuid.uuid4().hex,
            options.dry_run,
            assumed,
            _verb(operation, past, on_delete),
        )
        before = None if options.tombstone_retention is None else retention.cutoff(request, options.tombstone_retention)
        commit = upsert.run(request)
        if before is not None and not options.dry_run:
            retention.tidy(request, before)
        return commit

    def _shaped(self, shape: Shape, feed: ChangeFeed, options: Options) -> View | None:
        """Bring the table to the shape that the feed needs; a dry run assumes the shape instead."""
        if not self.exists():
            columns = scd_shape.stored_schema(feed, shape)
            if options.dry_run:
                return View(None, columns, empty=True, scd=shape.dumps())
            self._make_versions(feed, shape)
            return None
        view = self._adapter.view()
        scd_shape.refuse_other(self.name, view.scd, shape)
        operations = [o for o in schema.diff(view.schema, feed.schema) if o.kind in options.evolve]
        check_columns(feed, self.name, [*visible(view), *(o.name for o in operations)])
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
        keys = (*shape.keys, shape.valid_from)
        kept = {**(properties or {}), SCD_PROPERTY: shape.dumps()}
        spec = Spec(scd_shape.stored_schema(feed, shape), parse(partition_by), keys, merge_on_read, kept, comment)
        try:
            self._adapter.create(spec)
        except (CommitConflict, EngineError):
            if not self._adapter.exists():  # two writers may both find it missing; one of them makes it
                raise


def _verb(operation: str, past: History, on_delete: str) -> Verb:
    def plan(request: Request, batch: Batch, pinned: Pinned, stack: ExitStack) -> Plan:
        return plan_scd.plan(request, batch, pinned, stack, past)

    return Verb(operation, plan, lambda events: scd_shape.checked(events, past, on_delete), past.payload)


def _evolved(current: T.StructType, operations: Iterable[schema.Operation]) -> T.StructType:
    types = {f.name: f.dataType for f in current.fields}
    types.update({o.name: o.data_type for o in operations})
    return T.StructType([T.StructField(n, t) for n, t in types.items()])


