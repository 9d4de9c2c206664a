"""What a feed leads to, folded in plain Python from its collected rows, so that a reader is tested without any table format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from pyspark.sql import DataFrame, Row, SparkSession

from lakekit.changes import ABSENT, OP, REASON, ChangeFeed

Sequence = tuple[tuple[bool, Any], ...]


def rows(feed: ChangeFeed) -> list[dict[str, Any]]:
    """All rows of the feed's frame, bad ones too, in the feed's order."""
    return sorted((r.asDict() for r in _collected(feed.df)), key=lambda row: order(row, feed))


@lru_cache(maxsize=32)
def _collected(df: DataFrame) -> list[Row]:
    """A frame is collected once, however often a test looks at it."""
    return df.collect()


def order(row: dict[str, Any], feed: ChangeFeed) -> Sequence:
    """The row's sequence, NULL lowest."""
    return tuple((row[c] is not None, row[c]) for c in feed.sequence_by)


def bad(feed: ChangeFeed) -> list[tuple[str, str | None]]:
    """Reason and raw content of the bad rows that the reader found, in order."""
    return [(row[REASON], row["_lk_raw"]) for row in rows(feed) if row[REASON] is not None]


def table(feed: ChangeFeed) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Living rows by key: the latest event wins, delete beats upsert at one sequence, an absent column keeps its value."""
    good = [row for row in rows(feed) if row[REASON] is None and row[OP] in ("upsert", "delete")]
    living: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in sorted(good, key=lambda row: (order(row, feed), row[OP] == "delete")):
        key = tuple(row[k] for k in feed.keys)
        if row[OP] == "delete":
            living.pop(key, None)
        else:
            absent = row.get(ABSENT) or []
            kept = {c: living.get(key, {}).get(c) for c in absent}
            living[key] = {**{c: row[c] for c in feed.payload}, **kept}
    return living


@contextmanager
def conf(spark: SparkSession, **settings: str) -> Iterator[None]:
    """Spark SQL settings for a while; the words of a name are parted by two underscores (``spark__sql__ansi__enabled``)."""
    names = {name.replace("__", "."): value for name, value in settings.items()}
    before = {name: spark.conf.get(name, None) for name in names}
    for name, value in names.items():
        spark.conf.set(name, value)
    try:
        yield
    finally:
        for name, old in before.items():
            spark.conf.unset(name) if old is None else spark.conf.set(name, old)
