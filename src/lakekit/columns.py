"""Columns as values: names, exact casts, an order and an equality that treat NULL, NaN and maps as values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.errors import LakekitError, SchemaConflict

_MICROS_PER_DAY = 86_400_000_000
_ZONE = r"(Z|UTC|GMT|[+-]\d{1,2}(:?\d{2}){0,2}|\[[^\]]+\]|[ ][A-Za-z]+/[A-Za-z_/]+)\s*$"
_CLOCK = "[T ][0-9]{1,2}:"  # no backslash: it stands in SQL text, whose escapes a conf can switch off


def quoted(name: str) -> str:
    """Quote one identifier for Spark SQL.

    >>> quoted("odd`name")
    '`odd``name`'
    """
    return "`" + name.replace("`", "``") + "`"


def col(name: str) -> Column:
    """The column of exactly this name, dots and blanks included."""
    return F.col(quoted(name))


def as_condition(given: str | Column) -> Column:
    """A condition that the user gave as SQL or as a column."""
    return F.expr(given) if isinstance(given, str) else given


def check_condition(df: DataFrame, given: str | Column, role: str, of: str, shown: Sequence[str], error: type[LakekitError]) -> None:
    """Let Spark read a condition now: later it would fail with a text that repeats the condition, and the values in it.

    Raises *error* where it is none: *role* names it, *of* whose columns it is about, *shown* those columns.
    """
    try:
        kind = df.select(as_condition(given)).schema.fields[0].dataType
    except AnalysisException as failed:
        raise error(
            f"{role} is no SQL condition over the {of}'s columns ({failed.getErrorClass()}). The {of} has: {', '.join(shown)}."
        ) from failed
    if not isinstance(kind, (T.BooleanType, T.NullType)):
        raise error(f"{role} is {kind.simpleString()}, not true or false. Write a comparison, such as \"op = 'D'\".")


def all_of(conditions: Iterable[Column]) -> Column:
    """True where every condition holds; true for none."""
    return reduce(lambda a, b: a & b, conditions, F.lit(True))


def any_of(conditions: Iterable[Column]) -> Column:
    """True where one condition holds; false for none."""
    return reduce(lambda a, b: a | b, conditions, F.lit(False))


def find(names: Iterable[str], wanted: str) -> str | None:
    """The name among *names* that Spark, which ignores case, takes *wanted* for.

    >>> find(["Id", "qty"], "id")
    'Id'
    """
    return next((name for name in names if name.lower() == wanted.lower()), None)


def same_type(one: T.DataType, other: T.DataType) -> bool:
    """Whether two types hold the same values; nullability and metadata do not count."""
    return one.simpleString().lower() == other.simpleString().lower()


def comparable(value: Column, data_type: T.DataType) -> Column:
    """The value in a form that Spark can order and compare: a map becomes its sorted entries, at any depth.

    Spark already orders NULL lowest, NaN highest and equal to itself, and -0.0 equal to 0.0.
    """
    if not has_map(data_type):
        return value
    if isinstance(data_type, T.MapType):
        entries = F.transform(
            F.map_entries(value),
            lambda e: F.struct(comparable(e["key"], data_type.keyType).alias("k"), comparable(e["value"], data_type.valueType).alias("v")),
        )
        return F.array_sort(entries)
    if isinstance(data_type, T.ArrayType):
        return F.transform(value, lambda e: comparable(e, data_type.elementType))
    assert isinstance(data_type, T.StructType)
    fields = F.struct(*(comparable(value[f.name], f.dataType).alias(f.name) for f in data_type.fields))
    return F.when(value.isNotNull(), fields)


def has_map(data_type: T.DataType) -> bool:
    """Whether a type holds a map at any depth, so that Spark cannot order it."""
    if isinstance(data_type, T.StructType):
        return any(has_map(f.dataType) for f in data_type.fields)
    if isinstance(data_type, T.ArrayType):
        return has_map(data_type.elementType)
    return isinstance(data_type, T.MapType)


def row_of(names: Sequence[str], schema: T.StructType, prefix: str = "") -> Column:
    """The named columns as one struct that compares like a row: column by column, NULL lowest."""
    types = {f.name: f.dataType for f in schema.fields}
    return F.struct(*(comparable(F.col(prefix + quoted(n)), types[n]).alias(f"c{i}") for i, n in enumerate(names)))


def canonical_float(value: Column, data_type: T.DataType) -> Column:
    """A key column in its one spelling: -0.0 becomes 0.0; every other type stays."""
    if isinstance(data_type, (T.DoubleType, T.FloatType)):
        return F.when(value == 0, F.lit(0.0).cast(data_type)).otherwise(value)
    return value


def utc_timestamp(name: str) -> Column:
    """Text as an instant: its own zone where it names one, else UTC, never the session's; NULL where it is none."""
    text = f"trim({quoted(name)})"
    complete = f"CASE WHEN {text} RLIKE '{_CLOCK}' THEN {text} ELSE concat({text}, ' 00:00:00') END"
    zoned = F.expr(f"try_cast({text} AS timestamp)")
    plain = F.expr(f"try_cast(concat({complete}, 'Z') AS timestamp)")
    return F.when(F.expr(text).rlike(_CLOCK) & F.expr(text).rlike(_ZONE), zoned).otherwise(plain)


