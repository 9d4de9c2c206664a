"""Debezium's and Kafka Connect's types: how each stands in JSON, which Spark type it becomes, how it says "unchanged"."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from pyspark.sql import types as T

from lakekit.columns import quoted, same_type
from lakekit.errors import ConfigError, SourceError
from lakekit.sources import exact, json_text

Decimals = Literal["base64", "numeric", "string"]
Decode = Callable[[str], str]

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


def _as_is(value: str) -> str:
    return value


@dataclass(frozen=True)
class Reading:
    """How one value comes in (*wire*: what JSON is parsed to) and what it becomes (*type*); *decode* is NULL where that loses anything."""

    wire: T.DataType
    type: T.DataType
    decode: Decode = _as_is
    kind: str = "plain"
    parts: tuple[Reading, ...] = ()

    @property
    def checked(self) -> bool:
        """Whether decoding can fail."""
        return self.decode is not _as_is


def _text(dtype: T.DataType, decode: Decode, kind: str = "text") -> Reading:
    return Reading(T.StringType(), dtype, decode, kind)


def _plain(dtype: T.DataType) -> Reading:
    if isinstance(dtype, T.ByteType):  # Spark's JSON parser takes 128 for -128
        return Reading(T.ShortType(), dtype, lambda v: f"try_cast({v} AS TINYINT)", "number")
    kinds: dict[type[T.DataType], str] = {T.StringType: "text", T.BooleanType: "boolean"}
    return Reading(dtype, dtype, kind=kinds.get(type(dtype), "number"))


_BYTES = _text(T.BinaryType(), exact.bytes_from_base64, "bytes")
_INT, _LONG, _STRING = T.IntegerType(), T.LongType(), T.StringType()
_DATE = Reading(_INT, T.DateType(), exact.date_from_days, "number")
_MILLIS = Reading(_LONG, T.TimestampType(), exact.timestamp_from_millis, "number")
DAY = _text(T.DateType(), exact.date_from_text)
_ZONED = _text(T.TimestampType(), exact.timestamp_from_text)


def _decimal_base64(target: T.DecimalType, scale: int | None = None) -> Reading:
    """A JSON number is never base64, whatever the caller said: 1234 would be read as three bytes."""
    source = str(target.scale if scale is None else scale)

    def decode(value: str) -> str:
        number = exact.decimal_from_text(json_text.digits(value), target)
        return f"IF({json_text.is_number(value)}, {number}, {exact.decimal_from_base64(value, source, target)})"

    return _text(target, decode, "decimal")


def _decimal_text(target: T.DecimalType) -> Reading:
    return _text(target, lambda v: exact.decimal_from_text(json_text.digits(v), target))


def decimal_number(target: T.DecimalType) -> Reading:
    """A decimal that is parsed as a number: in a frame, or where it has no name by which its text could keep all digits."""
    wire = T.DecimalType(38, min(38, target.scale + 38 - target.precision))
    cast = "try_cast({v} AS " + target.simpleString() + ")"
    return Reading(wire, target, lambda v: f"IF({cast} = {{v}}, {cast}, NULL)".format(v=v), "number")


def _variable_decimal(target: T.DecimalType) -> Reading:
    wire = T.StructType().add("scale", _INT).add("value", _STRING)
    return Reading(wire, target, lambda v: exact.decimal_from_base64(f"{v}.value", f"{v}.scale", target), "variable")


def _decimal(target: T.DecimalType, decimals: Decimals, scale: int | None = None) -> Reading:
    return _decimal_base64(target, scale) if decimals == "base64" else _decimal_text(target)


def _nameless(reading: Reading, decimals: Decimals) -> Reading:
    """An array's or a map's value."""
    numeric = decimals == "numeric" and isinstance(reading.type, T.DecimalType)
    return decimal_number(reading.type) if numeric else reading  # type: ignore[arg-type]


# A semantic type's name → its reading. Times of day stay the numbers that they are: Spark has no type for them.
_SEMANTIC: dict[str, Reading] = {
    "io.debezium.time.Date": _DATE,
    "org.apache.kafka.connect.data.Date": _DATE,
    "io.debezium.time.IsoDate": DAY,
    "io.debezium.time.Timestamp": _MILLIS,
    "org.apache.kafka.connect.data.Timestamp": _MILLIS,
    "io.debezium.time.MicroTimestamp": Reading(_LONG, T.TimestampType(), exact.timestamp_from_micros, "number"),
    "io.debezium.time.NanoTimestamp": Reading(_LONG, T.TimestampType(), exact.timestamp_from_nanos, "number"),
    "io.debezium.time.ZonedTimestamp": _ZONED,
    "io.debezium.time.IsoTimestamp": _ZONED,
    "io.debezium.time.Time": _plain(_INT),
    "org.apache.kafka.connect.data.Time": _plain(_INT),
    "io.debezium.time.MicroTime": _plain(_LONG),
    "io.debezium.time.NanoTime": _plain(_LONG),
    "io.debezium.data.Uuid": replace(_plain(_STRING), kind="uuid"),
    "io.debezium.data.Bits": _BYTES,
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
        return _BYTES
    if kind in _SPARK:
        return _plain(_SPARK[kind])
    if kind == "array":
        return _array(_nameless(from_connect(block["items"], decimals), decimals))
    if kind == "map":
        return _map(from_connect(block["keys"], decimals), _nameless(from_connect(block["values"], decimals), decimals))
    if kind == "struct":
        return _struct({f["field"]: from_connect(f, decimals) for f in block["fields"]})
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
    if isinstance(target, T.DecimalType):
        return _decimal(target, decimals)
    if isinstance(target, T.DateType):
        return _text(target, lambda v: f"coalesce({exact.date_from_text(v)}, {exact.date_from_days(f'try_cast({v} AS INT)')})")
    if isinstance(target, T.TimestampType):
        return _ZONED
    if isinstance(target, T.BinaryType):
        return _BYTES
    if isinstance(target, (T.ArrayType, T.MapType, T.StructType)):
        return nested(target, lambda inner: from_spark(inner, decimals), decimals)
    if isinstance(target, (T.NumericType, T.BooleanType, T.StringType)):
        return _plain(target)
    raise ConfigError(f"schema declares a column as {target.simpleString()}, which no Debezium value is read as. Declare another type.")


def nested(target: T.ArrayType | T.MapType | T.StructType, of: Callable[[T.DataType], Reading], decimals: Decimals) -> Reading:
    """The reading of a nested type, its parts read as *of* says."""
    if isinstance(target, T.ArrayType):
        return _array(_nameless(of(target.elementType), decimals))
    if isinstance(target, T.MapType):
        return _map(of(target.keyType), _nameless(of(target.valueType), decimals))
    return _struct({f.name: of(f.dataType) for f in target.fields})


def kept(readings: Mapping[str, Reading]) -> list[str]:
    """Names of the decimals that are read from text, for `json_text.with_numbers_kept`; none that names another number too."""
    found = list(_fields(readings.items()))
    others = {name for name, reading in found if isinstance(reading.wire, T.NumericType)}
    return sorted({n for n, r in found if isinstance(r.type, T.DecimalType) and isinstance(r.wire, T.StringType)} - others)


def _fields(named: Iterable[tuple[str, Reading]]) -> Iterator[tuple[str, Reading]]:
    """The fields and those inside them, with their names; an array's element has none of its own."""
    for name, reading in named:
        yield name, reading
        inner = reading.wire.names if isinstance(reading.wire, T.StructType) else [""] * len(reading.parts)
        yield from _fields(zip(inner, reading.parts, strict=True) if reading.parts else ())


