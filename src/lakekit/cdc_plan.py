"""Plan an upsert of complete events: let the winners meet the rows, tombstones and horizons that stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.batch import Batch
from lakekit.cdc import (
    ACTION,
    APPLIED,
    AT,
    BEYOND,
    CLASS,
    DEAD,
    DUPLICATE,
    EQUAL,
    INSERT,
    NEXT,
    NOTHING,
    OLDER,
    OLDEST,
    REMOVE,
    STALE,
    UPDATE,
    VERDICT,
    WINNER,
    verdicts,
)
from lakekit.changes import DELETE, OP, SEQ, UPSERT
from lakekit.columns import col, comparable
from lakekit.literals import null_struct
from lakekit.plan import Known, Outcome, inside

RULING = "_lk_ruling"
SAME, GREATER, LESSER, BEATEN = "same", "greater", "lesser", "beaten"
SETTLED = "_lk_settled"


@dataclass(frozen=True)
class State:
    """What stands of the batch's keys; ``None``: nothing.

    *standing* has the keys, ``_lk_at``, ``_lk_dead`` and where the row stands (columns *places*), one row a key; *payload* every
    column of the rows that the bounds leave.
    """

    standing: DataFrame | None
    payload: DataFrame | None
    known: Known
    places: Mapping[str, T.DataType] = field(default_factory=dict)

    def nothing_stands(self, batch: Batch) -> bool:
        """Whether no winner can meet anything, so that the batch alone says what happens."""
        literals = (self.known.truncated, self.known.forgotten, batch.truncated)
        return self.standing is None and not any(literals)


def greatest_literal(*literals: str | None) -> str | None:
    """The greatest of some SQL literals, ``None`` counting as nothing."""
    found = [literal for literal in literals if literal is not None]
    return found[0] if len(found) == 1 else f"greatest({', '.join(found)})" if found else None


def decide(batch: Batch, state: State, *, small: bool = True) -> DataFrame:
    """Each winner with its action and verdict, wide and lazy."""
    decided = batch.of(WINNER)
    keys = list(batch.keys)
    if state.standing is not None:
        decided = decided.join(F.broadcast(state.standing) if small else state.standing, keys, "left")
    else:
        decided = decided.withColumns(nothing(batch.sequence, state.places))
    known = (state.known.truncated, batch.truncated, state.known.forgotten)
    return verdicts(decided, *(_or_null(literal, batch) for literal in known))


def nothing(sequence: T.StructType, places: Mapping[str, T.DataType]) -> dict[str, Column]:
    """What is known of a key of which nothing is known."""
    nowhere = {name: F.lit(None).cast(kind) for name, kind in places.items()}
    return {AT: F.expr(null_struct(sequence)), DEAD: F.expr(null_struct(sequence)), **nowhere}


def together(
    rows: DataFrame | None, dead: DataFrame | None, keys: Sequence[str], unknown: Mapping[str, Column], partitions: int | None = None
) -> DataFrame | None:
    """Rows and tombstones as one row a key, gathered in a number of partitions (default: Spark's)."""
    if dead is None:
        return None if rows is None else rows.withColumn(DEAD, unknown[DEAD])
    lost = dead.withColumns({name: null for name, null in unknown.items() if name != DEAD})
    both = lost if rows is None else rows.withColumn(DEAD, unknown[DEAD]).unionByName(lost)
    both = both if partitions is None else both.repartition(partitions, *map(col, keys))
    firsts = (F.first(name, ignorenulls=True).alias(name) for name in unknown if name != DEAD)
    return both.groupBy(*map(col, keys)).agg(F.max(DEAD).alias(DEAD), *firsts)


def _or_null(literal: str | None, batch: Batch) -> Column:
    return F.expr(literal if literal is not None else null_struct(batch.sequence))


def ruled(decided: DataFrame, rulings: DataFrame, keys: Sequence[str]) -> DataFrame:
    """Under ``ties="content"`` the larger payload wins against the row of the same sequence."""
    # Where a truncation of the batch takes the row away, the larger payload has nothing left to win.
    wins = (col(VERDICT) == EQUAL) & (col(RULING) == GREATER) & (col(ACTION) == NOTHING)
    loses = (col(VERDICT) == EQUAL) & (col(RULING) != SAME) & ~wins
    joined = decided.join(F.broadcast(rulings.where(col(CLASS) == WINNER).select(*keys, RULING)), list(keys), "left")
    return joined.withColumns(
        {
            ACTION: F.when(wins, UPDATE).otherwise(col(ACTION)),
            VERDICT: F.when(wins, APPLIED).when(loses, STALE).otherwise(col(VERDICT)),
        }
    )


def may_show_older(decided: DataFrame) -> DataFrame:
    """Decided keys whose row may show an older event of the batch: surely so where the batch has one older sequence only."""
    return decided.where(_between())


def _between() -> Column:
    buried = F.coalesce(col(AT) <= col(DEAD), F.lit(False))  # by a run that was killed before it removed the row
    return F.coalesce((col(OLDEST) <= col(AT)) & (col(AT) <= col(NEXT)) & (col(AT) <= col(SEQ)), F.lit(False)) & ~buried


def older_equal(batch: Batch, decided: DataFrame, *, small: bool = True) -> DataFrame:
    """The older events of the batch that have the very sequence of their row."""
    # A delete at the row's own sequence wins there, so that another payload beside it is no tie.
    settled = ((col(OP) == DELETE) & (col(SEQ) == col(AT))).alias(SETTLED)
    alive = may_show_older(decided).select(*map(col, batch.keys), AT, settled)
    older = batch.of(OLDER).where(col(OP) == UPSERT).join(alive.hint(_hint(small)), list(batch.keys))
    return older.where(col(SEQ) == col(AT))


def _hint(small: bool) -> str:
    return "broadcast" if small else "shuffle_hash"


def rule(equal: DataFrame, keys: Sequence[str], authored: Sequence[str], payload: DataFrame, *, small: bool = True) -> DataFrame:
    """Compare events that have the sequence of their living row with that row's payload, in the columns that they author.

    Returns the events with ``_lk_ruling``: same (a duplicate), greater or lesser (a tie, by content), beaten (stale: a delete of the
    same sequence stands beside it).
    """
    authored = sorted(authored)
    types = {f.name: f.dataType for f in payload.schema.fields}
    theirs = payload.select(*map(col, keys), *(col(c).alias(f"_lk_row_{c}") for c in authored))
    ours = F.struct(*(comparable(col(c), types[c]).alias(f"c{i}") for i, c in enumerate(authored)))
    row = F.struct(*(comparable(col(f"_lk_row_{c}"), types[c]).alias(f"c{i}") for i, c in enumerate(authored)))
    beaten = col(SETTLED) if SETTLED in equal.columns else F.lit(False)
    ruling = F.when(ours.eqNullSafe(row), SAME).when(beaten, BEATEN).when(ours > row, GREATER).otherwise(LESSER)
    ruling = ruling if authored else F.lit(SAME)
    return theirs.join(equal.hint(_hint(small)), list(keys)).withColumn(RULING, ruling)


def unmet(batch: Batch) -> dict[str, int]:
    """What ``tally`` counts when nothing stands: every winner applies, an upsert as a new row, a delete as a tombstone."""
    none = dict.fromkeys((STALE, DUPLICATE, EQUAL, BEYOND, "updated", "deleted", "unchanged", "older_maybe"), 0)
    return {**none, APPLIED: batch.winners, "inserted": batch.winners - batch.deletes, "tombstones": batch.deletes}


def tally(decided: DataFrame) -> DataFrame:
    """One row that counts the verdicts and actions, and says whether payloads must be compared."""
    verdict, action = col(VERDICT), col(ACTION)
    standing = col(AT).isNotNull()
    return decided.agg(
        *(F.count_if(verdict == v).alias(v) for v in (APPLIED, STALE, DUPLICATE, EQUAL, BEYOND)),
        F.count_if(action == INSERT).alias("inserted"),
        F.count_if(action == UPDATE).alias("updated"),
        F.count_if(action == REMOVE).alias("deleted"),
        F.count_if(standing & (action == NOTHING)).alias("unchanged"),
        F.count_if((col(OP) == DELETE) & (verdict == APPLIED) & F.coalesce(col(SEQ) > col(DEAD), F.lit(True))).alias("tombstones"),
        F.count_if(_between()).alias("older_maybe"),
    )


def tally_rulings(rulings: DataFrame) -> DataFrame:
    """One row that counts the rulings, those of winners and of older events apart."""
    return rulings.agg(
        *(F.count_if((col(CLASS) == c) & (col(RULING) == r)).alias(f"{c}_{r}") for c in (WINNER, OLDER) for r in (SAME, GREATER, LESSER))
    )


def outcome(batch: Batch, found: dict[str, Any], ruled: dict[str, Any] | None, ties: str) -> Outcome:
    """Fold the counts of the batch, the verdicts and the rulings into one outcome."""
    base = replace(
        inside(batch),
        applied=found[APPLIED],
        stale=inside(batch).stale + found[STALE] + found[BEYOND],
        duplicate=inside(batch).duplicate + found[DUPLICATE] + found[EQUAL],
        beyond_horizon=found[BEYOND],
        inserted=found["inserted"],
        updated=found["updated"],
        deleted=found["deleted"],
        unchanged=found["unchanged"],
        tombstones=found["tombstones"],
    )
    return base if ruled is None else _with_rulings(base, ruled, ties)


def _with_rulings(base: Outcome, ruled: dict[str, Any], ties: str) -> Outcome:
    """Rulings move events from where ``outcome`` first counted them: winners from duplicate, older ones from stale."""
    older_same = ruled[f"{OLDER}_{SAME}"]
    base = replace(base, stale=base.stale - older_same, duplicate=base.duplicate + older_same)
    if ties == "content":
        return base  # the verdicts were taken anew with the rulings
    tied, older_tied = ties_in(ruled, WINNER), ties_in(ruled, OLDER)
    return replace(base, duplicate=base.duplicate - tied, stale=base.stale - older_tied, quarantined=base.quarantined + tied + older_tied)


def ties_in(ruled: dict[str, Any], *classes: str) -> int:
    """How many events disagree with the row of their own sequence."""
    return sum(ruled[f"{c}_{r}"] for c in classes for r in (GREATER, LESSER))
