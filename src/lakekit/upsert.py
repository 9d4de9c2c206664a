"""The upsert: evaluate the feed once, plan on a pinned view, remember first, then write, then look again.

One attempt reads the table at a version, adds tombstones to the journal, commits to the table, and then looks whether anything
but its own commit has landed on table or journal since. If so it plans again on a fresh view: applying is idempotent, so what
already stands counts as nothing new, and of two writers in conflict at least one sees the other (C9).
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakekit import cdc_partial, cdc_plan, journal, quarantine
from lakekit.batch import Batch, evaluate, kept
from lakekit.cdc import ACTION, AT, BAD, EQUAL, NOTHING, OLDER, REMOVE, TIED, TRUNCATION, WINNER, judge
from lakekit.changes import HIDDEN, RAW, REASON, SEQ, ChangeFeed, check_columns, digits_as_text, events
from lakekit.columns import col
from lakekit.commit import Commit
from lakekit.errors import CommitConflict, FeedError, TieConflict
from lakekit.formats.base import Adapter, ChangeSet, Landing, Spec, View
from lakekit.literals import encoded_struct, literal_struct
from lakekit.memory import STORED_SEQ, Memory
from lakekit.plan import Known, Outcome, Plan, inside
from lakekit.pruning import where

ATTEMPTS = 8
BACKOFF_SECONDS = 0.2


@dataclass(frozen=True)
class Target:
    """Where an upsert goes: the table and, beside it, its journal and its quarantine."""

    table: Adapter
    journal: Adapter
    quarantine: Adapter


@dataclass(frozen=True)
class Request:
    """One upsert, fully described; *assumed* stands for a table that a dry run does not create."""

    target: Target
    feed: ChangeFeed
    memory: Memory
    batch_id: str
    dry_run: bool = False
    assumed: View | None = None
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass
class Pinned:
    """The state that one attempt plans on."""

    table: View
    journal: View | None
    known: Known = field(default_factory=Known)


def run(request: Request) -> Commit:
    """Apply the feed; retry on a fresh view while rivals interfere. Raises ``TieConflict``, ``FeedError``, ``CommitConflict``."""
    started = time.monotonic()
    with ExitStack() as stack:
        if not request.dry_run:
            stack.enter_context(request.target.table.guard())
        first = request.assumed or request.target.table.view()
        batch = stack.enter_context(evaluated(request, first))
        refuse(request, batch)
        history: list[tuple[Outcome, Landing]] = []
        lost: CommitConflict | None = None
        for attempt in range(1, ATTEMPTS + 1):
            try:
                done = _attempt(request, batch, history)
            except CommitConflict as conflict:
                done, lost = False, conflict
            if done:
                return _commit(request, batch, first, history, attempt, time.monotonic() - started)
            time.sleep(random.uniform(0.5, 1.0) * BACKOFF_SECONDS * 2 ** min(attempt, 6))
    raise CommitConflict(
        f"{request.target.table.table}: other writers changed the table during each of {ATTEMPTS} attempts. Run the same batch again; applying is idempotent."
    ) from lost


@contextmanager
def evaluated(request: Request, view: View) -> Iterator[Batch]:
    """The feed's judged events, evaluated once and kept while the upsert lasts."""
    feed = check_columns(request.feed, request.target.table.table, visible(view))
    types = {f.name: f.dataType for f in view.schema.fields}
    sequence = request.memory.sequence
    canonical = events(feed, types, sequence)
    judging = cdc_partial.judge if request.memory.partial else judge
    with kept(judging(canonical, feed.keys, feed.payload, feed.ties)) as judged:
        partition_keys = [k for k in feed.keys if k in view.partition_columns]
        yield evaluate(judged, feed.keys, partition_keys, sequence, digits_as_text(feed))


def visible(view: View) -> list[str]:
    """The user's columns of a table."""
    return [c for c in view.columns if not c.startswith(HIDDEN)]


def refuse(request: Request, batch: Batch) -> None:
    """Stop before anything is written where the batch as a whole is unacceptable."""
    name, feed = request.target.table.table, request.feed
    if batch.digits:
        raise FeedError(
            f"{name}: sequence_by {', '.join(feed.sequence_by)} is text that holds digits, and '9' > '10' as text. "
            "Cast it to a number (decimal(38,0) holds 38 digits) in the source."
        )
    if feed.ties == "fail" and batch.counts[TIED]:
        raise tie_conflict(request, batch.counts[TIED])


