"""Carry the planning of type 2 histories out: read what a batch can meet, settle it, count.

Keys whose events are all newer than what is known of them need their open row only: closed history is not read, and no candidate of
the write. The others get their whole history, rows and journal, before they are settled again.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit import journal, scd_events
from lakekit.batch import Batch, first_row
from lakekit.cdc import ACTION, APPLIED, BEYOND, DUPLICATE, INSERT, OLDER, STALE, TIED, TRUNCATION, WINNER
from lakekit.cdc_plan import greatest_literal
from lakekit.changes import HIDDEN, SEQ
from lakekit.columns import col
from lakekit.formats.base import View
from lakekit.literals import literal
from lakekit.plan import Outcome, Plan, inside
from lakekit.plan_numbers import given_twice, last_number, retired
from lakekit.plan_present import with_present
from lakekit.pruning import Bound, Open, where
from lakekit.request import Pinned, Request, journal_shape, tie_conflict
from lakekit.scd import LATE, SWEEP, TO_WAS, TRUNCATED, Doubt, History
from lakekit.scd_attempt import Attempt
from lakekit.scd_effects import burial_news, changed, hidden_news, tally
from lakekit.scd_keys import numbered

_ONE_FILE = 100_000  # journal rows that one file takes


def plan(request: Request, batch: Batch, pinned: Pinned, stack: ExitStack, history: History) -> Plan:
    """Plan one attempt on the pinned state. Raises ``TieConflict``."""
    history = replace(history, partial=history.partial or pinned.known.partial or bool(history.later))
    attempt = Attempt(request, batch, pinned, history, stack)
    keys, unmoved = (*history.keys, history.valid_from), _unmoved(attempt)
    if pinned.again and (twice := given_twice(attempt)) is not None:
        rows, count = twice
        return Plan(Outcome(), rows=rows, keys=keys, unmoved=unmoved, sizes=(0, count, 0), unfinished=True)
    truncations = _truncations(attempt) if batch.truncated is not None else None
    base = _with_truncations(attempt, truncations)
    swept = None if truncations is None else truncations.where("news").select(SEQ)
    if not attempt.live and not (swept is not None and base.truncated):
        return Plan(base)
    settled, counts = _settled(attempt, swept)
    outcome = _outcome(attempt, base, counts)
    tied = _tied(attempt, settled) if counts[TIED] else None
    changing, computed = _rows(attempt, settled, outcome)
    late = counts["late"] or swept is not None
    found = Plan(
        outcome,
        rows=changing,
        tied=tied,
        bounds=_bounds(attempt, counts, late=bool(late), swept=swept is not None),
        memories=_memories(attempt, settled, counts, swept if base.truncated else None),
        few=counts["hidden"] + counts["burials"] < _ONE_FILE,
        keys=keys,
        unmoved=unmoved,
        kept=computed,
    )
    if request.verb is None or request.verb.second is None:
        return found
    bounds = batch.bounds if swept is None else ()
    present = pinned.second or View(None, request.verb.present or T.StructType(), empty=True)
    remembers = replace(request.memory, in_row=HIDDEN not in present.columns, partial=False)
    return with_present(found, history, settled, request.verb.second, present, remembers, bounds, stack)


def _rows(attempt: Attempt, settled: DataFrame, outcome: Outcome) -> tuple[DataFrame | None, bool]:
    """The rows that change, and whether they are computed already."""
    if not _changes(outcome):
        return None, True
    rows, number = changed(attempt.history, settled, attempt.places), attempt.history.numbered
    if number is None or not outcome.inserted or attempt.request.dry_run:
        return rows, False
    new = (col(ACTION) == INSERT) & col(number).isNull()  # not those that take over the number of a placeholder
    return attempt.keep(numbered(attempt.keep(rows), number, last_number(attempt), new)), True


def _changes(outcome: Outcome) -> int:
    return outcome.inserted + outcome.updated + outcome.closed + outcome.split + outcome.deleted


def _settled(attempt: Attempt, swept: DataFrame | None) -> tuple[DataFrame, dict[str, Any]]:
    """Settle the batch against open rows alone, and once more, with all there is, the keys for which that is not enough."""
    history = attempt.history
    fresh = scd_events.of_batch(history, attempt.batch, silent=attempt.request.verb is not None and attempt.request.verb.silent)
    if swept is not None:
        keys = attempt.keep(_touched(attempt, swept))
        settled = attempt.settle(attempt.together(_everything(attempt, fresh, keys, swept)))
        return settled, first_row(tally(history, settled))
    settled = attempt.settle(attempt.together([fresh, *_open(attempt)]), _doubt(attempt))
    counts = first_row(tally(history, settled))
    if not counts["late"]:
        return settled, counts
    keys = settled.where(LATE).select(*attempt.keys).distinct()
    again = attempt.settle(attempt.together(_everything(attempt, fresh.join(attempt.few(keys), attempt.keys, "left_semi"), keys, None)))
    both = settled.where(~col(LATE)).unionByName(again.withColumn(LATE, F.lit(True)))
    return both, first_row(tally(history, both))


def _doubt(attempt: Attempt) -> Doubt | None:
    """What could make a key late, besides its own row; ``None`` where nothing is known of any."""
    pinned, history = attempt.pinned, attempt.history
    if pinned.table.empty and attempt.noted() is None:
        return None
    horizon = greatest_literal(pinned.known.truncated, pinned.known.forgotten)
    stands = not pinned.table.empty
    return Doubt(
        None if horizon is None else F.expr(horizon), closed=stands and history.version is not None, all_keys=stands and history.needs_all
    )


def _open(attempt: Attempt) -> list[DataFrame]:
    """What the open rows and the newer tombstones of the batch's keys say."""
    batch, history, request = attempt.batch, attempt.history, attempt.request
    keys = attempt.few(batch.of(WINNER, OLDER).select(*map(col, attempt.keys)).distinct())
    found = []
    if not attempt.pinned.table.empty:
        open_rows = attempt.stored((*batch.bounds, Open(history.valid_to, history.end)))
        rows = open_rows.join(keys, attempt.keys, "left_semi")
        found.append(scd_events.of_rows(history, rows, request.memory.at(), attempt.places, every=False))
    noted = attempt.noted()
    if noted is not None:
        newer = noted.where(where(batch.bounds)).where(journal.not_older(request.memory.sequence, batch.lowest))
        buried = newer.where(col(journal.KIND) == journal.TOMBSTONE).join(keys, attempt.keys, "left_semi")
        found.append(scd_events.of_journal(history, buried))
    return found


