"""Plan type 0: the first event of each key is kept, later ones are ignored.

By default first means lowest in sequence, so an earlier event that comes late takes its place and the table is a function of the set
of events; or it means first loaded, and then what stands never changes.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from lakekit.batch import Batch, first_row, kept
from lakekit.cdc import ACTION, APPLIED, AT, DUPLICATE, IGNORED, INSERT, NOTHING, OLDER, TIED, UPDATE, VERDICT, WINNER
from lakekit.changes import DELETE, IGNORE, OP, REASON, SEQ, TRUNCATE
from lakekit.columns import all_of, col, comparable, quoted
from lakekit.literals import null_struct
from lakekit.plan import Plan, inside
from lakekit.request import Pinned, Request, broadcastable, places, stored_rows, tie_conflict, where_it_stood

_SHOWN, _FIRST = "_lk_shown", "_lk_first"


def only_upserts(events: DataFrame) -> DataFrame:
    """What was first stays, so a delete or a truncation says nothing."""
    silent = col(REASON).isNull() & col(OP).isin(DELETE, TRUNCATE)
    return events.withColumn(OP, F.when(silent, F.lit(IGNORE)).otherwise(col(OP)))


def plan(request: Request, batch: Batch, pinned: Pinned, stack: ExitStack, *, loaded: bool) -> Plan:
    """Plan one attempt on the pinned state. Raises ``TieConflict``."""
    base = replace(inside(batch), stale=0)
    if not batch.counts[WINNER]:
        return Plan(base)
    judged = stack.enter_context(kept(_judged(request, batch, pinned, loaded=loaded)))
    actions = (INSERT, UPDATE)
    counts = first_row(
        judged.agg(
            *(F.count_if(col(VERDICT) == v).alias(v) for v in (APPLIED, DUPLICATE, IGNORED, TIED)),
            *(F.count_if(col(ACTION) == a).alias(a) for a in actions),
        )
    )
    if counts[TIED] and request.feed.ties == "fail":
        raise tie_conflict(request, counts[TIED])
    outcome = replace(
        base,
        applied=counts[APPLIED],
        duplicate=base.duplicate + counts[DUPLICATE],
        ignored=base.ignored + counts[IGNORED],
        quarantined=base.quarantined + counts[TIED],
        inserted=counts[INSERT],
        updated=counts[UPDATE],
    )
    changes = counts[INSERT] + counts[UPDATE]
    tied = judged.where(col(VERDICT) == TIED) if counts[TIED] else None
    return Plan(outcome, rows=judged.where(col(ACTION).isin(*actions)) if changes else None, tied=tied, bounds=batch.bounds)


def _judged(request: Request, batch: Batch, pinned: Pinned, *, loaded: bool) -> DataFrame:
    """Each live event beside the row of its key, with what becomes of it."""
    keys, payload = list(batch.keys), sorted(request.feed.payload)
    live = batch.of(WINNER, OLDER)
    types = {f.name: f.dataType for f in live.schema.fields}
    stored = stored_rows(request, batch, pinned)
    if stored is None:
        nowhere = {name: F.lit(None).cast(kind) for name, kind in places(request.target.table, pinned.table).items()}
        nothing = {f"_lk_r{i}": F.lit(None) for i in range(len(payload))}
        met = live.withColumns({AT: F.expr(null_struct(batch.sequence)), **nowhere, **nothing})
    else:
        at = F.expr(request.memory.at()).alias(AT)
        values = [col(c).alias(f"_lk_r{i}") for i, c in enumerate(payload)]
        spots = [*map(col, request.target.table.locators), *where_it_stood(pinned.table)]
        wanted = broadcastable(batch, batch.of(WINNER).select(*map(col, keys)))
        standing = stored.rows.select(*map(col, keys), at, *values, *spots).join(wanted, keys, "left_semi")
        met = live.join(standing, keys, "left")
    ours = [comparable(col(c), types[c]) for c in payload]
    theirs = [comparable(col(f"_lk_r{i}").cast(types[c]), types[c]) for i, c in enumerate(payload)]
    here = F.coalesce(col(SEQ) == col(AT), F.lit(False))
    same = here & all_of(a.eqNullSafe(b) for a, b in zip(ours, theirs, strict=True))
    content = F.struct(F.lit(0), *ours)
    in_order = Window.partitionBy(*map(quoted, keys)).orderBy(col(SEQ).asc(), content.desc())
    first = F.row_number().over(in_order) == 1
    met = met.withColumns({_SHOWN: same, _FIRST: first})
    stands = col(AT).isNotNull()
    earlier = F.lit(False) if loaded else F.coalesce(col(SEQ) < col(AT), F.lit(False))
    larger = here & (content > F.struct(F.lit(0), *theirs)) if not loaded else F.lit(False)
    if request.feed.ties != "content":
        larger = F.lit(False)
    differs = here & ~col(_SHOWN) & F.lit(request.feed.ties != "content" and not loaded)
    wins = col(_FIRST) & (~stands | earlier | larger)
    verdict = F.when(col(_SHOWN), DUPLICATE).when(differs, TIED).when(wins, APPLIED).otherwise(IGNORED)
    found = met.withColumn(VERDICT, verdict)
    action = F.when(col(VERDICT) != APPLIED, NOTHING).when(stands, UPDATE).otherwise(INSERT)
    return found.withColumn(ACTION, action)