def tie_conflict(request: Request, count: int) -> TieConflict:
    """The error of ``ties="fail"``."""
    feed = request.feed
    return TieConflict(
        f"{request.target.table.table}: {count} events share keys {', '.join(feed.keys)} and sequence {', '.join(feed.sequence_by)} "
        "with another event but author other values; nothing was written. "
        "Add a column to sequence_by, or choose ties='quarantine' or ties='content'."
    )


def _attempt(request: Request, batch: Batch, history: list[tuple[Outcome, Landing]]) -> bool:
    """Plan and carry out once; true when nobody interfered."""
    target = request.target
    pinned = pin(request)
    token = uuid.uuid4().hex
    with planned(request, batch, pinned) as plan:
        if request.dry_run:
            history.append((plan.outcome, Landing(alone=True, version=pinned.table.version)))
            return True
        if not history:
            _quarantine(request, batch, plan)
        journal_wrote = _remember(request, plan, pinned, token)
        if plan.rows is not None:
            target.table.apply(pinned.table, change_set(request, batch, plan, pinned.table), token)
        return _look_again(request, plan, pinned, token, journal_wrote, history)


def pin(request: Request) -> Pinned:
    """Pin table and journal, in this order: what lands in between is seen when looking again."""
    target = request.target
    table = request.assumed or target.table.view()
    return Pinned(table, target.journal.view() if target.journal.exists() else None)


def _look_again(
    request: Request, plan: Plan, pinned: Pinned, token: str, journal_wrote: bool, history: list[tuple[Outcome, Landing]]
) -> bool:
    target = request.target
    wrote = plan.rows is not None
    if not wrote and not journal_wrote:
        history.append((plan.outcome, Landing(alone=True, version=pinned.table.version)))
        return True  # nothing was written, so the plan on the pinned state is the answer
    landing = target.table.landing(pinned.table, token, wrote=wrote)
    history.append((plan.outcome, landing))
    return landing.alone and _journal_alone(target, pinned, token, journal_wrote)


def _journal_alone(target: Target, pinned: Pinned, token: str, wrote: bool) -> bool:
    if pinned.journal is None:
        # A journal that we made ourselves holds our commit only; one that a rival made holds his.
        if not target.journal.exists():
            return True
        empty = View(None, target.journal.view().schema)
        return target.journal.landing(empty, token, wrote=wrote).alone
    return target.journal.landing(pinned.journal, token, wrote=wrote).alone


def _remember(request: Request, plan: Plan, pinned: Pinned, token: str) -> bool:
    """Add to the journal what the table will no longer say; before the table changes, so that a crash loses nothing."""
    if not plan.remembers:
        return False
    target, feed = request.target, request.feed
    fields = [f for f in pinned.table.schema.fields if f.name in feed.keys]
    schema = journal.journal_schema(fields, request.memory.sequence)
    if pinned.journal is None:
        target.journal.create(Spec(schema, properties={}))
    stamp = journal.Stamp(request.batch_id, request.run_id, pinned.table.version)
    rows: list[DataFrame] = []
    if plan.tombstones is not None and plan.outcome.tombstones:
        rows.append(journal.tombstones(plan.tombstones, [f.name for f in fields], stamp))
    if plan.truncation is not None:
        rows.append(journal.marker(journal.TRUNCATION, target.table.spark.sql(f"SELECT {plan.truncation} AS _lk_seq"), schema, stamp))
    union = rows[0] if len(rows) == 1 else rows[0].unionByName(rows[1])
    target.journal.append(union.select(*map(col, schema.names)).coalesce(1), target.journal.view(), token)
    return True


def _quarantine(request: Request, batch: Batch, plan: Plan) -> None:
    """Put bad and tied rows away first: were the table written before, a crash would lose them from sight."""
    target, feed = request.target, request.feed
    frames = []
    if batch.counts[BAD]:
        frames.append(batch.of(BAD).select(REASON, RAW))
    reason = quarantine.tie_reason(feed.sequence_by)
    if batch.counts[TIED]:
        frames.append(quarantine.tied(batch.of(TIED), feed.columns, reason))
    if plan.tied is not None:
        frames.append(quarantine.tied(plan.tied, feed.columns, reason))
    if frames:
        bad = frames[0]
        for frame in frames[1:]:
            bad = bad.unionByName(frame)
        store(target.quarantine, quarantine.records(bad, request.batch_id, feed.source))


