"""Build the wheel, install it into an empty environment, and see that it works there: `make wheel-smoke`.

First without Spark: import, ``--help``, ``doctor`` (exit code 1 and what to install), the lock file inside the wheel. Then with
the ``local`` extra: a session for all formats, one table each, read back.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLES = """
import lakekit as lk, sys
spark = lk.session(warehouse=sys.argv[1])
for name in lk.runtimes.local_runtime().tested:
    rows = spark.createDataFrame([(1, "a", 1), (2, "b", 1)], "id int, v string, seq long")
    table = lk.Table(spark, f"smoke.{name}", format=name)
    commit = table.upsert(lk.changes(rows, keys=["id"], sequence_by=["seq"]))
    found = sorted((row.id, row.v) for row in table.df().select("id", "v").collect())
    assert commit.inserted == 2 and found == [(1, "a"), (2, "b")], (name, commit, found)
    again = table.upsert(lk.changes(rows, keys=["id"], sequence_by=["seq"]))
    assert again.duplicate == 2 and not again.changed, (name, again)
    print(f"smoke: {name} works", flush=True)
spark.stop()
"""


def run(*command: str | Path, expect: int = 0) -> str:
    """Run a command outside the source tree; a wrong exit code ends the smoke test with the command's output."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=tempfile.gettempdir(), env=clean)
    if done.returncode != expect:
        raise SystemExit(f"{' '.join(map(str, command))}\nexit code {done.returncode}, expected {expect}\n{done.stdout}\n{done.stderr}")
    return done.stdout + done.stderr


def build(folder: Path) -> Path:
    """Build the wheel of this tree."""
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT)
    return next(folder.glob("lakekit-*.whl"))


def without_spark(python: Path) -> None:
    """What must work where pyspark is not installed."""
    assert "sys.modules" not in run(python, "-c", "import lakekit, sys; assert 'pyspark' not in sys.modules")
    assert "doctor" in run(python, "-m", "lakekit", "--help")
    assert "lakekit[local]" in run(python, "-m", "lakekit", "doctor", expect=1)
    assert "lakekit[local]" in run(python, "-m", "lakekit", "run", "no.yaml", expect=2)
    assert "iceberg-spark-runtime" in run(python, "-m", "lakekit", "jars", "list", "--formats", "iceberg")
    assert "py.typed" in run(python, "-c", "import lakekit, pathlib; print(*pathlib.Path(lakekit.__file__).parent.iterdir())")


def main() -> None:
    """Build, install, try."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = build(folder)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / "bin" / "python"
        run(python, "-m", "pip", "install", "--quiet", wheel)
        without_spark(python)
        print("smoke: the wheel works without Spark", flush=True)
        run(python, "-m", "pip", "install", "--quiet", f"{wheel}[local]")
        print(run(python, "-m", "lakekit", "doctor"), end="")
        print(run(python, "-c", TABLES, folder / "lake"), end="")


if __name__ == "__main__":
    main()
