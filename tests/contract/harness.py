"""A table under test beside everything that was delivered to it, and the comparison of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

import lakekit as lk
from lakekit.formats import ADAPTERS
from lakekit.formats.partition_values import EMPTY_TEXT
from lakekit.runtimes import local_runtime
from tests import oracle
from tests.frames import frame
from tests.oracle import Row, Rules

COUNTS = oracle.COUNTS
DB = "contract"


@dataclass(frozen=True)
class Mode:
    """A table format and its way of writing updates."""

    format: str
    merge_on_read: bool
    label: str = ""

    @property
    def id(self) -> str:
        return f"{self.format}-{self.label}" if self.label else self.format

    @property
    def slug(self) -> str:
        return self.id.replace("-", "_")


_LABELS = {"delta": ("", "dv")}
MODES = [
    Mode(name, merge_on_read, _LABELS.get(name, ("cow", "mor"))[merge_on_read])
    for name in sorted(local_runtime().tested, reverse=True)
    for merge_on_read in (False, True)
]


def in_plain_modes(test: Callable[..., Any]) -> Callable[..., Any]:
    """For cases that are decided before a row is written: once for each format is enough, as long as others write in every mode.

    CI's run on the second Spark line has them on one format only (marker ``decided``).
    """
    once = [
        pytest.param(m, id=m.id, marks=[pytest.mark.decided] if m.format != MODES[0].format else []) for m in MODES if not m.merge_on_read
    ]
    return pytest.mark.parametrize("mode", once)(test)


def in_first_mode(test: Callable[..., Any]) -> Callable[..., Any]:
    """For cases of which no format sees anything, as long as random ones of the same kind run in every mode."""
    return pytest.mark.parametrize("mode", [pytest.param(MODES[0], id=MODES[0].id)])(test)


def mode_named(id: str) -> Mode:
    """The mode of an id such as ``hudi-mor``."""
    return next(mode for mode in MODES if mode.id == id)


@dataclass
class Subject:
    """A table under test; ``rules`` tell the oracle, ``described`` tells lakekit, what the delivered rows mean."""

    mode: Mode
    table: lk.Table
    schema: str
    rules: Rules
    described: dict[str, Any]
    delivered: list[Row] = field(default_factory=list)

    @property
    def spark(self) -> SparkSession:
        return self.table.spark

    def feed(self, rows: Iterable[Row], schema: str | None = None, **described: Any) -> lk.ChangeFeed:
        return lk.changes(frame(self.spark, rows, schema or self.schema), **{**self.described, **described})

    def create(self, **options: Any) -> Subject:
        """Make the empty table in the subject's mode."""
        self.table.create(self.feed([]), merge_on_read=self.mode.merge_on_read, **options)
        return self

    def upsert(self, rows: Sequence[Row], schema: str | None = None, **options: Any) -> lk.Commit:
        """Deliver rows and remember them, unless it is a dry run."""
        commit = self.table.upsert(self.feed(rows, schema), **options)
        if not commit.dry_run:
            self.delivered += rows
        return commit

    verb = "upsert"

    def told(self) -> dict[str, Any]:
        """What the verb is told beside the feed."""
        return {}

    def apply(self, rows: Sequence[Row]) -> lk.Commit:
        """Deliver rows without remembering them."""
        return self.table.upsert(self.feed(rows))

    def expected(self) -> dict[Any, Any]:
        return oracle.table(self.delivered, self.rules)

    def check(self) -> None:
        """The table holds what the set of everything delivered means."""
        same(rows_by_key(self.table.df(), self.rules), self.expected())

    def check_at_end(self) -> None:
        """What needs no look after every delivery."""


def no_empty_text(mode: Mode, *partitions: str) -> dict[str, frozenset[str]]:
    """For the oracle: partition columns that cannot hold an empty text, as the format's own table says."""
    holds = ADAPTERS[mode.format].partition_values[EMPTY_TEXT] is True
    return {} if holds else dict.fromkeys(partitions, frozenset({"", "__HIVE_DEFAULT_PARTITION__"}))


def subject(spark: SparkSession, mode: Mode, name: str, schema: str, rules: Rules, **described: Any) -> Subject:
    """A subject whose table does not exist yet."""
    table = lk.Table(spark, f"{DB}.{name}_{mode.slug}", format=mode.format)
    return Subject(mode, table, schema, rules, {"keys": list(rules.keys), "sequence_by": list(rules.sequence_by), **described})


def rows_by_key(df: DataFrame, rules: Rules) -> dict[Any, Any]:
    """The rows of a table in the oracle's spelling; fails on two rows of one key and on columns that should not show."""
    assert set(df.columns) == set(rules.columns), f"columns {df.columns}"
    found: dict[Any, Any] = {}
    for record in df.select(*map(_exact, df.schema.fields)).collect():
        row = {c: oracle.plain(_nested(value)) for c, value in record.asDict().items()}
        key = tuple(row[c] for c in rules.keys)
        assert key not in found, f"two rows of key {key}"
        found[key] = row
    return found


def _exact(column: T.StructField) -> Any:
    """Instants as microseconds: Python's own time zone plays no part."""
    value = F.col(f"`{column.name}`")
    return F.unix_micros(value).alias(column.name) if isinstance(column.dataType, T.TimestampType) else value


def _nested(value: Any) -> Any:
    return bytes(value) if isinstance(value, bytearray) else value


def same(actual: Mapping[Any, Any], expected: Mapping[Any, Any], show: int = 5) -> None:
    """Fail with the first differences between two tables by key."""
    wrong = [f"{key}\n    is        {actual.get(key)}\n    should be {expected.get(key)}" for key in actual.keys() | expected.keys()
             if actual.get(key) != expected.get(key)]  # fmt: skip
    assert not wrong, f"{len(wrong)} of {len(expected)} keys differ:\n  " + "\n  ".join(sorted(wrong)[:show])


def counts(commit: lk.Commit) -> dict[str, int]:
    """The counts of a commit that the oracle's ledger predicts."""
    return {name: getattr(commit, name) for name in COUNTS}


def check_sum(commit: lk.Commit) -> None:
    """C8: every row read is booked exactly once."""
    assert commit.read == commit.applied + commit.stale + commit.duplicate + commit.ignored + commit.quarantined, commit


def files(spark: SparkSession, table: str) -> dict[str, int]:
    """Every file below the table's and its journal's and quarantine's folders, with its size."""
    warehouse = Path(spark.conf.get("spark.sql.warehouse.dir", "").removeprefix("file:"))
    db, name = table.split(".")
    folders = [folder for parent in (warehouse / db, warehouse / f"{db}.db") for folder in parent.glob(f"{name}*")]
    return {str(path): path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file()}


def data_files(spark: SparkSession, table: str) -> set[str]:
    """The data files among them, those of deletes and logs included."""
    return {path for path in files(spark, table) if path.endswith((".parquet", ".puffin", ".bin")) or ".log." in path}


@contextmanager
def conf(spark: SparkSession, key: str, value: str) -> Iterator[None]:
    """Another value of a session's conf for a while."""
    before = confs(spark).get(key)
    spark.conf.set(key, value)
    try:
        yield
    finally:
        if before is None:
            spark.conf.unset(key)
        else:
            spark.conf.set(key, before)


def confs(spark: SparkSession) -> dict[str, str]:
    """Every conf that is set in the session, but for the note that Delta itself leaves there."""
    return {row.key: row.value for row in spark.sql("SET").collect() if not row.key.endswith(".lastCommitVersionInSession")}


def utc(text: str) -> datetime:
    """An instant in UTC."""
    return datetime.fromisoformat(text + "+00:00")
