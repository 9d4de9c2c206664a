"""Partition transforms as values: ``years``, ``months``, ``days``, ``hours``, ``bucket``, ``truncate``, identity.

>>> days("ordered_at"), bucket(16, "customer_id")
(Days(column='ordered_at'), Bucket(column='customer_id', count=16))
>>> parse(["region", "days(ordered_at)", "bucket(16, customer_id)"])
(Identity(column='region'), Days(column='ordered_at'), Bucket(column='customer_id', count=16))
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lakekit.errors import ConfigError


@dataclass(frozen=True)
class Transform:
    """How a partition value follows from one column."""

    column: str

    @property
    def name(self) -> str:
        """The transform's word in Iceberg's and Spark's DDL."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Identity(Transform):
    """The column's own value."""


@dataclass(frozen=True)
class Years(Transform):
    """The year of a date or timestamp (UTC)."""


@dataclass(frozen=True)
class Months(Transform):
    """The month of a date or timestamp (UTC)."""


@dataclass(frozen=True)
class Days(Transform):
    """The day of a date or timestamp (UTC)."""


@dataclass(frozen=True)
class Hours(Transform):
    """The hour of a timestamp (UTC)."""


@dataclass(frozen=True)
class Bucket(Transform):
    """A hash of the column, modulo *count* (Iceberg specification, Appendix B: 32-bit Murmur3)."""

    count: int


@dataclass(frozen=True)
class Truncate(Transform):
    """The first *width* characters of a text, or an integer rounded down to a multiple of *width*."""

    width: int


def years(column: str) -> Years:
    """Partition by the year of *column*."""
    return Years(column)


def months(column: str) -> Months:
    """Partition by the month of *column*."""
    return Months(column)


def days(column: str) -> Days:
    """Partition by the day of *column*."""
    return Days(column)


def hours(column: str) -> Hours:
    """Partition by the hour of *column*."""
    return Hours(column)


def bucket(count: int, column: str) -> Bucket:
    """Partition by a hash of *column* into *count* buckets. Raises ``ConfigError`` for a count below one."""
    return Bucket(column, _positive(count, f"bucket({count}, {column})"))


def truncate(width: int, column: str) -> Truncate:
    """Partition by *column* cut to *width*. Raises ``ConfigError`` for a width below one."""
    return Truncate(column, _positive(width, f"truncate({width}, {column})"))


def _positive(number: int, where: str) -> int:
    if not isinstance(number, int) or number < 1:
        raise ConfigError(f"{where}: the number must be a whole number of at least 1.")
    return number


_CALL = re.compile(r"\s*(\w+)\s*\(\s*(?:(\d+)\s*,\s*)?([^(),]+?)\s*\)\s*$")
_BY_COLUMN = {"years": years, "months": months, "days": days, "hours": hours, "identity": Identity}
_BY_NUMBER = {"bucket": bucket, "truncate": truncate}


def parse(partition_by: str | Transform | Iterable[str | Transform]) -> tuple[Transform, ...]:
    """Read transforms as values or as text such as ``"days(ordered_at)"``; a plain name is the identity.

    Raises ``ConfigError`` naming the text that is no transform.
    """
    if isinstance(partition_by, (str, Transform)):
        partition_by = (partition_by,)
    return tuple(entry if isinstance(entry, Transform) else _parse(entry) for entry in partition_by)


def _parse(text: str) -> Transform:
    if "(" not in text:
        return Identity(text.strip())
    match = _CALL.match(text)
    word, number, column = match.groups() if match else ("", None, "")
    if word in _BY_COLUMN and number is None:
        return _BY_COLUMN[word](column)
    if word in _BY_NUMBER and number is not None:
        return _BY_NUMBER[word](int(number), column)
    known = ", ".join([*(f"{w}(column)" for w in _BY_COLUMN), *(f"{w}(number, column)" for w in _BY_NUMBER)])
    raise ConfigError(f"partition_by: {text!r} is no partition transform. Known: a column name, {known}.")
