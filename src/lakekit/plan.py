"""What one attempt of an upsert will do: counts, changed rows, tombstones. Values and lazy frames; nothing is written here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame

from lakekit.batch import Batch
from lakekit.cdc import BAD, IGNORED, OLDER, REPEATED, TIED
from lakekit.pruning import Bound


@dataclass(frozen=True)
class Outcome:
    """How the events of a batch count (C8) and what happens to rows."""

    applied: int = 0
    stale: int = 0
    duplicate: int = 0
    ignored: int = 0
    quarantined: int = 0
    beyond_horizon: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    closed: int = 0
    split: int = 0
    unchanged: int = 0
    markers_nulled: int = 0
    tombstones: int = 0
    swept: int = 0
    truncated: bool = False


@dataclass(frozen=True)
class Known:
    """What stands beside a table's rows, as SQL literals of the sequence type; ``None``: nothing."""

    truncated: str | None = None
    forgotten: str | None = None
    partial: bool = False


@dataclass(frozen=True)
class Plan:
    """One attempt: its outcome, the changed rows, what the journal must learn first, and rows to quarantine.

    *rows* is ``None`` when the table does not change; *bounds* are implied by every changed row's key. *memories* are rows for the
    journal that want nothing but their stamp, *few* whether they fit one file; *keys* and *unmoved* stand for those of the feed,
    *sizes* (rows inserted, updated, deleted) for those of the outcome. *kept* tells
    whether *rows* are computed already. *second* writes the table that follows from this one.
    *unfinished*: this mends what a race left, and the batch wants another look.
    """

    outcome: Outcome
    rows: DataFrame | None = None
    tombstones: DataFrame | None = None
    truncation: str | None = None
    tied: DataFrame | None = None
    bounds: tuple[Bound, ...] = ()
    memories: DataFrame | None = None
    few: bool = True
    keys: tuple[str, ...] | None = None
    unmoved: str | None = None
    sizes: tuple[int, int, int] | None = None
    kept: bool = True
    second: Callable[[str], Any] | None = None
    unfinished: bool = False

    @property
    def remembers(self) -> bool:
        """Whether the journal changes."""
        return bool(self.outcome.tombstones) or self.truncation is not None or self.memories is not None


def inside(batch: Batch) -> Outcome:
    """What the batch says by itself, before it meets the table: all but its winners and truncations."""
    counts = batch.counts
    return Outcome(
        stale=counts[OLDER],
        duplicate=counts[REPEATED],
        ignored=counts[IGNORED],
        quarantined=counts[BAD] + counts[TIED],
    )
