"""configs/dms_customer.yaml through jobs/glue.py, with Glue's command line, against moto's S3 and Glue catalog, on every format.

Iceberg goes through its GlueCatalog and S3FileIO, Delta and Hudi through ``s3a://``; job file and feed are read from S3 too.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from lakekit import jars
from lakekit.java import java_home
from lakekit.runtimes import CATALOG, WIRING, local_runtime
from lakekit.testing.plugin import QUICK
from tests.evaluation import INTERPRETED

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "dms_customer.yaml"
SECOND_FILE = """\
I, 1, Mendez, Ana, "2 Sea Road, LA, CA", 201-555-0001
I, 2, Sachdeva, Ravi, 3 Hill Street, 201-555-0002
I, , Doe, Jane, 4 Nowhere, 201-555-0003
U, 1, Mendez, Ana, "2 Sea Road, LA, CA", 201-555-1111
I, 3, Li, Wei, 5 River Walk, 201-555-0004
D, 3, Li, Wei, 5 River Walk, 201-555-0004
"""
CUSTOMERS = [
    {"custid": "1", "lastname": "Mendez", "firstname": "Ana", "address": "2 Sea Road, LA, CA", "phone": "201-555-1111"},
    {"custid": "2", "lastname": "Sachdeva", "firstname": "Ravi", "address": "3 Hill Street", "phone": "201-555-0002"},
]
RUNTIME = local_runtime()
FORMATS = RUNTIME.tested
TABLES = {name: f"s3a://lake/{name}/customer" for name in FORMATS} | {"iceberg": f"{CATALOG}.sales.customer"}


@pytest.fixture(scope="module")
def aws() -> Iterator[dict[str, str]]:
    """moto's server with the buckets of the job; yields the environment that leads there."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    names = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
    }
    environment = {**names, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        _fill(boto3.client("s3"))
        yield environment
    server.stop()


def _fill(s3: Any) -> None:
    for bucket in ("code", "landing", "lake"):
        s3.create_bucket(Bucket=bucket)
    s3.upload_file(str(CONFIG), "code", "dms_customer.yaml")
    for file in (CONFIG.parent / "data" / "dms_customer").iterdir():
        s3.upload_file(str(file), "landing", f"customer/{file.name}")
    s3.put_object(Bucket="landing", Key="customer/20240601-100000001.csv", Body=SECOND_FILE.encode())


@pytest.fixture(scope="module")
def done(aws: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two runs on each format, and one that fails, left behind."""
    folder = tmp_path_factory.mktemp("glue")
    runs = {f"{name} {time}": _glue_argv(name, f"jr_{name}_{time}") for name in FORMATS for time in ("first", "again")}
    runs["no feed"] = _glue_argv("iceberg", "jr_failed", path="s3a://landing/nothing/")
    runs["no argument"] = ["--JOB_NAME", "customers", "--enable-metrics", "--format", "iceberg"]
    reads = {name: (name, place) for name, place in TABLES.items()}
    reads |= {f"{name} quarantine": (name, f"{place}__quarantine") for name, place in TABLES.items()}
    plan = {"script": str(ROOT / "jobs" / "glue.py"), "bucket": "lake", "runs": runs, "reads": reads, "out": str(folder / "out.json")}
    (folder / "plan.json").write_text(json.dumps(plan))
    environment = os.environ | aws | _glue_environment(aws["AWS_ENDPOINT_URL"], folder)
    finished = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("glue_runs.py")), str(folder / "plan.json")],
        env=environment, capture_output=True, text=True, timeout=840,
    )  # fmt: skip
    assert finished.returncode == 0, "\n".join(line[:300] for line in finished.stderr.splitlines()[-60:])
    lines = [json.loads(line) for line in finished.stderr.splitlines() if line.startswith('{"event"')]
    calls = [json.loads(line) for line in (folder / "calls").read_text().splitlines()]
    return json.loads((folder / "out.json").read_text()) | {"lines": lines, "calls": calls}


def _glue_argv(name: str, run: str, path: str = "s3a://landing/customer/") -> list[str]:
    own = ["--job", "s3://code/dms_customer.yaml", "--table", TABLES[name], f"--format={name}", "--path", path]
    platform = ["--JOB_NAME", "customers", "--JOB_ID", "j_1", "--JOB_RUN_ID", run, "--TempDir", "s3://lake/tmp/", "--enable-metrics"]
    return [*platform, "--job-bookmark-option", "job-bookmark-disable", "--extra-py-files", "s3://code/lakekit.whl", *own]


def _glue_environment(endpoint: str, folder: Path) -> dict[str, str]:
    """Where Glue would read its job parameters: ``--conf`` and ``--extra-jars`` reach Spark's launcher."""
    paths = jars.ensure(RUNTIME.coordinates(FORMATS, ["aws"]))
    confs = " ".join(f"--conf '{key}={value}'" for key, value in _confs(endpoint).items())
    return {
        "PYSPARK_SUBMIT_ARGS": f"--master local[2] --jars {','.join(map(str, paths))} {confs} pyspark-shell",
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(Path(__file__).with_name("stand_in")), os.environ.get("PYTHONPATH", "")]),
        "GLUE_RECORD": str(folder / "calls"),
        "LAKEKIT_PLATFORM": "glue",
        "JAVA_HOME": str(java_home(RUNTIME) or os.environ.get("JAVA_HOME", "")),
    }


