"""files: CSV, JSON, Parquet and ORC files of a declared schema, as they come from any producer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args
from urllib.parse import unquote

from pyspark.sql import Column, DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.changes import RAW, REASON, ChangeFeed, Ties, changes
from lakekit.columns import col, quoted
from lakekit.errors import ConfigError, SourceError
from lakekit.sources import common, json_text
from lakekit.sources import manifest as manifests
from lakekit.sources.common import NO_NULL, Paths
from lakekit.sources.delimited import Dialect, header_of, null_marked
from lakekit.sources.exact import literal
from lakekit.sources.readings import Reading, decimal_number, from_spark, kept, misread, plain

_CORRUPT, _OBJECT = "_lk_corrupt", "_lk_object"
_EASY = 20
"""Where no decimal has more digits, each is parsed as one with 18 more behind the point, which tells what would be rounded, and costs
less than to keep the number's text."""

FileFormat = Literal["csv", "json", "parquet", "orc"]


def files(
    path: str | Sequence[str],
    *,
    format: FileFormat,
    schema: str | T.StructType,
    keys: str | Sequence[str],
    sequence_by: str | Sequence[str],
    delete_when: str | Column | None = None,
    upsert_when: str | Column | None = None,
    truncate_when: str | Column | None = None,
    manifest: str | None = None,
    header: bool = True,
    delimiter: str = ",",
    null_value: str | None = None,
    multiline: bool = False,
    except_columns: str | Sequence[str] = (),
    ignore_nulls: bool | str | Sequence[str] = False,
    unchanged: str | None = None,
    ties: Ties = "fail",
    spark: SparkSession | None = None,
) -> ChangeFeed:
    """Read plain files whose columns are declared: *schema* in DDL or as a type; nothing is inferred.

    CSV and JSON: a row that cannot be parsed, or with a value that is not of its declared type (no rounding, no overflow), is bad and
    keeps its raw content. Timestamps without a zone are UTC. JSON attributes and Parquet or ORC columns that are not declared are
    left out. CSV columns stand in the declared order; with *header* the first line must name them so. An empty CSV field without
    quotes is NULL, or the text *null_value* is (then an empty field is empty text). *multiline* lets one CSV field or JSON object run
    over several lines (a file is then one task).

    *manifest* lists path, size and sha256 of each file (JSON or CSV); the listed files are verified before any row is read, and only
    they are read. With several paths its relative paths start at the first.

    Raises ``SourceError`` when a path is missing, a file is not what the manifest says, a CSV header or a Parquet or ORC column
    does not fit the schema.

    >>> feed = files("/landing/orders/", format="json", schema="order_id bigint, qty int, lsn bigint, op string",
    ...              keys=["order_id"], sequence_by=["lsn"], delete_when="op = 'D'", except_columns=["op"])  # doctest: +SKIP
    """
    if format not in get_args(FileFormat):
        raise ConfigError(f"files knows no format {format!r}. It knows: {', '.join(get_args(FileFormat))}.")
    spark = common.session(spark)
    declared = common.declared(spark, schema)
    listed: Paths = manifests.verified(spark, manifest, common.paths(path)[0]) if manifest else path
    reader = spark.read.option("recursiveFileLookup", "true")
    if manifest:
        reader = reader.option("__globPaths__", "false")  # a listed a[1].csv is that file, and not a1.csv
    if format == "csv":
        df = _csv(reader, listed, declared, Dialect(delimiter, null_value), header=header, multiline=multiline)
        if header:
            _check_header(spark, df, declared, Dialect(delimiter))
    elif format == "json":
        df = _json(common.load(reader.option("wholetext", str(multiline).lower()), "text", listed, called=format), declared)
    else:
        df = _columnar(reader, format, listed, declared)
    df = common.parsed(df, declared).select(*map(col, (*declared.names, REASON, RAW)))
    return changes(
        df.withColumn(RAW, json_text.as_it_was(col(RAW))) if format == "json" else df,
        keys=keys,
        sequence_by=sequence_by,
        delete_when=delete_when,
        upsert_when=upsert_when,
        truncate_when=truncate_when,
        except_columns=except_columns,
        ignore_nulls=ignore_nulls,
        unchanged=unchanged,
        ties=ties,
        source=f"{format}:{', '.join(common.paths(path))}",
    )


def _csv(reader: DataFrameReader, path: Paths, declared: T.StructType, dialect: Dialect, *, header: bool, multiline: bool) -> DataFrame:
    """Every column as text, for `common.parsed` to cast; Spark compares each file's header with the schema."""
    options = {
        "sep": dialect.delimiter,
        "header": str(header).lower(),
        "multiLine": str(multiline).lower(),
        "escape": '"',  # RFC 4180: a quote inside quotes is doubled
        "nullValue": NO_NULL,
        "enforceSchema": "false",
    }
    df = _permissive(reader.options(**options), "csv", path, common.as_text(declared))
    texts = {name: null_marked(col(name), dialect, quoted=F.lit(True)) for name in declared.names}
    return _with_reason(df.withColumns(texts), "wrong number of fields, or a quote that is not closed")


