"""A full load as a job's source, and the comparison of table and source as a step."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lakekit import Table, job
from lakekit.cli import main
from lakekit.errors import ConfigError, DataRejected
from lakekit.reconcile import Reconciliation

CUSTOMERS = Path(__file__).parents[2] / "configs" / "snapshot_customer.yaml"
RECONCILE = """
job: check
table: {name: jobs_snapshot.customers, format: iceberg}
source: {files: {path: "${arg:path}", format: csv, schema: "customer_id string, email string, city string, tier string",
                 keys: [customer_id], sequence_by: [customer_id]}}
steps:
  - reconcile: {keys: [customer_id], on_difference: "${arg:policy:-report}"}
"""


def rows(spark: SparkSession, name: str) -> list[tuple[object, ...]]:
    return sorted(tuple(row) for row in Table(spark, name).df().select("customer_id", "city").collect())


def test_the_example_day_by_day(spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("--arg", "table=jobs_snapshot.customers")
    assert main(["run", str(CUSTOMERS), *given, "--arg", "day=2024-06-01"]) == 0
    assert rows(spark, "jobs_snapshot.customers") == [(1, "Kiel"), (2, "Lyon"), (3, "Torino")]
    assert main(["plan", str(CUSTOMERS), *given, "--arg", "day=2024-06-02"]) == 0
    assert "inserted=1 updated=1 deleted=1" in capsys.readouterr().out
    for _ in ("first", "again"):
        assert main(["run", str(CUSTOMERS), *given, "--arg", "day=2024-06-02"]) == 0
        assert rows(spark, "jobs_snapshot.customers") == [(1, "Kiel"), (2, "Paris"), (4, "Kiel")]
    assert "no change" in capsys.readouterr().out

    assert main(["run", str(CUSTOMERS), *given, "--arg", "day=2024-06-01"]) == 3, "an older load"
    assert "older than what stands" in capsys.readouterr().err
    (tmp_path / "2024-06-03").mkdir()
    (tmp_path / "2024-06-03" / "c.csv").write_text("customer_id,email,city,tier\n1,ann@example.org,Kiel,gold\n")
    assert main(["run", str(CUSTOMERS), *given, "--arg", "day=2024-06-03", "--arg", f"path={tmp_path}"]) == 3
    said = capsys.readouterr().err
    assert "2 of 3 keys (66.7%) are missing" in said and "ann@" not in said
    assert rows(spark, "jobs_snapshot.customers") == [(1, "Kiel"), (2, "Paris"), (4, "Kiel")]


def test_reconcile_as_a_step(spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lakekit.job")
    main(["run", str(CUSTOMERS), "--arg", "table=jobs_snapshot.checked", "--arg", "day=2024-06-02"])
    (tmp_path / "check.yaml").write_text(RECONCILE.replace("customers, format", "checked, format"))
    data = CUSTOMERS.parent / "data" / "snapshot_customer"

    def check(day: str, **given: str) -> Reconciliation:
        (outcome,) = job.run(job.load(tmp_path / "check.yaml", arguments={"path": str(data / day), **given}), spark)
        return outcome

    assert check("2024-06-02", policy="fail").equal
    other = check("2024-06-01")
    assert (other.missing, other.unexpected, other.different, dict(other.by_column)["city"]) == (1, 1, 1, 1)
    logged = [json.loads(record.getMessage()) for record in caplog.records if record.name == "lakekit.job"]
    assert (logged[-1]["step"], logged[-1]["equal"], logged[-1]["missing"]) == ("reconcile", False, 1)
    assert "@example" not in caplog.text
    with pytest.raises(DataRejected, match=r"jobs_snapshot\.checked: differs, 3 rows in the table, 3 in the source: missing=1"):
        check("2024-06-01", policy="fail")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{snapshot: {keys: [id], at: 1}}", 'source snapshot: the key "current" is missing. It holds the reader of the full load'),
        ("{snapshot: {current: {nosuch: {}}, keys: [id], at: 1}}", 'source snapshot: current: unknown name "nosuch"'),
        ("{snapshot: {current: {files: {path: x}}, keys: [id], at: 1}}", 'current files: the key "format" is missing'),
        ("{snapshot: {current: {files: {path: x, format: csv, schema: id int, keys: [id]}}, keys: [id], at: 1}}", 'unknown key "keys"'),
        ("{snapshot: {current: {files: {path: x, format: csv, schema: id int}}, keys: [id]}}", 'the key "at" is missing'),
        ("{snapshot: {current: {jdbc: {url: x, table: y}}, keys: [id], at: 1, previous: x}}", 'unknown key "previous"'),
    ],
)
def test_mistakes_are_found_before_spark(tmp_path: Path, source: str, message: str) -> None:
    path = tmp_path / "j.yaml"
    path.write_text(f"job: j\ntable: {{name: a.b, format: delta}}\nsource: {source}\nsteps: [upsert]\n")
    with pytest.raises(ConfigError) as raised:
        job.load(path)
    assert message in str(raised.value)
