"""The upsert: evaluate the feed once, plan on a pinned view, remember first, then write, then look again.

One attempt reads the table at a version, adds tombstones to the journal, commits to the table, and then looks whether anything
but its own commit has landed on table or journal since. If so it plans again on a fresh view: applying is idempotent, so what
already stands counts as nothing new, and of two writers in conflict at least one sees the other (C9).
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit import cdc_partial, first_load, journal, plan_complete, plan_partial, quarantine, retention
from lakekit.batch import Batch, evaluate, first_row, kept, shuffled, size_of
from lakekit.cdc import BAD, OLDER, REPEATED, TIED, WINNER, gathered, judge
from lakekit.changes import HIDDEN, RAW, REASON, SEQ, check_columns, digits_as_text, events
from lakekit.columns import col, same_type
from lakekit.commit import Commit
from lakekit.confs import shuffle_partitions
from lakekit.errors import CommitConflict, FeedError, LakekitError, in_table
from lakekit.formats.base import Adapter, ChangeSet, Landing, Spec, View
from lakekit.formats.failures import translated
from lakekit.guard import counting, observed
from lakekit.literals import encoded_struct, literal_struct
from lakekit.memory import STORED_SEQ
from lakekit.plan import Known, Outcome, Plan
from lakekit.request import Pinned, Request, Target, journal_shape, remembered_rows, tie_conflict, visible

ATTEMPTS = 8
BACKOFF_SECONDS = 0.2
PLACED_BYTES = 16 << 30
"""Size up to which a first load is shuffled by partition, once for judging and writing; above it, partitions may be too large to sort."""


def run(request: Request, tombstone_retention: str | None = None) -> Commit:
    """Apply the feed, then forget what was recorded longer ago than the retention, before this began.

    Raises ``TieConflict``, ``FeedError``, ``CommitConflict``, and ``ConfigError`` for a retention that is no interval.
    """
    # What Spark says of a source that cannot be read or computed is no error of a table's, but it must not leave bare either.
    with translated(request.target.table.table, "evaluating and applying the feed"):
        before = None if tombstone_retention is None else retention.cutoff(request, tombstone_retention)
        commit = _applied(request)
        if before is not None and not request.dry_run:
            retention.tidy(request, before)
    return commit


def _applied(request: Request) -> Commit:
    """Apply the feed; retry on a fresh view while rivals interfere. Raises ``TieConflict``, ``FeedError``, ``CommitConflict``."""
    started = time.monotonic()
    with ExitStack() as stack:
        if not request.makes:
            _hold_off(request, stack)
        first = request.assumed or request.target.table.view()
        batch = stack.enter_context(evaluated(request, first))
        refuse(request, batch)
        if request.makes:
            request, first = _made(request, first)
            _hold_off(request, stack)
        second = request.verb.second if request.verb else None
        shown = first if second is None else View(None, first.schema) if request.dry_run and not second.exists() else second.view()
        history: list[tuple[Outcome, Landing]] = []

        def once(attempt: int) -> Commit | None:
            done = _attempt(request, batch, history)
            return _commit(request, batch, shown, history, attempt, time.monotonic() - started) if done else None

        return insisting(request.target.table.table, once)


def _hold_off(request: Request, stack: ExitStack) -> None:
    """Hold other writers off the table, and off the second one of a verb of two."""
    if not request.dry_run:
        stack.enter_context(request.target.table.guard())
        if request.verb is not None and request.verb.second is not None:
            stack.enter_context(request.verb.second.guard())


def _made(request: Request, assumed: View) -> tuple[Request, View]:
    """The request once its table has its shape. Raises ``CommitConflict`` where a rival has given it another meanwhile."""
    for make in request.makes:
        try:
            make()
        except LakekitError:
            make()  # a rival may have been at it too: each looks anew at what is still missing
    view = request.target.table.view()
    if _form(view) != _form(assumed):
        raise CommitConflict(f"{request.target.table.table}: another writer has just given it another shape. Run the same batch again.")
    return replace(request, assumed=None, makes=()), view


def _form(view: View) -> tuple[object, ...]:
    """What a batch that was judged for one table needs of another."""
    return {c.lower() for c in view.columns}, view.partition_columns, view.scd


def insisting(table: str, once: Callable[[int], Commit | None]) -> Commit:
    """Try, with growing pauses, until rivals leave a result standing; *once* gives none, or raises, when one has interfered.

    Raises ``CommitConflict`` when they win each time.
    """
    lost: CommitConflict | None = None
    for attempt in range(1, ATTEMPTS + 1):
        try:
            commit = once(attempt)
        except CommitConflict as conflict:
            commit, lost = None, conflict
        if commit is not None:
            return commit
        time.sleep(random.uniform(0.5, 1.0) * BACKOFF_SECONDS * 2 ** min(attempt, 6))
    raise CommitConflict(
        f"{table}: other writers changed the table during each of {ATTEMPTS} attempts. Run the same batch again; applying is idempotent."
    ) from lost


@contextmanager
def evaluated(request: Request, view: View) -> Iterator[Batch]:
    """The feed's judged events, evaluated once and kept while the upsert lasts."""
    feed = request.feed
    check_columns(feed, request.target.table.table, visible(view))
    types = {f.name: f.dataType for f in view.schema.fields}
    sequence = request.memory.sequence
    with in_table(request.target.table.table):
        canonical = events(feed, types, sequence, request.target.table.unstorable(view.schema, view.partition_columns))
    if request.verb is not None:
        canonical = request.verb.events(canonical)
    partition_keys = [k for k in feed.keys if k in view.partition_columns]
    digits = digits_as_text(feed)
    may_be_plain = view.empty and request.verb is None and not request.memory.partial and feed.guard is None
    spread, placed = _gathered(request, view, canonical, partition_keys, again=may_be_plain)
    plain = first_load.read_off(spread, feed.keys, sequence, digits) if may_be_plain else None
    if plain is not None:
        yield replace(plain, placed=placed)
        return
    judged = (cdc_partial.judge if request.memory.partial else judge)(spread, feed.keys, feed.payload, feed.ties)
    with ExitStack() as stack:
        with counting(feed.df.sparkSession) if feed.guard else nullcontext():
            kept_events = stack.enter_context(kept(judged))
        batch = evaluate(kept_events, feed.keys, partition_keys, sequence, digits)
        if feed.guard:
            feed.guard.check(observed(judged), batch.counts[REPEATED] + batch.counts[TIED])
        yield replace(batch, placed=placed)


