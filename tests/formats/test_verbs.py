"""The verbs beside upsert, on every format and mode: what stands before, the verb, what stands after."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from pyspark.sql import SparkSession

import lakekit as lk
from lakekit.formats.base import VERSIONS, Unsupported
from lakekit.partitioning import Bucket, Days, Hours, Identity, Months, Transform, Truncate, Years
from lakekit.testing import assert_same_rows
from tests.contract.faults import warehouse_of
from tests.contract.harness import MODES, Mode, in_plain_modes

SCHEMA = "id int, name string, region string, at timestamp"


@pytest.fixture(params=MODES, ids=lambda mode: mode.id)
def mode(request: pytest.FixtureRequest) -> Mode:
    return request.param


def rows(spark: SparkSession, *values: tuple[object, ...]):
    return spark.createDataFrame([(*v, None) for v in values], SCHEMA)


def names(table: lk.Table) -> set[tuple[int, str]]:
    return {(r.id, r.name) for r in table.df().select("id", "name").collect()}


def test_a_place_with_a_blank_in_its_path(spark: SparkSession, tmp_path: Path) -> None:
    spark.sql(f"CREATE DATABASE blanks LOCATION '{tmp_path}/with a blank'")
    table = lk.Table(spark, "blanks.delta", format="delta")
    table.create(SCHEMA)
    assert lk.Table(spark, table.name).format == "delta" and names(table) == set()
    assert (tmp_path / "with a blank" / "delta" / "_delta_log").is_dir()
    if any(mode.format == "hudi" for mode in MODES):
        with pytest.raises(lk.errors.UnsupportedOperation, match=r"Hudi finds no table by name in .* because of a blank"):
            lk.Table(spark, "blanks.hudi", format="hudi").create(SCHEMA)
        by_path = lk.Table(spark, f"{tmp_path}/with a blank/hudi", format="hudi")
        by_path.create(SCHEMA)
        assert by_path.exists()


def test_life_of_a_table(spark: SparkSession, mode: Mode) -> None:
    table = lk.Table(spark, f"verbs.life_{mode.slug}", format=mode.format)
    assert not table.exists()
    properties = {"a.number": 5, "a.truth": True}
    table.create(SCHEMA, partition_by=["Region"], merge_on_read=mode.merge_on_read, comment="a test's table", properties=properties)
    table.create(SCHEMA)  # it exists: nothing happens
    assert table.exists() and table.df().columns == ["id", "name", "region", "at"] and names(table) == set()
    assert lk.Table(spark, table.name).format == mode.format
    with pytest.raises(lk.errors.ConfigError, match="more than one column is named id"):
        lk.Table(spark, f"{table.name}_twice", format=mode.format).create("id int, ID int")
    if mode.format != "iceberg":
        with pytest.raises(lk.errors.UnsupportedOperation, match=r"column names like 'two words'. Instead: rename"):
            lk.Table(spark, f"{table.name}_words", format=mode.format).create("`two words` int")
    for other in {m.format for m in MODES if {m.format, mode.format} == {"delta", "hudi"}}:  # one catalog and one folder for both
        with pytest.raises(lk.errors.ConfigError, match=f"{mode.format} already"):
            lk.Table(spark, table.name, format=other).create(SCHEMA)

    first = table.append(rows(spark, (1, "a", "EU"), (2, "b", "EU"), (3, "c", "US")))
    assert (first.read, first.applied, first.inserted, first.changed) == (3, 3, 3, True) and first.files_added > 0
    nothing = table.append(rows(spark))
    assert (nothing.changed, nothing.version, nothing.files_added) == (False, first.version, 0)

    gone = table.delete("id = 2")
    assert (gone.deleted, gone.changed) == (1, True) and names(table) == {(1, "a"), (3, "c")}
    again = table.delete("id = 2")
    assert (again.deleted, again.changed, again.version) == (0, False, gone.version)

    over = table.overwrite(rows(spark, (7, "g", "US")), where="name >= 'b'")
    assert (over.read, over.applied, over.inserted, over.deleted) == (1, 1, 1, 1) and names(table) == {(1, "a"), (7, "g")}
    same = table.overwrite(rows(spark), where="id > 100")
    assert (same.changed, same.version, same.inserted) == (False, over.version, 0)
    with pytest.raises(lk.errors.DataRejected, match="does not meet the condition") as refused:
        table.overwrite(rows(spark, (8, "h", "EU")), where="region = '4711'")
    assert "4711" not in str(refused.value)
    unread = r"where is no SQL condition .* The table has: id, name, region, at"
    # Spark's own errors repeat the condition, and the values in it
    for wrong, told in (("nope = '4711'", unread), ("id === '4711'", unread), ("id + 4711", "where is int, not true or false")):
        for verb in (table.delete, lambda condition: table.overwrite(rows(spark), where=condition)):
            with pytest.raises(lk.errors.ConfigError, match=told) as refused:
                verb(wrong)
            assert "4711" not in str(refused.value)
    assert names(table) == {(1, "a"), (7, "g")}

    history = table.versions()
    assert history.schema == VERSIONS  # to the last attribute the same for each format
    known = {r.version: r for r in history.collect()}
    assert {first.version, gone.version, over.version} <= set(known)
    assert known[gone.version].parent == first.version
    assert {r.id for r in table.as_of(first.version).collect()} == {1, 2, 3}
    instant = known[gone.version].committed_at.strftime("%Y-%m-%d %H:%M:%S.%f")
    assert {r.id for r in table.as_of(instant).collect()} == {1, 3}
    with pytest.raises(lk.errors.TableNotFound, match="no version"):
        table.as_of("123")
    with pytest.raises(lk.errors.ConfigError, match="neither a version nor an instant"):
        table.as_of("last-week")

    assert not table.rollback(over.version).changed
    back = table.rollback(first.version)
    assert back.operation == "rollback" and names(table) == {(1, "a"), (2, "b"), (3, "c")}
    assert_same_rows(table.as_of("2999-01-01"), table.df())  # not the version that was committed last
    table.overwrite(rows(spark, (9, "i", "EU")))
    assert_same_rows(table.df(), rows(spark, (9, "i", "EU")))
    table.drop()
    assert not table.exists()
    with pytest.raises(lk.errors.TableNotFound):
        table.df()


def test_a_log_without_a_commit_is_no_table_yet(spark: SparkSession) -> None:
    """A rival that creates the table makes the folder of its log first."""
    (Path(warehouse_of(spark)) / "verbs.db" / "begun" / "_delta_log").mkdir(parents=True)
    table = lk.Table(spark, "verbs.begun", format="delta")
    assert not table.exists()
    table.create(SCHEMA)
    assert table.exists() and names(table) == set()


@in_plain_modes
def test_rollback_takes_tombstones_along(spark: SparkSession, mode: Mode) -> None:
    table = lk.Table(spark, f"verbs.back_{mode.slug}", format=mode.format)

    def feed(*events: tuple[object, ...]) -> lk.ChangeFeed:
        df = spark.createDataFrame(list(events), "id int, name string, lsn long, op string")
        return lk.changes(df, keys=["id"], sequence_by=["lsn"], delete_when="op = 'D'", except_columns=["op"])

    table.create(feed((1, "a", 1, "I")), merge_on_read=mode.merge_on_read)
    start = table.upsert(feed((1, "a", 1, "I"), (2, "b", 1, "I")))
    table.upsert(feed((1, None, 5, "D")))
    assert names(table) == {(2, "b")}
    wrong = feed((2, "c", 6, "U"))
    with pytest.raises(lk.errors.ConfigError, match="made with the keys id, the feed's keys are id, name"):
        table.upsert(lk.changes(wrong.df, keys=["id", "name"], sequence_by="lsn", except_columns="op"))
    with pytest.raises(lk.errors.SchemaConflict, match="keeps the sequence lsn as columns"):
        table.upsert(lk.changes(wrong.df, keys="id", sequence_by="lsn", except_columns=["op", "lsn"]))
    longer = lk.changes(wrong.df.withColumn("pos", wrong.df.lsn), keys="id", sequence_by=["lsn", "pos"], except_columns="op")
    with pytest.raises(lk.errors.SchemaConflict, match="remembers deletes by the sequence lsn, the feed is ordered by lsn, pos"):
        table.upsert(longer, evolve=["add"])
    assert "pos" not in table.df().columns
    table.rollback(start.version)
    assert names(table) == {(1, "a"), (2, "b")}
    table.upsert(feed((1, "late", 3, "U")))  # the delete at 5 never happened in the state that we went back to
    assert names(table) == {(1, "late"), (2, "b")}


@in_plain_modes
def test_retention_bounds_the_journal(spark: SparkSession, mode: Mode) -> None:
    table = lk.Table(spark, f"verbs.old_{mode.slug}", format=mode.format)

    def feed(*events: tuple[object, ...]) -> lk.ChangeFeed:
        df = spark.createDataFrame(list(events), "id int, name string, lsn long, op string")
        return lk.changes(df, keys=["id"], sequence_by=["lsn"], delete_when="op = 'D'", except_columns=["op"])

    table.create(feed((1, "a", 1, "I")), merge_on_read=mode.merge_on_read)
    with pytest.raises(lk.errors.ConfigError, match="interval"):
        table.upsert(feed((1, "a", 1, "I")), tombstone_retention="soon")
    table.upsert(feed((1, "a", 1, "I"), (2, "b", 1, "I"), (1, None, 5, "D")))
    table.upsert(feed((3, "c", 6, "I")), tombstone_retention="0 seconds")
    journal = lk.Table(spark, f"{table.name}__journal", format=mode.format).df()
    assert [r._kind for r in journal.collect()] == ["forgotten"]
    late = table.upsert(feed((1, "resurrected?", 3, "U"), (2, "new", 7, "U")))
    assert (late.stale, late.beyond_horizon, late.applied) == (1, 1, 1)
    assert names(table) == {(2, "new"), (3, "c")}


@in_plain_modes
def test_an_older_event_that_the_table_shows_is_no_tie(spark: SparkSession, mode: Mode) -> None:
    table = lk.Table(spark, f"verbs.shown_{mode.slug}", format=mode.format)

    def feed(*events: tuple[object, ...]) -> lk.ChangeFeed:
        return lk.changes(spark.createDataFrame(list(events), "id int, name string, lsn long"), keys=["id"], sequence_by=["lsn"])

    table.create(feed((1, "a", 2)), merge_on_read=mode.merge_on_read)
    table.upsert(feed((1, "a", 2)))
    both = table.upsert(feed((1, "a", 2), (1, "b", 3)))
    assert (both.duplicate, both.applied, both.updated) == (1, 1, 1)


def test_evolve(spark: SparkSession, mode: Mode) -> None:
    table = lk.Table(spark, f"verbs.grow_{mode.slug}", format=mode.format)
    table.create("id int, name string", merge_on_read=mode.merge_on_read)
    table.append(spark.createDataFrame([(1, "a")], "id int, name string"))
    wider = spark.createDataFrame([(2, "b", "web")], "id int, name string, channel string")
    with pytest.raises(lk.errors.SchemaConflict, match="channel"):
        table.append(wider)
    with pytest.raises(lk.errors.SchemaConflict, match="not allowed"):
        table.evolve(wider, allow=[])
    assert [str(operation) for operation in table.evolve(wider)] == ["AddColumn(channel, string)"]
    assert table.evolve(wider) == ()
    assert table.df().columns == ["id", "name", "channel"]  # before anything is written in the new columns
    table.append(wider)
    assert {tuple(r) for r in table.df().collect()} == {(1, "a", None), (2, "b", "web")}
    # The table takes a feed whose sequence it does not keep: rows that were there are older than any event.
    late = spark.createDataFrame([(1, "c", 5, "U"), (2, None, 6, "D"), (3, "d", 7, "I")], "id int, name string, lsn long, op string")
    feed = lk.changes(late, keys="id", sequence_by="lsn", delete_when="op = 'D'", except_columns=["op", "lsn"])
    with pytest.raises(lk.errors.ConfigError, match="evolve knows no 'ad'"):
        table.upsert(feed, evolve=["ad"])
    foreseen = table.upsert(feed, dry_run=True)
    assert (foreseen.applied, foreseen.inserted, foreseen.updated, foreseen.deleted) == (3, 1, 1, 1)
    assert (table.upsert(feed).applied, table.upsert(feed).changed) == (3, False)
    assert names(table) == {(1, "c"), (3, "d")}
    with pytest.raises(lk.errors.SchemaConflict, match="its rows remember the sequence lsn in _lakekit alone"):
        table.upsert(lk.changes(late, keys="id", sequence_by="lsn", delete_when="op = 'D'", except_columns=["op"]), evolve="add")


@in_plain_modes
def test_two_writers_bring_the_same_column_at_once(spark: SparkSession, mode: Mode) -> None:
    """One of them finds it there already, which is no failure."""
    table = lk.Table(spark, f"verbs.grown_twice_{mode.slug}", format=mode.format)
    table.upsert(lk.changes(spark.createDataFrame([(1, 1)], "id int, lsn long"), keys="id", sequence_by="lsn"))
    together = Barrier(2)

    def bring(writer: int) -> int:
        session = spark.newSession()
        rows = session.createDataFrame([(1, 2 + writer, "x"), (10 + writer, 1, "y")], "id int, lsn long, channel string")
        feed = lk.changes(rows, keys="id", sequence_by="lsn")
        together.wait()
        return lk.Table(session, table.name, format=mode.format).upsert(feed, evolve=["add"]).applied

    with ThreadPoolExecutor() as pool:
        assert sum(pool.map(bring, range(2))) in (3, 4)  # the event at 2 may come after the one at 3
    assert {tuple(row) for row in table.df().collect()} == {(1, 3, "x"), (10, 1, "y"), (11, 1, "y")}


@in_plain_modes
def test_keys_and_sequence_widen_with_what_the_journal_remembers(spark: SparkSession, mode: Mode) -> None:
    table = lk.Table(spark, f"verbs.wide_{mode.slug}", format=mode.format)

    def feed(number: str, *events: tuple[object, ...]) -> lk.ChangeFeed:
        df = spark.createDataFrame(list(events), f"id {number}, name string, lsn {number}, op string")
        return lk.changes(df, keys=["id"], sequence_by=["lsn"], delete_when="op = 'D'", except_columns=["op"])

    table.upsert(feed("int", (1, "a", 1, "I"), (2, "b", 2, "I"), (2, None, 5, "D")))
    big = feed("bigint", (1, "z", 2**40, "U"), (2**40, "c", 5, "I"), (2, "late", 4, "U"), (3, None, 2**41, "D"))
    if mode.format == "delta" and spark.version.startswith("3."):
        with pytest.raises(lk.errors.UnsupportedOperation, match=f"{table.name}: widen column id: Delta 3.3 .* Instead: "):
            table.upsert(big, evolve=["widen"])
        return
    done = table.upsert(big, evolve=["widen"])
    assert (done.applied, done.stale) == (3, 1) and names(table) == {(1, "z"), (2**40, "c")}
    again = table.upsert(feed("bigint", (3, "dead", 2**40, "I"), (2, "back", 6, "I"), (2**40, None, 9, "D")))
    assert (again.applied, again.stale) == (2, 1) and names(table) == {(1, "z"), (2, "back")}


TRANSFORMS: list[Transform] = [
    Identity("region"), Years("at"), Months("at"), Days("at"), Hours("at"), Bucket("id", 4), Truncate("name", 1),
]  # fmt: skip


@in_plain_modes
@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: t.name)
def test_partition_transforms(spark: SparkSession, mode: Mode, transform: Transform) -> None:
    table = lk.Table(spark, f"verbs.by_{transform.name}_{mode.slug}", format=mode.format)
    from lakekit.formats import adapter_for

    able = adapter_for(mode.format).partitioning.get(type(transform))
    if able is None or isinstance(able, Unsupported):
        with pytest.raises(lk.errors.UnsupportedOperation, match="Instead: "):
            table.create(SCHEMA, partition_by=[transform])
        assert not table.exists()
        return
    table.create(SCHEMA, partition_by=[transform])
    df = spark.sql("SELECT id, concat('n', id) AS name, 'EU' AS region, timestamp'2024-06-01 23:30:00Z' AS at FROM range(3)")
    table.append(df.selectExpr("int(id)", "name", "region", "at"))
    assert names(table) == {(0, "n0"), (1, "n1"), (2, "n2")}
