"""Runs ``jobs/glue.py`` several times in one Spark process and writes down what it left behind.

Started by ``test_glue_job`` as a process of its own, because jars and static confs act only when a JVM starts. Its argument is a
JSON file: ``runs`` (a name and Glue's command line each), ``script``, ``bucket``, ``reads`` (how to read each table) and ``out``.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import boto3
from pyspark.sql import SparkSession

from lakekit.errors import LakekitError


def listing(bucket: str) -> dict[str, str]:
    """Every object of the bucket with its content's hash."""
    pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", [])}


def run(script: str, argv: list[str]) -> str | None:
    """Run the script as Glue does; the lakekit error that left it, or None."""
    sys.argv = [script, *argv]
    try:
        runpy.run_path(script, run_name="__main__")
    except LakekitError as error:
        return f"{type(error).__name__}: {error}"
    return None


def main(plan: dict[str, Any]) -> dict[str, Any]:
    """All runs, then all reads."""
    runs = {name: {"error": run(plan["script"], argv), "objects": listing(plan["bucket"])} for name, argv in plan["runs"].items()}
    spark = SparkSession.builder.getOrCreate()
    tables = {
        name: [json.loads(row) for row in spark.read.format(format).load(place).toJSON().collect()]
        for name, (format, place) in plan["reads"].items()
    }
    return {"runs": runs, "tables": tables}


if __name__ == "__main__":
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Path(plan["out"]).write_text(json.dumps(main(plan)), encoding="utf-8")
