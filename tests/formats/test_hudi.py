"""Hudi's adapter by itself: hand-made change sets on real tables of both types."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.errors import CommitConflict, ConfigError, DataRejected, TableNotFound, UnsupportedOperation
from lakekit.formats.base import ChangeSet, Landing, Spec, View
from lakekit.formats.hudi import Hudi
from lakekit.formats.hudi_guard import held
from lakekit.formats.hudi_rows import key_text
from lakekit.partitioning import Days, Identity, Transform
from lakekit.table import Table

pytestmark = pytest.mark.skipif(os.environ.get("LAKEKIT_SPARK", "3.5") != "3.5", reason="Hudi has no bundle for Spark 4.1 yet")
Rows = Sequence[tuple[Any, ...]]
MOST_JOBS = 8  # of a tiny upsert; Hudi's own takes 11


class Subject:
    """A Hudi table under test."""

    def __init__(
        self, spark: SparkSession, name: str, schema: str, keys: Sequence[str], *partitions: str, mor: bool = False, **properties: str
    ) -> None:
        self.spark, self.schema, self.keys = spark, schema, tuple(keys)
        self.hudi = Hudi(spark, name)
        columns = T._parse_datatype_string(schema)
        assert isinstance(columns, T.StructType)
        self.hudi.create(Spec(columns, tuple(map(Identity, partitions)), self.keys, mor, properties))

    def frame(self, rows: Rows, schema: str | None = None) -> DataFrame:
        return self.spark.createDataFrame(list(rows), schema or self.schema)

    def change(self, rows: Rows, deletes: Rows = (), schema: str | None = None) -> Landing:
        """Upsert rows and delete keys, planned as lakekit plans: keys that stand are updates and bring their locators."""
        with self.hudi.guard():
            view, token = self.hudi.view(), uuid.uuid4().hex
            changes = self._planned(view, rows, deletes, schema or self.schema)
            self.spark.sparkContext.setJobGroup(token, "apply")
            self.hudi.apply(view, changes, token)
            self.jobs = len(self.spark.sparkContext.statusTracker().getJobIdsForGroup(token))
            return self.hudi.landing(view, token, wrote=True)

    def _planned(self, view: View, rows: Rows, deletes: Rows, schema: str) -> ChangeSet:
        news = self.frame(rows, schema)
        keys = news.select(*self.keys).schema
        gone = self.spark.createDataFrame(list(deletes), keys)
        events = news.withColumn("gone", F.lit(False)).unionByName(gone.withColumn("gone", F.lit(True)), allowMissingColumns=True)
        for field in view.schema.fields:
            if field.name not in events.columns:
                events = events.withColumn(field.name, F.lit(None).cast(field.dataType))
        old = [F.col(c).alias(f"_lk_old_{c}") for c in view.partition_columns]
        standing = self.hudi.read(view.version).select(*self.keys, *self.hudi.locators, *old)
        action = F.when(F.col("gone"), "delete").when(F.col("_hoodie_record_key").isNull(), "insert").otherwise("update")
        planned = events.join(F.broadcast(standing), list(self.keys), "left").withColumn("_lk_action", action)
        planned = planned.where("_lk_action <> 'delete' OR _hoodie_record_key IS NOT NULL").localCheckpoint()
        counts = {r["_lk_action"]: r["count"] for r in planned.groupBy("_lk_action").count().collect()}
        sizes = [counts.get(a, 0) for a in ("insert", "update", "delete")]
        return ChangeSet(planned, self.keys, tuple(view.columns), "true", (), *sizes)

    def rows(self, version: str | None = None) -> set[tuple[Any, ...]]:
        """The table's rows; two equal ones would hide, so their number is compared too."""
        return distinct(self.hudi.read(version).select(*self.hudi.view().columns))

    @property
    def history(self) -> list[str]:
        return [r["version"] for r in self.hudi.versions().orderBy("committed_at").collect()]


def distinct(df: DataFrame) -> set[tuple[Any, ...]]:
    exact = [F.unix_micros(f.name).alias(f.name) if isinstance(f.dataType, T.TimestampType) else F.col(f.name) for f in df.schema.fields]
    rows = [tuple(r) for r in df.select(*exact).collect()]
    assert len(set(map(repr, rows))) == len(rows)
    return set(rows)


