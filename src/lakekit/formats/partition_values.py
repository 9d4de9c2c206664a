"""Values that a format's partition folders would give back as others.

A folder is named by the value's text, and NULL has a name too. Where a format knows partition values by their folders only, an empty text
and that name itself come back as NULL. A row with such a value is bad where rows can be put aside (upsert, into the quarantine), else the
write fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.columns import col

_NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"
Unstorable = Mapping[str, tuple[Callable[[Column], Column], str]]
"""For each column that may hold such values: whether a value is one, and in words what it is and why it cannot stay."""


@dataclass(frozen=True)
class PartitionValue:
    """A kind of value, of a column of one of these types, that a format may not be able to partition by."""

    words: str
    types: tuple[type[T.DataType], ...]
    test: Callable[[Column], Column]


EMPTY_TEXT = PartitionValue(
    "an empty text (or the name of NULL's folder)", (T.StringType, T.BinaryType), lambda value: value.cast("string").isin("", _NULL_FOLDER)
)
JULIAN_DATE = PartitionValue("a date before 1582-10-15", (T.DateType,), lambda value: value < F.expr("DATE'1582-10-15'"))


def unstorable(partitions: Mapping[str, T.DataType], refused: Mapping[PartitionValue, str]) -> Unstorable:
    """What partition columns of these types cannot hold, where the format refuses these values for these reasons.

    >>> list(unstorable({"region": T.StringType(), "n": T.IntegerType()}, {EMPTY_TEXT: "it would be read as NULL"}))
    ['region']
    """
    found = {}
    for column, data_type in partitions.items():
        for value, reason in refused.items():
            if isinstance(data_type, value.types):
                found[column] = (value.test, f"{value.words} in a partition column: {reason}")
    return found


def refusing(rows: DataFrame, found: Unstorable) -> DataFrame:
    """The rows, failing at one with such a value; ``translated`` makes a ``DataRejected`` of it, which names no value."""
    return rows.withColumns({c: _refusing(c, *refusal) for c, refusal in found.items()}) if found else rows


def _refusing(name: str, test: Callable[[Column], Column], why: str) -> Column:
    told = f"lakekit: column {name}: {why}. Replace it in the source, or partition by another column"
    return F.when(test(col(name)), F.raise_error(F.lit(told))).otherwise(col(name))
