"""Debezium's messages in one common frame, whatever they arrived in: act, image, key, phase, position, problem (and raw, present)."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import types as T

from lakekit.columns import quoted, same_type
from lakekit.errors import SourceError
from lakekit.sources import debezium_order as order
from lakekit.sources.debezium_json import SNAPSHOT, flat_op, from_text
from lakekit.sources.debezium_records import Records
from lakekit.sources.debezium_shape import Shape, names_of
from lakekit.sources.exact import literal

_STATE = """CASE WHEN noise THEN 'ignore' WHEN op IN ('c', 'u', 'r') THEN 'upsert' WHEN op = 'd' THEN 'delete'
            WHEN op = 't' THEN 'truncate' WHEN op = 'm' THEN 'ignore' END"""


def events(source: Records, shape: Shape, *, sparse: bool) -> DataFrame:
    """One row for each event; an update that moves a row to another key gives two."""
    normal = from_text(source.df, shape, sparse=sparse) if source.text else _from_columns(source.df, shape)
    kept = ["key", "position", "problem", "phase", *(n for n in ("raw", "present") if n in normal.columns)]
    stated = normal.selectExpr("*", f"{_STATE} AS state", f"{order.phase('op', 'snapshot', shape.parts, 'position')} AS phase")
    if "before" not in normal.columns:
        return stated.selectExpr("state AS act", "after AS image", *kept)
    one = _act("state", "IF(state = 'delete', coalesce(before, after), after)")
    two = f"{_act(literal('delete'), 'before')}, {_act(literal('upsert'), 'after')}"
    return stated.selectExpr(f"inline(CASE WHEN {_moved(shape)} THEN array({two}) ELSE array({one}) END)", *kept)


def _act(act: str, image: str) -> str:
    return f"named_struct('act', {act}, 'image', {image})"


def _moved(shape: Shape) -> str:
    """An update whose image before has another key than the one after: another value, not 1.0 written as 1.00."""
    known = " AND ".join(f"before.{quoted(k)} IS NOT NULL AND after.{quoted(k)} IS NOT NULL" for k in shape.keys)
    values = [[shape.readings[k].decode(f"{image}.{quoted(k)}") for image in ("before", "after")] for k in shape.keys]
    same = " AND ".join(f"{old} <=> {new}" for old, new in values)
    return f"op = 'u' AND {known} AND NOT ({same})"


def _from_columns(df: DataFrame, shape: Shape) -> DataFrame:
    """A frame that is structured already, under the common names."""
    empty = ", ".join(f"CAST(NULL AS {shape.readings[k].wire.simpleString()}) AS {quoted(k)}" for k in shape.keys)
    parts = ", ".join(f"{literal(p.name)}, {_pick(df, shape, p.path)}" for p in shape.parts)
    common = [
        f"struct({empty}) AS key",
        f"named_struct({parts}) AS position",
        f"{_pick(df, shape, SNAPSHOT, optional=True)} AS snapshot",
        "CAST(NULL AS STRING) AS problem",
    ]
    if shape.flattened:
        op = flat_op(_pick(df, shape, "op", optional=True), _pick(df, shape, "deleted", optional=True))
        nothing = " AND ".join(f"{quoted(n)} IS NULL" for n in df.columns)
        return df.selectExpr(*common, f"{op} AS op", f"{_image(df.schema, shape, '')} AS after", f"{nothing} AS noise")
    there = [n for n in ("before", "after") if n in df.columns]
    images = [f"IF({n} IS NULL, NULL, {_image(df.schema[n].dataType, shape, n + '.')}) AS {n}" for n in there]
    nothing = " AND ".join(f"{n} IS NULL" for n in ("op", *there))
    return df.selectExpr(*common, "op", *images, f"{nothing} AS noise")


def _image(there: T.DataType, shape: Shape, path: str) -> str:
    """The row's columns in the types that their readings expect."""
    assert isinstance(there, T.StructType)
    found = {f.name: f.dataType for f in there.fields}

    def value(name: str, wire: T.DataType) -> str:
        plain = f"{path}{quoted(name)}"
        return plain if same_type(found[name], wire) else f"CAST({plain} AS {wire.simpleString()})"

    return f"named_struct({', '.join(f'{literal(n)}, {value(n, r.wire)}' for n, r in shape.readings.items())})"


def _pick(df: DataFrame, shape: Shape, path: str, *, optional: bool = False) -> str:
    """A field of the envelope, as text; NULL where an optional one is not there."""
    found = [quoted(n) for n in names_of(path, shape.prefix) if n in df.columns] if shape.flattened else _nested(df.schema, path)
    if not found and not optional:
        raise SourceError(f"the frame has no field {path}, which orders the events. Add it (add.fields), or name others with order_by=.")
    return f"CAST({found[0]} AS STRING)" if found else "CAST(NULL AS STRING)"


def _nested(schema: T.DataType, path: str) -> list[str]:
    for name in path.split("."):
        if not isinstance(schema, T.StructType) or name not in schema.names:
            return []
        schema = schema[name].dataType
    return [".".join(map(quoted, path.split(".")))]
