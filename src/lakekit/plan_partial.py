"""Carry the planning of partial events out: let events and rows meet, fold them, count."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakekit import cdc_partial
from lakekit.batch import Batch, first_row, kept
from lakekit.cdc import ACTION, APPLIED, BEYOND, DUPLICATE, NOTHING, OLDER, STALE, VERDICT
from lakekit.cdc_partial import TIE, Shape
from lakekit.cdc_plan import greatest_literal
from lakekit.changes import HIDDEN, OP
from lakekit.columns import col
from lakekit.confs import confs
from lakekit.journal import dead_at
from lakekit.literals import null_struct
from lakekit.plan import Outcome, Plan, inside
from lakekit.plan_complete import with_truncations
from lakekit.pruning import where
from lakekit.request import Pinned, Request, broadcastable, dead_rows, in_shape, places, tie_conflict, visible, where_it_stood

_ROW = "row"  # the operation of a stored row that takes part without an event: a truncation may reach into it


_LEAN = {"spark.sql.constraintPropagation.enabled": "false"}
"""Spark would infer filters from every pair of a column's many expressions: half the time of planning, and nothing to prune."""


def plan(request: Request, batch: Batch, pinned: Pinned, stack: ExitStack) -> Plan:
    """Plan one attempt on the pinned state. Raises ``TieConflict``."""
    with confs(batch.events.sparkSession, _LEAN):
        return _plan(request, batch, pinned, stack)


def _plan(request: Request, batch: Batch, pinned: Pinned, stack: ExitStack) -> Plan:
    shape = shape_of(request, pinned)
    base = replace(inside(batch), stale=0)
    if not batch.counts[OLDER] and batch.truncated is None:
        return Plan(base)
    met = stack.enter_context(kept(_meet(request, batch, pinned, shape, stack)))
    tied = met.where(TIE)
    ties = tied.count() if request.feed.ties == "quarantine" else 0  # what is put away must not be folded
    if ties:
        met, base = met.where(~col(TIE)), replace(base, quarantined=base.quarantined + ties)
    horizon = F.expr(greatest_literal(pinned.known.truncated, batch.truncated) or null_struct(batch.sequence))
    settled = cdc_partial.settle(shape, met, horizon, carry=list(places(request.target.table, pinned.table)), marked=request.feed.partial)
    settled = stack.enter_context(kept(settled))
    result = _counted(request, shape, base, met, settled)
    result = replace(with_truncations(result, batch, pinned.known, result.deleted), deleted=result.deleted)
    changed = result.inserted + result.updated + result.deleted
    return Plan(
        outcome=result,
        rows=settled.where(col(ACTION) != NOTHING) if changed else None,
        tombstones=cdc_partial.burials(settled, batch.keys),
        truncation=batch.truncated if result.truncated else None,
        tied=tied if ties else None,
        bounds=batch.bounds if batch.truncated is None else (),
    )


def shape_of(request: Request, pinned: Pinned) -> Shape:
    """Which columns events author and where the table's stand; those behind ``_lakekit`` came later than the oldest rows."""
    schema, feed, memory = pinned.table.schema, request.feed, request.memory
    own = {*feed.keys, *(feed.sequence_by if memory.in_row else ())}
    behind = schema.names[schema.names.index(HIDDEN) :] if HIDDEN in schema.names else []
    payload = tuple(c for c in visible(pinned.table) if c not in own)
    return Shape(
        keys=feed.keys,
        types={f.name: f.dataType for f in schema.fields},
        feed=tuple(c for c in feed.columns if c not in own),
        table=payload,
        later=frozenset(c for c in payload if c in behind),
        sequence=memory.sequence,
        in_row=memory.in_row,
    )


def _meet(request: Request, batch: Batch, pinned: Pinned, shape: Shape, stack: ExitStack) -> DataFrame:
    events = batch.of(OLDER)
    state = None
    if not pinned.table.empty:
        state = _state(request, batch, pinned, shape, stack)
        if batch.truncated is not None:
            events = events.unionByName(state.select(*map(col, shape.keys), F.lit(_ROW).alias(OP)), allowMissingColumns=True)
    if state is None:
        events = events.withColumns({name: F.lit(None).cast(kind) for name, kind in places(request.target.table, pinned.table).items()})
    null = null_struct(batch.sequence)
    horizon = F.expr(greatest_literal(pinned.known.truncated, batch.truncated) or null)
    forgotten = F.expr(pinned.known.forgotten or null)
    dead = dead_rows(request, pinned)
    dead = None if dead is None else dead_at(dead, shape.keys)
    return cdc_partial.meet(shape, events, state, dead, horizon, forgotten)


def _state(request: Request, batch: Batch, pinned: Pinned, shape: Shape, stack: ExitStack) -> DataFrame:
    """The rows of the batch's keys; all rows where a truncation may reach into any."""
    bounds = where(batch.bounds if batch.truncated is None else ())
    stored = in_shape(request, request.target.table.scan(pinned.table.version, bounds).rows)
    if batch.truncated is None:
        keys = broadcastable(batch, batch.of(OLDER).select(*map(col, shape.keys)).distinct())
        stored = stored.join(keys, list(shape.keys), "left_semi")
    helpers = cdc_partial.state_columns(shape, stored, request.memory.at())
    located = [*map(col, shape.keys), *helpers, *map(col, request.target.table.locators), *where_it_stood(pinned.table)]
    rows = stored.select(*located)
    return rows if batch.truncated is None else stack.enter_context(kept(rows))  # looked at twice


def _counted(request: Request, shape: Shape, base: Outcome, met: DataFrame, settled: DataFrame) -> Outcome:
    """The counts of the batch. Raises ``TieConflict`` under ``ties="fail"``."""
    rows = first_row(cdc_partial.tally_rows(settled))
    verdict = cdc_partial.classify(shape, met.where(col(OP) != _ROW), settled)
    counts = (F.count_if(col(VERDICT) == v).alias(v) for v in (APPLIED, STALE, DUPLICATE, BEYOND))
    events = first_row(verdict.agg(*counts, F.count_if(TIE).alias("ties")))
    if events["ties"] and request.feed.ties == "fail":
        raise tie_conflict(request, events["ties"])
    return replace(
        base,
        applied=events[APPLIED],
        stale=events[STALE] + events[BEYOND],
        duplicate=base.duplicate + events[DUPLICATE],
        beyond_horizon=events[BEYOND],
        **rows,
    )