def store(adapter: Adapter, found: DataFrame) -> None:
    """Append quarantine records that are not stored yet."""
    if not adapter.exists():
        adapter.create(Spec(quarantine.SCHEMA, comment="Rows that lakekit could not apply, with reason and raw content"))
    with kept(quarantine.news(found, adapter.read())) as fresh:
        if not fresh.isEmpty():
            adapter.append(fresh.coalesce(1), adapter.view(), uuid.uuid4().hex)


@contextmanager
def planned(request: Request, batch: Batch, pinned: Pinned) -> Iterator[Plan]:
    """Plan on the pinned state; what the plan keeps in memory is freed afterwards."""
    with ExitStack() as stack:
        pinned.known = _known(request, pinned)
        planner = cdc_partial.plan if request.memory.partial else _plan_complete
        yield planner(request, batch, pinned, stack)


def _known(request: Request, pinned: Pinned) -> Known:
    if pinned.journal is None or pinned.journal.empty:
        return Known()
    sequence = request.memory.sequence
    found = journal.horizons(request.target.journal.read(pinned.journal.version))
    row = found.select(
        *encoded_struct(col("truncated"), sequence, "truncated"), *encoded_struct(col("forgotten"), sequence, "forgotten")
    ).first()
    facts = {} if row is None else row.asDict()
    return Known(literal_struct(facts, sequence, "truncated"), literal_struct(facts, sequence, "forgotten"))


def stored_rows(request: Request, batch: Batch, pinned: Pinned) -> DataFrame | None:
    """The stored rows that may have keys of the batch: pruned by what the keys imply; ``None`` for an empty table."""
    if pinned.table.empty:
        return None
    return request.target.table.read(pinned.table.version).where(where(batch.bounds))


def dead_rows(request: Request, batch: Batch, pinned: Pinned) -> DataFrame | None:
    """The tombstones that the batch can meet: statistics rule out those older than all its events or outside its keys."""
    if pinned.journal is None or pinned.journal.empty:
        return None
    rows = request.target.journal.read(pinned.journal.version).where(where(batch.bounds))
    if not request.memory.partial:
        rows = rows.where(journal.not_older(request.memory.sequence, batch.lowest))
    return journal.dead_at(rows, batch.keys, request.run_id)


def _plan_complete(request: Request, batch: Batch, pinned: Pinned, stack: ExitStack) -> Plan:
    decided, state, result, tied = None, None, inside(batch), None
    if batch.winners:
        state = _state(request, batch, pinned, stack)
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


def _state(request: Request, batch: Batch, pinned: Pinned, stack: ExitStack) -> cdc_plan.State:
    """What stands of the batch's keys: narrow columns of pruned files, kept because planning and writing both look."""
    target, keys = request.target, list(batch.keys)
    stored = stored_rows(request, batch, pinned)
    rows = None
    if stored is not None:
        narrow = located(request, pinned, stored)
        rows = stack.enter_context(kept(narrow.join(broadcastable(batch, batch.of(WINNER).select(*keys)), keys, "left_semi")))
    return cdc_plan.State(rows, stored, dead_rows(request, batch, pinned), pinned.known)


def located(request: Request, pinned: Pinned, stored: DataFrame) -> DataFrame:
    """Stored rows as keys, sequence, and where they stand."""
    old = [col(c).alias(f"_lk_old_{c}") for c in pinned.table.partition_columns]
    at = F.expr(request.memory.at()).alias(AT)
    return stored.select(*map(col, request.feed.keys), at, *map(col, request.target.table.locators), *old)


