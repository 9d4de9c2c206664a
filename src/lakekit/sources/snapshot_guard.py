"""The guards of a snapshot: what is counted while it is compared, and when that stops the batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakekit.errors import DataRejected

ROWS, OUTSIDE = "_lk_rows", "_lk_outside"
"""Rows of the snapshot, and those of them outside of its scope."""

STOOD, LATER, SAME = "_lk_stood", "_lk_later", "_lk_same"
"""Rows that stand (inside the scope), and those of them whose sequence is later than the snapshot's, or is the snapshot's."""

PAIRS, NEW, DELETED = "_lk_pairs", "_lk_new", "_lk_deleted"
"""What the join gave: its rows, keys only in the snapshot, keys only in what stands."""

FRESH, UNREADABLE = "_lk_fresh", "_lk_unreadable"
"""Events that are no bad rows, and bad rows that do not tell their key."""


@dataclass(frozen=True)
class Policy:
    """What a snapshot may do. *order*: its time against that of the last one (1 later or unknown, 0 the same, -1 earlier).

    *duplicates* has for each side a frame of keys that stand more than once, with their ``count``; evaluated only on suspicion.
    """

    sequence: str
    max_delete_fraction: float
    allow_mass_delete: bool
    order: int
    duplicates: Mapping[str, DataFrame]


def check(policy: Policy, seen: Mapping[str, int], again: int) -> None:
    """Raise ``DataRejected`` for a snapshot that must not be believed; *again*: events that repeat or contradict another."""
    count = Counter(seen)
    _refuse_empty(count, policy)
    _refuse_outside(count)
    _refuse_old(count, policy)
    if again or not _adds_up(count):
        _refuse_duplicates(policy)
    _refuse_unreadable(count)
    _refuse_mass_delete(count, policy)


def _adds_up(count: Mapping[str, int]) -> bool:
    """Whether each row of either side met at most one of the other: more pairs than rows mean that a key stands twice."""
    matched = count[PAIRS] - count[NEW] - count[DELETED]
    return count[ROWS] == count[NEW] + matched and count[STOOD] == count[DELETED] + matched


def _refuse_empty(count: Mapping[str, int], policy: Policy) -> None:
    if not count[ROWS] and not policy.allow_mass_delete:
        raise _rejected(f"the snapshot is empty, and {count[STOOD]} keys stand. If they are all gone indeed, pass allow_mass_delete=True.")


def _refuse_outside(count: Mapping[str, int]) -> None:
    if count[OUTSIDE]:
        raise _rejected(
            f"{count[OUTSIDE]} of {count[ROWS]} rows of the snapshot lie outside of its scope. Correct scope, or filter the rows."
        )


def _refuse_old(count: Mapping[str, int], policy: Policy) -> None:
    if count[LATER] or policy.order < 0:
        raise _rejected(
            f"the snapshot is older than what stands: {count[LATER]} of {count[STOOD]} rows have a later {policy.sequence}. "
            "Load snapshots in the order of their time."
        )
    if (count[SAME] or policy.order == 0) and count[FRESH]:
        raise _rejected(
            f"the snapshot is not newer than what stands: {count[SAME]} of {count[STOOD]} rows have its very {policy.sequence}, "
            f"and it says otherwise of {count[FRESH]} keys. A later snapshot needs a later at."
        )


def _refuse_duplicates(policy: Policy) -> None:
    """Count exactly, in jobs of their own, which run only where the counts so far are odd."""
    for side, repeated in policy.duplicates.items():
        row = repeated.agg(F.count("count"), F.sum("count")).first()
        if row is not None and row[0]:
            raise _rejected(
                f"{row[0]} keys stand more than once in {side}, in {row[1]} rows. "
                "Let keys name all columns that identify a row, or choose one row a key; of a type 2 table pass its current rows."
            )


def _refuse_unreadable(count: Mapping[str, int]) -> None:
    if count[UNREADABLE] and count[DELETED]:
        raise _rejected(
            f"{count[UNREADABLE]} rows of the snapshot cannot be read, not even their keys, and {count[DELETED]} keys are missing: "
            "they may be the same. Mend the source."
        )


def _refuse_mass_delete(count: Mapping[str, int], policy: Policy) -> None:
    stood, gone = count[STOOD], count[DELETED]
    if policy.allow_mass_delete or not stood or gone / stood <= policy.max_delete_fraction:
        return
    raise _rejected(
        f"{gone} of {stood} keys ({gone / stood:.1%}) are missing from the snapshot of {count[ROWS]} rows, more than "
        f"max_delete_fraction={policy.max_delete_fraction:g} allows. If they are gone indeed, pass allow_mass_delete=True; "
        "if the snapshot is a part, say which in scope."
    )


def _rejected(text: str) -> DataRejected:
    return DataRejected(f"{text} Nothing was written.")
