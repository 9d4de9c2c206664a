"""What a Debezium feed looks like: its row's columns, its order, enveloped or flattened; told by the caller or by its first records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.columns import same_type, widens
from lakekit.errors import ConfigError, SourceError
from lakekit.sources import debezium_order as order
from lakekit.sources import debezium_types as types
from lakekit.sources.common import declared, session
from lakekit.sources.debezium_records import Records, block, fields, first_message, payload
from lakekit.sources.readings import Reading, decimal_number, from_frame

Schema = str | T.StructType | Mapping[str, Any]


@dataclass(frozen=True)
class Said:
    """What the caller said about the feed."""

    keys: tuple[str, ...]
    schema: Schema | None = None
    connector: str | None = None
    order_by: tuple[str, ...] = ()
    flattened: bool | None = None
    prefix: str = "__"
    logical: Mapping[str, str] = field(default_factory=dict)
    decimals: types.Decimals = "base64"

    @property
    def orders(self) -> bool:
        """Whether the order of events was told."""
        return self.connector is not None or bool(self.order_by)


@dataclass(frozen=True)
class Shape:
    """Everything that has to be known before the feed is read. *seen*: its columns were seen in a record, others may hold more."""

    readings: Mapping[str, Reading]
    keys: tuple[str, ...]
    parts: tuple[order.Part, ...]
    connector: str | None
    flattened: bool
    prefix: str
    seen: bool

    @property
    def image(self) -> T.StructType:
        """The row as it stands in the message."""
        return T.StructType([T.StructField(n, r.wire) for n, r in self.readings.items()])


def shape_of(source: Records, said: Said) -> Shape:
    """The feed's shape. Looks at records only for what was not said and the frame's columns do not tell."""
    look = source.text and (said.schema is None or not said.orders)
    message = first_message(source, said.keys) if look else {}
    flattened = _is_flattened(source, message, said) if said.flattened is None else said.flattened
    readings = _readings(source, message, said, flattened)
    _check(readings, said)
    connector = said.connector if said.orders else _connector(source, message, said, flattened)
    parts = order.parts_of(connector, said.order_by)
    return Shape(readings, said.keys, parts, connector, flattened, said.prefix, seen=source.text and said.schema is None)


def _check(readings: Mapping[str, Reading], said: Said) -> None:
    for role, names in (("keys", said.keys), ("logical", tuple(said.logical))):
        missing = [n for n in names if n not in readings]
        if missing:
            raise ConfigError(f"{role} names {', '.join(missing)}, which the row does not have. Its columns: {', '.join(readings)}.")


def _is_flattened(source: Records, message: Mapping[str, Any], said: Said) -> bool:
    """Enveloped unless the columns or the first message say otherwise."""
    if not source.text:
        return not {"op", "after"} <= set(source.df.columns)
    if isinstance(said.schema, Mapping) and "after" in fields(said.schema):
        return False
    known = set(fields(block(message) or {})) or set(payload(message))
    return bool(known) and not {"op", "source"} <= known


def _readings(source: Records, message: Mapping[str, Any], said: Said, flattened: bool) -> dict[str, Reading]:
    if isinstance(said.schema, Mapping):
        return _from_block(said.schema, said)
    row = None if said.schema is None else declared(session(source.df.sparkSession), said.schema)
    if not source.text:
        return _from_frame(source, row, said, flattened)
    if row is not None:
        return {f.name: types.from_spark(f.dataType, said.decimals, said.logical.get(f.name)) for f in row.fields}
    found = block(message)
    if found is None:
        raise SourceError(
            "the messages carry no schema block (schemas.enable=false, or no message names the key columns), so nothing says what "
            "their values mean. Declare the row's columns with schema='id bigint, …'."
        )
    return _from_block(found, said)


def _from_block(schema: Mapping[str, Any], said: Said) -> dict[str, Reading]:
    """The row's columns out of the schema block of an envelope, of a flattened message, or of the row itself."""
    known = fields(schema)
    row = fields(known["after"]) if known.get("after", {}).get("type") == "struct" else known
    return {n: types.from_connect(f, said.decimals) for n, f in row.items() if not n.startswith(said.prefix)}


def _from_frame(source: Records, row: T.StructType | None, said: Said, flattened: bool) -> dict[str, Reading]:
    image = source.df.schema if flattened else source.df.schema["after"].dataType
    if not isinstance(image, T.StructType):
        raise SourceError(f"the column after is {image.simpleString()}, not a struct. Parse it first, or pass the messages as text.")
    there = {f.name: f.dataType for f in image.fields if not (flattened and f.name.startswith(said.prefix))}
    if row is None:
        return {n: from_frame(t) for n, t in there.items()}
    return {f.name: _declared_column(f, there, said) for f in row.fields}


def _declared_column(column: T.StructField, there: Mapping[str, T.DataType], said: Said) -> Reading:
    found = there.get(column.name)
    if found is None:
        raise ConfigError(f"schema names {column.name}, which the frame does not have. Its columns: {', '.join(there)}.")
    if same_type(found, column.dataType) and column.name not in said.logical:
        return from_frame(found)
    reading = types.from_spark(column.dataType, said.decimals, said.logical.get(column.name))
    if isinstance(found, T.DecimalType) and isinstance(column.dataType, T.DecimalType):
        reading = decimal_number(column.dataType)
    if not widens(found, reading.wire):
        raise ConfigError(
            f"{column.name} is {found.simpleString()} in the frame and {column.dataType.simpleString()} in schema, which is read from "
            f"{reading.wire.simpleString()}. Cast it first, or name its Debezium type with logical=."
        )
    return reading


def _connector(source: Records, message: Mapping[str, Any], said: Said, flattened: bool) -> str | None:
    if flattened:
        return order.connector_with(payload(message) if source.text else source.df.columns, said.prefix)
    if source.text:
        origin = payload(message).get("source")
        return origin.get("connector") if isinstance(origin, dict) else None
    return _first_connector(source)


def _first_connector(source: Records) -> str | None:
    origin = source.df.schema["source"].dataType if "source" in source.df.columns else None
    if not isinstance(origin, T.StructType) or "connector" not in origin.names:
        return None
    first = source.df.select(F.col("source.connector").alias("c")).where("c IS NOT NULL").head(1)
    return first[0]["c"] if first else None


def names_of(path: str, prefix: str) -> Sequence[str]:
    """Where a flattened message may keep an envelope's field: ``source.lsn`` is ``__source_lsn`` or ``__lsn``.

    The short name is the envelope's own field where there is one: ``__ts_ms`` is when Debezium saw the change, not ``source.ts_ms``.

    >>> names_of("source.lsn", "__"), names_of("source.ts_ms", "__"), names_of("__lsn", "__")
    (['__source_lsn', '__lsn'], ['__source_ts_ms'], ['__lsn'])
    """
    if path.startswith(prefix):
        return [path]
    last = path.rpartition(".")[2]
    short = [prefix + last] if last not in _ENVELOPE or path == last else []
    return list(dict.fromkeys([prefix + path.replace(".", "_"), *short]))


_ENVELOPE = ("op", "ts_ms", "ts_us", "ts_ns", "before", "after", "source", "transaction")
