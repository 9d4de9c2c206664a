"""A real PostgreSQL's log, told by Debezium and by DMS, in shuffled and overlapping batches: the table is what ``SELECT *`` says.

Skipped only where PostgreSQL cannot be installed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import lakekit as lk
from lakekit.sources.debezium import debezium
from lakekit.sources.dms import dms
from tests.contract import postgres_feeds as feeds
from tests.contract.harness import MODES, Mode, in_first_mode
from tests.contract.postgres_workload import COLUMNS, Workload, create, rows
from tests.postgres import Change, Row, changes, number, postgres

SEED = 20_261_121
WHOLE_FILES = pytest.mark.parametrize("mode", [m for m in MODES if not m.merge_on_read], ids=lambda m: m.id)
MERGED_ON_READ = pytest.mark.parametrize("mode", [MODES[3]], ids=lambda m: m.id)
"""Snapshot and log meet every format; what the other shapes say is no matter of the format."""


@dataclass(frozen=True)
class Log:
    """What a table held when its log began, what happened then, and what it holds at the end."""

    start: list[Row]
    start_lsn: int
    changes: list[Change]
    rows: dict[int, Row]


@pytest.fixture(scope="module")
def logs() -> Iterator[dict[str, Log]]:
    """The logs of three tables: default replica identity, full replica identity, and keys moved without their large values."""
    with postgres() as where, psycopg2.connect(where) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield _play(connection, cursor)
        connection.rollback()


def _play(connection: Any, cursor: Any) -> dict[str, Log]:
    identities = {"things": "DEFAULT", "things_full": "FULL", "moved": "DEFAULT"}
    for table, identity in identities.items():
        create(cursor, table, identity)
        Workload(cursor, table, SEED, touch=True, truncates=0).run(8)
    cursor.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    cursor.execute("SELECT lsn::text FROM pg_create_logical_replication_slot('lakekit', 'pgoutput')")
    lsn = number(cursor.fetchone()[0])
    starts = {table: _texts(cursor, table) for table in identities}
    Workload(cursor, "things", SEED + 1, touch=True, truncates=1).run(90)
    Workload(cursor, "things_full", SEED + 2, touch=False, truncates=0).run(90)
    cursor.execute("UPDATE moved SET id = id + 1000")  # touches no large value: the log has none for the new keys
    found = changes(connection, "lakekit", "everything")
    return {t: Log(starts[t], lsn, [c for c in found if c.table in (t, None)], rows(cursor, t)) for t in identities}


def _texts(cursor: Any, table: str) -> list[Row]:
    cursor.execute(f"SELECT {', '.join(f'{c}::text' for c in COLUMNS)} FROM {table}")
    return [dict(zip(COLUMNS, values, strict=True)) for values in cursor.fetchall()]


def test_the_workload_is_worth_its_name(logs: dict[str, Log]) -> None:
    """The log holds what this test is for."""
    for name, log in logs.items():
        moves = [c for c in log.changes if c.kind == "U" and c.old and c.new and c.old["id"] != c.new["id"]]
        assert moves and log.rows, name
    plain, full = logs["things"], logs["things_full"]
    assert {c.kind for c in plain.changes} == {"I", "U", "D", "T", "M"}
    assert sum(_has_unchanged(c) for c in plain.changes) > 20
    assert sum(_has_unchanged(c) for c in full.changes) > 20
    assert len(plain.changes) > 200


def _has_unchanged(change: Change) -> bool:
    return any(value is feeds.UNCHANGED for value in (change.new or {}).values())


def _batches(records: list[Any], count: int, seed: int) -> list[list[Any]]:
    """Shuffled batches that overlap: every record is in one of them, every third in another one too."""
    shuffler = random.Random(seed)
    batches: list[list[Any]] = [[] for _ in range(count)]
    for record in records:
        for batch in shuffler.sample(batches, 2 if shuffler.random() < 0.34 else 1):
            batch.append(record)
    for batch in batches:
        shuffler.shuffle(batch)
    return batches


def _check_counts(commit: lk.Commit) -> None:
    assert commit.read == commit.applied + commit.stale + commit.duplicate + commit.ignored + commit.quarantined, commit
    assert commit.quarantined == 0, commit


def _same_rows(df: DataFrame, expected: dict[int, Row]) -> None:
    names = [c for c in COLUMNS if c in df.columns]
    found = [row.asDict() for row in df.withColumn("at", F.unix_micros("at")).select(*names).collect()]
    assert len(found) == len({row["id"] for row in found}), "a key stands twice"
    got = {row["id"]: {**row, "raw": None if row["raw"] is None else bytes(row["raw"])} for row in found}
    assert got.keys() == expected.keys(), f"seed {SEED}"
    for key, row in expected.items():
        wrong = {n: (_short(got[key][n]), _short(row[n])) for n in names if got[key][n] != row[n]}
        assert not wrong, f"seed {SEED}, id {key}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:40]} … {text[-30:]} ({len(value)})"


def _messages(log: Log) -> list[feeds.Message]:
    told = [*feeds.snapshot(log.start, log.start_lsn), *feeds.debezium(log.changes)]
    return [*told, *[feeds.heartbeat()] * 3]


def _debezium(spark: SparkSession, messages: list[feeds.Message]) -> lk.ChangeFeed:
    return debezium(spark.createDataFrame(messages, "key binary, value binary"), keys="id")


def _upserted(table: lk.Table, mode: Mode, batches: list[list[feeds.Message]]) -> None:
    """Apply the batches; every message is accounted for."""
    table.create(_debezium(table.spark, batches[0]), merge_on_read=mode.merge_on_read)
    for batch in batches:
        commit = table.upsert(_debezium(table.spark, batch))
        _check_counts(commit)
        assert commit.ignored == sum(_ignored(message) for message in batch)
        assert commit.read == len(batch)


def _ignored(message: feeds.Message) -> bool:
    value = message[1]
    return value is None or b'"op": "m"' in value or value == feeds.heartbeat()[1]


@WHOLE_FILES
def test_debezium(spark: SparkSession, mode: Mode, logs: dict[str, Log]) -> None:
    """Snapshot and log, out of order: unchanged large values keep what another event wrote, whenever that arrives."""
    table = lk.Table(spark, f"contract.things_{mode.slug}", format=mode.format)
    batches = _batches(_messages(logs["things"]), 2, SEED)
    _upserted(table, mode, batches)
    _same_rows(table.df(), logs["things"].rows)
    again = table.upsert(_debezium(spark, batches[0]))
    _check_counts(again)
    assert (again.applied, again.changed) == (0, False)


@MERGED_ON_READ
def test_debezium_with_full_replica_identity(spark: SparkSession, mode: Mode, logs: dict[str, Log]) -> None:
    """Rows move to other keys without touching their large values: the log has them in the row before."""
    table = lk.Table(spark, f"contract.things_full_{mode.slug}", format=mode.format)
    _upserted(table, mode, _batches(_messages(logs["things_full"]), 2, SEED))
    _same_rows(table.df(), logs["things_full"].rows)


def test_a_moved_key_without_its_large_values(spark: SparkSession, logs: dict[str, Log]) -> None:
    """PostgreSQL's default replica identity leaves them out of the log: they become NULL, are counted, and no marker is ever stored."""
    log, mode = logs["moved"], MODES[0]
    table = lk.Table(spark, f"contract.moved_{mode.slug}", format=mode.format)
    commits = [table.upsert(_debezium(spark, batch)) for batch in (feeds.snapshot(log.start, log.start_lsn), feeds.debezium(log.changes))]
    lost = {(c.new["id"], n) for c in log.changes if c.new for n, v in c.new.items() if v is feeds.UNCHANGED}
    assert lost
    expected = {k: {n: None if (str(k), n) in lost else v for n, v in row.items()} for k, row in log.rows.items()}
    _same_rows(table.df(), expected)
    assert commits[1].markers_nulled == len(lost)


@in_first_mode
def test_dms(spark: SparkSession, mode: Mode, logs: dict[str, Log], tmp_path: Path) -> None:
    """Full load and changes with before images, as CSV files; transactions stay whole, their deliveries are shuffled and overlap."""
    log = logs["things_full"]
    table = lk.Table(spark, f"contract.dms_{mode.slug}", format=mode.format)
    pieces = [("LOAD00000001.csv", [record]) for record in feeds.dms_load(log.start)]
    pieces += [("20240610-120000000.csv", records) for records in feeds.dms_changes(log.changes)]
    for number_, delivery in enumerate(_batches(pieces, 2, SEED)):
        folder = tmp_path / f"delivery{number_}"
        folder.mkdir()
        for name in {n for n, _ in delivery}:
            (folder / name).write_text(feeds.dms_file(record for n, records in delivery if n == name for record in records))
        _check_counts(table.upsert(dms(str(folder), keys="id", columns=feeds.DMS_COLUMNS, header=True, spark=spark)))
    _same_rows(table.df(), log.rows)