def _settle(
    request: Request, batch: Batch, pinned: Pinned, state: cdc_plan.State, stack: ExitStack
) -> tuple[DataFrame, Outcome, DataFrame | None]:
    """Decide, count, and where an event has its row's sequence let the payloads tell a duplicate from a tie."""
    ties = request.feed.ties
    decided = cdc_plan.decide(batch, state, small=is_small(batch))
    found = _first(cdc_plan.tally(decided))
    if state.payload is None or not found[EQUAL] + found["older_maybe"]:
        return decided, cdc_plan.outcome(batch, found, None, ties), None
    rulings = stack.enter_context(kept(cdc_plan.rule(batch, decided, state.payload, ties)))
    ruled = _first(cdc_plan.tally_rulings(rulings))
    disagree = cdc_plan.ties_in(ruled, WINNER, OLDER)
    if disagree and ties == "fail":
        raise tie_conflict(request, disagree)
    if disagree and ties == "content":
        decided = cdc_plan.decide(batch, state, rulings, small=is_small(batch))
        found = _first(cdc_plan.tally(decided))
    tied = rulings.where(col(cdc_plan.RULING) != cdc_plan.SAME) if disagree and ties == "quarantine" else None
    return decided, cdc_plan.outcome(batch, found, ruled, ties), tied


def _beneath_truncation(request: Request, batch: Batch, pinned: Pinned, stack: ExitStack) -> DataFrame | None:
    """Every stored row at or beneath the batch's truncation that no winner of the batch decides on."""
    if batch.truncated is None or pinned.table.empty:
        return None
    everything = request.target.table.read(pinned.table.version)
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


def is_small(batch: Batch) -> bool:
    """Whether the winners' keys may be broadcast."""
    return batch.winners <= 1_000_000


def broadcastable(batch: Batch, df: DataFrame) -> DataFrame:
    """A broadcast hint where the batch is small enough."""
    return df.hint("broadcast") if is_small(batch) else df


def _first(df: DataFrame) -> dict[str, int]:
    row = df.first()
    assert row is not None
    return row.asDict()


def change_set(request: Request, batch: Batch, plan: Plan, view: View) -> ChangeSet:
    """The plan's rows in the shape that a format applies."""
    assert plan.rows is not None
    frame = plan.rows
    for name in view.columns:
        if name not in frame.columns:
            frame = frame.withColumn(name, _filled(view, name))
    result = plan.outcome
    return ChangeSet(
        rows=frame,
        keys=batch.keys,
        columns=tuple(view.columns),
        unmoved=request.memory.unmoved(),
        bounds=plan.bounds,
        inserts=result.inserted,
        updates=result.updated,
        deletes=result.deleted,
        width=batch.width,
    )


def _filled(view: View, name: str) -> Column:
    """A stored column that complete events do not bring: the hidden memory of their sequence, else NULL."""
    if name == HIDDEN:
        return F.struct(col(SEQ).alias(STORED_SEQ)).cast(view.schema[name].dataType)
    return F.lit(None).cast(view.schema[name].dataType)


def _commit(
    request: Request, batch: Batch, first: View, history: list[tuple[Outcome, Landing]], attempts: int, seconds: float
) -> Commit:
    """Fold all attempts into one fact sheet: rows and files add up, events count as the last look at them says."""
    outcome, landing = history[0][0], history[-1][1]
    for later, _ in history[1:]:
        stale = max(later.stale, outcome.stale)
        outcome = replace(
            outcome,
            stale=stale,
            applied=max(0, outcome.applied - (stale - outcome.stale)) ,
            inserted=outcome.inserted + later.inserted,
            updated=outcome.updated + later.updated,
            deleted=outcome.deleted + later.deleted,
        )
    return Commit(
        operation="upsert",
        table=request.target.table.table,
        format=request.target.table.name,
        read=batch.read,
        applied=outcome.applied,
        stale=outcome.stale,
        duplicate=outcome.duplicate,
        ignored=outcome.ignored,
        quarantined=outcome.quarantined,
        inserted=outcome.inserted,
        updated=outcome.updated,
        deleted=outcome.deleted,
        unchanged=outcome.unchanged,
        markers_nulled=outcome.markers_nulled,
        beyond_horizon=outcome.beyond_horizon,
        version_before=first.version,
        version=landing.version,
        files_added=sum(each.files_added for _, each in history),
        files_removed=sum(each.files_removed for _, each in history),
        bytes_added=sum(each.bytes_added for _, each in history),
        bytes_removed=sum(each.bytes_removed for _, each in history),
        seconds=round(seconds, 3),
        attempts=attempts,
        dry_run=request.dry_run,
        batch_id=request.batch_id,
    )
