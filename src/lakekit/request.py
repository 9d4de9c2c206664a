"""One upsert, described and pinned: what it is for, what stands, and the pruned frames that planning looks at."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit import journal
from lakekit.batch import Batch
from lakekit.cdc import AT
from lakekit.changes import HIDDEN, ChangeFeed
from lakekit.columns import col
from lakekit.errors import TieConflict
from lakekit.formats.base import Adapter, Scan, View
from lakekit.memory import Memory
from lakekit.plan import Known, Plan
from lakekit.pruning import where

BROADCAST_ROWS = 1_000_000
"""Keys that a batch may have for its narrow columns to be broadcast."""


@dataclass(frozen=True)
class Target:
    """Where an upsert goes: the table and, beside it, its journal and its quarantine."""

    table: Adapter
    journal: Adapter
    quarantine: Adapter


@dataclass(frozen=True)
class Verb:
    """What a verb other than the upsert does otherwise: how it reads events, how it plans, and what its journal holds.

    *silent* events say no more than that their key lives. *second* is the table that a verb of two tables derives from the first, and
    that its commit is about; *present* its columns where it is not made yet.
    """

    operation: str
    plan: Callable[[Request, Batch, Pinned, ExitStack], Plan]
    events: Callable[[DataFrame], DataFrame] = lambda events: events
    remembered: Sequence[str] | None = None
    silent: bool = False
    second: Adapter | None = None
    present: T.StructType | None = None


@dataclass(frozen=True)
class Request:
    """One upsert, fully described.

    *assumed* is the shape of a table that does not have it yet. *makes* make what is missing, table or columns, once the batch as a
    whole is accepted, so that a refused one leaves nothing behind; a dry run only assumes it.
    """

    target: Target
    feed: ChangeFeed
    memory: Memory
    batch_id: str
    dry_run: bool = False
    assumed: View | None = None
    makes: tuple[Callable[[], None], ...] = ()
    verb: Verb | None = None
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass
class Pinned:
    """The state that one attempt plans on."""

    table: View
    journal: View | None
    known: Known = field(default_factory=Known)
    remembered: Scan | None = None
    second: View | None = None
    again: bool = False
    """Whether this request wrote before, and was not alone."""


def visible(view: View) -> list[str]:
    """The user's columns of a table."""
    return [c for c in view.columns if not c.startswith(HIDDEN)]


def tie_conflict(request: Request, count: int) -> TieConflict:
    """The error of ``ties="fail"``."""
    feed = request.feed
    return TieConflict(
        f"{request.target.table.table}: {count} events share keys {', '.join(feed.keys)} and sequence {', '.join(feed.sequence_by)} "
        "with another event but author other values; nothing was written. "
        "Add a column to sequence_by, or choose ties='quarantine' or ties='content'."
    )


def stored_rows(request: Request, batch: Batch, pinned: Pinned) -> Scan | None:
    """The stored rows that may have keys of the batch: pruned by what the keys imply; ``None`` for an empty table."""
    if pinned.table.empty:
        return None
    found = request.target.table.scan(pinned.table.version, where(batch.bounds))
    return replace(found, rows=in_shape(request, found.rows))


def in_shape(request: Request, stored: DataFrame) -> DataFrame:
    """Stored rows with the columns that a dry run assumes and the table lacks: NULL, as they would be."""
    if request.assumed is None:
        return stored
    new = {f.name: F.lit(None).cast(f.dataType) for f in request.assumed.schema.fields if f.name not in stored.columns}
    return stored.withColumns(new) if new else stored


def remembered_rows(request: Request, batch: Batch, pinned: Pinned) -> Scan | None:
    """The journal's rows that the batch can meet: statistics rule out tombstones older than all its events or outside its keys."""
    if pinned.journal is None or pinned.journal.empty:
        return None
    meets = where(batch.bounds)
    if not request.memory.partial:
        meets = meets & journal.not_older(request.memory.sequence, batch.lowest)
    found = request.target.journal.scan(pinned.journal.version, meets | journal.is_marker())
    return None if found.most == 0 else found


def dead_rows(request: Request, pinned: Pinned) -> DataFrame | None:
    """The tombstones that the batch can meet, any number a key, as keys and ``_lk_dead``."""
    return None if pinned.remembered is None else journal.dead(pinned.remembered.rows, request.feed.keys, request.run_id)


def is_small(batch: Batch) -> bool:
    """Whether the winners' keys may be broadcast."""
    return batch.winners <= BROADCAST_ROWS


def journal_shape(request: Request, table: View) -> T.StructType:
    """The columns of the table's journal."""
    fields = table.schema.fields
    remembered = request.verb.remembered if request.verb else None
    payload = None if remembered is None else [f for f in fields if f.name in remembered]
    return journal.journal_schema([f for f in fields if f.name in request.feed.keys], request.memory.sequence, payload)


def broadcastable(batch: Batch, df: DataFrame) -> DataFrame:
    """A broadcast hint where the batch is small enough."""
    return df.hint("broadcast") if is_small(batch) else df


def located(request: Request, pinned: Pinned, stored: DataFrame) -> DataFrame:
    """Stored rows as keys, sequence, and where they stand."""
    at = F.expr(request.memory.at()).alias(AT)
    return stored.select(*map(col, request.feed.keys), at, *map(col, request.target.table.locators), *where_it_stood(pinned.table))


def places(table: Adapter, view: View) -> dict[str, T.DataType]:
    """The columns that say where a stored row stands: the format's locators and the old partition values."""
    found: dict[str, T.DataType] = {name: T.StringType() for name in table.locators}
    return found | {f"_lk_old_{c}": view.schema[c].dataType for c in view.partition_columns}


def where_it_stood(view: View) -> list[Column]:
    """The partition values of a stored row, under names that a moved row does not overwrite."""
    return [col(c).alias(f"_lk_old_{c}") for c in view.partition_columns]
