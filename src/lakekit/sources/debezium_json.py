"""Debezium's JSON text → the common frame: parse once, unwrap, tell rows from heartbeats, say what is wrong with a message."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.columns import quoted
from lakekit.sources import json_text, readings
from lakekit.sources.debezium_shape import Shape, names_of
from lakekit.sources.exact import literal

SNAPSHOT = "source.snapshot"
_CORRUPT = "_lk_corrupt"


def from_text(df: DataFrame, shape: Shape, *, sparse: bool) -> DataFrame:
    """Columns op, before, after, key, snapshot, position, raw, noise, problem, and present (names in the row image) where needed.

    *sparse*: a column that the image lacks must be told from one that is NULL.
    """
    body = _body(shape)
    wrapped = "payload" not in body.names  # a flattened row may have a column of this name; then there is no wrapper
    schema = T.StructType([*body.fields, *([T.StructField("payload", body)] if wrapped else []), T.StructField(_CORRUPT, T.StringType())])
    options = {"columnNameOfCorruptRecord": _CORRUPT}
    numbers = readings.kept(shape.readings)
    message = F.from_json(json_text.with_numbers_kept(F.col("value"), numbers), schema, options)
    parsed = df.select(F.col("value").alias("raw"), message.alias("m"), _key(df, shape, numbers).alias("k"))
    top = _struct({n: f"m.{quoted(n)}" for n in body.names})
    body_sql = f"coalesce(m.payload, {top})" if wrapped else top
    unwrapped = parsed.selectExpr("raw", "k", f"coalesce(m.{_CORRUPT} IS NOT NULL, true) AS corrupt", f"{body_sql} AS e")
    normal = unwrapped.selectExpr(*_normal(shape), "raw", "corrupt")
    judged = normal.selectExpr("*", f"{_noise(shape)} AS noise")
    if sparse or shape.seen:
        judged = judged.selectExpr("*", f"{_present(shape)} AS present")
    return judged.selectExpr("*", f"{_problem(shape)} AS problem")


def _struct(fields: dict[str, str]) -> str:
    return f"named_struct({', '.join(f'{literal(n)}, {v}' for n, v in fields.items())})"


def _key(df: DataFrame, shape: Shape, numbers: Sequence[str]) -> Column:
    """The message's key, which alone tells the row of a delete without an image."""
    row = T.StructType([T.StructField(k, shape.readings[k].wire) for k in shape.keys])
    text = F.col("key") if "key" in df.columns else F.lit(None).cast("string")
    return F.from_json(json_text.with_numbers_kept(text, numbers), T.StructType([*row.fields, T.StructField("payload", row)]))


def _body(shape: Shape) -> T.StructType:
    """The part of a message that is read: the row, the operation, and the fields that order it, these as text."""
    if shape.flattened:
        paths = ("op", "deleted", SNAPSHOT, *(p.path for p in shape.parts))
        meta = dict.fromkeys(n for path in paths for n in names_of(path, shape.prefix))
        return T.StructType([*shape.image.fields, *(T.StructField(n, T.StringType()) for n in meta)])
    tree: dict[str, dict[str, object]] = {}
    for path in ("op", SNAPSHOT, *(p.path for p in shape.parts)):
        _plant(tree, path.split("."))
    return T.StructType([T.StructField("before", shape.image), T.StructField("after", shape.image), *_grown(tree).fields])


def _plant(tree: dict[str, dict[str, object]], path: Sequence[str]) -> None:
    branch = tree.setdefault(path[0], {})
    if len(path) > 1:
        _plant(branch, path[1:])  # type: ignore[arg-type]


def _grown(tree: dict[str, dict[str, object]]) -> T.StructType:
    return T.StructType([T.StructField(n, _grown(b) if b else T.StringType()) for n, b in tree.items()])  # type: ignore[arg-type]


def _normal(shape: Shape) -> list[str]:
    """The message's fields under one set of names, whatever its form."""
    keys = _struct({k: f"coalesce(k.payload.{quoted(k)}, k.{quoted(k)})" for k in shape.keys})
    position = _struct({p.name: _pick(shape, p.path) for p in shape.parts})
    common = [f"{keys} AS key", f"{position} AS position", f"{_pick(shape, SNAPSHOT)} AS snapshot"]
    if not shape.flattened:
        return [*common, "e.op AS op", "e.before AS before", "e.after AS after"]
    row = _struct({n: f"e.{quoted(n)}" for n in shape.readings})
    return [*common, f"{flat_op(_pick(shape, 'op'), _pick(shape, 'deleted'))} AS op", f"{row} AS after"]


