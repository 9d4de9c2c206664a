"""Speed without a clock: Spark jobs, records and bytes read, files written. Numbers that are the same on every machine.

What an upsert must not read is taken away while it runs: had it looked, it would fail.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from benchmarks.meter import Metered, metered
from pyspark.sql import DataFrame, SparkSession

import lakekit as lk
from tests.contract.harness import DB, Mode, check_sum, data_files, files, in_plain_modes

JOBS = {"iceberg": 12, "delta": 16, "hudi": 18}
REPLAY_JOBS = {"iceberg": 8, "delta": 8, "hudi": 12}
"""Hudi lists partitions and files by Spark jobs of its own, three for a look at a partitioned table and one for a look at its journal."""

STATISTICS = ("iceberg", "delta")
"""Formats whose metadata tells the lowest and highest key of a data file; Hudi's would need its metadata table."""

METADATA = {"iceberg": 200_000, "delta": 200_000, "hudi": 400_000}
"""Bytes that an upsert of a small table may read of manifests, logs and footers; Hudi reads its timeline anew for each of its steps."""

COLUMNS = "part int, id bigint, seq bigint, name string, amount decimal(12,2), op string"


@dataclass(frozen=True)
class Lake:
    """A table in one mode, and a folder for the feeds' files."""

    spark: SparkSession
    mode: Mode
    folder: Path
    name: str

    @property
    def table(self) -> lk.Table:
        return lk.Table(self.spark, f"{DB}.{self.name}_{self.mode.slug}", format=self.mode.format)

    def create(self, partition_by: Iterable[str] = ("part",)) -> None:
        self.table.create(self._feed(rows(self.spark, 0, 0)), partition_by=partition_by, merge_on_read=self.mode.merge_on_read)

    def deliver(self, df: DataFrame) -> lk.ChangeFeed:
        """The events as a feed that reads ORC files: no table under test is made of these, so its scans stand out."""
        path = str(self.folder / f"{len(list(self.folder.iterdir()))}.orc")
        df.write.orc(path)
        return self._feed(self.spark.read.schema(COLUMNS).orc(path))

    def upsert(self, feed: lk.ChangeFeed) -> tuple[lk.Commit, Metered]:
        with metered(self.spark) as found:
            commit = self.table.upsert(feed)
        check_sum(commit)
        return commit, found

    def files(self, suffix: str = "") -> dict[str, int]:
        return files(self.spark, self.table.name + suffix)

    def data_files(self, suffix: str = "") -> set[str]:
        return data_files(self.spark, self.table.name + suffix)

    def keys(self) -> set[tuple[int, int]]:
        return {(row["id"], row["seq"]) for row in self.table.df().select("id", "seq").collect()}

    def _feed(self, df: DataFrame) -> lk.ChangeFeed:
        return lk.changes(df, keys=["part", "id"], sequence_by="seq", delete_when="op = 'D'", except_columns="op")


@pytest.fixture
def lake(spark: SparkSession, mode: Mode, tmp_path: Path, request: pytest.FixtureRequest) -> Lake:
    return Lake(spark, mode, tmp_path, request.node.originalname.removeprefix("test_"))


def rows(spark: SparkSession, first: int, count: int, *, seq: int = 0, op: str = "U", parts: int = 5, name: str = "name") -> DataFrame:
    """Events of consecutive ids; an id's partition is its remainder."""
    return spark.range(first, first + count).selectExpr(
        f"cast(id % {parts} as int) part", "id", f"{seq} + id seq", f"concat('{name} ', sha1(string(id))) name",
        "cast(id / 7 as decimal(12,2)) amount", f"'{op}' op",
    )  # fmt: skip


def mixed(spark: SparkSession, seq: int) -> DataFrame:
    """Updates, inserts, deletes, a late event beside a newer one of its key, and repetitions."""
    updates, deletes = rows(spark, 0, 200, seq=seq), rows(spark, 200, 40, seq=seq, op="D")
    inserts, late = rows(spark, 10 * seq, 60, seq=seq), rows(spark, 0, 30, seq=seq - 500)
    return updates.union(inserts).union(deletes).union(late).union(rows(spark, 0, 20, seq=seq)).coalesce(2)


MIXED = 350


@contextmanager
def without(paths: Iterable[str], away: Path) -> Iterator[None]:
    """Take files away for a while, those that hold their checksums too."""
    shelf = {path: away / str(n) for n, path in enumerate(paths)}
    shelf |= {str(sum_of(path)): away / f"{n}.crc" for n, path in enumerate(shelf) if sum_of(path).exists()}
    away.mkdir()
    for path, place in shelf.items():
        shutil.move(path, place)
    try:
        yield
    finally:
        for path, place in shelf.items():
            shutil.move(place, path)


def sum_of(path: str) -> Path:
    """Hadoop's checksum beside a local file."""
    return Path(path).with_name(f".{Path(path).name}.crc")


def show(found: Metered) -> str:
    """The jobs, for the message of a failed assertion."""
    return f"{len(found.jobs)} jobs:\n" + "\n".join(f"{job.tasks:4} tasks  {job.description or job.name}" for job in found.jobs)