def instant(name: str, data_type: T.DataType) -> Column:
    """A column of time as an instant: a date is the midnight, a clock without a zone the instant, of UTC; text as ``utc_timestamp``.

    Raises ``SchemaConflict`` for a type that holds no time. The session's time zone plays no part.
    """
    if isinstance(data_type, T.TimestampType):
        return col(name)
    if isinstance(data_type, T.StringType):
        return utc_timestamp(name)
    if isinstance(data_type, T.DateType):
        return F.timestamp_micros(F.unix_date(col(name)).cast("bigint") * F.lit(_MICROS_PER_DAY))
    if isinstance(data_type, T.TimestampNTZType):
        return F.expr(f"try_cast(concat(CAST({quoted(name)} AS string), 'Z') AS timestamp)")
    raise SchemaConflict(f"{name} is {data_type.simpleString()}, which is no date or time. Cast it, or name another column.")


def fit(name: str, source: T.DataType, target: T.DataType) -> tuple[Column, Column | None]:
    """Cast a column to the table's type where that loses nothing.

    Returns the value and the condition under which the row is bad (``None``: never). Means the same with ANSI on and off.
    Raises ``SchemaConflict`` when values of the one type never stand for values of the other.
    """
    if same_type(source, target):
        return col(name), None
    pair = _fit_pair(name, source, target)
    if pair is None:
        raise SchemaConflict(
            f"{name} is {target.simpleString()} in the table, incoming {source.simpleString()}. "
            "Cast it in the source, or evolve the table first."
        )
    return pair


def same_value(one: str, one_type: T.DataType, other: str, other_type: T.DataType) -> Column:
    """Whether two columns hold the same value, whatever types they have it in; never NULL.

    NULL = NULL, NaN = NaN, -0.0 = 0.0; arrays in order, maps as sets. A value that the other's type cannot hold equals none of it.
    Raises ``SchemaConflict`` as ``meeting`` does.
    """
    (value, bad), (other_value, other_bad), data_type = meeting(one, one_type, other, other_type)
    equal = comparable(value, data_type).eqNullSafe(comparable(other_value, data_type))
    return all_of([equal, *(~F.coalesce(each, F.lit(False)) for each in (bad, other_bad) if each is not None)])


Fitted = tuple[Column, Column | None]
"""A value, and when the original cannot be held in its type (``None``: always can)."""


def fitting(fitted: Fitted) -> Column:
    """The value, NULL where it cannot be held."""
    value, bad = fitted
    return value if bad is None else F.when(~bad, value)


def meeting(one: str, one_type: T.DataType, other: str, other_type: T.DataType) -> tuple[Fitted, Fitted, T.DataType]:
    """Two columns in one type, where equal values are equal; each with the condition under which it does not fit.

    Text stands for the value that it spells where the other column is no text: ``'33002.00'`` is 33002.0.
    Raises ``SchemaConflict`` when values of the one type never stand for values of the other.
    """
    types = (one_type, other_type)
    if any(isinstance(t, T.IntegralType) for t in types) and any(isinstance(t, T.StringType) for t in types):
        return fit(one, one_type, _DIGITS), fit(other, other_type, _DIGITS), _DIGITS  # text may spell a whole number as 5.00
    if isinstance(other_type, T.StringType):
        return (col(one), None), fit(other, other_type, one_type), one_type
    try:
        return fit(one, one_type, other_type), (col(other), None), other_type
    except SchemaConflict as conflict:
        try:
            return (col(one), None), fit(other, other_type, one_type), one_type
        except SchemaConflict:
            raise conflict from None


_DIGITS = T.DecimalType(38, 18)
"""Holds every whole number of 64 bits, and the fraction that text may give it."""