@pytest.fixture(params=[False, True], ids=["cow", "mor"])
def mor(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def new(spark: SparkSession, mor: bool) -> Iterator[Callable[..., Subject]]:
    made: list[Subject] = []

    def make(schema: str, keys: Sequence[str], *partitions: str, **properties: str) -> Subject:
        made.append(Subject(spark, f"hudi_tests.t{uuid.uuid4().hex[:8]}", schema, keys, *partitions, mor=mor, **properties))
        return made[-1]

    yield make
    for subject in made:
        subject.hudi.drop()
        assert not subject.hudi.exists()


def micros(text: str) -> int:
    return round(datetime.fromisoformat(text + "+00:00").timestamp() * 1_000_000)


@pytest.mark.parametrize("many", [5, 2], ids=["located", "indexed"])
def test_changes_of_every_kind_with_composite_keys_and_moving_partitions(
    new: Callable[..., Subject], mor: bool, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakekit.formats.hudi.MANY_ROWS", many)  # so many changed rows let Hudi look keys up itself
    table = new("a string, b string, region string, qty decimal(10,2), at timestamp", ["a", "b"], "region")
    when = datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=UTC)
    odd = "ü/%:=' &"
    assert table.hudi.view().empty and table.hudi.view().merge_on_read is mor

    kept = [("x", "y,k2:z", None, None, None), ("", "", odd, Decimal(2), None), ("d", "d", "US", None, None)]
    first = table.change([("x,k2:y", "z", "EU", Decimal("1.10"), when), *kept])
    assert (first.alone, first.rows_added, first.files_removed) == (True, 4, 0) and first.files_added >= 3 and first.bytes_added > 0
    at = micros("2024-02-29T23:59:59.123456")
    before = {("x,k2:y", "z", "EU", Decimal("1.10"), at), *kept}
    assert table.rows() == before and not table.hudi.view().empty

    # A row moves, one stays with NULLs, one leaves by its key alone, one is new, one moves into the NULL partition.
    news = [("x", "y,k2:z", None, Decimal("9.99"), None), ("n", "n", "US", None, None)]
    moved = [("x,k2:y", "z", odd, None, when), ("", "", None, None, when)]
    second = table.change([*news, *moved], deletes=[("d", "d"), ("never", "there")])
    after = {*news, ("x,k2:y", "z", odd, None, at), ("", "", None, None, at)}
    assert table.rows() == after
    assert second.alone and second.version == table.hudi.view().version != first.version
    assert (second.rows_added, second.rows_removed) == (4, 4)

    # Back again, so that a key meets its own former partition; then what was there before is still to be read.
    table.change([("x,k2:y", "z", "EU", Decimal("1.10"), when), ("", "", odd, Decimal(2), None)])
    table.change([("x", "y,k2:z", None, None, None), ("d", "d", "US", None, None)], deletes=[("n", "n")])
    assert table.rows() == before
    assert table.rows(first.version) == before and table.rows(second.version) == after
    by_name = table.spark.sql(f"SELECT a, b, region, qty, at FROM {table.hudi.table}")
    assert distinct(by_name) == before


def test_a_tiny_upsert_takes_few_jobs(new: Callable[..., Subject], mor: bool) -> None:
    table = new("id bigint, name string, region string", ["id"], "region")
    table.change([(i, "old", f"r{i % 3}") for i in range(300)])
    started = time.monotonic()
    landing = table.change([(1, "new", "r1"), (4, "new", "r2")], deletes=[(2,)])
    print(f"\n{'mor' if mor else 'cow'}: {table.jobs} jobs, {time.monotonic() - started:.1f} s, {landing}")
    assert table.jobs <= MOST_JOBS
    assert landing.rows_added == 2 and table.hudi.read().count() == 299
    changed = table.hudi.read().where("id IN (1, 4)").select("name", "region")
    assert distinct(changed) == {("new", "r1"), ("new", "r2")}
    assert "_lakekit_key" not in table.hudi.read().columns, "an integer key needs no column of lakekit's own"


def test_text_of_keys_is_injective_and_canonical(spark: SparkSession) -> None:
    types = "f float, g double, s string, b binary, t timestamp, n boolean, i int, u date, c decimal(5,5), d decimal(10,2)"
    then, tiny = datetime(1960, 1, 1, tzinfo=UTC), Decimal("0.00001")
    rows = [
        (0.1, -0.0, "1:", b"\x00", then, True, 100, date(1, 1, 1), tiny, Decimal("1.50")),
        (0.5, 0.0, "", b"", then.replace(microsecond=1), False, 10, date(1, 1, 2), Decimal("-0.5"), Decimal("100")),
    ]
    df = spark.createDataFrame(rows, types)
    wider = {"f": "double", "i": "bigint", "c": "decimal(12,7)", "d": "decimal(20,6)"}
    widened = df.select(*(F.col(c).cast(wider.get(c, df.schema[c].dataType)) for c in df.columns))
    for ansi in ("true", "false"):
        spark.conf.set("spark.sql.ansi.enabled", ansi)
        try:
            texts = [[r[0] for r in frame.select(key_text(df.columns, frame.schema)).collect()] for frame in (df, widened)]
        finally:
            spark.conf.unset("spark.sql.ansi.enabled")
        assert texts[0] == texts[1] and texts[0][0] != texts[0][1]
    assert "+100" in texts[0][1] and "3:0.0" in texts[0][0]
    pairs = spark.createDataFrame([("x,k2:y", "z"), ("x", "y,k2:z"), ("1:a", ""), ("", "1:a"), ("1", ":a")], "a string, b string")
    assert pairs.select(key_text(["a", "b"], pairs.schema)).distinct().count() == 5


def test_rows_keep_their_record_key_when_a_key_column_is_widened(new: Callable[..., Subject]) -> None:
    table = new("k int, s string, v string", ["k", "s"])
    table.change([(1, "a", "old"), (-7, "", "old"), (2**31 - 1, "b", "untouched")])
    table.hudi.widen_column("k", T.LongType())
    for n in range(2):
        table.change([(1, "a", f"new {n}"), (2**40, "a", "wide")], deletes=[(-7, "")], schema="k bigint, s string, v string")
        assert table.rows() == {(1, "a", f"new {n}"), (2**40, "a", "wide"), (2**31 - 1, "b", "untouched")}


def test_a_float_is_not_widened_because_hudi_would_read_two_numbers(new: Callable[..., Subject]) -> None:
    """Hudi reads a float of an old file as the double of its text, and rewrites the file with another one."""
    table = new("id int, f float", ["id"])
    lakehouse = Table(table.spark, table.hudi.table, format="hudi")
    with pytest.raises(UnsupportedOperation, match=r"as another afterwards\. Instead: add a double column"):
        lakehouse.evolve("id int, f double, extra string", allow=["add", "widen"])
    assert lakehouse.df().schema.simpleString() == "struct<id:int,f:float>", "nothing was added before the refusal"


def test_columns_are_added_and_widened_while_old_versions_stay(new: Callable[..., Subject]) -> None:
    table = new("id bigint, n int, s struct<a:int>", ["id"])
    table.hudi.add_columns([T.StructField("early", T.StringType())])
    assert table.hudi.view().empty, "a change of schema brings no rows"
    table.change([(1, 10, (1,), "e"), (2, 20, (2,), None)], schema="id bigint, n int, s struct<a:int>, early string")
    old = table.hudi.view().version
    table.hudi.add_columns([T.StructField("late", T.DateType()), T.StructField("s/b", T.LongType())])
    table.hudi.widen_column("n", T.LongType())
    shape = "id bigint, n bigint, s struct<a:int,b:bigint>, early string, late date"
    assert table.hudi.view().schema.simpleString() == T._parse_datatype_string(shape).simpleString()
    table.change([(2, 2**40, (3, 4), "x", date(2024, 1, 1)), (3, None, None, None, None)], schema=shape)
    expected = {(1, 10, (1, None), "e", None), (2, 2**40, (3, 4), "x", date(2024, 1, 1)), (3, None, None, None, None)}
    assert table.rows() == expected
    assert distinct(table.spark.table(table.hudi.table).select("id", "n", "s", "early", "late")) == expected
    assert distinct(table.hudi.read(old).select("id", "n", "early")) == {(1, 10, "e"), (2, 20, None)}
    with pytest.raises(UnsupportedOperation, match="Instead"):
        table.hudi.widen_column("id", T.DecimalType(20, 0))


NESTED = (
    "tags array<string>, grid array<array<int>>, lines array<struct<sku:string,qty:decimal(9,3)>>, "
    "m map<string,array<int>>, s struct<a:array<string>>"
)
LISTS: dict[str, tuple[Any, ...]] = {
    "null": (None, None, None, None, None),
    "empty": ([], [], [], {}, ([],)),
    "null within": (["x", None, ""], [[1, None], None, []], [("a", None), None], {"a": [1, None], "b": None}, ([None, "y"],)),
    "plain": (["a", "b"], [[1], [2, 3]], [("a", Decimal("1.500")), (None, None)], {"a": []}, (None,)),
    "long": (["x"] * 900, [[7] * 900], [("q", Decimal("-2.000"))] * 900, {str(i): [i] for i in range(90)}, (["z"] * 900,)),
}


@pytest.mark.parametrize("amount", ["decimal(12,2)", "double"])
def test_untouched_rows_keep_their_lists_whenever_hudi_rewrites_their_file(new: Callable[..., Subject], amount: str) -> None:
    """With a small decimal in the table Hudi's own first load writes lists that its next rewrite does not find."""
    legacy = {"hoodie.parquet.writelegacyformat.enabled": "true"}  # a property that must not bring the loss back
    nested = NESTED.replace("decimal(9,3)", "decimal(25,3)") if amount != "decimal(12,2)" else NESTED
    schema = f"id int, amount {amount}, {nested}"
    table = new(schema, ["id"], **legacy)
    expected = {i: {n: repr(_plain(v)) for n, v in zip("tgmls", lists, strict=True)} for i, lists in enumerate(LISTS.values())}
    number = 1.5 if amount == "double" else Decimal("1.50")

    def check(when: str) -> None:
        found = table.hudi.read().where("id < 100").select("id", "tags", "grid", "lines", "m", "s").collect()
        rows = {r[0]: {n: repr(_plain(v)) for n, v in zip("tgmls", r[1:], strict=True)} for r in found}
        wrong = {i: {n: v for n, v in rows.get(i, {}).items() if v != expected[i][n]} for i in expected}
        assert rows.keys() == expected.keys() and not any(wrong.values()), f"{when}: {wrong}"

    one = table.frame([(i, number, *lists) for i, lists in enumerate(LISTS.values())]).coalesce(1)
    table.hudi.append(one, table.hudi.view(), "load")
    check("loaded")
    for n in range(2):
        table.change([(100 + n, number, *LISTS["plain"])])
        check(f"rewritten {n}")
    table.change([], deletes=[(100,)])  # Hudi's own mark of a delete is a column more
    check("after a delete")
    table.hudi.add_columns([T.StructField("more", T.ArrayType(T.StringType())), T.StructField("s/b", T.ArrayType(T.LongType()))])
    table.schema = f"{schema}, more array<string>".replace("s struct<a:array<string>>", "s struct<a:array<string>,b:array<bigint>>")
    for i, value in expected.items():
        value["s"] = repr(_plain(None if LISTS[list(LISTS)[i]][4] is None else (*LISTS[list(LISTS)[i]][4], None)))
    check("after a new column")
    table.change([(102, number, *LISTS["plain"][:4], (["k"], [None]), [None, "v"])])
    check("rewritten with a new column")
    for n in range(5):  # on merge-on-read Hudi compacts by then, and rewrites what it has compacted
        table.change([(103 + n, number, *LISTS["plain"][:4], (["k"], [None]), [None, "v"]), (102, number, *[None] * 6)])
    check("compacted")
    if table.hudi.view().merge_on_read:
        operations = {r["operation"] for r in table.hudi.versions().collect()}
        assert "compact" in operations, operations
    assert {r.id for r in table.hudi.read().where("id >= 100").collect()} == {*range(101, 108)}


def test_a_table_that_avro_alone_writes_is_partitioned_and_keyed_like_any_other(new: Callable[..., Subject]) -> None:
    table = new("k string, tags array<string>, price decimal(5,2), region string, day date", ["k"], "region", "day")
    odd, old = "ü/%:=' &", date(1582, 10, 15)
    first = ("", ["a", None], Decimal("-1.10"), None, None)
    rows = [first, ("b", [], None, odd, old), ("c", None, Decimal("999.99"), " ", date(9999, 12, 31))]

    def found() -> dict[str, tuple[Any, ...]]:
        return {r.k: (r.tags, r.price, r.region, r.day) for r in table.hudi.read().collect()}

    table.change(rows)
    assert found() == {k: tuple(rest) for k, *rest in rows}
    table.change([("b", ["moved"], None, None, old), ("n", ["new"], Decimal(0), odd, None)], deletes=[("c",)])
    table.change([("x", [None], Decimal(1), None, None)])
    moved, fresh = (["moved"], None, None, old), (["new"], Decimal(0), odd, None)
    assert found() == {"": first[1:], "b": moved, "n": fresh, "x": ([None], Decimal(1), None, None)}


def _plain(value: Any) -> Any:
    """A value without Spark's own classes."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in sorted(value.items())}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def test_append_overwrite_delete_and_rollback(new: Callable[..., Subject]) -> None:
    table = new("id string, region string, n int", ["id"], "region")
    hudi = table.hudi
    table.change([("a", "EU", 1), ("b", "US", 2)])
    hudi.append(table.frame([("c", None, 3), ("d", "US", 4)]), hudi.view(), "append")
    assert table.rows() == {("a", "EU", 1), ("b", "US", 2), ("c", None, 3), ("d", "US", 4)}
    kept = hudi.view().version
    assert kept is not None

    # An appended row is a row like any other: an upsert finds it, a delete removes it.
    table.change([("c", "EU", 33)], deletes=[("d",)])
    view = hudi.view()
    hudi.delete("n = 1 OR region = 'nowhere'", "delete")
    assert table.rows() == {("b", "US", 2), ("c", "EU", 33)} and hudi.landing(view, "delete", wrote=True).rows_removed == 1
    view = hudi.view()
    hudi.delete("n > 1000", "nothing")
    assert hudi.view().version == view.version, "nothing deleted, no version"

    hudi.overwrite(table.frame([("b", "US", 5), ("e", "US", 6)]), "region = 'US'", hudi.view(), "where")
    assert table.rows() == {("b", "US", 5), ("e", "US", 6), ("c", "EU", 33)}
    table.change([("b", "EU", 7)])
    hudi.overwrite(table.frame([("z", "EU", 0)]), None, hudi.view(), "all")
    assert table.rows() == {("z", "EU", 0)}
    last = hudi.view().version
    assert last is not None

    hudi.rollback(kept, "rollback")
    assert table.rows() == {("a", "EU", 1), ("b", "US", 2), ("c", None, 3), ("d", "US", 4)}
    assert table.rows(last) == {("z", "EU", 0)}, "rolling back loses no history"
    table.change([("a", "US", 11)], deletes=[("b",)])
    assert table.rows() == {("a", "US", 11), ("c", None, 3), ("d", "US", 4)}

    history = hudi.versions().orderBy("committed_at").collect()
    assert [r["parent"] for r in history[1:]] == [r["version"] for r in history[:-1]]
    assert [r["operation"] for r in history if r["operation"] not in ("compact", "upsert")] == [
        "bulk_insert", "bulk_insert", "insert_overwrite_table", "insert_overwrite_table",
    ]  # fmt: skip
    assert abs(history[-1]["committed_at"].timestamp() - time.time()) < 600
    assert hudi.resolve(kept) == kept
    with pytest.raises(TableNotFound, match="no version 19990101"):
        hudi.resolve("19990101")


def test_bytes_removed_are_the_sizes_of_the_files_that_left(new: Callable[..., Subject], mor: bool) -> None:
    table = new("id bigint, name string, region string", ["id"], "region")

    def sizes(region: str) -> dict[str, int]:
        """The data files of a partition, without those that Hudi will clean."""
        folder = Path(table.hudi.path.removeprefix("file:")) / f"region={region}"
        data = [p for p in folder.iterdir() if not p.name.endswith(".crc") and (p.suffix == ".parquet" or ".log." in p.name)]
        return {p.name: p.stat().st_size for p in data}

    table.change([(i, "x" * i, f"r{i % 2}") for i in range(200)])
    first, other = sizes("r1"), sizes("r0")
    second = table.change([(1, "new", "r1")])
    written = {name: size for name, size in sizes("r1").items() if name not in first}
    assert sum(written.values()) == second.bytes_added > 0
    rewritten = {name for name in first if any(name.split("_")[0] == new_.split("_")[0] for new_ in written)}
    assert second.bytes_removed == (0 if mor else sum(first[name] for name in rewritten))
    assert (second.files_removed > 0) == (second.bytes_removed > 0) == (not mor)

    standing = {**{n: s for n, s in first.items() if mor or n not in rewritten}, **written, **other}
    view = table.hudi.view()
    table.hudi.overwrite(table.frame([(1, "all", "r1")]), None, view, "all")
    landing = table.hudi.landing(view, "all", wrote=True)
    assert landing.bytes_removed == sum(standing.values()) and landing.files_removed > 0


def test_refusals_name_the_reason_and_a_way_out(spark: SparkSession, tmp_path: Path) -> None:
    columns = T.StructType().add("id", "long").add("at", "timestamp").add("region", "string")

    def create(*by: Transform) -> None:
        Hudi(spark, str(tmp_path / "refused")).create(Spec(columns, by, ("id",)))

    for transform in (Days("at"), Identity("at")):
        with pytest.raises(UnsupportedOperation, match="Instead: "):
            create(transform)
    assert not (tmp_path / "refused").exists()
    with pytest.raises(TableNotFound, match="no Hudi table"):
        Hudi(spark, "nowhere.nothing").view()

    table = Subject(spark, str(tmp_path / "by_path"), "id bigint, region string", ["id"], "region")
    assert Table(spark, str(tmp_path / "by_path")).format == "hudi" and not Table(spark, str(tmp_path / "nothing")).exists()
    table.change([(1, "EU")])
    for value in ("", "__HIVE_DEFAULT_PARTITION__"):
        with pytest.raises(DataRejected, match="Nothing was written") as refused:
            table.change([(1, value), (2, "US")])
        assert "HIVE" not in str(refused.value)
    assert table.rows() == {(1, "EU")} and len(table.history) == 1
    table.keys = ("region",)
    with pytest.raises(ConfigError, match="record key is id"):
        table.change([(1, "EU")])


def test_a_table_that_plain_hudi_made_is_changed_in_its_own_way(spark: SparkSession, tmp_path: Path) -> None:
    path = str(tmp_path / "theirs")
    theirs = spark.createDataFrame([(1, "a", "EU", 5), (2, "b", "US", 6)], "id int, k string, region string, n int")
    options = {
        "hoodie.table.name": "theirs",
        "hoodie.datasource.write.recordkey.field": "id,k",
        "hoodie.datasource.write.partitionpath.field": "region",
        "hoodie.datasource.write.keygenerator.class": "org.apache.hudi.keygen.ComplexKeyGenerator",
        "hoodie.datasource.write.precombine.field": "n",
        "hoodie.datasource.write.operation": "upsert",
        "hoodie.metadata.index.column.stats.enable": "false",
    }
    theirs.write.format("hudi").options(**options).mode("append").save(path)
    table = Subject(spark, path, "id int, k string, region string, n int", ["id", "k"])
    assert table.hudi.view().partition_columns == ("region",)
    assert table.change([(1, "a", "US", 1), (3, "c", "US", 7)], deletes=[(2, "b")]).alone
    assert distinct(table.hudi.read().select("id", "k", "region", "n")) == {(1, "a", "US", 1), (3, "c", "US", 7)}
    # And plain Hudi goes on with it: its index finds what lakekit wrote.
    more = spark.createDataFrame([(1, "a", "US", 100), (4, "d", "EU", 8)], "id int, k string, region string, n int")
    more.withColumn("_hoodie_is_deleted", F.lit(None).cast("boolean")).write.format("hudi").options(**options).mode("append").save(path)
    assert distinct(table.hudi.read().select("id", "k", "region", "n")) == {(1, "a", "US", 100), (3, "c", "US", 7), (4, "d", "EU", 8)}
    view = table.hudi.view()
    assert table.hudi.landing(View(table.history[0], view.schema), "mine", wrote=True).alone is False


def test_lists_that_plain_hudi_loaded_are_kept_once_overwritten_with_themselves(spark: SparkSession, tmp_path: Path) -> None:
    """What docs/formats.md advises: Hudi's own load of lists beside small decimals loses them at the next upsert."""
    path, schema = str(tmp_path / "loaded"), "id int, tags array<string>, price decimal(5,2)"
    options = {
        "hoodie.table.name": "loaded",
        "hoodie.datasource.write.recordkey.field": "id",
        "hoodie.datasource.write.operation": "bulk_insert",
        "hoodie.metadata.enable": "false",
    }
    rows = [(1, ["a", None], Decimal("1.00")), (2, [], Decimal("2.00"))]
    spark.createDataFrame(rows, schema).coalesce(1).write.format("hudi").options(**options).mode("append").save(path)
    lakehouse = Table(spark, path, format="hudi")
    lakehouse.overwrite(lakehouse.df())
    Subject(spark, path, schema, ["id"]).change([(3, ["c"], None)])
    found = {r.id: (r.tags, r.price) for r in lakehouse.df().collect()}
    assert found == {1: (["a", None], Decimal("1.00")), 2: ([], Decimal("2.00")), 3: (["c"], None)}


def test_cleaning_keeps_the_versions_it_promises(spark: SparkSession, tmp_path: Path) -> None:
    retained = {"hoodie.clean.commits.retained": "2", "hoodie.clean.max.commits": "1"}
    retained |= {"hoodie.keep.min.commits": "4", "hoodie.keep.max.commits": "5"}
    table = Subject(spark, str(tmp_path / "cleaned"), "id bigint, n int", ["id"], **retained)
    for n in range(8):
        table.change([(1, n)])
    history = table.history
    assert len(history) == 8, "archived versions are listed too"
    assert table.rows() == {(1, 7)} and table.rows(history[-2]) == {(1, 6)}
    for look in (table.rows, table.hudi.resolve):
        with pytest.raises(TableNotFound, match="cleaned"):
            look(history[0])


WRITER = """
import sys, uuid
import lakekit as lk
from lakekit.formats.hudi import Hudi
warehouse, name, what = sys.argv[1:]
spark = lk.session("hudi", "delta", "iceberg", warehouse=warehouse)
hudi = Hudi(spark, name)
with hudi.guard():
    print("guarded", flush=True)
    if what == "wait":
        sys.stdin.read()
    rows = spark.range(5_000_000).selectExpr("id + 1000 AS id", "cast(id AS string) AS name", "'r' AS region")
    hudi.append(rows, hudi.view(), uuid.uuid4().hex)
print("done", flush=True)
"""


def start(warehouse: str, name: str, what: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, warehouse, name, what]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)


