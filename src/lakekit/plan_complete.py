"""Carry the planning of complete events out: look at what stands, decide, count, compare payloads only where they matter."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakekit import cdc_plan
from lakekit.batch import Batch, first_row, kept
from lakekit.cdc import ACTION, AT, EQUAL, NOTHING, OLDER, REMOVE, TRUNCATION, VERDICT, WINNER
from lakekit.columns import col
from lakekit.confs import ONE_JOB, confs
from lakekit.formats.base import Scan
from lakekit.plan import Known, Outcome, Plan, inside
from lakekit.request import Pinned, Request, broadcastable, dead_rows, in_shape, is_small, located, places, stored_rows, tie_conflict

FEW_ROWS = 10_000
"""Rows of touched files that are handed out as they are; of more, only those with keys of the batch."""
ROWS_PER_PARTITION = 100_000


def plan(request: Request, batch: Batch, pinned: Pinned, stack: ExitStack) -> Plan:
    decided, state, result, tied = None, None, inside(batch), None
    if batch.winners:
        state = _state(request, batch, pinned)
        decided, result, tied = _settle(request, batch, pinned, state, stack)
    beneath = _beneath_truncation(request, batch, pinned, stack)
    result = with_truncations(result, batch, pinned.known, 0 if beneath is None else beneath.count())
    rows = None
    if decided is not None and inserted_or_more(result) > (0 if beneath is None else result.swept):
        rows = decided.where(col(ACTION) != NOTHING)
    if beneath is not None and result.swept:
        rows = beneath if rows is None else rows.unionByName(beneath, allowMissingColumns=True)
    truncation = batch.truncated if result.truncated else None
    return Plan(result, rows, decided, truncation, tied, () if beneath is not None else batch.bounds)


def inserted_or_more(result: Outcome) -> int:
    """Rows that change."""
    return result.inserted + result.updated + result.deleted


def _state(request: Request, batch: Batch, pinned: Pinned) -> cdc_plan.State:
    """What stands of the batch's keys: narrow columns of pruned files."""
    keys, found = list(batch.keys), places(request.target.table, pinned.table)
    stored, dead = stored_rows(request, batch, pinned), dead_rows(request, pinned)
    rows = None if stored is None else located(request, pinned, stored.rows)
    if not _few(batch, stored, pinned.remembered):
        winners = broadcastable(batch, batch.of(WINNER).select(*map(col, keys)))
        rows, dead = (None if frame is None else frame.join(winners, keys, "left_semi") for frame in (rows, dead))
    # Spark's default of two hundred partitions would cost a small batch more than all else.
    partitions = 1 + batch.winners // ROWS_PER_PARTITION if is_small(batch) else None
    standing = cdc_plan.together(rows, dead, keys, cdc_plan.nothing(batch.sequence, found), partitions)
    return cdc_plan.State(standing, None if stored is None else stored.rows, pinned.known, found)


def _few(batch: Batch, *scans: Scan | None) -> bool:
    """Whether what stands is so little that finding the batch's keys in it costs more than handing all of it out."""
    most = [scan.most for scan in scans if scan is not None]
    return all(rows is not None for rows in most) and sum(rows or 0 for rows in most) <= max(FEW_ROWS, 2 * batch.winners)


def _settle(
    request: Request, batch: Batch, pinned: Pinned, state: cdc_plan.State, stack: ExitStack
) -> tuple[DataFrame, Outcome, DataFrame | None]:
    """Decide, count, and where an event has its row's sequence let the payloads tell a duplicate from a tie."""
    ties = request.feed.ties
    decided = cdc_plan.decide(batch, state, small=is_small(batch))
    if state.nothing_stands(batch):
        return decided, cdc_plan.outcome(batch, cdc_plan.unmet(batch), None, ties), None
    known_size = ONE_JOB if is_small(batch) else {}
    with confs(decided.sparkSession, known_size):
        decided = stack.enter_context(kept(decided))  # counted, remembered and written from one look at the table
    found = first_row(cdc_plan.tally(decided))
    equal = decided.where(col(VERDICT) == EQUAL) if found[EQUAL] else None
    if found["older_maybe"]:
        with confs(decided.sparkSession, known_size):
            older = stack.enter_context(kept(cdc_plan.older_equal(batch, decided, small=is_small(batch))))
        if first_row(older.agg(F.count(F.lit(1)).alias("n")))["n"]:  # one job, where isEmpty() feels its way in several
            equal = older if equal is None else older.unionByName(equal, allowMissingColumns=True)
    if state.payload is None or equal is None:
        return decided, cdc_plan.outcome(batch, found, None, ties), None
    return _compare(request, batch, state, decided, equal, found, stack)


def _compare(
    request: Request, batch: Batch, state: cdc_plan.State, decided: DataFrame, equal: DataFrame, found: dict[str, int], stack: ExitStack
) -> tuple[DataFrame, Outcome, DataFrame | None]:
    """Let payloads rule on the events that have their row's sequence. Raises ``TieConflict`` under ``ties="fail"``."""
    assert state.payload is not None
    ties = request.feed.ties
    rulings = cdc_plan.rule(equal, batch.keys, request.feed.payload, state.payload, small=is_small(batch))
    ruled = first_row(cdc_plan.tally_rulings(rulings))
    disagree = cdc_plan.ties_in(ruled, WINNER, OLDER)
    if disagree and ties == "fail":
        raise tie_conflict(request, disagree)
    if disagree and ties == "content":
        decided = stack.enter_context(kept(cdc_plan.ruled(decided, rulings, batch.keys)))
        found = first_row(cdc_plan.tally(decided))
    tied = rulings.where(col(cdc_plan.RULING).isin(cdc_plan.GREATER, cdc_plan.LESSER)) if disagree and ties == "quarantine" else None
    return decided, cdc_plan.outcome(batch, found, ruled, ties), tied


def _beneath_truncation(request: Request, batch: Batch, pinned: Pinned, stack: ExitStack) -> DataFrame | None:
    """Every stored row at or beneath the batch's truncation that no winner of the batch decides on."""
    if batch.truncated is None or pinned.table.empty:
        return None
    everything = in_shape(request, request.target.table.read(pinned.table.version))
    dead = located(request, pinned, everything).where(F.expr(f"{AT} <= {batch.truncated}"))
    alone = dead.join(broadcastable(batch, batch.of(WINNER).select(*batch.keys)), list(batch.keys), "left_anti")
    return stack.enter_context(kept(alone.withColumn(ACTION, F.lit(REMOVE))))


def with_truncations(result: Outcome, batch: Batch, known: Known, swept: int) -> Outcome:
    """Count truncations: the last one applies when it is news or sweeps a row, its repetitions are duplicates, older ones stale."""
    if batch.truncated is None:
        return result
    standing = batch.truncation_is(known.truncated)
    applied = 1 if standing > 0 or swept else 0
    repeated = batch.truncations_at_last - applied if standing >= 0 else 0
    older = batch.counts[TRUNCATION] - applied - repeated
    return replace(
        result,
        applied=result.applied + applied,
        duplicate=result.duplicate + repeated,
        stale=result.stale + older,
        deleted=result.deleted + swept,
        swept=swept,
        truncated=standing > 0,
    )