def _gathered(request: Request, view: View, canonical: DataFrame, partition_keys: list[str], *, again: bool) -> tuple[DataFrame, bool]:
    """The events of a key in one place, and whether those of a partition of the table are, as a first load wants them for writing.

    *again*: they will be looked at twice.
    """
    feed, spark = request.feed, canonical.sparkSession
    if request.verb is not None or not view.empty:
        return gathered(canonical, feed.keys), False
    size = size_of(feed.df)
    placed = len(partition_keys) == len(view.partition_columns) > 0 and size <= PLACED_BYTES
    by = partition_keys if placed else feed.keys
    if not again:
        return gathered(canonical, by), placed
    parts = first_load.tasks(size, spark.sparkContext.defaultParallelism, shuffle_partitions(spark))
    return shuffled(gathered(canonical, by, parts)), placed


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


def _attempt(request: Request, batch: Batch, history: list[tuple[Outcome, Landing]]) -> bool:
    """Plan and carry out once; true when nobody interfered."""
    target = request.target
    pinned = replace(pin(request), again=bool(history))
    token = uuid.uuid4().hex
    with planned(request, batch, pinned) as plan:
        if request.dry_run:
            history.append((plan.outcome, Landing(alone=True, version=_shown(request, pinned).version)))
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
    second = request.verb.second if request.verb else None
    derived = second.view() if second is not None and second.exists() else None
    table = request.assumed or target.table.view()
    remembered = target.journal.view() if target.journal.exists() else None
    if remembered is not None:
        journal.check_sequence(target.journal.table, remembered.schema, request.memory.sequence)
    return Pinned(table, remembered, second=derived)


