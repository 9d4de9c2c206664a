"""What the readers share: the session, declared columns, exact parsing, and what makes a row bad."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.changes import RAW, REASON
from lakekit.columns import col, find, fit, fitting, quoted, same_type
from lakekit.errors import ConfigError, SchemaConflict, SourceError

Paths = str | Sequence[str]
Declared = str | Sequence[str] | T.StructType
"""Declared columns: a DDL string, a type, or names alone (then every column is text)."""

Parsed = tuple[Column, Column | None]
"""A value, and when it makes its row bad (``None``: never)."""

_VALUE, _JSON, _BARRIER = "_lk_value_", "_lk_json", "_lk_barrier"

NO_NULL = "\u241elk-null"
"""Given to Spark as the spelling of NULL, so that only an empty field without quotes is NULL and ``""`` stays empty text."""

_ABOUT_PLACES = ("org.apache.hadoop.fs.", "java.net.", "java.nio.file.", "java.io.FileNotFound")
"""Java's errors that say what is wrong with a path, and nothing of what a file there holds."""


def session(spark: SparkSession | None) -> SparkSession:
    """The given session, else the active one; ``ConfigError`` where there is none."""
    found = spark or SparkSession.getActiveSession()
    if found is None:
        raise ConfigError("no Spark session is active. Make one with lakekit.session(), or pass spark=.")
    return found


def paths(path: Paths) -> list[str]:
    """One path or many, as a list."""
    return [path] if isinstance(path, str) else list(path)