def test_jobs_and_source(lake: Lake, spark: SparkSession) -> None:
    lake.create()
    first, loading = lake.upsert(lake.deliver(rows(spark, 0, 400).coalesce(2)))
    assert (first.inserted, loading.scanned("orc")) == (400, 400)
    assert len(loading.jobs) <= JOBS[lake.mode.format], show(loading)

    for seq in (1000, 2000):  # the first makes the journal, the second meets it
        feed = lake.deliver(mixed(spark, seq))
        commit, found = lake.upsert(feed)
        assert commit.read == MIXED and (commit.updated, commit.inserted) == (200, 60), commit
        assert found.scanned("orc") == MIXED, "the source is read once"
        assert len(found.jobs) <= JOBS[lake.mode.format], show(found)

        before, versions = lake.files(), lake.table.versions().count()
        again, replay = lake.upsert(feed)
        assert not again.changed and (again.version, again.files_added) == (commit.version, 0)
        assert (lake.files(), lake.table.versions().count()) == (before, versions), "a batch applied before writes nothing"
        assert replay.scanned("orc") == MIXED
        assert len(replay.jobs) <= REPLAY_JOBS[lake.mode.format], show(replay)


@in_plain_modes
def test_jobs_of_more_rows_than_are_handed_out(lake: Lake, spark: SparkSession) -> None:
    """Beyond ``plan_complete.FEW_ROWS`` only rows with keys of the batch are handed out, and one more job hands out the keys."""
    lake.create()
    lake.upsert(lake.deliver(rows(spark, 0, 30_000).coalesce(2)))
    later = rows(spark, 0, 12_000, seq=100_000).union(rows(spark, 20_000, 500, seq=100_000, op="D"))
    feed = lake.deliver(later.union(rows(spark, 30_000, 100, seq=100_000)).coalesce(2))
    for most in (JOBS, REPLAY_JOBS):
        commit, found = lake.upsert(feed)
        assert len(found.jobs) <= most[lake.mode.format] + 1, show(found)
        assert found.scanned("orc") == commit.read == 12_600
    assert commit.duplicate == 12_600 and not commit.changed
    assert lake.table.df().count() == 30_000 - 500 + 100


@in_plain_modes
def test_journal_left_alone(lake: Lake, spark: SparkSession) -> None:
    lake.create()
    lake.upsert(lake.deliver(rows(spark, 0, 400, seq=1000)))
    assert not lake.files("__journal"), "inserts make no journal"
    lake.upsert(lake.deliver(rows(spark, 0, 100, seq=2000, op="D")))
    journal = lake.files("__journal")
    assert journal
    in_order = lake.deliver(rows(spark, 50, 400, seq=5000, name="later"))
    with without(lake.data_files("__journal") if lake.mode.format in STATISTICS else (), lake.folder / "away"):
        commit, _ = lake.upsert(in_order)
    assert (commit.inserted, commit.updated) == (100, 300)
    assert lake.files("__journal") == journal, "complete, in-order inserts and updates write nothing to the journal"
    assert lake.keys() == {(id, 5000 + id) for id in range(50, 450)}


def test_other_partitions(lake: Lake, spark: SparkSession) -> None:
    lake.create()
    lake.upsert(lake.deliver(rows(spark, 0, 40_000)))
    sizes = {path: size for path, size in lake.files().items() if path in lake.data_files()}
    elsewhere = {path: size for path, size in sizes.items() if "part=3" not in path}
    touched = sum(sizes.values()) - sum(elsewhere.values())
    assert len(elsewhere) >= 4
    for seq, op in ((50_000, "U"), (60_000, "D")):
        # ids 0 and 40,000 on in partition 3: rows that stand and new ones
        batch = rows(spark, 0, 100, seq=seq, op=op).union(rows(spark, 40_000, 50, seq=seq, op="U" if op == "U" else "D")).where("part = 3")
        feed = lake.deliver(batch.coalesce(1))
        with without(elsewhere, lake.folder / f"away{seq}"):
            commit, found = lake.upsert(feed)
        assert (commit.updated, commit.inserted, commit.deleted) == ((20, 10, 0) if op == "U" else (0, 0, 30))
        # Keys first, then whole rows: twice the touched partition at most, and metadata.
        most = 2 * touched + METADATA[lake.mode.format]
        assert found.read < most < sum(sizes.values()), f"{found.read} bytes read, the touched partition has {touched}"
    assert len(lake.keys()) == 40_000 - 20


@in_plain_modes
def test_other_key_ranges(lake: Lake, spark: SparkSession) -> None:
    lake.create(partition_by=())
    for first in (0, 20_000, 40_000):
        lake.table.append(rows(spark, first, 20_000, parts=1).drop("op").coalesce(1))
    bounds = {path: size for path, size in lake.files().items() if path in lake.data_files()}
    middle = {path for path in bounds if _holds(spark, path, 20_000)}
    others = {path: size for path, size in bounds.items() if path not in middle}
    assert len(middle) == 1 and len(others) == 2
    batch = rows(spark, 20_100, 50, seq=90_000, parts=1).union(rows(spark, 20_200, 50, seq=90_000, op="D", parts=1))
    feed = lake.deliver(batch.coalesce(1))
    with without(others if lake.mode.format in STATISTICS else (), lake.folder / "away"):
        commit, found = lake.upsert(feed)
    assert (commit.updated, commit.deleted) == (50, 50)
    assert found.read < sum(others.values()) + sum(bounds[path] for path in middle), "more was read than the files that hold the keys"
    assert lake.table.df().count() == 60_000 - 50


def _holds(spark: SparkSession, path: str, id: int) -> bool:
    return not spark.read.parquet(path).where(f"id = {id}").isEmpty()
