"""Spark confs for the length of a statement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pyspark.sql import SparkSession

ONE_JOB = {"spark.sql.adaptive.enabled": "false"}
"""Adaptive execution makes a Spark job of every shuffle; where sizes are known beforehand it only costs."""


def shuffle_partitions(spark: SparkSession) -> int:
    """How many partitions a session's shuffles have."""
    return int(spark.conf.get("spark.sql.shuffle.partitions") or 200)


@contextmanager
def confs(spark: SparkSession, wanted: Mapping[str, str]) -> Iterator[None]:
    """Set confs for the length of a statement and restore each, also on failure."""
    before = {key: spark.conf.get(key, None) for key in wanted}
    try:
        for key, value in wanted.items():
            spark.conf.set(key, value)
        yield
    finally:
        for key, old in before.items():
            if old is None:
                spark.conf.unset(key)
            else:
                spark.conf.set(key, old)


@contextmanager
def hadoop_confs(spark: SparkSession, wanted: Mapping[str, str]) -> Iterator[None]:
    """Set confs of Hadoop, which file writers read, for the length of a statement and restore each, also on failure."""
    hadoop = spark._jsc.hadoopConfiguration()
    before = {key: hadoop.get(key) for key in wanted}
    try:
        for key, value in wanted.items():
            hadoop.set(key, value)
        yield
    finally:
        for key, old in before.items():
            if old is None:
                hadoop.unset(key)
            else:
                hadoop.set(key, old)
