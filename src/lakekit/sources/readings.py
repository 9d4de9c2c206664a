"""How one value comes in and what it becomes, exactly: a reading for each type, and when a value could not be read so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from pyspark.sql import types as T

from lakekit.columns import quoted
from lakekit.errors import ConfigError, SourceError
from lakekit.sources import exact, json_text

Decode = Callable[[str], str]


def _as_is(value: str) -> str:
    return value


@dataclass(frozen=True)
class Reading:
    """How one value comes in (*wire*: what JSON is parsed to) and what it becomes (*type*); *decode* is NULL where that loses anything."""

    wire: T.DataType
    type: T.DataType
    decode: Decode = _as_is
    kind: str = "plain"  # what stands there, finer than the wire type: a UUID and base64 are both text
    parts: tuple[Reading, ...] = ()

    @property
    def checked(self) -> bool:
        """Whether decoding can fail."""
        return self.decode is not _as_is


Own = Callable[[T.DataType], Reading | None]
"""A format's own reading of a declared type; ``None`` where it reads it as all do."""


def text(target: T.DataType, decode: Decode, kind: str = "text") -> Reading:
    """A value that comes as text."""
    return Reading(T.StringType(), target, decode, kind)


def plain(target: T.DataType) -> Reading:
    """A number, a boolean or a text that comes as what it is."""
    if isinstance(target, T.ByteType):  # Spark's JSON parser takes 128 for -128
        return Reading(T.ShortType(), target, lambda v: f"try_cast({v} AS TINYINT)", "number")
    kinds: dict[type[T.DataType], str] = {T.StringType: "text", T.BooleanType: "boolean"}
    return Reading(target, target, kind=kinds.get(type(target), "number"))


BYTES = text(T.BinaryType(), exact.bytes_from_base64, "bytes")
DAY = text(T.DateType(), exact.date_from_text)
INSTANT = text(T.TimestampType(), exact.timestamp_from_text)


def decimal_text(target: T.DecimalType) -> Reading:
    """A decimal whose text is there: it stood in quotes, or its name is one of `kept`."""
    return text(target, lambda v: exact.decimal_from_text(json_text.digits(v), target))


def decimal_number(target: T.DecimalType) -> Reading:
    """A decimal that is parsed as a number: in a frame, or where it has no name by which its text could keep all digits."""
    wire = T.DecimalType(38, min(38, target.scale + 38 - target.precision))
    cast = "try_cast({v} AS " + target.simpleString() + ")"
    return Reading(wire, target, lambda v: f"IF({cast} = {{v}}, {cast}, NULL)".format(v=v), "number")


def from_spark(target: T.DataType, own: Own, *, called: str, named: bool = True) -> Reading:
    """The reading of a declared Spark type: as *own* says, else as JSON has it. A decimal can keep its text only where it is *named*.

    Raises ``ConfigError`` for a type that no value of the format is read as; *called* is what the user calls the format.

    >>> from_spark(T.ArrayType(T.DateType()), lambda declared: None, called="JSON").wire.simpleString()
    'array<string>'
    """
    found = own(target)
    if found is not None:
        return found
    if isinstance(target, T.DecimalType):
        return decimal_text(target) if named else decimal_number(target)
    if isinstance(target, T.DateType):
        return DAY
    if isinstance(target, T.TimestampType):
        return INSTANT
    if isinstance(target, T.BinaryType):
        return BYTES
    if isinstance(target, (T.ArrayType, T.MapType, T.StructType)):
        return _nested(target, partial(from_spark, own=own, called=called))
    if isinstance(target, (T.NumericType, T.BooleanType, T.StringType)):
        return plain(target)
    raise ConfigError(f"schema declares a column as {target.simpleString()}, which no {called} value is read as. Declare another type.")


def _nested(target: T.ArrayType | T.MapType | T.StructType, part: Callable[..., Reading]) -> Reading:
    if isinstance(target, T.ArrayType):
        return array_of(part(target.elementType, named=False))
    if isinstance(target, T.MapType):
        return map_of(part(target.keyType), part(target.valueType, named=False))
    return struct_of({f.name: part(f.dataType) for f in target.fields})


def from_frame(found: T.DataType) -> Reading:
    """The reading of a column that is structured already: the value itself."""
    if isinstance(found, T.ArrayType):
        return Reading(found, found, kind="array", parts=(from_frame(found.elementType),))
    if isinstance(found, T.MapType):
        return Reading(found, found, kind="map", parts=(from_frame(found.valueType),))
    if isinstance(found, T.StructType):
        return Reading(found, found, kind="struct", parts=tuple(from_frame(f.dataType) for f in found.fields))
    if isinstance(found, T.BinaryType):
        return Reading(found, found, kind="binary")
    return Reading(found, found) if isinstance(found, T.ByteType) else plain(found)


def array_of(element: Reading) -> Reading:
    """An array, each element read as *element*."""
    decode = (lambda v: f"transform({v}, {exact.fresh(v)} -> {element.decode(exact.fresh(v))})") if element.checked else _as_is
    return Reading(T.ArrayType(element.wire), T.ArrayType(element.type), decode, "array", (element,))


def map_of(key: Reading, value: Reading) -> Reading:
    """A map with text keys, each value read as *value*; JSON has no other keys."""
    if not isinstance(key.wire, T.StringType):
        raise SourceError("a map with keys that are no text cannot be read from JSON. Declare schema= without that column.")
    decode = (lambda v: f"transform_values({v}, (k, {exact.fresh(v)}) -> {value.decode(exact.fresh(v))})") if value.checked else _as_is
    return Reading(T.MapType(key.wire, value.wire), T.MapType(T.StringType(), value.type), decode, "map", (value,))


def struct_of(fields: Mapping[str, Reading]) -> Reading:
    """A struct of these fields, each read by its own reading."""
    wire = T.StructType([T.StructField(name, r.wire) for name, r in fields.items()])
    made = T.StructType([T.StructField(name, r.type) for name, r in fields.items()])
    if not any(r.checked for r in fields.values()):
        return Reading(wire, made, kind="struct", parts=tuple(fields.values()))

    def decode(value: str) -> str:
        inner = ", ".join(f"{exact.literal(n)}, {r.decode(f'{value}.{quoted(n)}')}" for n, r in fields.items())
        return f"IF({value} IS NULL, NULL, named_struct({inner}))"

    return Reading(wire, made, decode, "struct", tuple(fields.values()))


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