def _everything(attempt: Attempt, fresh: DataFrame, keys: DataFrame, swept: DataFrame | None) -> list[DataFrame]:
    """All that is known of some keys: their rows, their journal, the truncations, and their events in the batch."""
    history, bounds = attempt.history, attempt.batch.bounds if swept is None else ()
    keys, found, noted = attempt.few(keys), [fresh], attempt.noted()
    if not attempt.pinned.table.empty:
        rows = attempt.stored(bounds).join(keys, attempt.keys, "left_semi")
        found.append(scd_events.of_rows(history, rows, attempt.request.memory.at(), attempt.places, every=True))
    if noted is not None:
        found.append(scd_events.of_journal(history, noted.where(where(bounds)).join(keys, attempt.keys, "left_semi")))
        if attempt.pinned.known.truncated is not None:
            found.append(scd_events.of_truncations(history, keys, _known_truncations(noted), TRUNCATED))
    if swept is not None:
        found.append(scd_events.of_truncations(history, keys, swept, SWEEP))
    return found


def _known_truncations(noted: DataFrame) -> DataFrame:
    return noted.where(col(journal.KIND) == journal.TRUNCATION).select(col(journal.JSEQ).alias(SEQ)).distinct()


def _touched(attempt: Attempt, swept: DataFrame) -> DataFrame:
    """Keys that a truncation of the batch may reach, or the batch itself."""
    keys = attempt.batch.of(WINNER, OLDER).select(*map(col, attempt.keys))
    if not attempt.pinned.table.empty:
        keys = keys.unionByName(attempt.stored().select(*map(col, attempt.keys)))
    return keys.distinct()


def _truncations(attempt: Attempt) -> DataFrame:
    """The batch's truncations: sequence, how often each stands there, whether it is news, whether it is forgotten."""
    batch, known = attempt.batch, attempt.pinned.known
    found = batch.of(TRUNCATION).groupBy(SEQ).agg(F.count(F.lit(1)).alias("times"))
    noted = attempt.noted()
    if noted is not None and known.truncated is not None:
        found = found.join(_known_truncations(noted).withColumn("known", F.lit(True)), SEQ, "left")
    else:
        found = found.withColumn("known", F.lit(None).cast("boolean"))
    old = F.expr(f"{SEQ} <= {known.forgotten}") if known.forgotten else F.lit(False)
    beyond = old & col("known").isNull()
    return attempt.keep(found.select(SEQ, "times", beyond.alias("beyond"), (col("known").isNull() & ~beyond).alias("news")))