def _confs(endpoint: str) -> Mapping[str, str]:
    wanted = [line for line in WIRING if line.name in FORMATS]
    lake = f"spark.sql.catalog.{CATALOG}"
    confs = {"spark.sql.extensions": ",".join(line.extension for line in wanted)}
    for line in wanted:
        confs |= {line.catalog_conf: line.catalogs[0], **line.confs, **{k: v for k, v in line.local.items() if not k.startswith(lake)}}
    return confs | {
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        f"{lake}.catalog-impl": "org.apache.iceberg.aws.glue.GlueCatalog",
        f"{lake}.io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        f"{lake}.warehouse": "s3://lake/iceberg",
        f"{lake}.glue.endpoint": endpoint,
        f"{lake}.s3.endpoint": endpoint,
        f"{lake}.s3.path-style-access": "true",
        f"{lake}.client.region": "us-east-1",
        "spark.hadoop.fs.s3a.endpoint": endpoint,
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
        "spark.sql.warehouse.dir": "s3a://lake/warehouse",
        "spark.sql.shuffle.partitions": "2",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        **QUICK,
        **INTERPRETED,
    }


@pytest.mark.parametrize("name", FORMATS)
def test_the_table_is_right(done: dict[str, Any], name: str) -> None:
    assert done["runs"][f"{name} first"]["error"] is None
    rows = [{column: row[column] for column in CUSTOMERS[0]} for row in done["tables"][name]]
    assert sorted(rows, key=lambda row: row["custid"]) == CUSTOMERS
    bad = done["tables"][f"{name} quarantine"]
    assert len(bad) == 1 and "Doe" in bad[0]["raw"], "the row without a key is kept, once, although the job ran twice"


@pytest.mark.parametrize("name", FORMATS)
def test_the_second_run_changes_nothing(done: dict[str, Any], name: str) -> None:
    assert done["runs"][f"{name} again"]["error"] is None
    assert done["runs"][f"{name} again"]["objects"] == done["runs"][f"{name} first"]["objects"], "not one object of the bucket"


@pytest.mark.parametrize("name", FORMATS)
def test_each_run_logs_what_it_did(done: dict[str, Any], name: str) -> None:
    first, again = (
        next(line for line in done["lines"] if line["step"] == "upsert" and line["run"] == f"jr_{name}_{time}")
        for time in ("first", "again")
    )
    assert first | {"job": "dms_customer", "table": TABLES[name], "format": name, "status": "done", "number": 1} == first
    assert (first["read"], first["quarantined"], first["inserted"], first["updated"], first["deleted"]) == (9, 1, 2, 0, 0)
    assert first["applied"] + first["stale"] + first["duplicate"] == 8 and first["version"] != first["version_before"]
    assert (again["read"], again["applied"], again["quarantined"], again["files_added"]) == (9, 0, 1, 0)
    assert again["version"] == again["version_before"] == first["version"]
    assert first["seconds"] > 0 and not any("201-555" in json.dumps(line) for line in done["lines"])


def test_the_glue_catalog_knows_the_iceberg_table(done: dict[str, Any], aws: dict[str, str]) -> None:
    table = boto3.client("glue").get_table(DatabaseName="sales", Name="customer")["Table"]
    assert table["Parameters"]["table_type"] == "ICEBERG"
    assert table["Parameters"]["metadata_location"].startswith("s3://lake/iceberg/")
    names = [column["Name"] for column in table["StorageDescriptor"]["Columns"]]
    assert names[:5] == list(CUSTOMERS[0])


def test_glue_commits_only_after_success(done: dict[str, Any]) -> None:
    calls = [(call["call"], call.get("args", {}).get("JOB_RUN_ID")) for call in done["calls"] if call["call"] != "GlueContext"]
    expected = [pair for name in FORMATS for time in ("first", "again") for pair in (("init", f"jr_{name}_{time}"), ("commit", None))]
    assert calls == [*expected, ("init", "jr_failed")], (
        "the run that failed is begun and not committed, the one without a job file not begun"
    )
    assert done["runs"]["no feed"]["error"].startswith("SourceError: ") and "s3a://landing/nothing" in done["runs"]["no feed"]["error"]
    assert done["runs"]["no argument"]["error"].startswith("ConfigError: no job file is named")
    args = next(call["args"] for call in done["calls"] if call["call"] == "init")
    assert args["JOB_NAME"] == "customers" and args["job_bookmark_option"] == "job-bookmark-disable" and args["enable_metrics"] == "true"