def _shown(request: Request, pinned: Pinned) -> View:
    """The view of the table that the commit is about."""
    if request.verb is None or request.verb.second is None:
        return pinned.table
    return pinned.second or View(None, pinned.table.schema)


def _look_again(
    request: Request, plan: Plan, pinned: Pinned, token: str, journal_wrote: bool, history: list[tuple[Outcome, Landing]]
) -> bool:
    target = request.target
    wrote = plan.rows is not None
    if not wrote and not journal_wrote and plan.second is None:
        history.append((plan.outcome, Landing(alone=True, version=_shown(request, pinned).version)))
        return True  # nothing was written, so the plan on the pinned state is the answer
    landing = target.table.landing(pinned.table, token, wrote=wrote)
    alone = landing.alone and _journal_alone(target, pinned, token, journal_wrote)
    if plan.second is not None:
        try:
            landing = plan.second(token)
        except CommitConflict:  # the first table stands, and the next attempt would take these events for repeated ones
            history.append((replace(plan.outcome, inserted=0, updated=0, deleted=0), landing))
            raise
    elif request.verb is not None and request.verb.second is not None:
        landing = Landing(alone=True, version=_shown(request, pinned).version)
    history.append((plan.outcome, landing))
    return alone and landing.alone and not plan.unfinished


def _journal_alone(target: Target, pinned: Pinned, token: str, wrote: bool) -> bool:
    if pinned.journal is None:
        return not target.journal.exists() or target.journal.view().empty
    return target.journal.landing(pinned.journal, token, wrote=wrote).alone


def _remember(request: Request, plan: Plan, pinned: Pinned, token: str) -> bool:
    """Add to the journal what the table will no longer say; before the table changes, so that a crash loses nothing."""
    if not plan.remembers:
        return False
    target, feed = request.target, request.feed
    schema = journal_shape(request, pinned.table)
    if pinned.journal is None:
        target.journal.make(Spec(schema))
        beside = target.journal.view()
        pinned.journal = beside if beside.empty else None  # not empty: a rival was faster, which looking again will find
    else:
        beside = pinned.journal = _reshaped(target.journal, pinned.journal, schema)
    stamp = journal.Stamp(request.batch_id, request.run_id, pinned.table.version)
    rows: list[DataFrame] = []
    if plan.tombstones is not None and plan.outcome.tombstones:
        rows.append(journal.tombstones(plan.tombstones, [f.name for f in schema.fields if f.name in feed.keys], stamp))
    if plan.truncation is not None:
        rows.append(journal.marker(journal.TRUNCATION, target.table.spark.sql(f"SELECT {plan.truncation} AS _lk_seq"), schema, stamp))
    if plan.memories is not None:
        rows.append(plan.memories.select("*", *stamp.columns()))
    union = rows[0]
    for more in rows[1:]:
        union = union.unionByName(more)
    union = union.select(*(col(f.name).cast(f.dataType) for f in schema.fields))
    target.journal.append(union.coalesce(1) if plan.few else union, beside, token)
    return True


def _reshaped(beside: Adapter, view: View, schema: T.StructType) -> View:
    """The journal in the table's present shape; columns may have come or become wider since it was made."""
    known, wanted = journal.flat(view.schema), journal.flat(schema)
    new = [f for f in schema.fields if f.name not in view.schema.names]
    wider = {name: kind for name, kind in wanted.items() if name in known and not same_type(known[name], kind)}
    if not new and not wider:
        return view
    beside.add_columns(new)
    for name, kind in wider.items():
        beside.widen_column(name, kind)
    return beside.view()


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
        adapter.make(Spec(quarantine.SCHEMA, comment="Rows that lakekit could not apply, with reason and raw content"))
    with kept(quarantine.news(found, adapter.read())) as fresh:
        if not fresh.isEmpty():
            adapter.append(fresh.coalesce(1), adapter.view(), uuid.uuid4().hex)


