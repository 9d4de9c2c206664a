"""A type 2 table under test beside everything that was delivered to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

import lakekit as lk
from lakekit.testing import assert_scd2_valid
from tests import oracle, scd_oracle
from tests.contract.harness import DB, Mode, Subject, check_sum, same
from tests.oracle import Row
from tests.scd_oracle import COUNTS, Dim


@dataclass
class Past(Subject):
    """A type 2 table under test; ``dim`` tells the oracle what its rows mean, ``options`` tell lakekit."""

    dim: Dim = field(kw_only=True)
    options: dict[str, Any] = field(kw_only=True, default_factory=dict)

    def create(self, **options: Any) -> Past:
        """Make the empty table in the subject's mode."""
        self.table.create(self.feed([]), scd=2, merge_on_read=self.mode.merge_on_read, **self.options, **options)
        return self

    def scd2(self, rows: Sequence[Row], schema: str | None = None, **options: Any) -> lk.Commit:
        """Deliver rows and remember them, unless it is a dry run."""
        commit = self.table.scd2(self.feed(rows, schema), **self.options, **options)
        check_sum(commit)
        if not commit.dry_run:
            self.delivered += rows
        return commit

    verb = "scd2"

    def told(self) -> dict[str, Any]:
        """What the verb is told beside the feed."""
        return self.options

    def apply(self, rows: Sequence[Row]) -> lk.Commit:
        """Deliver rows without remembering them."""
        commit: lk.Commit = getattr(self.table, self.verb)(self.feed(rows), **self.options)
        return commit

    def check(self) -> None:
        """The table holds the history that the set of everything delivered means."""
        same(self.rows(), scd_oracle.table(self.delivered, self.dim))

    def check_at_end(self) -> None:
        """The table is a valid history, whatever it means."""
        dim = self.dim
        assert_scd2_valid(
            self.table.df(), keys=dim.rules.keys, track=dim.tracked, valid_from=dim.valid_from, valid_to=dim.valid_to,
            end_of_time=self.options.get("end_of_time"), current=dim.current, version=dim.version,
        )  # fmt: skip

    def rows(self) -> dict[Any, Any]:
        """The rows in the oracle's spelling, by key and valid_from; numbers of versions are only looked at."""
        df = self.table.df()
        if self.options.get("surrogate"):
            numbers = [row["surrogate_key"] for row in df.collect()]
            assert None not in numbers and len(set(numbers)) == len(numbers), "two versions have one number"
            df = df.drop("surrogate_key")
        assert set(df.columns) == self.dim.columns, f"columns {df.columns}"
        found: dict[Any, Any] = {}
        for row in plain_rows(df):
            at = (tuple(row[c] for c in self.dim.rules.keys), row[self.dim.valid_from])
            assert at not in found, f"two rows at {at}"
            found[at] = row
        return found


def plain_rows(df: DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame in the oracle's spelling."""
    exact = df.select(*(_exact(F.col(f"`{f.name}`"), f.dataType).alias(f.name) for f in df.schema.fields))
    return [{c: oracle.plain(bytes(v) if isinstance(v, bytearray) else v) for c, v in r.asDict().items()} for r in exact.collect()]


def _exact(value: Any, kind: T.DataType) -> Any:
    """Instants as microseconds, inside structs too: Python's own time zone plays no part."""
    if isinstance(kind, T.TimestampType):
        return F.unix_micros(value)
    if isinstance(kind, T.StructType):
        return F.when(value.isNotNull(), F.struct(*(_exact(value[f.name], f.dataType).alias(f.name) for f in kind.fields)))
    return value


def past(
    spark: SparkSession, mode: Mode, name: str, schema: str, dim: Dim, options: dict[str, Any] | None = None, **described: Any
) -> Past:
    """A subject whose table does not exist yet."""
    table = lk.Table(spark, f"{DB}.{name}_{mode.slug}", format=mode.format)
    told = {"track": dim.track, "valid_from": dim.valid_from, "valid_to": dim.valid_to, "current": dim.current, "version": dim.version}
    meant = {"keys": list(dim.rules.keys), "sequence_by": list(dim.rules.sequence_by), **described}
    return Past(mode, table, schema, dim.rules, meant, dim=dim, options={**told, **(options or {})})


def counts(commit: lk.Commit) -> dict[str, int]:
    """The counts of a commit that the oracle's ledger predicts."""
    return {name: getattr(commit, name) for name in COUNTS}