def flat_op(op: str, deleted: str) -> str:
    """A flattened message's operation: ``__deleted`` decides, a message without ``__op`` is an upsert."""
    return f"CASE WHEN {deleted} = 'true' THEN 'd' ELSE coalesce({op}, 'u') END"


def _pick(shape: Shape, path: str) -> str:
    if shape.flattened:
        return f"coalesce({', '.join(f'e.{quoted(n)}' for n in names_of(path, shape.prefix))})"
    return "e." + ".".join(map(quoted, path.split(".")))


def _noise(shape: Shape) -> str:
    """Messages that are no change of a row: tombstones, heartbeats, transaction markers, schema changes."""
    no_row = " AND ".join(f"after.{quoted(k)} IS NULL" for k in shape.keys) if shape.flattened else "op IS NULL"
    names = "json_object_keys(coalesce(get_json_object(raw, '$.payload'), raw))"

    def only(*allowed: str) -> str:
        return f"size(array_except({names}, array({', '.join(map(literal, allowed))}))) = 0"

    def has(*wanted: str) -> str:
        return " AND ".join(f"array_contains({names}, {literal(n)})" for n in wanted)

    kinds = [
        f"{has('payload')} AND {only('schema', 'payload')}",  # a tombstone inside a wrapper
        f"{has('ts_ms')} AND {only('ts_ms', 'ts_us', 'ts_ns')}",  # a heartbeat
        has("status", "id", "event_count"),  # a transaction's begin or end
        has("ddl"),
        has("tableChanges"),
    ]
    either = " OR ".join(f"({kind})" for kind in kinds)
    return f"raw IS NULL OR trim(raw) = 'null' OR ({no_row} AND coalesce({either}, false))"


def _image_text(shape: Shape) -> str:
    if not shape.flattened:
        return "coalesce(get_json_object(raw, '$.payload.after'), get_json_object(raw, '$.after'))"
    return "raw" if "payload" in shape.readings else "coalesce(get_json_object(raw, '$.payload'), raw)"


def _present(shape: Shape) -> str:
    """Names of the fields in the row image; only looked up where a column is NULL, or where the schema is only a record's."""
    own = f"filter(json_object_keys({_image_text(shape)}), n -> left(n, {len(shape.prefix)}) <> {literal(shape.prefix)})"
    names = own if shape.flattened else f"json_object_keys({_image_text(shape)})"
    needed = "true" if shape.seen else " OR ".join(f"after.{quoted(n)} IS NULL" for n in shape.readings)
    return f"CASE WHEN NOT noise AND after IS NOT NULL AND ({needed}) THEN {names} END"


def _problem(shape: Shape) -> str:
    """What is wrong with the message as such, or NULL."""
    broken = "corrupt AND json_object_keys(raw) IS NULL"
    mistyped = "corrupt AND op IN ('c', 'u', 'r')"
    cases = [f"WHEN noise THEN NULL WHEN {broken} THEN 'the message is not a JSON object' WHEN {mistyped} THEN {_mistyped(shape)}"]
    if shape.seen:
        new = f"array_except(present, array({', '.join(map(literal, shape.readings))}))"
        say = "not in the schema block that the columns were taken from; declare them with schema="
        cases.append(f"WHEN op IN ('c', 'u', 'r') AND size({new}) > 0 THEN concat('column ', array_join({new}, ', '), ': {say}')")
    return f"CASE {' '.join(cases)} END"


def _mistyped(shape: Shape) -> str:
    """Names the columns that came out NULL though the JSON has a value for them."""
    filled = f"map_keys(map_filter(from_json({_image_text(shape)}, 'map<string,string>'), (n, v) -> v IS NOT NULL))"
    empty = ", ".join(f"IF(after.{quoted(n)} IS NULL, {literal(n)}, NULL)" for n in shape.readings)
    named = f"array_join(array_intersect({filled}, array_compact(array({empty}))), ', ')"
    return f"coalesce(concat('column ', nullif({named}, ''), ': not of the declared type'), 'a field is not of its type')"
