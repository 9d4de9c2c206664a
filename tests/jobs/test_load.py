"""Job files bound to the real signatures, before Spark starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lakekit import job
from lakekit.cli import main
from lakekit.errors import ConfigError
from lakekit.job.document import plain, read
from lakekit.job.steps import readers, verbs
from tests.jobs.conftest import ORDERS


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("job: orders", "jop: orders", 'orders.yaml:2: job: unknown key "jop"; nearest is "job". Known: job, table, steps, '),
        ("format: iceberg", "format: icberg", 'orders.yaml:3: table: format: no such table format; nearest is "iceberg"'),
        ("partition_by: [region]", 'partition_by: ["day(at)"]', "orders.yaml:3: table.create: partition_by: "),
        ("comment:", "coment:", 'orders.yaml:3: table.create: unknown key "coment"; nearest is "comment"'),
        ("  dms:", "  dmz:", 'orders.yaml:5: source: unknown name "dmz"; nearest is "dms"'),
        ("header: true", "header: 1", "orders.yaml:5: source dms: header: expected true or false or nothing, got a whole number."),
        ("keys: [id]", "keys: [{id: 1}]", "orders.yaml:5: source dms: keys: expected text, got keys with values."),
        ("keys: [id], ", "", 'orders.yaml:5: source dms: the key "keys" is missing.'),
        ("path:", "spark: x, path:", 'orders.yaml:5: source dms: unknown key "spark"'),
        ("- upsert", "- upsrt", 'orders.yaml:8: step 2: unknown name "upsrt"; nearest is "upsert"'),
        ("- upsert", "- upsert: {dry_run: true}", 'orders.yaml:8: step 2 (upsert): unknown key "dry_run"'),
        ("- upsert", "- upsert: {quarantin: x}", 'orders.yaml:8: step 2 (upsert): unknown key "quarantin"; nearest is "quarantine"'),
        ("- upsert", "- upsert: {batch_id: 7}", "step 2 (upsert): batch_id: expected text or nothing, got a whole number. Quote it."),
        ("- upsert", "- upsert:\n    batch_id: a", 'orders.yaml:8: step 2: expected one name and its keys; indent "batch_id" more than'),
        ("- upsert", "- upsert: {evolve: [ad]}", 'step 2 (upsert): evolve: expected one of "add", "widen", got text; nearest is "add"'),
        ("steps:\n  - evolve: {allow: [add]}\n  - upsert", "steps: []", "orders.yaml:6: job: steps: there is none. Known names: append"),
        ("steps:\n  - evolve: {allow: [add]}\n  - upsert", "steps: upsert", "orders.yaml:6: job: steps: expected a list, got text"),
        ("- upsert", "- {upsert: {}, append: {}}", "step 2: expected one name and its keys. Known names: append, delete, evolve"),
        ("- upsert", "- upsert\nsession: {conff: {}}", 'orders.yaml:9: session: unknown key "conff"; nearest is "conf"'),
        ("- upsert", "- upsert\nsession: {conf: {spark.hadoop.fs.s3a.secret.key: abc}}", "orders.yaml:9: "),
        ("steps:", "step:", 'orders.yaml:6: job: unknown key "step"; nearest is "steps"'),
        ("${arg:day}", "${arg:dey}", 'orders.yaml:5: the argument dey is missing; given is "day"'),
    ],
)  # fmt: skip
def test_a_mistake_is_exit_code_2_before_spark_starts(
    orders: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, old: str, new: str, message: str
) -> None:
    monkeypatch.setattr(SparkSession.Builder, "getOrCreate", lambda _: pytest.fail("Spark was asked for"))
    orders.write_text(ORDERS.replace(old, new, 1))
    assert old in ORDERS and main(["run", str(orders), "--arg", "table=a.b", "--arg", "day=day1"]) == 2
    said = capsys.readouterr().err
    assert message in said, said


def test_a_wrong_command_line_is_exit_code_2(orders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv, message in (
        (("--arg", "table"), "--arg: expected NAME=VALUE."),
        (("--arg", "table=a.b", "--arg", "day=1", "--arg", "tabel=x"), 'has no ${arg:tabel}; nearest is "table"'),
        (("--set", "table"), "--set: expected a path and a value"),
        ((), "orders.yaml:3: the argument table is missing."),
    ):
        assert main(["plan", str(orders), *argv]) == 2
        assert message in capsys.readouterr().err
    bare = orders.with_name("bare.yaml")
    for text, message in (
        ("steps", "a job file holds keys"),
        ("job: x\ntable: a.b\nsteps: [upsert]", "step 1 (upsert) needs incoming data"),
    ):
        bare.write_text(text)
        with pytest.raises(ConfigError) as raised:
            job.load(bare)
        assert message in str(raised.value)


def test_json_binds_as_yaml_does(orders: Path) -> None:
    given = {"table": "a.b", "day": "day1"}
    as_json = orders.with_suffix(".json")
    as_json.write_text(json.dumps(plain(read(str(orders))), indent="\t"))
    from_yaml, from_json = job.load(orders, arguments=given), job.load(as_json, arguments=given)
    assert from_json.source is not None and from_json.source.place.startswith(f"{as_json}:")
    for one, other in zip(
        [from_yaml.source, from_yaml.create, *from_yaml.steps], [from_json.source, from_json.create, *from_json.steps], strict=True
    ):
        assert one is not None and other is not None
        assert (one.name, one.function, one.arguments) == (other.name, other.function, other.arguments)


@pytest.mark.parametrize(
    ("source", "arguments"),
    [
        ("debezium: {path: s3://in, keys: id}", {"path": "s3://in", "keys": "id"}),
        ("dynamodb: {path: [a, b], keys: [id]}", {"path": ("a", "b"), "keys": ("id",)}),
        (
            "files: {path: in, format: csv, schema: id int, keys: [id], sequence_by: id, delete_when: op = 'D'}",
            {"path": "in", "format": "csv", "schema": "id int", "keys": ("id",), "sequence_by": "id", "delete_when": "op = 'D'"},
        ),
        (
            "jdbc: {url: 'jdbc:x://db', table: t, keys: [id], password: '${env:PGPASSWORD}', fetch_size: '${arg:size}'}",
            {"url": "jdbc:x://db", "table": "t", "keys": ("id",), "password": "env:PGPASSWORD", "fetch_size": 500},
        ),
    ],
)  # fmt: skip
def test_every_reader_can_be_a_source(tmp_path: Path, source: str, arguments: dict[str, Any]) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(f"job: x\ntable: {{name: a.b}}\nsource:\n  {source}\nsteps: [upsert]\n")
    bound = job.load(path, arguments={"size": "500"}, environment={"PGPASSWORD": "hunter2"})
    assert bound.source is not None and bound.source.arguments == arguments
    assert bound.source.name == source.split(":")[0] and "hunter2" not in repr(bound)
    assert {"debezium", "dms", "dynamodb", "files", "jdbc", "snapshot"} == set(readers())
    assert {"upsert", "append", "evolve", "reconcile"} <= set(verbs())
