"""DynamoDB: exports to S3 (full, incremental) and stream records in typed JSON → ChangeFeed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.changes import OP, RAW, REASON, ChangeFeed, Ties, changes
from lakekit.columns import quoted
from lakekit.errors import ConfigError, SourceError
from lakekit.sources import common, exact
from lakekit.sources import dynamodb_types as typed
from lakekit.sources.debezium_records import records

PHASE, SEQUENCE = "ddb_phase", "ddb_sequence"
_CORRUPT = "_lk_corrupt"
_IMAGES = ("Item", "NewImage", "Keys", "dynamodb.NewImage", "dynamodb.Keys")


def dynamodb(
    path: DataFrame | common.Paths,
    *,
    keys: str | Sequence[str],
    schema: str | T.StructType | None = None,
    numbers: str = "decimal(38,18)",
    export_time: datetime | None = None,
    ties: Ties = "fail",
    ignore_nulls: bool | str | Sequence[str] = False,
    except_columns: str | Sequence[str] = (),
    name: str | None = None,
    spark: SparkSession | None = None,
) -> ChangeFeed:
    """Read the items or the changes of one DynamoDB table from typed JSON.

    *path* is the path or paths of files with one JSON record a line (an export's ``data/`` folder, gzip or not; stream records as
    Firehose or a Lambda wrote them), or a frame with such text in ``value`` or in its only column. Records may be mixed: a full
    export's ``{"Item": …}``, an incremental export's ``{"Metadata", "Keys", "NewImage"}`` (no ``NewImage``: a delete), and a
    stream's or Kinesis' ``{"eventName": "INSERT|MODIFY|REMOVE", "dynamodb": {…}}``, also as a Lambda's event ``{"Records": […]}`` or,
    as Firehose delivers them, many on a line.

    *schema* is the row's columns as Spark DDL or ``StructType``; other attributes are left out. ``None`` takes the union of all items'
    attributes, which **reads the files once** when this is called (Spark's JSON inference; for a path only). Then N becomes *numbers*,
    M a struct, L and the sets an array (sets sorted), and an attribute that comes with different types becomes text, as does any
    attribute declared string: numbers as written, documents as their typed JSON. A declared date or timestamp is read from ISO text (S).
    A value that its type cannot hold exactly makes a bad row. An image is the whole item: an attribute that it lacks is NULL.

    The sequence is ``ddb_phase`` (0 full export, 1 change) and ``ddb_sequence``, decimal(38,0): the stream's ``SequenceNumber``, an
    incremental export's ``WriteTimestampMicros``, Kinesis' creation time in microseconds, or *export_time* of a full export. These
    count differently: after a full export feed a table from one kind of change only.

    Raises ``ConfigError`` for a wrong schema and ``SourceError`` when there is none and none can be inferred.

    >>> rows = [('{"Item": {"id": {"S": "a"}, "price": {"N": "79.99"}, "sizes": {"NS": ["10", "9"]}}}',)]
    >>> feed = dynamodb(spark.createDataFrame(rows, "value string"), keys="id", schema="id string, price decimal(10,2), sizes array<int>")
    >>> feed.df.select("id", "price", "sizes", "ddb_phase", "_lk_op").show()
    +---+-----+-------+---------+------+
    | id|price|  sizes|ddb_phase|_lk_op|
    +---+-----+-------+---------+------+
    |  a|79.99|[9, 10]|        0|upsert|
    +---+-----+-------+---------+------+
    <BLANKLINE>
    """
    wanted = (keys,) if isinstance(keys, str) else tuple(keys)
    messages = records(path, spark, prefix="__")
    if not messages.text:
        raise SourceError("the frame has no column value and more than one column. Select the one that holds the JSON text.")
    lines = _one_by_one(messages.df)
    row = _inferred(path, lines, numbers) if schema is None else common.declared(lines.sparkSession, schema)
    missing = [k for k in wanted if k not in row.names]
    if missing:
        raise ConfigError(f"keys names {', '.join(missing)}, which the items do not have. Their columns: {', '.join(row.names)}.")
    for column in row.fields:
        typed.check(column.dataType, column.name)
    return changes(
        _rows(_normal(lines, row, wanted, export_time), row, wanted),
        keys=wanted,
        sequence_by=[PHASE, SEQUENCE],
        ties=ties,
        ignore_nulls=ignore_nulls,
        except_columns=except_columns,
        source=name or "dynamodb",
    )


def _one_by_one(lines: DataFrame) -> DataFrame:
    """A Lambda's event holds many stream records; each becomes a row."""
    event = F.col("value").rlike(r'^\s*\{\s*"Records"\s*:\s*\[')
    inside = F.when(event, F.from_json(F.get_json_object("value", "$.Records"), "array<string>"))
    return lines.select(F.explode(F.coalesce(inside, F.array("value"))).alias("value"))


def _inferred(path: DataFrame | common.Paths, lines: DataFrame, numbers: str) -> T.StructType:
    if isinstance(path, DataFrame):
        raise SourceError("the columns of a frame of JSON text cannot be inferred. Declare them with schema='id string, …'.")
    number = common.declared(lines.sparkSession, f"n {numbers}")["n"].dataType
    if not isinstance(number, T.DecimalType):
        raise ConfigError(f"numbers is {number.simpleString()}; DynamoDB's numbers are decimals. Declare other types with schema=.")
    place = ", ".join(common.paths(path))
    seen = _seen(lines)
    images = [image for image in (_at(seen, found) for found in _IMAGES) if image is not None]
    if not images:
        raise SourceError(f"{place}: no line is an export's item or a stream record. Name the folder of data files.")
    row = typed.inferred(images, number)
    alike = typed.alike(row)
    if alike:
        raise SourceError(f"{place} cannot be read as json: attribute `{alike}` already exists, in other case. Declare one with schema=.")
    return row


def _seen(lines: DataFrame) -> T.StructType:
    """Spark's JSON inference over the records as they were parted; PySpark offers it for files and Python's own rows only."""
    spark = lines.sparkSession
    jvm: Any = spark._jvm
    texts = getattr(lines._jdf, "as")(jvm.org.apache.spark.sql.Encoders.STRING())
    return DataFrame(spark.read.option("primitivesAsString", "true")._jreader.json(texts), spark).schema


def _at(schema: T.DataType, path: str) -> T.DataType | None:
    for name in path.split("."):
        if not isinstance(schema, T.StructType) or name not in schema.names:
            return None
        schema = schema[name].dataType
    return schema


def _record(row: T.StructType, keys: Sequence[str]) -> T.StructType:
    """The parts of a record that are read, whichever kind it is."""
    image = T.StructType([T.StructField(f.name, typed.wire(f.dataType)) for f in row.fields])
    key = T.StructType([image[k] for k in keys])
    stream = T.StructType().add("Keys", key).add("NewImage", image)
    for text in ("SequenceNumber", "ApproximateCreationDateTime", "ApproximateCreationDateTimePrecision"):
        stream = stream.add(text, "string")
    metadata = T.StructType().add("WriteTimestampMicros", "string")
    found = T.StructType().add("Item", image).add("Metadata", metadata).add("Keys", key).add("NewImage", image)
    return found.add("eventName", "string").add("dynamodb", stream).add(_CORRUPT, "string")


def _normal(df: DataFrame, row: T.StructType, keys: Sequence[str], export_time: datetime | None) -> DataFrame:
    """Columns raw, act, image, key, phase, position (text), corrupt: one form for every kind of record."""
    parsed = F.from_json("value", _record(row, keys), {"columnNameOfCorruptRecord": _CORRUPT})
    kinds = """CASE WHEN m.Item IS NOT NULL THEN 'full' WHEN m.dynamodb IS NOT NULL THEN 'stream'
               WHEN m.Keys IS NOT NULL THEN 'incremental' END"""
    told = df.select(F.col("value").alias("raw"), parsed.alias("m")).selectExpr("*", f"{kinds} AS kind")
    return told.selectExpr(
        "raw",
        f"coalesce(m.{_CORRUPT} IS NOT NULL, true) AS corrupt",
        """CASE WHEN kind = 'full' OR m.eventName IN ('INSERT', 'MODIFY') THEN 'upsert' WHEN m.eventName = 'REMOVE' THEN 'delete'
           WHEN kind = 'incremental' THEN IF(m.NewImage IS NULL, 'delete', 'upsert') END AS act""",
        "coalesce(m.Item, m.dynamodb.NewImage, m.NewImage) AS image",
        "coalesce(m.dynamodb.Keys, m.Keys) AS key",
        "CASE WHEN kind = 'full' THEN 0 WHEN kind IS NOT NULL THEN 1 END AS phase",
        f"CASE kind WHEN 'full' THEN {_micros(export_time)} WHEN 'stream' THEN {_stream_position()} "
        "WHEN 'incremental' THEN regexp_extract(m.Metadata.WriteTimestampMicros, '([0-9]+)', 1) END AS position",
    )


def _micros(moment: datetime | None) -> str:
    """An instant as the text of its microseconds; one without a zone is UTC."""
    if moment is None:
        return "CAST(NULL AS STRING)"
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    elapsed = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return f"'{(elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds}'"


def _stream_position() -> str:
    """The record's number in its stream; Kinesis gives none, but a time in milliseconds or microseconds."""
    time = exact.decimal_from_text("m.dynamodb.ApproximateCreationDateTime", T.DecimalType(20, 0))
    factor = "IF(m.dynamodb.ApproximateCreationDateTimePrecision = 'MICROSECOND', 1, 1000)"
    return f"coalesce(m.dynamodb.SequenceNumber, CAST(try_multiply({time}, {factor}) AS STRING))"


def _rows(found: DataFrame, row: T.StructType, keys: Sequence[str]) -> DataFrame:
    columns = [
        f"CASE WHEN {_matters(f.name, keys)} THEN {typed.decode(f.dataType, _value(f.name, keys))} END AS {quoted(f.name)}"
        for f in row.fields
    ]
    sequence = [f"phase AS {PHASE}", f"{_sequence()} AS {SEQUENCE}"]
    return found.selectExpr(*columns, *sequence, f"act AS {OP}", f"{_reason(row, keys)} AS {REASON}", f"raw AS {RAW}")


def _sequence() -> str:
    return "CASE WHEN position RLIKE '^[0-9]+$' THEN try_cast(position AS DECIMAL(38,0)) END"


def _value(name: str, keys: Sequence[str]) -> str:
    found = f"image.{quoted(name)}"
    return f"coalesce({found}, key.{quoted(name)})" if name in keys else found


def _matters(name: str, keys: Sequence[str]) -> str:
    return "act IN ('upsert', 'delete')" if name in keys else "act = 'upsert'"


def _reason(row: T.StructType, keys: Sequence[str]) -> str:
    """Why a record is bad, or NULL: its JSON, its kind, its place in the order, then its attributes."""
    found = [
        "IF(corrupt AND json_object_keys(raw) IS NULL, 'the line is not a JSON object', NULL)",
        "IF(phase IS NULL, 'neither an item of an export nor a stream record', NULL)",
        "IF(act = 'upsert' AND image IS NULL, 'the stream record has no NewImage; its view type must include the new image', NULL)",
        f"IF(act IS NOT NULL AND phase = 1 AND {_sequence()} IS NULL, 'no sequence number or write time of at most 38 digits', NULL)",
    ]
    for f in row.fields:
        text = exact.literal(f"attribute {f.name}: cannot be read as {f.dataType.simpleString()} without loss")
        found.append(f"IF({_matters(f.name, keys)} AND ({typed.misread(f.dataType, _value(f.name, keys))}), {text}, NULL)")
    found.append("IF(corrupt AND act = 'upsert', 'an attribute is not in the form of its type', NULL)")
    return f"coalesce({', '.join(found)})"