@contextmanager
def planned(request: Request, batch: Batch, pinned: Pinned) -> Iterator[Plan]:
    """Plan on the pinned state; what the plan keeps in memory is freed afterwards."""
    with ExitStack() as stack:
        pinned.remembered = remembered_rows(request, batch, pinned)
        pinned.known = _known(request, pinned)
        if request.verb is not None:
            yield request.verb.plan(request, batch, pinned, stack)
            return
        planner = plan_partial.plan if request.memory.partial else plan_complete.plan
        yield planner(request, batch, pinned, stack)


def _known(request: Request, pinned: Pinned) -> Known:
    if pinned.remembered is None:
        return Known()
    sequence = request.memory.sequence
    if pinned.remembered.lacks(journal.KIND, journal.MARKERS):
        return Known()  # the files' statistics say that no marker was ever written
    rows = pinned.remembered.rows.where(journal.is_marker())
    found = journal.horizons(rows)
    facts = first_row(
        found.select(
            *encoded_struct(col("truncated"), sequence, "truncated"), *encoded_struct(col("forgotten"), sequence, "forgotten"), "partial"
        )
    )
    return Known(literal_struct(facts, sequence, "truncated"), literal_struct(facts, sequence, "forgotten"), facts["partial"])


def change_set(request: Request, batch: Batch, plan: Plan, view: View) -> ChangeSet:
    """The plan's rows in the shape that a format applies."""
    assert plan.rows is not None
    frame = plan.rows
    for name in view.columns:
        if name not in frame.columns:
            frame = frame.withColumn(name, _filled(view, name))
    result = plan.outcome
    inserts, updates, deletes = plan.sizes or (result.inserted, result.updated + result.closed + result.split, result.deleted)
    size, live = inserts + updates + deletes, batch.counts[WINNER] + batch.counts[OLDER]
    return ChangeSet(
        rows=frame,
        keys=plan.keys or batch.keys,
        columns=tuple(view.columns),
        unmoved=plan.unmoved or request.memory.unmoved(),
        bounds=plan.bounds,
        inserts=inserts,
        updates=updates,
        deletes=deletes,
        width=batch.width if request.verb is None else batch.width * size // max(1, live),
        placed=batch.placed,
        kept=plan.kept,
    )


def _filled(view: View, name: str) -> Column:
    """A stored column that complete events do not bring: the hidden memory of their sequence, else NULL."""
    if name == HIDDEN:
        return F.struct(col(SEQ).alias(STORED_SEQ)).cast(view.schema[name].dataType)
    return F.lit(None).cast(view.schema[name].dataType)


def _commit(request: Request, batch: Batch, first: View, history: list[tuple[Outcome, Landing]], attempts: int, seconds: float) -> Commit:
    """Fold all attempts into one fact sheet: rows and files add up, events count as the last look at them says."""
    outcome, landing = history[0][0], history[-1][1]
    for later, _ in history[1:]:
        stale = max(later.stale, outcome.stale)
        outcome = replace(
            outcome,
            stale=stale,
            applied=max(0, outcome.applied - (stale - outcome.stale)),
            inserted=outcome.inserted + later.inserted,
            updated=outcome.updated + later.updated,
            deleted=outcome.deleted + later.deleted,
            closed=outcome.closed + later.closed,
            split=outcome.split + later.split,
        )
    return Commit(
        operation=request.verb.operation if request.verb else "upsert",
        table=((request.verb and request.verb.second) or request.target.table).table,
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
        closed=outcome.closed,
        split=outcome.split,
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
