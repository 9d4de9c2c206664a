"""Confs of Spark and Hadoop for the length of a statement.

They belong to the session, which threads share: each statement's value goes onto a pile, and whoever ends takes only its own away. So
the value of before comes back when the last has ended, in whatever order they do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from pyspark.sql import SparkSession

ONE_JOB = {"spark.sql.adaptive.enabled": "false"}
"""Adaptive execution makes a Spark job of every shuffle; where sizes are known beforehand it only costs."""

_Entry = tuple[object, str | None]
_piles: dict[tuple[int, str], list[_Entry]] = {}
_lock = threading.Lock()


def session_number(spark: SparkSession) -> int:
    """A number that tells sessions apart, the same for all Python objects of one."""
    return int(spark._jsparkSession.hashCode())


def shuffle_partitions(spark: SparkSession) -> int:
    """How many partitions a session's shuffles have."""
    return int(spark.conf.get("spark.sql.shuffle.partitions") or 200)


@contextmanager
def confs(spark: SparkSession, wanted: Mapping[str, str]) -> Iterator[None]:
    """Set confs for the length of a statement and restore each, also on failure."""

    def put(key: str, value: str | None) -> None:
        if value is None:
            spark.conf.unset(key)
        else:
            spark.conf.set(key, value)

    with _held(session_number(spark), wanted, lambda key: spark.conf.get(key, None), put):
        yield


@contextmanager
def hadoop_confs(spark: SparkSession, wanted: Mapping[str, str]) -> Iterator[None]:
    """Set confs of Hadoop, which file writers read, for the length of a statement and restore each, also on failure."""
    hadoop = spark._jsc.hadoopConfiguration()

    def put(key: str, value: str | None) -> None:
        if value is None:
            hadoop.unset(key)
        else:
            hadoop.set(key, value)

    with _held(0, wanted, hadoop.get, put):
        yield


@contextmanager
def _held(
    owner: int, wanted: Mapping[str, str], get: Callable[[str], str | None], put: Callable[[str, str | None], None]
) -> Iterator[None]:
    mine = object()
    try:
        with _lock:
            for key, value in wanted.items():
                _piles.setdefault((owner, key), [(None, get(key))]).append((mine, value))
                put(key, value)
        yield
    finally:
        with _lock:
            for key in wanted:
                _release(owner, key, mine, put)


def _release(owner: int, key: str, mine: object, put: Callable[[str, str | None], None]) -> None:
    pile = _piles.get((owner, key), [])
    left = [entry for entry in pile if entry[0] is not mine]
    if len(left) == len(pile):
        return  # it could not be set
    put(key, left[-1][1])
    if len(left) == 1:
        del _piles[owner, key]
    else:
        _piles[owner, key] = left