def _fit_pair(name: str, source: T.DataType, target: T.DataType) -> tuple[Column, Column | None] | None:
    if isinstance(source, T.NullType):
        return col(name).cast(target), None
    if isinstance(source, T.StringType):
        return _from_text(name, target)
    if isinstance(source, T.NumericType) and isinstance(target, T.NumericType):
        return _number(name, source, target)
    if isinstance(target, T.StringType) and isinstance(source, (T.NumericType, T.BooleanType, T.DateType)):
        return col(name).cast(target), None
    if isinstance(source, T.DateType) and isinstance(target, T.TimestampType):
        return instant(name, source), None
    if isinstance(source, T.TimestampType) and isinstance(target, T.DateType):
        return _midnight(name)
    if _widens(source, target):
        return col(name).cast(target), None
    return None


def _number(name: str, source: T.DataType, target: T.DataType) -> tuple[Column, Column]:
    value = F.expr(f"try_cast({quoted(name)} AS {target.simpleString()})")
    back = F.expr(f"try_cast(try_cast({quoted(name)} AS {target.simpleString()}) AS {source.simpleString()})")
    return value, col(name).isNotNull() & ~back.eqNullSafe(col(name))


def _from_text(name: str, target: T.DataType) -> tuple[Column, Column] | None:
    if not isinstance(target, (T.NumericType, T.BooleanType, T.DateType, T.TimestampType, T.TimestampNTZType)):
        return None
    value = utc_timestamp(name) if isinstance(target, T.TimestampType) else F.expr(f"try_cast({quoted(name)} AS {target.simpleString()})")
    bad = value.isNull()
    if isinstance(target, T.DecimalType):
        widest = f"decimal(38,{38 - target.precision + target.scale})"
        finer = col(name).rlike(rf"\.[0-9]{{{target.scale}}}[0-9]*[1-9]")  # a type of 38 digits has no wider one to compare with
        bad = bad | finer | ~F.expr(f"try_cast({quoted(name)} AS {widest})").eqNullSafe(value)
    if isinstance(target, T.DateType):
        bad = bad | ~F.trim(col(name)).rlike(r"^\d{4}-\d{1,2}-\d{1,2}$")
    if isinstance(target, (T.TimestampType, T.TimestampNTZType)):
        bad = bad | col(name).rlike(r"\.\d{6}\d*[1-9]")  # finer than the microseconds that Spark holds
    if isinstance(target, T.TimestampNTZType):
        bad = bad | (col(name).rlike(_CLOCK) & col(name).rlike(_ZONE))  # the cast would drop the zone
    return value, col(name).isNotNull() & bad


def _midnight(name: str) -> tuple[Column, Column]:
    micros = F.unix_micros(col(name))
    day = F.floor(micros / F.lit(_MICROS_PER_DAY)).cast("int")
    return F.date_from_unix_date(day), F.pmod(micros, F.lit(_MICROS_PER_DAY)) != 0


def _widens(source: T.DataType, target: T.DataType) -> bool:
    """Whether a nested type only widens: same shape, wider integers or floats, or more digits on both sides."""
    if same_type(source, target):
        return True
    if isinstance(source, T.ArrayType) and isinstance(target, T.ArrayType):
        return _widens(source.elementType, target.elementType)
    if isinstance(source, T.MapType) and isinstance(target, T.MapType):
        return _widens(source.keyType, target.keyType) and _widens(source.valueType, target.valueType)
    if isinstance(source, T.StructType) and isinstance(target, T.StructType):
        same_names = [f.name for f in source.fields] == [f.name for f in target.fields]
        return same_names and all(_widens(a.dataType, b.dataType) for a, b in zip(source.fields, target.fields, strict=True))
    return widens(source, target)


_INTEGERS = (T.ByteType, T.ShortType, T.IntegerType, T.LongType)


def widens(source: T.DataType, target: T.DataType) -> bool:
    """Whether every value of the flat type *source* is one of *target*.

    >>> widens(T.IntegerType(), T.LongType()), widens(T.LongType(), T.IntegerType())
    (True, False)
    """
    if isinstance(source, _INTEGERS) and isinstance(target, _INTEGERS):
        return _INTEGERS.index(type(source)) <= _INTEGERS.index(type(target))
    if isinstance(source, T.FloatType):
        return isinstance(target, (T.FloatType, T.DoubleType))
    if isinstance(source, T.DecimalType) and isinstance(target, T.DecimalType):
        return target.scale >= source.scale and target.precision - target.scale >= source.precision - source.scale
    return same_type(source, target)
