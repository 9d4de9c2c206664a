"""SQL that formats share: names, the one MERGE, confs for the length of a statement."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from pyspark.sql import DataFrame
from pyspark.sql import types as T

from lakekit.columns import quoted
from lakekit.formats.base import ChangeSet


def dotted(*parts: str) -> str:
    """A name of several parts, each quoted."""
    return ".".join(quoted(p) for p in parts)


def columns_ddl(schema: T.StructType) -> str:
    """Column definitions of a CREATE TABLE; everything is nullable."""
    return ", ".join(
        f"{quoted(f.name)} {f.dataType.simpleString() if _flat(f.dataType) else nested_ddl(f.dataType)}" for f in schema.fields
    )


def _flat(data_type: T.DataType) -> bool:
    return not isinstance(data_type, (T.StructType, T.ArrayType, T.MapType))


def nested_ddl(data_type: T.DataType) -> str:
    """A type in SQL with quoted field names."""
    if isinstance(data_type, T.StructType):
        return f"struct<{', '.join(f'{quoted(f.name)}: {nested_ddl(f.dataType)}' for f in data_type.fields)}>"
    if isinstance(data_type, T.ArrayType):
        return f"array<{nested_ddl(data_type.elementType)}>"
    if isinstance(data_type, T.MapType):
        return f"map<{nested_ddl(data_type.keyType)}, {nested_ddl(data_type.valueType)}>"
    return data_type.simpleString()


def text(value: str) -> str:
    """A string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def properties_ddl(properties: Mapping[str, str]) -> str:
    """The inside of TBLPROPERTIES (…)."""
    return ", ".join(f"{text(k)} = {text(v)}" for k, v in properties.items())


@contextmanager
def named(rows: DataFrame) -> Iterator[str]:
    """Give a frame a name that SQL can use, for the length of a statement."""
    name = f"_lk_{uuid.uuid4().hex}"
    rows.createOrReplaceTempView(name)
    try:
        yield name
    finally:
        rows.sparkSession.catalog.dropTempView(name)


def replace_where(target: str, source: str, columns: Sequence[str], where: str) -> str:
    """Replace the rows that meet a condition, whatever files they lie in: a MERGE in which nothing matches."""
    names = ", ".join(quoted(c) for c in columns)
    values = ", ".join(f"s.{quoted(c)}" for c in columns)
    first = quoted(columns[0])
    # Never true, but an equality that is not seen to be constant: else the engine joins every row with every row.
    never = f"concat('t', CAST(t.{first} AS STRING)) = concat('s', CAST(s.{first} AS STRING))"
    return (
        f"MERGE INTO {target} t USING {source} s ON {never} "
        f"WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({values}) WHEN NOT MATCHED BY SOURCE AND ({where}) THEN DELETE"
    )


def merge(target: str, source: str, changes: ChangeSet) -> str:
    """The one MERGE: apply decided rows to those that still stand as planned.

    Literal bounds sit in ON, so that files outside them are neither read nor, for the format's conflict detection, touched.
    Clauses that nothing needs are left out: without an insert the engine may broadcast the source.
    """
    on = " AND ".join([*(f"t.{quoted(k)} = s.{quoted(k)}" for k in changes.keys), *(b.sql("t.") for b in changes.bounds)])
    assignments = ", ".join(f"t.{quoted(c)} = s.{quoted(c)}" for c in changes.columns)
    clauses = []
    if changes.deletes:
        clauses.append(f"WHEN MATCHED AND s._lk_action = 'delete' AND {changes.unmoved} THEN DELETE")
    if changes.updates:
        clauses.append(f"WHEN MATCHED AND s._lk_action = 'update' AND {changes.unmoved} THEN UPDATE SET {assignments}")
    if changes.inserts:
        names = ", ".join(quoted(c) for c in changes.columns)
        values = ", ".join(f"s.{quoted(c)}" for c in changes.columns)
        clauses.append(f"WHEN NOT MATCHED AND s._lk_action = 'insert' THEN INSERT ({names}) VALUES ({values})")
    return f"MERGE INTO {target} t USING {source} s ON {on} {' '.join(clauses)}"


def sequence_of(columns: Iterable[str], alias: str = "t.") -> str:
    """The sequence struct of a stored row, as SQL."""
    return "named_struct(" + ", ".join(f"{text(c)}, {alias}{quoted(c)}" for c in columns) + ")"
