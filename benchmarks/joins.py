"""Snapshot diff and point-in-time join beside the plain Spark statements that do less or the same, in one process, in turns.

    python benchmarks/joins.py                                  # 1 M × 1 M rows of 18 columns; 1 M facts, 0.3 M versions
    python benchmarks/joins.py --rows 200000 --repeats 2        # small

Each statement is evaluated completely and its rows thrown away (Spark's ``noop`` sink). ``cpu`` is the time that executors' threads
were on a processor: on a busy machine it says more than seconds. The shortest of the repeats counts.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

import lakekit as lk
from benchmarks import data, meter, report

Statements = Mapping[str, Callable[[], DataFrame]]
BARE = "full outer join with <=>"


def snapshots(spark: SparkSession, folder: Path, rows: int) -> tuple[DataFrame, DataFrame]:
    """Two loads: 1 % of the keys new, 1 % gone, 3 % changed; the later one in another order."""
    before = spark.range(rows).select("id", *data.payload(F.col("id")))
    seed = F.col("id") + F.when(F.col("id") % 33 == 0, rows).otherwise(0)
    now = spark.range(rows + rows // 100).where("id % 100 <> 7").select("id", *data.payload(seed))
    return _stored(before.coalesce(4), folder / f"before-{rows}"), _stored(now.repartition(4), folder / f"now-{rows}")


def diffs(before: DataFrame, now: DataFrame) -> Statements:
    """Ways to find what differs. The bare join does not guard, finds no duplicate and tells no operation."""

    def bare() -> DataFrame:
        a, b = before.alias("a"), now.alias("b")
        same = F.lit(True)
        for name in before.columns:
            same = same & F.col(f"a.{name}").eqNullSafe(F.col(f"b.{name}"))
        return a.join(b, F.col("a.id").eqNullSafe(F.col("b.id")), "full_outer").where(~same)

    def except_all() -> DataFrame:
        return before.exceptAll(now).unionByName(now.exceptAll(before))

    return {
        BARE: bare,
        "lakekit snapshot": lambda: lk.sources.snapshot(before, now, keys="id", at=1).df,
        "exceptAll both ways": except_all,
    }


def histories(spark: SparkSession, folder: Path, rows: int) -> tuple[DataFrame, DataFrame]:
    """Facts, and a dimension of three versions a key for a tenth as many keys; one fact in a hundred has no version."""
    keys = max(1, rows // 10)
    at = F.timestamp_seconds(1_700_000_000 + F.pmod(F.xxhash64("id", F.lit(1)), F.lit(86_400 * 300)))
    customer = F.pmod(F.xxhash64("id", F.lit(2)), F.lit(keys + keys // 100))
    facts = spark.range(rows).select("id", customer.alias("customer"), at.alias("at"), (F.col("id") % 1000 / 7).alias("amount"))
    number = F.col("id") % 3
    begins = [F.timestamp_seconds(F.lit(1_690_000_000) + (number + n) * 86_400 * 120) for n in (0, 1)]
    version = spark.range(keys * 3).select(
        F.expr("id div 3").alias("customer"), *data.payload(F.col("id"))[:6], begins[0].alias("valid_from"),
        F.when(number < 2, begins[1]).alias("valid_to"),
    )  # fmt: skip
    return _stored(facts.coalesce(4), folder / f"facts-{rows}"), _stored(version.repartition(4), folder / f"versions-{rows}")


def joins(facts: DataFrame, versions: DataFrame) -> Statements:
    """Ways to give each fact its version."""

    def by_window() -> DataFrame:
        """Facts and versions in one frame, each fact with the last version before it."""
        content = [c for c in versions.columns if c != "customer"]
        changes = versions.select("customer", F.col("valid_from").alias("at"), F.lit(0).alias("kind"), F.struct(*content).alias("v"))
        both = changes.unionByName(facts.withColumn("kind", F.lit(1)), allowMissingColumns=True)
        order = Window.partitionBy("customer").orderBy("at", "kind").rowsBetween(Window.unboundedPreceding, Window.currentRow)
        met = both.withColumn("v", F.last("v", ignorenulls=True).over(order)).where("kind = 1")
        valid = F.col("v.valid_to").isNull() | (F.col("at") < F.col("v.valid_to"))
        return met.select(*facts.columns, *(F.when(valid, F.col(f"v.{c}")).alias(c) for c in content))

    def bare() -> DataFrame:
        f, v = facts.alias("f"), versions.alias("v")
        valid = (F.col("v.valid_from") <= F.col("f.at")) & (F.col("v.valid_to").isNull() | (F.col("f.at") < F.col("v.valid_to")))
        return f.join(v, (F.col("f.customer") == F.col("v.customer")) & valid, "left").drop(F.col("v.customer"))

    return {
        "left join by hand": bare,
        "lakekit point_in_time_join": lambda: lk.point_in_time_join(facts, versions, on="customer", at="at"),
        "union and window": by_window,
    }


def _stored(df: DataFrame, path: Path) -> DataFrame:
    if not (path / "_SUCCESS").exists():
        df.write.mode("overwrite").parquet(str(path))
    return df.sparkSession.read.parquet(str(path))


def measure(spark: SparkSession, statement: Callable[[], DataFrame]) -> tuple[float, float, float]:
    """Seconds, executors' seconds on a processor, and MB shuffled."""
    spark._jvm.System.gc()  # type: ignore[union-attr]
    meter._settle(spark)
    first, started = meter._next_job(spark), time.perf_counter()
    statement().write.format("noop").mode("overwrite").save()
    seconds = time.perf_counter() - started
    meter._settle(spark)
    store = spark._jsc.sc().statusStore()  # type: ignore[attr-defined]
    jobs = [store.job(id) for id in range(first, meter._next_job(spark))]
    stages = {stage.stageId(): stage for job in jobs for stage in meter._stages_that_ran(store, job)}.values()
    return seconds, sum(s.executorCpuTime() for s in stages) / 1e9, sum(s.shuffleWriteBytes() for s in stages) / 1e6


