"""Literal bounds on a table's rows that follow from the keys of a batch, so that files outside them are never read.

A bound is sound only on key columns: a row of the same key meets it wherever it stands, whoever wrote it. Values travel to the
driver as numbers or hex text, never through a time zone, and at most ``MOST_VALUES`` of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.columns import col, quoted
from lakekit.literals import encoded, literal

MOST_VALUES = 200  # Iceberg prunes no file by an IN list longer than this
_PREFIX = "_lk_bound_"


@dataclass(frozen=True)
class Between:
    """The column lies between two literals, both included."""

    column: str
    low: str
    high: str

    def sql(self, alias: str = "") -> str:
        """The bound as Spark SQL."""
        name = alias + quoted(self.column)
        return f"{name} >= {self.low} AND {name} <= {self.high}"


@dataclass(frozen=True)
class OneOf:
    """The column is one of a few literals."""

    column: str
    values: tuple[str, ...]

    def sql(self, alias: str = "") -> str:
        """The bound as Spark SQL."""
        return f"{alias}{quoted(self.column)} IN ({', '.join(self.values)})"


@dataclass(frozen=True)
class Open:
    """The row is open: its *column* is NULL, or the end of time; with *since* also a row that ended at or after a literal."""

    column: str
    end: str | None = None
    since: str | None = None

    def sql(self, alias: str = "") -> str:
        """The bound as Spark SQL."""
        name = alias + quoted(self.column)
        open_ = f"{name} IS NULL" if self.end is None else f"{name} = {self.end}"
        return open_ if self.since is None else f"({open_} OR {name} >= {self.since})"


Bound = Between | OneOf | Open


def measures(keys: Sequence[str], partition_keys: Sequence[str], types: Mapping[str, T.DataType], where: Column) -> list[Column]:
    """Aggregates that find the bounds of the rows *where*: lowest and highest key, and the values of partition columns."""
    found: list[Column] = []
    for i, key in enumerate(keys):
        if _encodable(types[key]):
            value = F.when(where, col(key))
            found.append(encoded(F.min(value), types[key]).alias(f"{_PREFIX}low_{i}"))
            found.append(encoded(F.max(value), types[key]).alias(f"{_PREFIX}high_{i}"))
    for i, key in enumerate(partition_keys):
        if _encodable(types[key]):
            values = F.slice(F.collect_set(F.when(where, encoded(col(key), types[key]))), 1, MOST_VALUES + 1)
            found.append(values.alias(f"{_PREFIX}values_{i}"))
    return found


def bounds(
    measured: Mapping[str, Any], keys: Sequence[str], partition_keys: Sequence[str], types: Mapping[str, T.DataType]
) -> tuple[Bound, ...]:
    """Read the bounds out of one row of ``measures``."""
    found: list[Bound] = []
    for i, key in enumerate(keys):
        low, high = measured.get(f"{_PREFIX}low_{i}"), measured.get(f"{_PREFIX}high_{i}")
        if low is not None and high is not None:
            found.append(Between(key, literal(low, types[key]), literal(high, types[key])))
    for i, key in enumerate(partition_keys):
        values = measured.get(f"{_PREFIX}values_{i}")
        if values and len(values) <= MOST_VALUES:
            found.append(OneOf(key, tuple(literal(v, types[key]) for v in sorted(values))))
    return tuple(found)


def where(found: Iterable[Bound]) -> Column:
    """All bounds as one condition."""
    return F.expr(" AND ".join(b.sql() for b in found) or "true")


def values_of(found: Iterable[Bound], column: str) -> tuple[str, ...] | None:
    """The literals to which a column is bound, or ``None`` where it is not bound to a few."""
    return next((b.values for b in found if isinstance(b, OneOf) and b.column == column), None)


def _encodable(data_type: T.DataType) -> bool:
    # Floats are left out: NaN is above every bound that a file's statistics know of.
    return isinstance(data_type, (T.IntegralType, T.DecimalType, T.StringType, T.DateType, T.TimestampType))
