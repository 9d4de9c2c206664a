"""Ten million events with a driver of one gigabyte: nothing of a feed gathers in the driver.

    python benchmarks/memory.py
    python benchmarks/memory.py --events 1000000 --format delta --memory 512m

A local driver is the executor too, so all of Spark has this one gigabyte. The feed is applied to an empty table, then once more with new
sequences: every row changes, far more rows than may be broadcast.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pyspark.sql import SparkSession

import lakekit as lk


def feed(spark: SparkSession, events: int, seq: int, path: Path) -> lk.ChangeFeed:
    """Events of as many keys, one in ten a delete, read from Parquet files."""
    rows = spark.range(events).selectExpr(
        "cast(id % 8 as int) part", "id", f"id + {seq} seq", "concat('name ', id % 100000) name", "cast(id / 7 as decimal(14,2)) amount",
        f"if(id % 10 = {seq % 10}, 'D', 'U') op",
    )  # fmt: skip
    rows.write.mode("overwrite").parquet(str(path))
    df = spark.read.schema(rows.schema).parquet(str(path))
    return lk.changes(df, keys=["part", "id"], sequence_by="seq", delete_when="op = 'D'", except_columns="op")


def main() -> None:
    """Run; an ``OutOfMemoryError`` ends it with a failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--format", default="iceberg")
    parser.add_argument("--memory", default="1g")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/lakekit-memory"))
    given = parser.parse_args()
    os.environ["LAKEKIT_DRIVER_MEMORY"] = given.memory
    shutil.rmtree(given.folder, ignore_errors=True)
    spark = lk.session(given.format, warehouse=given.folder, conf={"spark.sql.shuffle.partitions": max(2, given.events // 250_000)})
    table = lk.Table(spark, "bench.memory", format=given.format)
    table.create(feed(spark, 0, 0, given.folder / "none"), partition_by=["part"])
    for seq in (0, 100_000_001):
        delivered = feed(spark, given.events, seq, given.folder / f"feed{seq}")
        started = time.perf_counter()
        print(table.upsert(delivered), f"{time.perf_counter() - started:.1f} s", flush=True)
    found, wanted = table.df().count(), given.events - given.events // 10
    heap = spark._jvm.Runtime.getRuntime().maxMemory() / 2**20  # type: ignore[union-attr]
    python = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{found:,} rows, expected {wanted:,}; heap {heap:.0f} MB; Python at most {python:.0f} MB")
    spark.stop()
    sys.exit(found != wanted)


if __name__ == "__main__":
    main()
