"""Values that travel from a frame to the driver and back as SQL literals, exactly and in no time zone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.columns import quoted


def encoded(value: Column, data_type: T.DataType) -> Column:
    """A plain value as text that ``literal`` reads back."""
    if isinstance(data_type, T.StringType):
        return F.hex(F.encode(value, "UTF-8"))
    if isinstance(data_type, T.BinaryType):
        return F.hex(value)
    if isinstance(data_type, T.DateType):
        return F.unix_date(value).cast("string")
    if isinstance(data_type, T.TimestampType):
        return F.unix_micros(value).cast("string")
    return value.cast("string")


def literal(text: str | None, data_type: T.DataType) -> str:
    """The SQL of an encoded value.

    >>> literal("6162", T.StringType()), literal(None, T.LongType())
    ("CAST(X'6162' AS STRING)", 'CAST(NULL AS bigint)')
    """
    if text is None:
        return f"CAST(NULL AS {data_type.simpleString()})"
    if isinstance(data_type, T.StringType):
        return f"CAST(X'{text}' AS STRING)"
    if isinstance(data_type, T.BinaryType):
        return f"X'{text}'"
    if isinstance(data_type, T.DateType):
        return f"date_from_unix_date({text})"
    if isinstance(data_type, T.TimestampType):
        return f"timestamp_micros({text})"
    return f"CAST('{text}' AS {data_type.simpleString()})"


def encoded_struct(value: Column, struct: T.StructType, alias: str) -> list[Column]:
    """A struct of plain values as text columns ``<alias>_known``, ``<alias>_0``, …"""
    fields = [encoded(value.getField(f.name), f.dataType).alias(f"{alias}_{i}") for i, f in enumerate(struct.fields)]
    return [value.isNotNull().alias(f"{alias}_known"), *fields]


def literal_struct(row: Mapping[str, Any], struct: T.StructType, alias: str) -> str | None:
    """The SQL of a struct that ``encoded_struct`` brought to the driver; ``None`` where it was NULL."""
    if not row[f"{alias}_known"]:
        return None
    parts = (f"'{f.name}', {literal(row[f'{alias}_{i}'], f.dataType)}" for i, f in enumerate(struct.fields))
    return f"named_struct({', '.join(parts)})"


def null_struct(struct: T.StructType) -> str:
    """A NULL of a struct's type."""
    return f"CAST(NULL AS struct<{', '.join(f'{quoted(f.name)}: {f.dataType.simpleString()}' for f in struct.fields)}>)"
