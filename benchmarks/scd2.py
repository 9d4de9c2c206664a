"""Type 2 by lakekit beside the recipe of the Delta documentation, in one process, in turns, on the same history and the same days.

    python benchmarks/scd2.py                                  # every format and mode, small
    python benchmarks/scd2.py --rows 5000000                   # the full size
    python benchmarks/scd2.py --formats iceberg --days 3 --late

The recipe stages each change twice, once with a NULL merge key, and merges once ("Slowly changing data (SCD) Type 2 operation into Delta
tables"); on Iceberg the same statement. It is right for days in order only: with ``--late`` half a percent of the events are older than
their key's open row, and its table is wrong. On Hudi the other side is a plain upsert of as many rows as a day changes.

``days``: all days one after the other. ``again``: the last day once more. The history has two versions a key; a day changes 3 % of the
keys. Which goes first alternates; the shortest of the repeats counts.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import lakekit as lk
from benchmarks import modes, report
from benchmarks.meter import metered
from benchmarks.modes import MODES, Contender, Mode
from benchmarks.report import Run

RECIPE, LAKEKIT = "recipe", "lakekit"
PAYLOAD = ("email", "address", "city", "tier", "segment", "score", "note")
COLUMNS = ("id", "seq", *PAYLOAD)
GOALS = {"days": {"iceberg": 1.2, "delta": 1.2, "hudi": 1.3}, "late": {"iceberg": 1.5, "delta": 1.5, "hudi": 1.3}}
AGAIN = 0.6
FIRST_DAY = 1_000


def customers(spark: SparkSession, keys: int, seq: str, where: str = "true") -> DataFrame:
    """Rows of customers as a day has them; *seq* is SQL for the time of the event."""
    return (
        spark.range(keys)
        .where(where)
        .selectExpr(
            "id",
            f"cast({seq} as bigint) seq",
            f"concat('user', id, '@', {seq}, '.example.org') email",
            f"concat(id % 997, ' ', sha1(concat(id, '/', {seq})), ' street') address",
            f"concat('city ', pmod(xxhash64(id, {seq}), 500)) city",
            f"element_at(array('basic','silver','gold'), int(pmod(xxhash64(id, {seq}, 'tier'), 3)) + 1) tier",
            "concat('segment ', id % 20) segment",
            f"cast(pmod(xxhash64(id, {seq}, 'score'), 100000) / 100 as decimal(10,2)) score",
            "sha1(cast(id as string)) note",
        )
    )


def a_day(spark: SparkSession, keys: int, day: int, late: bool) -> DataFrame:
    """The events of a day: 3 % of the keys, half a percent of them late where asked for."""
    is_late = f"pmod(xxhash64(id, {day}L), 200) = 0" if late else "false"
    seq = f"({FIRST_DAY} + {day} - if({is_late}, {FIRST_DAY - 50}, 0))"
    return customers(spark, keys, seq, f"pmod(xxhash64(id, {day}L, 'day'), 100) < 3")


class Subject(Contender):
    """One way of keeping history."""

    prefix = "scd2_"

    def feed(self, df: DataFrame) -> lk.ChangeFeed:
        """The day as a change feed."""
        return lk.changes(df, keys="id", sequence_by="seq")

    def fill(self, history: DataFrame) -> None:
        """The history that the days are added to, by the same append for both."""
        if self.table.exists():
            self.table.drop()
        self.table.create(self.feed(history.select(*COLUMNS)), scd=2, merge_on_read=self.mode.merge_on_read)
        if self.who == RECIPE and self.mode.format == "hudi":
            write_plainly(self, history, "bulk_insert")
        else:
            self.table.append(history)
        modes.keep(self.path, self._copy)

    def add(self, day: DataFrame) -> None:
        """The timed work of a day."""
        if self.who == LAKEKIT:
            self.table.scd2(self.feed(day))
        elif self.mode.format == "hudi":
            plain_upsert(self, day)
        else:
            recipe(self.spark, self.mode.sql_name(self.name), day)


def recipe(spark: SparkSession, name: str, day: DataFrame) -> None:
    """Two steps in one MERGE: rows with their key close the open row, the same rows without it are inserted."""
    kept = day.persist()
    try:
        kept.createOrReplaceTempView("_day")
        differs = " OR ".join(f"NOT (t.{c} <=> s.{c})" for c in PAYLOAD)
        both = ", ".join(f"s.{c}" for c in COLUMNS)
        staged = f"""
            SELECT s.id AS merge_key, s.* FROM _day s
            UNION ALL
            SELECT NULL AS merge_key, s.* FROM _day s JOIN {name} t ON t.id = s.id WHERE t.valid_to IS NULL AND ({differs})"""
        spark.sql(f"""
            MERGE INTO {name} t USING ({staged}) s ON t.id = s.merge_key
            WHEN MATCHED AND t.valid_to IS NULL AND ({differs}) THEN UPDATE SET t.valid_to = s.seq
            WHEN NOT MATCHED THEN INSERT ({", ".join(COLUMNS)}, valid_from, valid_to) VALUES ({both}, s.seq, NULL)""")
    finally:
        kept.unpersist()


def plain_upsert(subject: Subject, day: DataFrame) -> None:
    """Hudi's writer with as many rows as a day changes: each key's closed row and its new one, found beforehand for nothing."""
    new = day.withColumns({"valid_from": F.col("seq"), "valid_to": F.lit(None).cast("bigint")})
    old = day.withColumns({"valid_from": F.lit(10).cast("bigint"), "valid_to": F.col("seq")})
    columns = [*COLUMNS, "valid_from", "valid_to"]
    write_plainly(subject, new.select(*columns).unionByName(old.select(*columns)), "upsert")


def write_plainly(subject: Subject, rows: DataFrame, operation: str) -> None:
    """Hudi's own writer, told to do no more than needed."""
    rows = rows.withColumn("_lakekit_key", F.concat_ws(":", "id", "valid_from"))
    writer = rows.write.format("hudi").mode("append").option("hoodie.table.name", subject.name.split(".")[1])
    kind = "MERGE_ON_READ" if subject.mode.merge_on_read else "COPY_ON_WRITE"
    options = {
        "hoodie.datasource.write.operation": operation, "hoodie.datasource.write.recordkey.field": "_lakekit_key",
        "hoodie.datasource.write.precombine.field": "seq", "hoodie.datasource.write.table.type": kind, "hoodie.metadata.enable": "false",
        "hoodie.datasource.write.keygenerator.class": "org.apache.hudi.keygen.NonpartitionedKeyGenerator",
        "hoodie.combine.before.upsert": "false", "hoodie.upsert.shuffle.parallelism": "4",
    }  # fmt: skip
    writer.options(**options).save(str(subject.path))


