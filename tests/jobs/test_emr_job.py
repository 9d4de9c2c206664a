"""jobs/emr.py under a real ``spark-submit``, with the confs and jars on its command line as an EMR step has them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest

from lakekit import jars
from lakekit.errors import ConfigError
from lakekit.java import java_home
from lakekit.job import platform
from lakekit.runtimes import local_runtime, wiring
from lakekit.session import local_confs, merged
from lakekit.testing.plugin import QUICK
from tests.evaluation import INTERPRETED

ROOT = Path(__file__).parents[2]
RUNTIME = local_runtime()


def submit(tmp_path: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """``spark-submit --jars … --conf … jobs/emr.py <argv>``."""
    paths = jars.ensure(RUNTIME.coordinates(["iceberg"]))
    confs = local_confs([wiring("iceberg")], str(tmp_path / "lake"))
    confs = merged(confs, {**QUICK, **INTERPRETED})
    home = Path(pyspark.__file__).parent
    return subprocess.run(
        [
            str(home / "bin" / "spark-submit"), "--master", "local[2]", "--jars", ",".join(map(str, paths)),
            *(word for key, value in confs.items() for word in ("--conf", f"{key}={value}")),
            str(ROOT / "jobs" / "emr.py"), *argv,
        ],
        env=os.environ | {
            "SPARK_HOME": str(home),
            "PYSPARK_PYTHON": sys.executable,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
            "JAVA_HOME": str(java_home(RUNTIME) or os.environ.get("JAVA_HOME", "")),
            "LAKEKIT_PLATFORM": "emr",
        },
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,  # spark-submit sends both to one stream
    )  # fmt: skip


def test_a_step_runs_the_job(tmp_path: Path) -> None:
    landing = tmp_path / "landing"
    landing.mkdir()
    (landing / "20240601-100000001.csv").write_text(
        "I, 1, Mendez, Ana, 2 Sea Road, 201-555-0001\nI, 2, Li, Wei, 5 River Walk, 201-555-0002\n"
    )
    done = submit(tmp_path, "--job", str(ROOT / "configs" / "dms_customer.yaml"), "--path", str(landing), "--tabel=typo")
    assert done.returncode == 0, done.stdout[-3000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"event"')]
    unused, upsert = lines[0], lines[-1]
    assert unused == {"event": "unused argument", "job": "dms_customer", "argument": "tabel", "hint": 'nearest is "table"'}
    assert (upsert["step"], upsert["status"], upsert["read"], upsert["inserted"]) == ("upsert", "done", 2, 2)
    assert list((tmp_path / "lake").rglob("sales*/customer/data/*.parquet")), "the table stands in the warehouse of the confs"


def test_a_wrong_command_line_is_exit_code_2_before_spark_starts(tmp_path: Path) -> None:
    done = submit(tmp_path, f"--job={ROOT / 'configs' / 'dms_customer.yaml'}", "--format", "icberg")
    assert done.returncode == 2, done.stdout[-3000:]
    assert 'table: format: no such table format; nearest is "iceberg"' in done.stdout and "Traceback" not in done.stdout
    assert not (tmp_path / "lake").exists()


def test_the_job_file_may_stand_alone_on_the_command_line() -> None:
    config = str(ROOT / "configs" / "dms_customer.yaml")
    job, arguments = platform.prepare([config, "--table", "a.b", "--format=delta"])
    assert (job.name, job.table, job.format, arguments.positional) == ("dms_customer", "a.b", "delta", (config,))
    for argv, message in (([], "no job file is named. Pass --job"), (["--job", "no.yaml"], "no.yaml: cannot read the job file")):
        with pytest.raises(ConfigError, match=message):
            platform.prepare(argv)
