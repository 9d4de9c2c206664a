"""Upserts by lakekit beside the best statement written by hand, in one process, in turns, on the same data.

    python benchmarks/upsert.py                                        # every format and mode, small, under five minutes
    python benchmarks/upsert.py --rows 5000000 --events 500000         # the full size
    python benchmarks/upsert.py --formats delta --modes dv --scenarios spread again --jobs

Scenarios: ``load`` (into the empty table, beside a plain INSERT or ``bulk_insert``), ``spread`` (events in all partitions), ``again`` (the
same batch once more), ``local`` (events in a tenth of the partitions). Both start from the same rows; each run from the same files,
put back outside the timing. Which goes first alternates. The shortest of the repeats counts.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pyspark.sql import DataFrame, SparkSession

import lakekit as lk
from benchmarks import data, hand, modes, report
from benchmarks.meter import Metered, metered
from benchmarks.modes import MODES, Contender, Mode

SCENARIOS = ("load", "spread", "again", "local")
HAND, LAKEKIT = "hand-written", "lakekit"


@dataclass(frozen=True)
class Subject(Contender):
    """One way of upserting."""

    show: bool = False

    def empty(self, rows: DataFrame) -> None:
        """Begin with an empty table."""
        if self.who == HAND and self.mode.format == "hudi":
            shutil.rmtree(self.path, ignore_errors=True)  # its writer makes it
        else:
            modes.create(self.spark, self.mode, self.name, rows)

    def fill(self, rows: DataFrame) -> None:
        """The rows that upserts start from: by the same plain INSERT for both, where the format lets both have the same table."""
        self.empty(rows)
        if self.who == LAKEKIT and self.mode.format == "hudi":
            self.load(rows)  # rows that are only appended get keys of no meaning, which are longer
        else:
            hand.load(self.spark, self.mode, self.name, rows)
        modes.keep(self.path, self._copy)

    def load(self, rows: DataFrame) -> None:
        """The timed first load."""
        if self.who == HAND:
            hand.load(self.spark, self.mode, self.name, rows)
        else:
            self._told(self.table.upsert(lk.changes(rows, keys=data.KEYS, sequence_by=data.SEQUENCE)))

    def upsert(self, events: DataFrame) -> None:
        """The timed upsert."""
        if self.who == HAND:
            hand.upsert(self.spark, self.mode, self.name, events)
            return
        feed = lk.changes(events, keys=data.KEYS, sequence_by=data.SEQUENCE, delete_when="op = 'D'", except_columns="op")
        self._told(self.table.upsert(feed))

    def _told(self, commit: lk.Commit) -> None:
        if self.show:
            print(f"    {commit}", flush=True)


def measure(subject: Subject, scenario: str, act: Callable[[], None]) -> report.Run:
    """Time one run and look at what it did to the table's folder."""
    subject.spark._jvm.System.gc()  # type: ignore[union-attr]
    before = modes.data_files(subject.path)
    with metered(subject.spark) as found:
        act()
    after = modes.data_files(subject.path)
    new = after.keys() - before.keys()
    run = report.Run(
        subject.mode.id, scenario, subject.who, found.seconds, len(found.jobs), found.read, found.written, found.total("shuffled"),
        len(new), sum(after[f] for f in new),
    )  # fmt: skip
    print(f"  {run}", flush=True)
    if subject.show:
        _show(found)
    return run


def _show(found: Metered) -> None:
    for job in found.jobs:
        moved = f"{job.shuffled >> 20:5d} MB shuffled {job.input_bytes >> 20:5d} MB in"
        print(f"      {job.seconds:6.2f} s {job.tasks:4d} tasks {moved}  {job.description or job.name}")


def runs(spark: SparkSession, mode: Mode, files: data.Files, scenarios: tuple[str, ...], repeats: int, show: bool) -> Iterator[report.Run]:
    """All runs of one mode."""
    subjects = [Subject(spark, mode, who, show) for who in (HAND, LAKEKIT)]
    rows, spread, local = (spark.read.parquet(str(p)) for p in (files.base, files.spread, files.local))
    if "load" in scenarios:
        for repeat in range(repeats):
            for subject in _turns(subjects, repeat):
                subject.empty(rows)
                yield measure(subject, "load", lambda s=subject: s.load(rows))  # type: ignore[misc]
        _same(subjects)
    if set(scenarios) - {"load"}:
        for subject in subjects:
            subject.fill(rows)
    for repeat in range(repeats):
        for events, scenario in ((spread, "spread"), (local, "local")):
            if scenario in scenarios or (scenario == "spread" and "again" in scenarios):
                for subject in _turns(subjects, repeat):
                    subject.restore()
                    yield measure(subject, scenario, lambda s=subject, e=events: s.upsert(e))  # type: ignore[misc]
                    if scenario == "spread" and "again" in scenarios:
                        yield measure(subject, "again", lambda s=subject, e=events: s.upsert(e))  # type: ignore[misc]
                if repeat == 0:
                    _same(subjects)
    for subject in subjects:
        subject.forget()


def _turns(subjects: list[Subject], repeat: int) -> list[Subject]:
    return subjects if repeat % 2 == 0 else subjects[::-1]


def _same(subjects: list[Subject]) -> None:
    """On this feed both ways are right, so their tables are equal."""
    prints = [s.fingerprint(data.COLUMNS) for s in subjects]
    if prints[0] != prints[1]:
        print(f"  !! tables differ (rows, sum): {dict(zip((HAND, LAKEKIT), prints, strict=True))}", flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--columns", type=int, default=20, choices=[20], help="the generated rows have 20 columns")
    parser.add_argument("--partitions", type=int, default=40)
    parser.add_argument("--events", type=int, default=None, help="events of a feed (default: a tenth of the rows)")
    parser.add_argument("--formats", nargs="+", default=["iceberg", "delta", "hudi"])
    parser.add_argument("--modes", nargs="+", default=["cow", "mor", "dv"])
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), choices=SCENARIOS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/lakekit-benchmark"))
    parser.add_argument("--memory", default="6g", help="the driver's memory")
    parser.add_argument("--shuffle-partitions", default="4")
    parser.add_argument("--jobs", action="store_true", help="show each run's Spark jobs and lakekit's commits")
    parser.add_argument("--out", type=Path, help="write the table as Markdown")
    return parser.parse_args()


def main() -> None:
    """Run and report."""
    given = arguments()
    size = data.Size(given.rows, given.partitions, given.events or given.rows // 10)
    os.environ.setdefault("LAKEKIT_DRIVER_MEMORY", given.memory)
    shutil.rmtree(given.folder / "warehouse", ignore_errors=True)
    before = report.load_average()
    spark = lk.session(warehouse=given.folder / "warehouse", conf={"spark.sql.shuffle.partitions": given.shuffle_partitions})
    files = data.generate(spark, given.folder, size)
    found: list[report.Run] = []
    for mode in MODES:
        if mode.format in given.formats and mode.id.split("-")[1] in given.modes:
            print(mode.id, flush=True)
            found += runs(spark, mode, files, tuple(given.scenarios), given.repeats, given.jobs)
    text = report.markdown(found, size, given.repeats, report.machine(spark), (before, report.load_average()))
    report.publish(text, given.out)
    spark.stop()


if __name__ == "__main__":
    main()
