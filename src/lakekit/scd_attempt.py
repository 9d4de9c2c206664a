"""One attempt at a batch of a history: the pinned state that it plans on, and the frames that it keeps."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit import journal, scd_events
from lakekit.batch import Batch, kept
from lakekit.cdc import OLDER, WINNER
from lakekit.columns import col
from lakekit.confs import ONE_JOB, confs, shuffle_partitions
from lakekit.pruning import Bound, where
from lakekit.request import BROADCAST_ROWS, Pinned, Request, places, where_it_stood
from lakekit.scd import Doubt, History, gathered, settle

_LEAN = {**ONE_JOB, "spark.sql.optimizer.nestedSchemaPruning.enabled": "false"}
"""Boxes are structs that are needed whole: looking for parts that are not takes the optimiser longer than small batches take to run."""

_EVENTS_A_TASK = 20_000


@dataclass(frozen=True)
class Attempt:
    """One attempt at a batch: what to plan, on what, and frames to free afterwards."""

    request: Request
    batch: Batch
    pinned: Pinned
    history: History
    stack: ExitStack

    @property
    def keys(self) -> list[str]:
        """The key columns."""
        return list(self.history.keys)

    @property
    def live(self) -> int:
        """How many different events the batch has, truncations aside."""
        return self.batch.counts[WINNER] + self.batch.counts[OLDER]

    @property
    def places(self) -> dict[str, T.DataType]:
        """Where a stored row stands."""
        return places(self.request.target.table, self.pinned.table)

    def keep(self, df: DataFrame) -> DataFrame:
        """Keep a frame until the attempt is over."""
        with confs(df.sparkSession, _LEAN):
            return self.stack.enter_context(kept(df))

    def few(self, keys: DataFrame) -> DataFrame:
        """Keys of the batch, to be broadcast where they are few enough."""
        return keys.hint("broadcast") if self.live <= BROADCAST_ROWS else keys

    def stored(self, bounds: Iterable[Bound] = ()) -> DataFrame:
        """The stored rows that meet all bounds, with where they stand; columns that came after the pinned version are NULL."""
        rows = self.request.target.table.scan(self.pinned.table.version, where(bounds)).rows
        types = {f.name: f.dataType for f in self.pinned.table.schema.fields}
        later = [F.lit(None).cast(kind).alias(name) for name, kind in types.items() if name not in rows.columns]
        return rows.select("*", *later, *where_it_stood(self.pinned.table))

    def noted(self) -> DataFrame | None:
        """The journal, but for what this very run added in a failed attempt."""
        pinned = self.pinned
        if pinned.journal is None or pinned.journal.empty:
            return None
        return self.request.target.journal.read(pinned.journal.version).where(col(journal.RUN) != self.request.run_id)

    def settle(self, known: DataFrame, doubt: Doubt | None = None) -> DataFrame:
        """Settle what is known, once."""
        forgotten = self.pinned.known.forgotten
        return self.keep(settle(self.history, known, None if forgotten is None else F.expr(forgotten), self.request.feed.ties, doubt))

    def together(self, frames: list[DataFrame]) -> DataFrame:
        """All that is known, one key in one partition."""
        old = scd_events.was_type(self.history, self.places, self.pinned.table.columns)
        return gathered(self.history, scd_events.together(self.history, frames, old), self.parts)

    @property
    def parts(self) -> int:
        """Partitions for what is known of the batch's keys; of every key, as many as the session has for a shuffle."""
        most = shuffle_partitions(self.request.target.table.spark)
        return most if self.batch.truncated is not None else min(most, 1 + self.live // _EVENTS_A_TASK)