def from_frame(found: T.DataType) -> Reading:
    """The reading of a column that is structured already: the value itself, and the forms that "unchanged" takes in it."""
    if isinstance(found, T.ArrayType):
        return Reading(found, found, kind="array", parts=(from_frame(found.elementType),))
    if isinstance(found, T.MapType):
        return Reading(found, found, kind="map", parts=(from_frame(found.valueType),))
    if isinstance(found, T.StructType):
        return Reading(found, found, kind="struct", parts=tuple(from_frame(f.dataType) for f in found.fields))
    if isinstance(found, T.BinaryType):
        return Reading(found, found, kind="binary")
    return Reading(found, found) if isinstance(found, T.ByteType) else _plain(found)


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
        return _plain(target)  # e.g. NanoTimestamp as bigint: the number itself
    fitting = f"{reading.type.simpleString()} or {reading.wire.simpleString()}"
    raise ConfigError(f"{semantic} cannot be read as {target.simpleString()}. Declare {fitting}.")


def _array(element: Reading) -> Reading:
    decode = (lambda v: f"transform({v}, {exact.fresh(v)} -> {element.decode(exact.fresh(v))})") if element.checked else _as_is
    return Reading(T.ArrayType(element.wire), T.ArrayType(element.type), decode, "array", (element,))


def _map(key: Reading, value: Reading) -> Reading:
    """JSON has text keys only; Connect writes other keys as pairs, which a row image does not hold."""
    if not isinstance(key.wire, T.StringType):
        raise SourceError("a map with keys that are no text cannot be read from JSON. Leave the column out with a declared schema=.")
    decode = (lambda v: f"transform_values({v}, (k, {exact.fresh(v)}) -> {value.decode(exact.fresh(v))})") if value.checked else _as_is
    return Reading(T.MapType(key.wire, value.wire), T.MapType(T.StringType(), value.type), decode, "map", (value,))


def _struct(fields: Mapping[str, Reading]) -> Reading:
    wire = T.StructType([T.StructField(name, r.wire) for name, r in fields.items()])
    made = T.StructType([T.StructField(name, r.type) for name, r in fields.items()])
    if not any(r.checked for r in fields.values()):
        return Reading(wire, made, kind="struct", parts=tuple(fields.values()))

    def decode(value: str) -> str:
        inner = ", ".join(f"{exact.literal(n)}, {r.decode(f'{value}.{quoted(n)}')}" for n, r in fields.items())
        return f"IF({value} IS NULL, NULL, named_struct({inner}))"

    return Reading(wire, made, decode, "struct", tuple(fields.values()))


def misread(reading: Reading, value: str) -> str | None:
    """SQL that is true where *value*, or a value inside it, could not be read exactly; ``None``: never."""
    if not reading.checked:
        return None
    if reading.kind == "array":
        inner = misread(reading.parts[0], exact.fresh(value))
        return f"coalesce(exists({value}, {exact.fresh(value)} -> {inner}), false)"
    if reading.kind == "map":
        inner = misread(reading.parts[0], exact.fresh(value))
        return f"coalesce(exists(map_values({value}), {exact.fresh(value)} -> {inner}), false)"
    if reading.kind == "struct" and isinstance(reading.wire, T.StructType):
        tests = (misread(r, f"{value}.{quoted(f.name)}") for f, r in zip(reading.wire.fields, reading.parts, strict=True))
        return "(" + " OR ".join(t for t in tests if t) + ")"
    return exact.misread(value, reading.decode(value))


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
