"""The live line of a step, on something that says it is a terminal."""

from __future__ import annotations

import io

import pytest
from pyspark.sql import SparkSession

from lakekit.job.progress import Activity, watch


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("library", ["rich", None])
def test_progress_shows_spark_at_work(spark: SparkSession, monkeypatch: pytest.MonkeyPatch, library: str | None) -> None:
    monkeypatch.setattr("lakekit.job.progress.find_spec", lambda name: library)
    monkeypatch.setattr("lakekit.job.progress.PERIOD", 0.05)
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with watch(spark, out)("[1/2] upsert sales.orders"):
        spark.range(0, 4, 1, 4).selectExpr("reflect('java.lang.Thread', 'sleep', 400L + id)").collect()
    shown = out.getvalue()
    assert "[1/2] upsert sales.orders" in shown and "/4 tasks in 1 job" in shown
    quiet = io.StringIO()
    with watch(spark, quiet)("[1/2] upsert sales.orders"):
        spark.range(1).collect()
    assert quiet.getvalue() == ""
    assert str(Activity()) == "planning" and str(Activity(2, 1, 8)) == " 12 %  1/8 tasks in 2 jobs"