def runs(spark: SparkSession, mode: Mode, keys: int, days: int, late: bool, repeats: int, folder: Path) -> Iterator[Run]:
    """All runs of one mode."""
    begun = [customers(spark, keys, since).selectExpr(*COLUMNS, f"cast({since} as bigint) valid_from") for since in ("0", "10")]
    ends = [F.lit(10).cast("bigint"), F.lit(None).cast("bigint")]
    closed, opened = (rows.withColumn("valid_to", end) for rows, end in zip(begun, ends, strict=True))
    history = closed.unionByName(opened)
    subjects = [Subject(spark, mode, who) for who in (RECIPE, LAKEKIT)]
    for subject in subjects:
        subject.fill(history)
    made = []
    for day in range(days):
        path = str(folder / f"day_{keys}_{day}_{late}")
        a_day(spark, keys, day, late).write.mode("overwrite").parquet(path)
        made.append(spark.read.parquet(path))
    scenario = "late" if late else "days"
    for repeat in range(repeats):
        for subject in subjects if repeat % 2 == 0 else subjects[::-1]:
            subject.restore()
            for word, batch in ((scenario, made), ("again", made[-1:])):
                spark._jvm.System.gc()  # type: ignore[union-attr]
                before = modes.data_files(subject.path)
                with metered(spark) as found:
                    for each in batch:
                        subject.add(each)
                after = modes.data_files(subject.path)
                new = after.keys() - before.keys()
                run = Run(
                    mode.id, word, subject.who, found.seconds, len(found.jobs), found.read, found.written, found.total("shuffled"),
                    len(new), sum(after[f] for f in new),
                )  # fmt: skip
                print(f"  {run}", flush=True)
                yield run
        if repeat == 0 and not late and mode.format != "hudi":
            prints = {s.who: s.fingerprint((*COLUMNS, "valid_from", "valid_to")) for s in subjects}
            if len(set(prints.values())) > 1:
                print(f"  !! tables differ (rows, sum): {prints}", flush=True)
    for subject in subjects:
        subject.forget()


def markdown(found: list[Run], rows: int, days: int, machine: str, load: tuple[str, str]) -> str:
    """The table of results."""
    lines = [
        f"## Type 2: {rows:,} rows of history, {days} days of 3 % changed keys",
        "",
        f"{machine}; load before {load[0]}, after {load[1]}.",
        "",
        "| | scenario | seconds, recipe / lakekit | ratio | goal | Spark jobs | MB shuffled | new files |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for mode, scenario in dict.fromkeys((r.mode, r.scenario) for r in found):
        theirs, ours = (report.best(r for r in found if (r.mode, r.scenario, r.who) == (mode, scenario, who)) for who in (RECIPE, LAKEKIT))
        goal = AGAIN if scenario == "again" else GOALS[scenario][mode.split("-")[0]]
        ratio = ours.seconds / theirs.seconds
        verdict = "" if ratio <= goal else " **missed**"
        cells = [
            mode, scenario, f"{theirs.seconds:.2f} / {ours.seconds:.2f}", f"{ratio:.2f}", f"≤ {goal}{verdict}",
            f"{theirs.jobs} / {ours.jobs}", f"{theirs.shuffled / 1e6:.0f} / {ours.shuffled / 1e6:.0f}", f"{theirs.files} / {ours.files}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="rows of history, two a key")
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--late", action="store_true")
    parser.add_argument("--formats", nargs="+", default=["iceberg", "delta", "hudi"])
    parser.add_argument("--modes", nargs="+", default=["cow", "mor", "dv"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/lakekit-benchmark-scd2"))
    parser.add_argument("--memory", default="6g")
    parser.add_argument("--shuffle-partitions", default="4")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    os.environ.setdefault("LAKEKIT_DRIVER_MEMORY", given.memory)
    shutil.rmtree(given.folder, ignore_errors=True)
    given.folder.mkdir(parents=True)
    before = report.load_average()
    spark = lk.session(warehouse=given.folder / "warehouse", conf={"spark.sql.shuffle.partitions": given.shuffle_partitions})
    found: list[Run] = []
    for mode in MODES:
        if mode.format in given.formats and mode.id.split("-")[1] in given.modes:
            print(mode.id, flush=True)
            found += runs(spark, mode, given.rows // 2, given.days, given.late, given.repeats, given.folder)
    text = markdown(found, given.rows, given.days, report.machine(spark), (before, report.load_average()))
    print(text)
    if given.out:
        given.out.write_text(text)
    spark.stop()


if __name__ == "__main__":
    main()
