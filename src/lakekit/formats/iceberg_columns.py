"""A snapshot's rows in the columns that its table has by now: with Iceberg new columns and wider types make no snapshot of their own."""

from __future__ import annotations

from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.columns import col


def in_present_columns(rows: DataFrame, table: Any, snapshot: Any, present: T.StructType) -> DataFrame:
    """The rows of a snapshot of a loaded table in the columns *present*; Iceberg's field ids tell which column is which."""
    then, now = table.schemas().get(snapshot.schemaId()), table.schema()
    before = {f.name: then.findColumnName(now.findField(f.name).fieldId()) for f in present.fields}
    return rows.select(*(_grown(rows, before[f.name], f.dataType).alias(f.name) for f in present.fields))


def _grown(rows: DataFrame, name: str | None, wanted: T.DataType) -> Column:
    """A column in a type that has grown since: NULL where it was not there."""
    return F.lit(None).cast(wanted) if name is None else _widened(col(name), rows.schema[name].dataType, wanted)


def _widened(value: Column, stored: T.DataType, wanted: T.DataType) -> Column:
    if not isinstance(stored, T.StructType) or not isinstance(wanted, T.StructType):
        return value.cast(wanted)
    names = stored.names
    fields = [
        (_widened(value[f.name], stored[f.name].dataType, f.dataType) if f.name in names else F.lit(None).cast(f.dataType)).alias(f.name)
        for f in wanted.fields
    ]
    return F.when(value.isNotNull(), F.struct(*fields))