def _check_header(spark: SparkSession, df: DataFrame, declared: T.StructType, dialect: Dialect) -> None:
    """Compare the first file at once, for a clear error; Spark does the same for each file when it is read."""
    first = next(iter(df.inputFiles()), None)
    found = header_of(spark, first, dialect, strip=False) if first is not None else []
    if first is not None and found and [n.lower() for n in found] != [n.lower() for n in declared.names]:
        wanted = ", ".join(declared.names)
        raise SourceError(f"{unquote(first)}: the first line does not name the columns {wanted}. Declare the file's own, or header=False.")


def _columnar(reader: DataFrameReader, format: str, path: Paths, declared: T.StructType) -> DataFrame:
    """Parquet or ORC by their own schemas, merged; a folder without any file, which has none, is an empty feed."""
    try:
        return common.load(reader.option("mergeSchema", "true"), format, path)
    except SourceError as error:
        if "UNABLE_TO_INFER_SCHEMA" not in str(error):
            raise
        return common.load(reader.schema(declared), format, path)


def _json(lines: DataFrame, declared: T.StructType) -> DataFrame:
    """One row for each object; what a value's own type could round or cut comes as text, and is read where that loses nothing."""
    readings = {f.name: _reading(f.dataType, exact=_long_decimal(declared)) for f in declared.fields}
    text = json_text.with_numbers_kept(F.expr(json_text.WITHOUT_BOM), kept(readings))
    texts = lines.where("trim(value) <> ''").select(text.alias("value")).select(F.explode(json_text.listed(F.col("value"))).alias("value"))
    wire = T.StructType([*(T.StructField(n, r.wire) for n, r in readings.items()), T.StructField(_CORRUPT, T.StringType())])
    parsed = F.from_json("value", wire, {"columnNameOfCorruptRecord": _CORRUPT})
    df = texts.select(F.col("value").alias(RAW), parsed.alias(_OBJECT))
    values = [f"{r.decode(f'{_OBJECT}.{quoted(n)}')} AS {quoted(n)}" for n, r in readings.items()]
    return df.selectExpr(*values, _OBJECT, RAW).selectExpr("*", f"{_unread(declared, readings)} AS {REASON}").drop(_OBJECT)


def _unread(declared: T.StructType, readings: Mapping[str, Reading]) -> str:
    """Why an object is a bad row, or NULL; a flat value that came and is not there any more could not be read."""
    verdicts = {}
    for f in declared.fields:
        reading, found = readings[f.name], f"{_OBJECT}.{quoted(f.name)}"
        lost = misread(reading, found) if reading.parts else f"({found} IS NOT NULL AND {quoted(f.name)} IS NULL)"
        verdicts[f] = lost if reading.checked else None
    said = [f"WHEN {bad} THEN {literal(common.not_a(f))}" for f, bad in verdicts.items() if bad]
    corrupt = "not a JSON object, or a value that is not of its declared type"
    return f"CASE WHEN {_OBJECT}.{_CORRUPT} IS NOT NULL THEN '{corrupt}' {' '.join(said)} END"


def _reading(declared: T.DataType, *, exact: bool) -> Reading:
    """How a JSON value comes in. Instants at the top stay text, for `common.parsed`, which takes every way to write them."""
    if isinstance(declared, (T.TimestampType, T.TimestampNTZType, T.DateType)):
        return plain(T.StringType())
    return from_spark(declared, lambda part: _own(part, exact=exact), called="JSON")


def _own(declared: T.DataType, *, exact: bool) -> Reading | None:
    """Wall clocks come as Spark parses them, and so do decimals where their text is not needed to be *exact*."""
    if isinstance(declared, T.TimestampNTZType):
        return Reading(declared, declared)
    return decimal_number(declared) if isinstance(declared, T.DecimalType) and not exact else None


def _long_decimal(declared: T.DataType) -> bool:
    """Whether a decimal of more digits than `_EASY` is in a type."""
    inner = [f.dataType for f in declared.fields] if isinstance(declared, T.StructType) else []
    inner += [declared.elementType] if isinstance(declared, T.ArrayType) else []
    inner += [declared.valueType] if isinstance(declared, T.MapType) else []
    return (isinstance(declared, T.DecimalType) and declared.precision > _EASY) or any(map(_long_decimal, inner))


def _permissive(reader: DataFrameReader, format: str, path: Paths, schema: T.StructType) -> DataFrame:
    corrupt = T.StructField(_CORRUPT, T.StringType())
    options = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": _CORRUPT}
    return common.load(reader.schema(T.StructType([*schema.fields, corrupt])).options(**options), format, path)


def _with_reason(df: DataFrame, reason: str) -> DataFrame:
    """A row that Spark could not parse is bad, and its text is its raw content."""
    return df.withColumn(REASON, F.when(col(_CORRUPT).isNotNull(), F.lit(reason))).withColumnRenamed(_CORRUPT, RAW)
