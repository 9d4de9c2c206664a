"""The doctor: facts, formats, and combinations known to go wrong."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lakekit import doctor, knownbad
from lakekit.errors import ConfigError
from lakekit.runtimes import RUNTIMES, WIRING, local_runtime

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


# --- the rules, on scenes as values -----------------------------------------------------------------------------------------

GOOD = knownbad.Scene(
    platform="local",
    runtime=RUNTIMES["local-4.1"],
    spark="4.1.1",
    scala="2.13",
    java="17.0.15",
    pyspark="4.1.1",
    confs={"spark.sql.extensions": ",".join(line.extension for line in WIRING if line.name != "hudi")},
    jars={"delta": "delta-spark_4.1_2.13-4.2.0.jar", "iceberg": "iceberg-spark-runtime-4.1_2.13-1.11.0.jar"},
    ansi=True,
)
ALL = ",".join(line.extension for line in WIRING)
BACKWARDS = ",".join(["other.Extension", *(line.extension for line in reversed(WIRING))])


def test_a_good_scene_needs_no_warning():
    assert list(knownbad.warnings(GOOD)) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pyspark": "3.5.6"}, "pyspark is 3.5.6 and the JVM runs Spark 4.1.1: SPARK_HOME"),
        ({"java": "21.0.1"}, "Java is 21.0.1; local-4.1 runs Java 17"),
        ({"runtime": replace(RUNTIMES["local-4.1"], python=("2.7",))}, "local-4.1 runs Python 2.7"),
        ({"ansi": False}, "ANSI is off"),
        ({"platform": "emr"}, "Delta on S3 lets writers of different clusters"),
        ({"confs": {"spark.sql.extensions": BACKWARDS}}, f"out of order: CALL may reach the wrong format. Order them {ALL}"),
        ({"jars": {"iceberg": "iceberg-spark-runtime-3.5_2.12-1.10.0.jar"}}, "was built for Spark 3.5; this is Spark 4.1.1"),
        ({"jars": {"delta": "delta-spark_2.12-3.3.2.jar"}}, "was built for Scala 2.12"),
        ({"jars": {"hudi": "hudi.jar"}}, "hudi is not tested here: no Hudi bundle for Spark 4.1"),
        ({"jars": {"hudi": "hudi.jar"}, "confs": {"spark.sql.extensions": ALL}}, "SQL VERSION AS OF and TIMESTAMP AS OF fail"),
        ({"jars": {"hudi": "h.jar", "delta": "d.jar"}, "confs": {"spark.sql.extensions": ALL}}, "Hudi's ALTER TABLE"),
    ],
)
def test_each_bad_combination_is_named(change: dict[str, Any], says: str):
    said = list(knownbad.warnings(replace(GOOD, **change)))
    assert any(says in warning for warning in said), said


def test_a_log_store_of_its_own_makes_delta_on_s3_safe():
    store = {**GOOD.confs, "spark.delta.logStore.s3.impl": "io.delta.storage.S3DynamoDBLogStore"}
    assert list(knownbad.warnings(replace(GOOD, platform="glue", confs=store))) == []


@pytest.mark.parametrize("jar", ["delta-spark_4.1_2.13-4.2.0.jar", "iceberg-spark-runtime-4.1_2.13-1.11.0.jar", "delta-spark.jar"])
def test_a_jar_of_this_spark_is_none_of_another(jar: str):
    assert knownbad.built_for_another(jar, "4.1", "2.13") is None
