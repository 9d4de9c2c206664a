"""Debezium's and Kafka Connect's types: how each stands in JSON, which Spark type it becomes, how it says "unchanged"."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from pyspark.sql import types as T

from lakekit.columns import same_type
from lakekit.errors import ConfigError, SourceError
from lakekit.sources import exact, json_text, readings
from lakekit.sources.readings import BYTES, DAY, INSTANT, Reading, array_of, decimal_number, decimal_text, map_of, plain, struct_of, text

Decimals = Literal["base64", "numeric", "string"]

ANY_NUMBER = T.DecimalType(38, 18)
"""The type of a number without a declared scale (NUMERIC in PostgreSQL); a value that it cannot hold makes a bad row."""

_SPARK = {
    "int8": T.ByteType(),
    "int16": T.ShortType(),
    "int32": T.IntegerType(),
    "int64": T.LongType(),
    "float": T.FloatType(),
    "float32": T.FloatType(),
    "double": T.DoubleType(),
    "float64": T.DoubleType(),
    "boolean": T.BooleanType(),
    "string": T.StringType(),
}

_INT, _LONG, _STRING = T.IntegerType(), T.LongType(), T.StringType()
_DATE = Reading(_INT, T.DateType(), exact.date_from_days, "number")
_DAY_OR_DAYS = text(T.DateType(), lambda v: f"coalesce({exact.date_from_text(v)}, {exact.date_from_days(f'try_cast({v} AS INT)')})")
_MILLIS = Reading(_LONG, T.TimestampType(), exact.timestamp_from_millis, "number")


def _decimal_base64(target: T.DecimalType, scale: int | None = None) -> Reading:
    """A JSON number is never base64, whatever the caller said: 1234 would be read as three bytes."""
    source = str(target.scale if scale is None else scale)

    def decode(value: str) -> str:
        number = exact.decimal_from_text(json_text.digits(value), target)
        return f"IF({json_text.is_number(value)}, {number}, {exact.decimal_from_base64(value, source, target)})"

    return text(target, decode, "decimal")


def _variable_decimal(target: T.DecimalType) -> Reading:
    wire = T.StructType().add("scale", _INT).add("value", _STRING)
    return Reading(wire, target, lambda v: exact.decimal_from_base64(f"{v}.value", f"{v}.scale", target), "variable")


def _decimal(target: T.DecimalType, decimals: Decimals, scale: int | None = None) -> Reading:
    return _decimal_base64(target, scale) if decimals == "base64" else decimal_text(target)


def _nameless(reading: Reading, decimals: Decimals) -> Reading:
    """An array's or a map's value."""
    return decimal_number(reading.type) if decimals == "numeric" and isinstance(reading.type, T.DecimalType) else reading


# A semantic type's name → its reading. Times of day stay the numbers that they are: Spark has no type for them.
_SEMANTIC: dict[str, Reading] = {
    "io.debezium.time.Date": _DATE,
    "org.apache.kafka.connect.data.Date": _DATE,
    "io.debezium.time.IsoDate": DAY,
    "io.debezium.time.Timestamp": _MILLIS,
    "org.apache.kafka.connect.data.Timestamp": _MILLIS,
    "io.debezium.time.MicroTimestamp": Reading(_LONG, T.TimestampType(), exact.timestamp_from_micros, "number"),
    "io.debezium.time.NanoTimestamp": Reading(_LONG, T.TimestampType(), exact.timestamp_from_nanos, "number"),
    "io.debezium.time.ZonedTimestamp": INSTANT,
    "io.debezium.time.IsoTimestamp": INSTANT,
    "io.debezium.time.Time": plain(_INT),
    "org.apache.kafka.connect.data.Time": plain(_INT),
    "io.debezium.time.MicroTime": plain(_LONG),
    "io.debezium.time.NanoTime": plain(_LONG),
    "io.debezium.data.Uuid": replace(plain(_STRING), kind="uuid"),
    "io.debezium.data.Bits": BYTES,
    "io.debezium.data.VariableScaleDecimal": _variable_decimal(ANY_NUMBER),
    "org.apache.kafka.connect.data.Decimal": _decimal_base64(T.DecimalType(38, 0)),
}
_CLOCKS = {"Time": 1_000, "MicroTime": 1_000_000, "NanoTime": 1_000_000_000}


def from_connect(block: Mapping[str, Any], decimals: Decimals = "base64") -> Reading:
    """The reading of a Kafka Connect schema block (``{"type": "int32", "name": "io.debezium.time.Date", …}``).

    Raises ``SourceError`` for a type that Kafka Connect does not have.

    >>> from_connect({"type": "int32", "name": "io.debezium.time.Date"}).type.simpleString()
    'date'
    >>> from_connect({"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal",
    ...               "parameters": {"scale": "2", "connect.decimal.precision": "10"}}).type.simpleString()
    'decimal(10,2)'
    """
    name, kind = block.get("name"), block.get("type")
    if name == "org.apache.kafka.connect.data.Decimal":
        return _connect_decimal(block.get("parameters") or {}, decimals)
    if name in _SEMANTIC:
        return _SEMANTIC[name]
    if kind == "bytes":
        return BYTES
    if kind in _SPARK:
        return plain(_SPARK[kind])
    if kind == "array":
        return array_of(_nameless(from_connect(block["items"], decimals), decimals))
    if kind == "map":  # Connect writes keys that are no text as pairs, which a row image does not hold
        return map_of(from_connect(block["keys"], decimals), _nameless(from_connect(block["values"], decimals), decimals))
    if kind == "struct":
        return struct_of({f["field"]: from_connect(f, decimals) for f in block["fields"]})
    raise SourceError(f"the schema block holds the type {kind!r}, unknown to Kafka Connect. Declare the row's columns with schema=.")


def _connect_decimal(parameters: Mapping[str, str], decimals: Decimals) -> Reading:
    scale = int(parameters.get("scale", 0))
    held = min(max(scale, 0), 38)
    precision = min(38, max(int(parameters.get("connect.decimal.precision", 38)), held))
    return _decimal(T.DecimalType(precision, held), decimals, scale)


def from_spark(target: T.DataType, decimals: Decimals = "base64", semantic: str | None = None) -> Reading:
    """The reading of a declared Spark type, with its Debezium type (*semantic*, long or short name) where JSON alone is ambiguous."""
    if semantic is not None:
        return _retarget(_find(semantic), target, semantic)
    return readings.from_spark(target, lambda declared: _own(declared, decimals), called="Debezium")


def _own(target: T.DataType, decimals: Decimals) -> Reading | None:
    """What JSON alone does not say: a decimal may be base64, a day may be a number of days."""
    if isinstance(target, T.DecimalType) and decimals != "numeric":
        return _decimal(target, decimals)
    return _DAY_OR_DAYS if isinstance(target, T.DateType) else None


def _find(semantic: str) -> Reading:
    """A reading by long name or by the last part of it.

    >>> _find("MicroTimestamp").type.simpleString()
    'timestamp'
    """
    hits = [reading for name, reading in _SEMANTIC.items() if name == semantic or name.endswith("." + semantic)]
    if not hits:
        known = ", ".join(sorted(name.rpartition(".")[2] for name in _SEMANTIC))
        raise ConfigError(f"logical names the type {semantic}, which is none of Debezium's. Known: {known}.")
    return hits[0]


def _retarget(reading: Reading, target: T.DataType, semantic: str) -> Reading:
    """The same wire form read as another Spark type."""
    clock = _CLOCKS.get(semantic.rpartition(".")[2])
    if same_type(reading.type, target):
        return reading
    if isinstance(target, T.DecimalType) and reading.kind in ("decimal", "variable"):
        return _variable_decimal(target) if reading.kind == "variable" else _decimal_base64(target)
    if clock and isinstance(target, T.StringType):
        return Reading(reading.wire, target, lambda v: exact.clock_text(v, clock), "number")
    if same_type(reading.wire, target):
        return plain(target)  # e.g. NanoTimestamp as bigint: the number itself
    fitting = f"{reading.type.simpleString()} or {reading.wire.simpleString()}"
    raise ConfigError(f"{semantic} cannot be read as {target.simpleString()}. Declare {fitting}.")


def marker(reading: Reading, value: str, placeholder: str) -> str | None:
    """SQL that is true where *value* says "unchanged, not in the log"; ``None`` for a type that has no such form.

    Text carries the placeholder itself, bytes its base64, UUIDs the UUID made of it, arrays one such element (numbers: one
    element for each byte of it), maps the placeholder as key, geometries as ``wkb``
    (Debezium, ``UnchangedToastedPlaceholder``).
    """
    encoded = _base64(placeholder.encode())
    if reading.kind in ("text", "bytes", "decimal", "uuid"):
        return f"coalesce({value} IN ({', '.join(map(exact.literal, _forms(placeholder)))}), false)"
    if reading.kind == "binary":
        return f"coalesce({value} = encode({exact.literal(placeholder)}, 'UTF-8'), false)"
    if reading.kind == "variable":
        return f"coalesce({value}.value = '{encoded}', false)"
    if reading.kind == "map":
        return f"coalesce(map_keys({value}) = array({exact.literal(placeholder)}), false)"
    if reading.kind == "struct" and isinstance(reading.wire, T.StructType) and "wkb" in reading.wire.names:
        return f"coalesce({value}.wkb = '{encoded}', false)"
    if reading.kind == "array":
        return _array_marker(reading.parts[0], value, placeholder)
    return None


def _forms(placeholder: str) -> list[str]:
    digest = hashlib.md5(placeholder.encode(), usedforsecurity=False).digest()
    return [placeholder, _base64(placeholder.encode()), str(uuid.UUID(bytes=digest, version=3)), f'{{"{placeholder}":"{placeholder}"}}']


def _array_marker(element: Reading, value: str, placeholder: str) -> str | None:
    raw = placeholder.encode()
    each = {
        "number": lambda: [f"CAST({b} AS {element.wire.simpleString()})" for b in raw],
        "boolean": lambda: ["true"] * len(raw),
        "decimal": lambda: [exact.literal(_base64(bytes([b]))) for b in raw],
        "variable": lambda: [exact.literal(_base64(bytes([b]))) for b in raw],
    }
    found = f"transform({value}, {exact.fresh(value)} -> {exact.fresh(value)}.value)" if element.kind == "variable" else value
    if element.kind in each:
        return f"coalesce({found} = array({', '.join(each[element.kind]())}), false)"
    one = marker(element, f"get({value}, 0)", placeholder)
    return f"(size({value}) = 1 AND {one})" if one else None


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