def compare(spark: SparkSession, title: str, statements: Statements, repeats: int) -> str:
    """Run each statement in turns, once before to warm up; the table as Markdown, ratios to the first."""
    best: dict[str, tuple[float, float, float]] = {}
    for repeat in range(repeats + 1):
        for name, statement in statements.items():
            found = measure(spark, statement)
            if repeat:
                best[name] = min(best.get(name, found), found)
                best[name] = (*best[name][:1], min(best[name][1], found[1]), found[2])
            print(f"  {repeat} {name:28} {found[0]:6.2f} s {found[1]:6.2f} s cpu {found[2]:6.0f} MB shuffled", flush=True)
    base = next(iter(best.values()))
    lines = [f"### {title}", "", "| | seconds | ratio | cpu | ratio | MB shuffled |", "|---|---|---|---|---|---|"]
    lines += [f"| {name} | {s:.2f} | {s / base[0]:.2f} | {c:.2f} | {c / base[1]:.2f} | {m:.0f} |" for name, (s, c, m) in best.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=["snapshot", "join"])
    parser.add_argument("--folder", type=Path, default=Path("/tmp/lakekit-benchmark-joins"))
    parser.add_argument("--memory", default="4g", help="the driver's memory")
    parser.add_argument("--out", type=Path, help="write the tables as Markdown")
    given = parser.parse_args()
    os.environ.setdefault("LAKEKIT_DRIVER_MEMORY", given.memory)
    before = report.load_average()
    # Without broadcasts: at full size the dimension would not fit one either.
    conf = {"spark.sql.shuffle.partitions": "4", "spark.sql.autoBroadcastJoinThreshold": "-1"}
    spark = lk.session("iceberg", warehouse=given.folder / "warehouse", conf=conf)
    parts = []
    if given.only != "join":
        statements = diffs(*snapshots(spark, given.folder, given.rows))
        parts.append(compare(spark, f"Snapshot diff, {given.rows:,} rows", statements, given.repeats))
    if given.only != "snapshot":
        statements = joins(*histories(spark, given.folder, given.rows))
        parts.append(compare(spark, f"Point in time, {given.rows:,} facts", statements, given.repeats))
    text = f"{report.machine(spark)}; load average before {before}, after {report.load_average()}\n\n" + "\n".join(parts)
    report.publish(text, given.out)
    spark.stop()


if __name__ == "__main__":
    main()