def test_another_process_is_kept_out_and_killed_half_way(spark: SparkSession) -> None:
    """One process holds the table's lock while it writes, is killed, and leaves neither a lock nor rows."""
    warehouse = str(spark.conf.get("spark.sql.warehouse.dir")).removeprefix("file:")
    table = Subject(spark, "hudi_tests.shared", "id bigint, name string, region string", ["id"], "region")
    table.change([(1, "one", "r"), (2, "two", "q")])
    timeline = Path(table.hudi.path.removeprefix("file:")) / ".hoodie" / "timeline"
    before = {p.name for p in timeline.iterdir()}
    writer = start(warehouse, "hudi_tests.shared", "wait")
    try:
        assert writer.stdout is not None and writer.stdin is not None
        assert writer.stdout.readline().strip() == "guarded", "a new process finds the table by its name"
        impatient = {"hoodie.write.lock.wait_time_ms": "500"}
        with pytest.raises(CommitConflict, match="held the table's lock"), held(spark, "shared", table.hudi.path, impatient):
            pass
        writer.stdin.close()
        while not any(p.name.endswith("inflight") and p.name not in before for p in timeline.iterdir()):
            assert writer.poll() is None
            time.sleep(0.01)
    finally:
        os.killpg(writer.pid, signal.SIGKILL)
        writer.wait()
    left = {p.name for p in timeline.iterdir()} - before
    assert left and not any(name.endswith(".commit") for name in left), "killed before its commit"
    assert table.rows() == {(1, "one", "r"), (2, "two", "q")}

    landing = table.change([(1, "uno", "r"), (3, "three", "r")], deletes=[(2,)])
    assert landing.alone and landing.rows_added == 2
    assert table.rows() == {(1, "uno", "r"), (3, "three", "r")}
    with table.hudi.guard(), table.hudi.guard():
        table.change([(3, "drei", "q")])
    assert table.rows() == {(1, "uno", "r"), (3, "drei", "q")}
    table.hudi.drop()


def test_a_configured_lock_provider_guards_other_file_systems(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Subject(spark, str(tmp_path / "far"), "id bigint, n int", ["id"])
    monkeypatch.setattr("lakekit.formats.hudi_guard.local_folder", lambda path: None)
    lock = tmp_path / "far" / ".hoodie" / "lock"
    table.change([(1, 1)])
    assert not lock.exists(), "no provider is configured, so there is no lock"
    spark.conf.set("hoodie.write.lock.provider", "org.apache.hudi.client.transaction.lock.FileSystemBasedLockProvider")
    try:
        with table.hudi.guard():
            assert any(lock.iterdir()), "Hudi's provider has made its lock file"
        assert not lock.exists() or not any(lock.iterdir())
        table.change([(1, 2)])
    finally:
        spark.conf.unset("hoodie.write.lock.provider")
    assert table.rows() == {(1, 2)}
