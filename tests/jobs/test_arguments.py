"""The command lines that Glue and EMR build, read by one tolerant parser. Needs no Spark."""

from __future__ import annotations

import shlex

from lakekit.job.arguments import Arguments, parse

GLUE = shlex.split("""
--job s3://code/orders.yaml --table sales.orders --my-limit=5 --where=--none --JOB_NAME daily --JOB_ID j_1 --JOB_RUN_ID jr_1
--TempDir s3://tmp/ --job-bookmark-option job-bookmark-disable --enable-metrics --enable-glue-datacatalog true
--enable-continuous-cloudwatch-log true --extra-py-files s3://code/lakekit.whl --additional-python-modules pyyaml
--datalake-formats iceberg,delta,hudi --scriptLocation s3://code/glue.py --job-language python --user-jars-first true
""")


def test_glue() -> None:
    arguments = parse(
        [*GLUE, "--conf", "spark.a=1 --conf spark.b=2", "--SECURITY_CONFIGURATION", "", "--limit", "-5", "--table", "sales.late"]
    )
    assert arguments.own == {"table": "sales.late", "my_limit": "5", "where": "--none", "limit": "-5"}, "the last of a name wins"
    assert arguments.named["job"] == "s3://code/orders.yaml"
    assert arguments.named["enable_metrics"] == "true" and arguments.named["job_bookmark_option"] == "job-bookmark-disable"
    assert arguments.named["conf"] == "spark.a=1 --conf spark.b=2" and arguments.named["SECURITY_CONFIGURATION"] == ""
    assert arguments.positional == ()


def test_names_mean_only_themselves() -> None:
    assert parse(["--metadata", "a", "--metadata_location", "b"]).named == {"metadata": "a", "metadata_location": "b"}
    assert parse(["--metadata_location", "b"]).named == {"metadata_location": "b"}


def test_what_is_no_name_is_a_value_though_it_begins_with_dashes() -> None:
    assert parse(["--note", "-- late", "--sep", "--", "--where", "--5 > n", "--last"]).named == {
        "note": "-- late",
        "sep": "--",
        "where": "--5 > n",
        "last": "true",
    }
    assert parse(["--table=a\nb", "--", "x"]) == Arguments({"table": "a\nb"}, ("--", "x"))


def test_emr() -> None:
    arguments = parse(["orders.yaml", "--table", "sales.orders", "--url=a=b", "--last"])
    assert arguments.positional == ("orders.yaml",)
    assert arguments.own == {"table": "sales.orders", "url": "a=b", "last": "true"}
    assert parse([]).named == {}
