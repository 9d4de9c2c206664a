"""The doctor: facts, formats, and combinations known to go wrong."""

from __future__ import annotations

import sys

import pytest
from pyspark.sql import SparkSession

from lakekit import doctor
from lakekit.errors import ConfigError
from lakekit.runtimes import WIRING, local_runtime

RUNTIME = local_runtime()


def test_facts_and_formats_of_the_shared_session(spark: SparkSession):
    report = doctor.examine(spark)
    facts = dict(report.facts)
    assert facts["Spark"].startswith(spark.version) and facts["table row"] == RUNTIME.name
    assert facts["Java"].startswith(str(RUNTIME.java)) and facts["Scala"].startswith(RUNTIME.scala)
    assert facts["Hadoop"] == RUNTIME.hadoop and facts["Python"].startswith(sys.version.split()[0])
    assert facts["time zone"].startswith("UTC") and facts["ANSI"] in ("on", "off")
    assert facts["catalog lake"].startswith("org.apache.iceberg.spark.SparkCatalog (")
    assert report.healthy
    works = {state.name: state.version for state in report.formats if state.works}
    assert works == {name: RUNTIME.build(name).version for name in RUNTIME.tested}


def test_known_bad_combinations_are_named_where_they_apply(spark: SparkSession):
    text = str(doctor.examine(spark))
    assert ("VERSION AS OF" in text) == ("hudi" in RUNTIME.tested)
    assert ("ANSI is off" in text) == (spark.conf.get("spark.sql.ansi.enabled") == "false")
    before = spark.conf.get("spark.sql.ansi.enabled")
    try:
        spark.conf.set("spark.sql.ansi.enabled", "true")
        assert "ANSI is off" not in str(doctor.examine(spark))
    finally:
        spark.conf.set("spark.sql.ansi.enabled", before or "false")


def test_a_format_that_cannot_work_makes_the_report_unhealthy(spark: SparkSession):
    state = doctor.FormatState("hudi", None, None, None, ("class org.apache.hudi.DefaultSource is in no jar",), asked=True)
    report = doctor.Report((("Spark", "4.1.1"),), (state,), ("out of order",))
    assert not report.healthy
    assert str(report).splitlines() == [
        "Spark  4.1.1",
        "hudi   CANNOT WORK: no jar",
        "       - class org.apache.hudi.DefaultSource is in no jar",
        "warning: out of order",
    ]
    unasked = doctor.FormatState("hudi", None, None, None, state.lacking, asked=False)
    assert doctor.Report(report.facts, (unasked,)).healthy


def test_an_unknown_format_is_refused(spark: SparkSession):
    with pytest.raises(ConfigError, match="unknown table format 'parquet'"):
        doctor.examine(spark, "parquet")


def test_extensions_out_of_order():
    ours = [line.extension for line in WIRING]
    assert list(doctor._order_warning(["other.Extension", *ours])) == []
    assert list(doctor._order_warning([ours[2]])) == []
    (warning,) = doctor._order_warning([ours[2], "other.Extension", ours[0]])
    assert warning.endswith(f"Order them {ours[0]},{ours[2]}")


@pytest.mark.parametrize(
    ("jar", "mismatch"),
    [
        ("iceberg-spark-runtime-3.5_2.12-1.10.0.jar", "Spark 3.5"),
        ("hudi-spark3.5-bundle_2.12-1.0.2.jar", "Spark 3.5"),
        ("delta-spark_2.12-3.3.2.jar", "Scala 2.12"),
        ("delta-spark_4.1_2.13-4.2.0.jar", None),
        ("iceberg-spark-runtime-4.1_2.13-1.11.0.jar", None),
        ("delta-spark.jar", None),
    ],
)
def test_a_jar_of_another_spark_is_seen_by_its_name(jar: str, mismatch: str | None):
    assert doctor.built_for_another(jar, "4.1", "2.13") == mismatch


def test_a_python_or_java_other_than_the_tables_is_said():
    said = list(doctor._runtime_warnings("21.0.1", RUNTIME))
    assert said[0].startswith("Java is 21.0.1; ")