def load(reader: DataFrameReader, format: str, path: Paths, *, called: str | None = None) -> DataFrame:
    """Let Spark open the path; ``SourceError`` names it where it is missing or is not what it is said to be (*called*, in words)."""
    try:
        return reader.format(format).load(paths(path))
    except (PySparkException, Py4JError) as error:
        raise SourceError(f"{', '.join(paths(path))} cannot be read as {called or format}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    """Spark's own words; of an error in Java its innermost cause, in full where that is about the place: others may quote content."""
    java = getattr(error, "java_exception", None)
    if java is None:
        return str(error).strip().split("\n", 1)[0]
    while java.getCause() is not None:
        java = java.getCause()
    kind = str(java.getClass().getName())
    if kind.startswith(_ABOUT_PLACES):
        return str(java.toString()).strip().split("\n", 1)[0]
    return f"a file there is damaged, of another kind, or of a schema that contradicts another's ({kind}). The cause names it."


def declared(spark: SparkSession, columns: Declared) -> T.StructType:
    """Declared columns as a type; names alone are text. ``ConfigError`` where the DDL is none."""
    if isinstance(columns, T.StructType):
        return columns
    if not isinstance(columns, str):
        return T.StructType([T.StructField(name, T.StringType()) for name in columns])
    try:
        return spark.createDataFrame([], columns).schema
    except PySparkException as error:
        raise ConfigError(f"the declared columns are no schema in DDL, such as 'id bigint, name string': {_first_line(error)}") from error


def as_text(schema: T.StructType) -> T.StructType:
    """The same names, every one of them text."""
    return T.StructType([T.StructField(f.name, T.StringType()) for f in schema.fields])


def parsed(df: DataFrame, schema: T.StructType, matters: Mapping[str, Column] | None = None) -> DataFrame:
    """Cast the columns of *schema* where that loses nothing, else say in ``_lk_reason`` which column is not what it is declared.

    *matters* holds, for some columns, the condition under which their value counts at all. Other columns pass through, the order
    of columns stays. A reason that the frame has already goes first. Where ``_lk_raw`` is missing, a bad row gets its columns as JSON.
    Raises ``SourceError`` when a column is missing or can never be read as its declared type.
    """
    pairs = {f.name: _parse(df, f) for f in schema.fields}
    raw = [col(RAW)] if RAW in df.columns else []
    # Values and the verdict on them in two steps, so that each value is computed once. The step must not be undone: Spark would push
    # a filter on the reason below it, with all that values and reason are made of written out again and again. It pushes nothing
    # below a step that is not deterministic; the partition's number is the cheapest such thing.
    values = {_VALUE + name: value for name, (value, _) in pairs.items()}
    df = df.withColumns({**values, _JSON: as_json(df), _BARRIER: F.spark_partition_id()})
    reason = _reason(df, schema, pairs, matters or {})
    columns = [
        _as_declared(name, schema) for name in df.columns if not name.startswith(_VALUE) and name not in (RAW, REASON, _JSON, _BARRIER)
    ]
    return df.select(*columns, reason.alias(REASON), F.coalesce(*raw, F.when(reason.isNotNull(), col(_JSON))).alias(RAW))


def _reason(df: DataFrame, schema: T.StructType, pairs: Mapping[str, Parsed], matters: Mapping[str, Column]) -> Column:
    known = [col(REASON)] if REASON in df.columns else []
    verdicts = [
        F.when(bad & matters.get(f.name, F.lit(True)), F.lit(not_a(f)))
        for f in schema.fields
        for bad in [pairs[f.name][1]]
        if bad is not None
    ]
    return F.when(col(_BARRIER) >= 0, F.coalesce(*known, *verdicts, F.lit(None).cast("string")))


def not_a(column: T.StructField) -> str:
    """The reason of a row that holds a value which is not of its declared type."""
    return f"column {column.name}: not a {column.dataType.simpleString()}"


def _as_declared(name: str, schema: T.StructType) -> Column:
    spelled = find(schema.names, name)
    return col(name) if spelled is None else col(_VALUE + spelled).alias(spelled)


def as_json(df: DataFrame) -> Column:
    """The row's own columns as JSON, NULLs included: the raw content of a row that has no text of its own."""
    return F.to_json(F.struct(*(col(c) for c in df.columns if not c.startswith("_lk_"))), {"ignoreNullFields": "false"})


def _parse(df: DataFrame, field: T.StructField) -> Parsed:
    name = find(df.columns, field.name)
    if name is None:
        raise SourceError(f"the source has no column {field.name}, which is declared. It has: {', '.join(visible(df.columns))}.")
    source = df.schema[name].dataType
    if isinstance(source, T.StringType) and not isinstance(field.dataType, T.StringType):
        return F.expr(_from_text(name, field)), col(name).isNotNull() & col(_VALUE + field.name).isNull()
    if isinstance(source, T.TimestampNTZType) and isinstance(field.dataType, T.TimestampType):
        return utc(name), None
    try:
        fitted = fit(name, source, field.dataType)
        return fitting(fitted), fitted[1]
    except SchemaConflict as error:
        say = f"column {field.name} is {source.simpleString()} in the source and declared {field.dataType.simpleString()}"
        raise SourceError(f"{say}. Declare the type that the source has, and let the table cast it.") from error


_DAY = "[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
_CLOCK = "[T ][0-9]{1,2}:[0-9]{1,2}(:[0-9]{1,2}([.][0-9]{1,6}0*)?)?"
_ZONE = " ?(Z|UTC|GMT|[+-][0-9]{1,2}(:?[0-9]{2})?)"


def _from_text(name: str, field: T.StructField) -> str:
    """Text as a value, in SQL; NULL where it is none, or where Spark's own cast would round, cut or read the session's zone."""
    text, target = f"trim({quoted(name)})", field.dataType
    cast = f"try_cast({text} AS {target.simpleString()})"
    if isinstance(target, T.DecimalType):
        return f"CASE WHEN {text} RLIKE '^[+-]?[0-9]*([.][0-9]{{0,{target.scale}}}0*)?$' THEN {cast} END"
    if isinstance(target, T.DateType):
        return f"CASE WHEN {text} RLIKE '^{_DAY}$' THEN {cast} END"
    if isinstance(target, T.TimestampNTZType):
        return f"CASE WHEN {text} RLIKE '^{_DAY}({_CLOCK})?$' THEN {cast} END"
    if isinstance(target, T.TimestampType):
        return (
            f"CASE WHEN {text} RLIKE '^{_DAY}{_CLOCK}$' THEN try_cast(concat({text}, 'Z') AS timestamp)"
            f" WHEN {text} RLIKE '^{_DAY}$' THEN try_cast(concat({text}, ' 00:00:00Z') AS timestamp)"
            f" WHEN {text} RLIKE '^{_DAY}{_CLOCK}{_ZONE}$' THEN {cast} END"
        )
    if isinstance(target, T.BinaryType):
        return f"try_to_binary({text}, 'hex')"
    if isinstance(target, (T.NumericType, T.BooleanType)):
        return cast
    raise ConfigError(
        f"column {field.name} is declared {target.simpleString()}, but comes as text. Declare it string, and parse it afterwards."
    )


def utc(name: str) -> Column:
    """A wall clock without a zone, read as UTC whatever the session's zone."""
    return F.expr(f"try_cast(concat(CAST({quoted(name)} AS string), 'Z') AS timestamp)")


def instants(df: DataFrame) -> DataFrame:
    """Every column that is a wall clock without a zone becomes an instant, read as UTC."""
    clocks = {f.name: utc(f.name) for f in df.schema.fields if same_type(f.dataType, T.TimestampNTZType())}
    return df.withColumns(clocks) if clocks else df


def visible(columns: Iterable[str]) -> list[str]:
    """The names that are the source's own."""
    return [name for name in columns if not name.startswith("_lk_")]
