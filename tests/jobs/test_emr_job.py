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
from lakekit.java import java_home
from lakekit.runtimes import local_runtime, wiring
from lakekit.session import local_confs

ROOT = Path(__file__).parents[2]
RUNTIME = local_runtime()


def submit(tmp_path: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """``spark-submit --jars … --conf … jobs/emr.py <argv>``."""
    paths = jars.ensure(RUNTIME.coordinates(["iceberg"]))
    confs = local_confs([wiring("iceberg")], str(tmp_path / "lake"))
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
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_a_step_runs_the_job(tmp_path: Path) -> None:
    landing = tmp_path / "landing"
    landing.mkdir()
    (landing / "20240601-100000001.csv").write_text(
        "I, 1, Mendez, Ana, 2 Sea Road, 201-555-0001\nI, 2, Li, Wei, 5 River Walk, 201-555-0002\n"
    )
    done = submit(tmp_path, "--job", str(ROOT / "configs" / "dms_customer.yaml"), "--path", str(landing), "--tabel=typo")
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith('{"event"')]
    unused, upsert = lines[0], lines[-1]
    assert unused == {"event": "unused argument", "job": "dms_customer", "argument": "tabel", "hint": 'nearest is "table"'}
    assert (upsert["step"], upsert["status"], upsert["read"], upsert["inserted"]) == ("upsert", "done", 2, 2)
    assert list((tmp_path / "lake").rglob("sales*/customer/data/*.parquet")), "the table stands in the warehouse of the confs"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "lakekit: no job file is named. Pass --job"),
        (("--job", "no.yaml"), "lakekit: no.yaml: cannot read the job file"),
        (("--job={config}", "--format", "icberg"), 'no such table format; nearest is "iceberg"'),
    ],
)
def test_a_wrong_command_line_is_exit_code_2_before_spark_starts(tmp_path: Path, argv: tuple[str, ...], message: str) -> None:
    done = submit(tmp_path, *(word.format(config=ROOT / "configs" / "dms_customer.yaml") for word in argv))
    assert done.returncode == 2, done.stderr[-3000:]
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "lake").exists()
