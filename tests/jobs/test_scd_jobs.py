"""The examples of the dimension verbs: ten days of customers, delivered badly, and the DMS sample."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lakekit import Table
from lakekit.cli import main
from lakekit.testing import assert_scd2_valid, customer_days
from tests import oracle, scd_oracle
from tests.contract.harness import rows_by_key, same, utc
from tests.contract.scd_harness import plain_rows
from tests.oracle import Row, Rules
from tests.scd_oracle import Dim

CONFIGS = Path(__file__).parents[2] / "configs"
DAYS = CONFIGS / "data" / "customer_days"
SAMPLE = CONFIGS / "data" / "dms_customer"
TRACK = ("address", "tier")
RULES = Rules(("customer_id",), ("changed_at",), ("customer_id", "changed_at", "email", *TRACK))
DIM = Dim(RULES, track=TRACK, valid_from="changed_at", coarse=True)


def changes() -> list[Row]:
    """All changes, with instants."""
    return [{**row, "changed_at": utc(row["changed_at"].removesuffix("Z"))} for day in customer_days() for row in day]


def run(verb: str, *arguments: str, command: str = "run") -> int:
    table = ("--arg", f"table=jobs_scd.{verb}")
    return main([command, str(CONFIGS / f"{verb}_customer.yaml"), *table, *(part for a in arguments for part in ("--arg", a))])


def first_ones(rows: list[Row]) -> dict[Any, Row]:
    """Type 0: of each customer the first event that tells anything."""
    found: dict[Any, Row] = {}
    for row in sorted((row for row in rows if row["op"] != "D"), key=lambda row: row["changed_at"]):
        found.setdefault((row["customer_id"],), {c: oracle.plain(row[c]) for c in RULES.columns})
    return found


def versions(table: Table, *without: str) -> dict[Any, dict[str, Any]]:
    rows = plain_rows(table.df().drop(*without))
    return {((row["customer_id"],), row["changed_at"]): row for row in rows}


def test_the_days_in_configs_are_the_generated_ones() -> None:
    for number, day in enumerate(customer_days(), 1):
        with (DAYS / f"2024-06-{number:02}.csv").open() as file:
            assert list(csv.DictReader(file)) == [{c: "" if v is None else str(v) for c, v in row.items()} for row in day]


def type_1(table: Table, rows: list[Row]) -> None:
    same(rows_by_key(table.df(), RULES), oracle.table(rows, RULES))


def type_2(table: Table, rows: list[Row]) -> None:
    dim = replace(DIM, current="is_current", version="version")
    expected = {at: {**row, "is_inferred": False} for at, row in scd_oracle.table(rows, dim).items()}
    same(versions(table, "surrogate_key"), expected)
    assert_scd2_valid(table.df(), keys="customer_id", track=TRACK, valid_from="changed_at", current="is_current", version="version")
    numbers = sorted(row["surrogate_key"] for row in table.df().collect())
    assert len(numbers) == len(set(numbers))
    type_1_columns = table.current().drop("is_inferred")
    held = {key: row["tier"] for key, row in oracle.table(rows, RULES).items()}
    assert {(row["customer_id"],): row["tier"] for row in type_1_columns.collect()} == held, "C5"


def type_3(table: Table, rows: list[Row]) -> None:
    names = {c: f"previous_{c}" for c in TRACK}
    wider = replace(RULES, columns=(*RULES.columns, *names.values()))
    same(rows_by_key(table.df(), wider), scd_oracle.with_previous(rows, Dim(RULES, track=TRACK), names))


def type_4(table: Table, rows: list[Row]) -> None:
    type_1(table, rows)
    same(versions(Table(table.spark, "jobs_scd.scd4_past")), scd_oracle.table(rows, DIM))


def type_6(table: Table, rows: list[Row]) -> None:
    same(versions(table), scd_oracle.carrying(rows, DIM, {c: f"current_{c}" for c in TRACK}))


def type_7(table: Table, rows: list[Row]) -> None:
    same(versions(table, "version_key", "durable_key"), scd_oracle.table(rows, DIM))


CHECKS: dict[str, Callable[[Table, list[Row]], None]] = {
    "scd0": lambda table, rows: same(rows_by_key(table.df(), RULES), first_ones(rows)),
    "scd1": type_1, "scd2": type_2, "scd3": type_3, "scd4": type_4, "scd6": type_6, "scd7": type_7,
}  # fmt: skip


@pytest.mark.parametrize("verb", CHECKS)
def test_ten_days_the_last_one_first(spark: SparkSession, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(spark, f"jobs_scd.{verb}", "iceberg")
    more = ["history=jobs_scd.scd4_past"] if verb == "scd4" else []
    assert run(verb, f"path={DAYS / '2024-06-10.csv'}", *more) == 0
    assert run(verb, *more, command="plan") == 0
    planned = capsys.readouterr().out
    assert run(verb, *more) == 0
    CHECKS[verb](table, changes())
    written = capsys.readouterr().out
    counts = [word for word in written.replace(",", " ").split() if word.startswith(("inserted=", "closed=", "split=", "deleted="))]
    assert counts and all(count in planned for count in counts)
    assert run(verb, *more) == 0
    assert "no change" in capsys.readouterr().out


def test_placeholders_and_a_check_of_the_source(spark: SparkSession, capsys: pytest.CaptureFixture[str]) -> None:
    history = Table(spark, "jobs_scd.placed", "iceberg")
    given = ("--arg", "table=jobs_scd.placed")
    infer = ["run", str(CONFIGS / "infer_customer.yaml"), *given]
    assert main(infer) == 1, "no table, and no way to tell of what kind it would be"
    assert not history.exists()
    assert main(["run", str(CONFIGS / "scd2_customer.yaml"), *given]) == 0
    assert main(infer) == 0
    placed = history.df().where("is_inferred").select("customer_id", "is_current").collect()
    assert sorted(tuple(row) for row in placed) == [(31, True), (32, True)]
    first = history.df().where("customer_id = 31").selectExpr("unix_micros(changed_at)").first()
    assert first is not None and first[0] == oracle.plain(utc("2024-06-11T09:30:00")), "its first order"
    assert main(infer) == 0 and "no change" in capsys.readouterr().out

    customers = ("--arg", "table=jobs_scd.reconciled")
    assert main(["run", str(CONFIGS / "scd1_customer.yaml"), *customers]) == 0
    check = ["run", str(CONFIGS / "reconcile_customer.yaml"), *customers]
    assert main(check) == 0
    Table(spark, "jobs_scd.reconciled").delete("customer_id = 3")
    assert main(check) == 3 and "missing=1" in capsys.readouterr().err


SHAPES: dict[str, dict[str, Any]] = {
    "scd0": {}, "scd1": {}, "scd2": {"track": ["phone"]}, "scd3": {"track": ["phone"]}, "scd4": {"history": "jobs_dms.past"},
    "scd6": {"track": ["phone"]}, "scd7": {"track": ["phone"]},
}  # fmt: skip
CLOSED = {"scd2": 2, "scd6": 2, "scd7": 2}


@pytest.mark.parametrize("verb", SHAPES)
def test_the_dms_sample(spark: SparkSession, verb: str) -> None:
    """An insert, a new phone and a delete: two closed versions, no present row, and the first values for ever."""
    name = f"jobs_dms.{verb}"
    dms = {"dms": {"path": str(SAMPLE), "columns": ["custid", "lastname", "firstname", "address", "phone"], "keys": ["custid"]}}
    settings = {"table.name": name, "source": dms, "steps": [{verb: SHAPES[verb]}]}
    given = [part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    for _ in ("first", "again"):
        assert main(["run", str(CONFIGS / f"{verb}_customer.yaml"), *given]) == 0
    table = Table(spark, name)
    rows = table.df().collect()
    assert len(rows) == {"scd0": 1, **CLOSED}.get(verb, 0)
    if verb == "scd0":
        assert rows[0]["phone"] == "201-555-9012" and rows[0]["address"] == "1 Skyline Drive, NY, NY"
    if verb in CLOSED:
        assert all(row["valid_to"] is not None for row in rows) and table.current().isEmpty()
    if verb == "scd4":
        assert Table(spark, "jobs_dms.past").df().count() == 2


def test_full_loads_become_a_history(spark: SparkSession) -> None:
    """A snapshot is compared with the versions that are true now."""
    settings = ["--arg", "table=jobs_scd.loads", "--set", "steps=[{scd2: {track: [city, tier], current: is_current}}]"]
    for day in ("2024-06-01", "2024-06-02", "2024-06-02"):
        assert main(["run", str(CONFIGS / "snapshot_customer.yaml"), *settings, "--arg", f"day={day}"]) == 0
    table = Table(spark, "jobs_scd.loads")
    found = table.df().selectExpr("customer_id", "city", "date_format(valid_from, 'dd')", "date_format(valid_to, 'dd')", "is_current")
    assert sorted(map(tuple, found.collect()), key=str) == [
        (1, "Kiel", "01", None, True), (2, "Lyon", "01", "02", False), (2, "Paris", "02", None, True),
        (3, "Torino", "01", "02", False), (4, "Kiel", "02", None, True),
    ]  # fmt: skip
    assert_scd2_valid(table.df(), keys="customer_id", track=["city", "tier"], current="is_current")
    assert main(["run", str(CONFIGS / "snapshot_customer.yaml"), *settings, "--arg", "day=2024-06-01"]) == 3, "an older load"
