"""Job files run and planned on real tables, through the commands and from Python."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lakekit import Table, job
from lakekit.cli import main
from lakekit.errors import DataRejected, SourceError

ROOT = Path(__file__).parents[2]
CUSTOMER = ROOT / "configs" / "dms_customer.yaml"


def rows(spark: SparkSession, name: str, *columns: str) -> list[tuple[Any, ...]]:
    return sorted(tuple(row) for row in Table(spark, name).df().select(*columns).collect())


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def warehouse(spark: SparkSession) -> Path:
    return Path(spark.conf.get("spark.sql.catalog.lake.warehouse").removeprefix("file:"))


def steps(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(record.getMessage()) for record in caplog.records if record.name == "lakekit.job"]


def test_the_customer_example_in_three_batches(
    spark: SparkSession, tmp_path: Path, warehouse: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lakekit.job")
    sample = (ROOT / "configs" / "data" / "dms_customer" / "20240601-093000001.csv").read_text().splitlines()
    for number, line in enumerate(sample):
        (tmp_path / f"b{number}").mkdir()
        (tmp_path / f"b{number}" / f"20240601-09300000{number + 1}.csv").write_text(line + "\n")
    given = ("--arg", "table=jobs_three.customer")
    expected = [[("9335", "1 Skyline Drive, NY, NY", "201-555-9012")], [("9335", "1 Skyline Drive, NY, NY", "201-555-9034")], [], []]

    before = files(warehouse)
    assert main(["plan", str(CUSTOMER), *given, f"--arg=path={tmp_path}/b0"]) == 0
    said = capsys.readouterr().out
    assert "table jobs_three.customer (iceberg) does not exist and would be made" in said and "inserted=1" in said
    assert files(warehouse) == before, "a plan writes nothing, not even a folder"

    for number, wanted in zip((0, 1, 2, 0), expected, strict=True):
        assert main(["run", str(CUSTOMER), *given, f"--arg=path={tmp_path}/b{number}"]) == 0
        assert rows(spark, "jobs_three.customer", "custid", "address", "phone") == wanted
    done = [line for line in steps(caplog) if line["step"] == "upsert"]
    counts = [(line["applied"], line["inserted"], line["updated"], line["deleted"]) for line in done]
    assert counts == [(1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1), (0, 0, 0, 0)]
    assert all(
        line["job"] == "dms_customer" and line["status"] == "done" and line["seconds"] > 0 and len(line["run"]) == 12 for line in done
    )
    assert [line["version"] != line["version_before"] for line in done] == [True, True, True, False]
    assert "201-555" not in caplog.text
    assert capsys.readouterr().out.count("upsert jobs_three.customer (iceberg): ") == 4, "each commit is printed"


def test_the_sample_as_one_batch_leaves_no_row(spark: SparkSession) -> None:
    assert main(["run", str(CUSTOMER), "--set", "table.name=jobs_one.customer", "--set", "table.create.partition_by=[custid]"]) == 0
    assert rows(spark, "jobs_one.customer", "custid") == []
    assert Table(spark, "jobs_one.customer").df().columns[:5] == ["custid", "lastname", "firstname", "address", "phone"]


def test_a_plan_foretells_the_run(spark: SparkSession, orders: Path, warehouse: Path) -> None:
    for day in ("day1", "day2"):
        bound = job.load(orders, arguments={"table": "jobs_orders.orders", "day": day})
        before = files(warehouse)
        planned = job.plan(bound, spark)
        assert files(warehouse) == before
        evolved, commit = job.run(bound, spark)
        foretold = planned.predictions[1].outcome
        counts = ("read", "applied", "stale", "duplicate", "quarantined", "inserted", "updated", "deleted", "unchanged")
        assert {name: getattr(foretold, name) for name in counts} == {name: getattr(commit, name) for name in counts}
        assert [str(change) for change in planned.predictions[0].outcome] == [str(change) for change in evolved]
        assert planned.exists == (day == "day2")
    assert [str(change) for change in evolved] == ["AddColumn(channel, string)"]
    assert "1. evolve: AddColumn(channel, string)" in str(planned) and str(planned).endswith("Nothing was written.")
    assert rows(spark, "jobs_orders.orders", "id", "region", "qty", "channel") == [
        ("1", "EU", "50", "web"), ("3", "EU", "7", None), ("4", "EU", "8", "shop"),
    ]  # fmt: skip


def test_other_verbs(spark: SparkSession, orders: Path) -> None:
    given = {"table": "jobs_verbs.orders", "day": "day1"}
    append = job.load(orders, arguments=given, settings=["steps=[append, append, {delete: 'id = 2'}]"])
    assert [commit.operation for commit in job.run(append, spark)] == ["append", "append", "delete"]
    assert rows(spark, "jobs_verbs.orders", "id") == [("1",), ("1",), ("3",), ("3",)]
    job.run(job.load(orders, arguments=given, settings=["steps=[overwrite]"]), spark)
    assert rows(spark, "jobs_verbs.orders", "id") == [("1",), ("2",), ("3",)]
    with pytest.raises(DataRejected, match="the source holds a bad row or a change that is no row"):
        job.run(job.load(orders, arguments={**given, "day": "day2"}, settings=["steps=[{evolve: {allow: [add]}}, append]"]), spark)
    assert rows(spark, "jobs_verbs.orders", "id") == [("1",), ("2",), ("3",)], "a delete is not appended, nor is anything beside it"
    without_source = orders.with_name("delete.yaml")
    without_source.write_text("job: tidy\ntable: {name: jobs_verbs.orders}\nsteps:\n  - delete: id = 3\n")
    assert [commit.deleted for commit in job.run(job.load(without_source), spark)] == [1]


def test_bad_rows_go_to_the_named_quarantine(spark: SparkSession, orders: Path) -> None:
    (orders.parent / "day1" / "2.csv").write_text("Op,id,region,qty,seq\nI,,EU,5,30\nX,9,EU,5,31\n")
    given = {"table": "jobs_bad.orders", "day": "day1"}
    for _ in ("first", "again"):
        _, commit = job.run(job.load(orders, arguments=given, settings=["quarantine=jobs_bad.held_back"]), spark)
        assert (commit.read, commit.quarantined) == (5, 2)
        assert len(rows(spark, "jobs_bad.held_back", "reason")) == 2


def test_data_that_a_policy_refuses_is_exit_code_3(spark: SparkSession, orders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("run", str(orders), "--arg", "table=jobs_ties.orders", "--arg", "day=day1")
    assert main([*given]) == 0
    before = rows(spark, "jobs_ties.orders", "id", "qty")
    (orders.parent / "day1" / "1.csv").write_text("Op,id,region,qty,seq\nU,1,EU,777,20\nU,1,EU,888,20\nI,9,EU,1,21\n")
    capsys.readouterr()
    assert main([*given]) == 3
    said = capsys.readouterr().err
    assert said.startswith("lakekit: ") and "777" not in said and "888" not in said
    assert rows(spark, "jobs_ties.orders", "id", "qty") == before


def test_a_wrongly_described_feed_is_exit_code_2_with_its_place(
    spark: SparkSession, orders: Path, warehouse: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, before = (str(orders), "--arg", "table=jobs_feed.orders", "--arg", "day=day1"), files(warehouse)
    for command in ("run", "plan"):
        for setting, message in (
            ("source.dms.except_columns=[dms_phase, rejion]", "orders.yaml:5: source dms: except_columns: the feed has no column rejion"),
            ("steps=[{scd2: {track: [qtyy]}}]", "--set steps and orders.yaml:3: step create: jobs_feed.orders: track names qtyy"),
            ("table.create={partition_by: [regoin]}", "--set table.create: step create: jobs_feed.orders: partition_by names regoin"),
        ):
            assert main([command, *given, "--set", setting]) == 2
            said = capsys.readouterr().err.replace(f"{orders.parent}/", "")
            assert message in said and "_lk_" not in said, said
    assert files(warehouse) == before


def test_a_plan_raises_what_the_run_would_before_it_writes(
    spark: SparkSession, orders: Path, warehouse: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(warehouse)
    given = (str(orders), "--arg", "table=jobs_not.a", "--arg", "day=day1", "--set")
    for setting, message in (
        ("table.create={partition_by: ['bucket(4, idd)']}", "partition_by names idd"),
        ("table.create={properties: {a: {b: 1}}}", "the property a is a dict; it must be text"),
        ("table.create={scd: 5}", "scd=5 is no type of dimension"),
    ):
        for command in ("plan", "run"):
            assert main([command, *given, setting]) == 2
            assert message in capsys.readouterr().err
    tidy = orders.with_name("tidy.yaml")
    tidy.write_text("job: tidy\ntable: {name: jobs_not.a, format: iceberg}\nsteps:\n  - delete: id = 3\n")
    for command in ("plan", "run"):
        assert main([command, str(tidy)]) == 1
        assert "jobs_not.a: no Iceberg table" in capsys.readouterr().err
    assert main(["plan", *given, "steps=[scd7, unknown_member]"]) == 0
    assert "2. unknown_member: runs; its effect cannot be told before" in capsys.readouterr().out
    assert files(warehouse) == before


def test_a_failing_step_ends_the_run(spark: SparkSession, orders: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lakekit.job")
    given = ("run", str(orders), "--arg", "table=jobs_fail.orders")
    assert main([*given, "--arg", "day=day1"]) == 0
    assert main([*given, "--arg", "day=day2", "--set", "steps=[{delete: 'id = 1'}, {evolve: {allow: []}}, upsert]"]) == 1
    done, failed = steps(caplog)[-2:]
    assert (done["step"], done["number"], done["status"], done["deleted"]) == ("delete", 1, "done", 1)
    assert (failed["step"], failed["number"], failed["status"], failed["error"]) == ("evolve", 2, "failed", "SchemaConflict")
    assert "channel" in failed["message"] and rows(spark, "jobs_fail.orders", "id") == [("2",), ("3",)]
    with pytest.raises(SourceError, match=r"foo://x/y cannot be read as .*: .*No FileSystem for scheme"):
        settings = ["source.dms.path=foo://x/y", "source.dms.format=csv"]
        job.run(job.load(orders, arguments={"table": "jobs_fail.orders", "day": "day1"}, settings=settings), spark)
    with pytest.raises(SourceError, match="nowhere"):
        job.run(job.load(orders, arguments={"table": "jobs_fail.orders", "day": "nowhere"}), spark)
