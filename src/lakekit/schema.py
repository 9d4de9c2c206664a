"""Schema changes as values: what would make a table fit a frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from pyspark.errors import PySparkException
from pyspark.sql import types as T

from lakekit.columns import find, same_type, widens
from lakekit.errors import ConfigError, SchemaConflict


@dataclass(frozen=True)
class AddColumn:
    """Add a nullable column."""

    name: str
    data_type: T.DataType

    kind = "add"

    def __str__(self) -> str:
        return f"AddColumn({self.name}, {self.data_type.simpleString()})"


@dataclass(frozen=True)
class WidenColumn:
    """Change a column's type to one that holds every value of both sides."""

    name: str
    current: T.DataType
    data_type: T.DataType

    kind = "widen"

    def __str__(self) -> str:
        return f"WidenColumn({self.name}, {self.current.simpleString()} → {self.data_type.simpleString()})"


Operation = AddColumn | WidenColumn
Kind = Literal["add", "widen"]
KINDS: tuple[str, ...] = get_args(Kind)


def diff(current: T.StructType, incoming: T.StructType) -> tuple[Operation, ...]:
    """The operations after which every incoming column fits; names compare as Spark does, without case.

    >>> now = T.StructType().add("id", T.IntegerType())
    >>> new = T.StructType().add("id", T.LongType()).add("channel", T.StringType())
    >>> [str(operation) for operation in diff(now, new)]
    ['WidenColumn(id, int → bigint)', 'AddColumn(channel, string)']
    """
    found = [_operation(current, f) for f in incoming.fields]
    return tuple(operation for operation in found if operation is not None)


def chosen(current: T.StructType, incoming: T.StructType, evolve: str | Sequence[str], table: str) -> list[Operation]:
    """The operations of the kinds that ``evolve`` names; raises ``ConfigError`` for a kind that does not exist."""
    kinds = known(evolve, table)
    return [operation for operation in diff(current, incoming) if operation.kind in kinds]


def known(kinds: str | Iterable[str], table: str) -> tuple[str, ...]:
    """The kinds of operations that were named; raises ``ConfigError`` for one that does not exist."""
    named = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    unknown = [kind for kind in named if kind not in KINDS]
    if unknown:
        raise ConfigError(f"{table}: evolve knows no {', '.join(map(repr, unknown))}. It knows: {', '.join(KINDS)}.")
    return named


def storable(data_type: T.DataType) -> T.DataType:
    """The type in a table of a column of this type: what holds nothing but NULL becomes text."""
    return T.StringType() if isinstance(data_type, T.NullType) else data_type


def parsed(ddl: str) -> T.StructType:
    """DDL text as a schema; raises ``ConfigError`` where it is none."""
    try:
        found = T._parse_datatype_string(ddl)
    except PySparkException as error:
        raise ConfigError(f"the schema is no DDL text such as 'id bigint, name string' ({error.getErrorClass()}).") from error
    if not isinstance(found, T.StructType):
        raise ConfigError(f"the schema is {found.simpleString()}, not columns. Write it like 'id bigint, name string'.")
    return found


def columns_of(given: T.StructType) -> T.StructType:
    """The columns of a new table for rows of this schema, all nullable."""
    return T.StructType([T.StructField(f.name, storable(f.dataType)) for f in given.fields])


def applied(current: T.StructType, operations: Iterable[Operation]) -> T.StructType:
    """The schema after operations."""
    types = {f.name: f.dataType for f in current.fields} | {o.name: o.data_type for o in operations}
    return T.StructType([T.StructField(n, t) for n, t in types.items()])


def _operation(current: T.StructType, incoming: T.StructField) -> Operation | None:
    name = find(current.names, incoming.name)
    if name is None:
        return AddColumn(incoming.name, storable(incoming.dataType))
    stored = current[name].dataType
    if not same_type(stored, incoming.dataType) and widens(stored, incoming.dataType):
        return WidenColumn(name, stored, incoming.dataType)
    return None


def allowed(operations: Sequence[Operation], allow: Iterable[str], table: str) -> tuple[Operation, ...]:
    """The operations if all are permitted; raises ``SchemaConflict`` naming the first that is not, ``ConfigError`` for no kind."""
    permitted = known(allow, table)
    for operation in operations:
        if operation.kind not in permitted:
            listed = ", ".join(permitted) or "nothing"
            raise SchemaConflict(f"{table}: {operation} is not allowed. Allowed here: {listed}. Permit it with allow=['{operation.kind}'].")
    return tuple(operations)
