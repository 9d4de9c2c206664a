"""Rows as a DataFrame that reads a file, as a feed does.

A list of rows that is made a DataFrame costs a turn through Python workers at each look; a Parquet file costs none.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

_WRITTEN = {"org.apache.spark.version": "3.5.6"}  # else Spark suspects dates before 1582 of another calendar


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """One for the process, gone with it."""
    return tempfile.TemporaryDirectory(prefix="lakekit-frames-")


@cache
def _shape(ddl: str) -> T.StructType:
    found = T._parse_datatype_string(ddl)
    assert isinstance(found, T.StructType)
    return found


def frame(spark: SparkSession, rows: Iterable[Mapping[str, Any]], schema: str) -> DataFrame:
    """Like ``lakekit.testing.frame``."""
    shape = _shape(schema)
    plain = [{f.name: _plain(row.get(f.name), f.dataType) for f in shape.fields} for row in rows]
    table = pa.Table.from_pylist(plain, schema=to_arrow_schema(shape)).replace_schema_metadata(_WRITTEN)
    path = Path(_folder().name) / f"{uuid.uuid4().hex}.parquet"
    pq.write_table(table, path)
    return spark.read.schema(shape).parquet(str(path))


def _plain(value: Any, kind: T.DataType) -> Any:
    """A value as Arrow takes it: structs by name, maps as pairs."""
    if value is None:
        return None
    if isinstance(kind, T.StructType):
        values = value if isinstance(value, Mapping) else dict(zip(kind.names, value, strict=True))
        return {f.name: _plain(values.get(f.name), f.dataType) for f in kind.fields}
    if isinstance(kind, T.MapType):
        return [(k, _plain(v, kind.valueType)) for k, v in value.items()]
    return [_plain(each, kind.elementType) for each in value] if isinstance(kind, T.ArrayType) else value
