"""Does an upsert stay as quick as it was? Many small batches after one another, and the same batch into a ten times larger table.

    python benchmarks/growth.py                                      # small: 25 batches, 100,000 and 1,000,000 rows
    python benchmarks/growth.py --batches 50 --rows 1000000 --out benchmarks/growth.md

Batches: updates, inserts, deletes and late events, so that table, journal and metadata all grow; the last fifth of them may take 1.3 times
as long as the first fifth (the very first batch, on cold code, is left out). Rows: ten times as many partitions of the same size, a fixed
feed into one of them; 1.3 times again. Medians, since one slow disk flush is no growth.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pyspark.sql import DataFrame, SparkSession

import lakekit as lk
from benchmarks import data, modes, report
from benchmarks.modes import DB, MODES, Mode

GOAL = 1.3
EVENTS = 2_000
ROWS_EACH = 25_000  # rows in a partition


def batches(spark: SparkSession, mode: Mode, count: int) -> list[float]:
    """Seconds of each of *count* small batches."""
    size = data.Size(ROWS_EACH * 4, 4, EVENTS)
    table = modes.create(spark, mode, f"{DB}.many_{mode.id.replace('-', '_')}", data.base(spark, size))
    table.append(data.base(spark, size))
    return [_upsert(table, data.feed(spark, size, 4, seed=100 + n), later=n) for n in range(count)]


def rows(spark: SparkSession, mode: Mode, count: int, repeats: int) -> float:
    """Seconds of an upsert into one partition of a table with *count* rows, the shortest of some that each bring new events."""
    size = data.Size(count, count // ROWS_EACH, EVENTS)
    table = modes.create(spark, mode, f"{DB}.large_{mode.id.replace('-', '_')}", data.base(spark, size))
    table.append(data.base(spark, size))
    took = [_upsert(table, data.feed(spark, size, 1, seed=200 + n), later=n) for n in range(repeats + 1)]
    table.drop()
    return min(took[1:])


def _upsert(table: lk.Table, events: DataFrame, later: int) -> float:
    later_events = events.withColumn(data.SEQUENCE, events[data.SEQUENCE] + later * 1_000_000)
    feed = lk.changes(later_events, keys=data.KEYS, sequence_by=data.SEQUENCE, delete_when="op = 'D'", except_columns="op")
    started = time.perf_counter()
    table.upsert(feed)
    return time.perf_counter() - started


def lines(spark: SparkSession, mode: Mode, given: argparse.Namespace) -> Iterator[str]:
    """The results of one mode as lines of a Markdown table."""
    took = batches(spark, mode, given.batches)
    fifth = given.batches // 5
    first, last = statistics.median(took[1 : 1 + fifth]), statistics.median(took[-fifth:])
    yield _line(mode, f"{given.batches} batches, first and last {fifth}", first, last)
    few, many = (rows(spark, mode, n, given.repeats) for n in (given.rows, given.rows * 10))
    yield _line(mode, f"{given.rows:,} and {given.rows * 10:,} rows, one partition", few, many)


def _line(mode: Mode, what: str, first: float, last: float) -> str:
    verdict = "" if last <= GOAL * first else " **missed**"
    line = f"| {mode.id} | {what} | {first:.2f} | {last:.2f} | {last / first:.2f} | ≤ {GOAL}{verdict} |"
    print(line, flush=True)
    return line


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=25)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--formats", nargs="+", default=["iceberg", "delta", "hudi"])
    parser.add_argument("--modes", nargs="+", default=["cow", "mor", "dv"])
    parser.add_argument("--folder", type=Path, default=Path("/tmp/lakekit-growth"))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    os.environ.setdefault("LAKEKIT_DRIVER_MEMORY", "4g")
    shutil.rmtree(given.folder, ignore_errors=True)
    before = report.load_average()
    spark = lk.session(warehouse=given.folder)
    chosen = [m for m in MODES if m.format in given.formats and m.id.split("-")[1] in given.modes]
    found = [line for mode in chosen for line in lines(spark, mode, given)]
    head = [
        "## Growth", "",
        f"{report.machine(spark)}; load average before {before}, after {report.load_average()}; {EVENTS:,} events a batch.", "",
        "| | what | seconds before | seconds after | ratio | goal |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    text = "\n".join([*head, *found, ""])
    report.publish(text, given.out)
    spark.stop()


if __name__ == "__main__":
    main()