def _with_truncations(attempt: Attempt, truncations: DataFrame | None) -> Outcome:
    """What the batch says by itself: repetitions, ignored and bad rows, and its truncations, each of which is remembered."""
    base = replace(inside(attempt.batch), stale=0)
    if truncations is None:
        return base
    found = first_row(
        truncations.agg(
            F.count_if("news").alias("news"),
            F.coalesce(F.sum(F.when(col("beyond"), col("times"))), F.lit(0)).alias("beyond"),
            F.sum("times").alias("all"),
        )
    )
    return replace(
        base,
        applied=found["news"],
        stale=found["beyond"],
        beyond_horizon=found["beyond"],
        duplicate=base.duplicate + found["all"] - found["news"] - found["beyond"],
        truncated=bool(found["news"]),
    )


def _outcome(attempt: Attempt, base: Outcome, counts: Mapping[str, int]) -> Outcome:
    """The counts of the batch. Raises ``TieConflict`` under ``ties="fail"``."""
    if counts[TIED] and attempt.request.feed.ties == "fail":
        raise tie_conflict(attempt.request, counts[TIED])
    effects: dict[str, Any] = {name: counts[name] for name in ("inserted", "updated", "closed", "split", "deleted")}
    return replace(
        base,
        applied=base.applied + counts[APPLIED] - counts["shadowed"],
        stale=base.stale + counts[STALE] + counts[BEYOND] + counts["shadowed"],
        duplicate=base.duplicate + counts[DUPLICATE],
        quarantined=base.quarantined + counts[TIED],
        beyond_horizon=base.beyond_horizon + counts[BEYOND],
        markers_nulled=counts["markers_nulled"] if attempt.request.feed.partial else 0,
        **effects,
    )


def _tied(attempt: Attempt, settled: DataFrame) -> DataFrame:
    """The events of the batch that disagree with what is known of their key and sequence."""
    history = attempt.history
    units = range(len(history.units))
    known = settled.where(col(f"_lk_is_{TIED}") > 0).select(*map(col, history.keys), SEQ, *(f"_lk_k{i}" for i in units))
    events = attempt.batch.of(WINNER, OLDER)
    said = scd_events.of_batch(history, attempt.batch).select(*map(col, history.keys), SEQ, *(f"_lk_b{i}" for i in units))
    differ = F.lit(False)
    for i in units:
        ours, theirs = col(f"_lk_b{i}"), col(f"_lk_k{i}")
        differ = differ | (ours.isNotNull() & theirs.isNotNull() & ~history.order(i, ours).eqNullSafe(history.order(i, theirs)))
    disputed = said.join(known, [*history.keys, SEQ]).where(differ).select(*map(col, history.keys), SEQ).distinct()
    return events.join(disputed, [*history.keys, SEQ], "left_semi")


def _bounds(attempt: Attempt, counts: Mapping[str, Any], *, late: bool, swept: bool) -> tuple[Bound, ...]:
    """What every changed row implies: its key's bounds, and that it was open, or ended no earlier than some position."""
    history = attempt.history
    bounds = () if swept else attempt.batch.bounds
    if late and isinstance(history.position_type, T.StructType):
        return bounds
    since = counts["since"] if late else None
    return (*bounds, Open(history.valid_to, history.end, None if since is None else literal(since, history.position_type)))


def _memories(attempt: Attempt, settled: DataFrame, counts: Mapping[str, int], swept: DataFrame | None) -> DataFrame | None:
    """What the journal must learn before the table changes."""
    history, request = attempt.history, attempt.request
    schema = journal_shape(request, attempt.pinned.table)
    frames = []
    if counts["hidden"] or counts["burials"]:
        frames.append(scd_events.journal_rows(history, settled, hidden_news(history), burial_news(history)))
    if history.numbered is not None and counts["deleted"]:
        frames.append(retired(history, settled))
    if swept is not None:
        frames.append(journal.noted(journal.TRUNCATION, swept, schema))
    if history.partial and not attempt.pinned.known.partial:
        nothing = request.target.table.spark.range(1).select(F.lit(None).cast(history.sequence).alias(SEQ))
        frames.append(journal.noted(journal.PARTIAL, nothing, schema))
    if not frames:
        return None
    union = frames[0]
    for frame in frames[1:]:
        union = union.unionByName(frame, allowMissingColumns=True)
    stamped = {journal.BATCH, journal.RUN, journal.BASE, journal.RECORDED}
    unsaid = [f for f in schema.fields if f.name not in stamped and f.name not in union.columns]
    return union.withColumns({f.name: F.lit(None).cast(f.dataType) for f in unsaid}) if unsaid else union


def _unmoved(attempt: Attempt) -> str:
    """SQL: the stored row ``t`` is still the one that the change ``s`` was planned for."""
    history = attempt.history
    end = f"t.`{history.valid_to}`" if history.end is None else f"nullif(t.`{history.valid_to}`, {history.end})"
    return f"{attempt.request.memory.at('t.')} <=> s._lk_at AND {end} <=> s.{TO_WAS}"
