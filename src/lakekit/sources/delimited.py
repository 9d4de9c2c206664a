"""Delimited text as records with their file and position, each record an array of fields.

Spark's own CSV source tells neither the position of a row in its file nor the raw text of a row that it could parse. Here lines are
read as text, so both are known, and Spark's CSV parser (``from_csv``) reads one record at a time.

A position must be the same whenever and together with whatever the file is read: it is the number of the record's first line.
Spark gives lines no number, but (start of the split, running number) orders the lines of one file, so one window by file counts them.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from urllib.parse import unquote

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from lakekit.sources.common import NO_NULL, Paths, load

FILE, POSITION, PATH, RECORD = "_lk_file", "_lk_position", "_lk_path", "_lk_record"
HEADER, FIELDS, COUNT, QUOTED = "_lk_header", "_lk_fields", "_lk_count", "_lk_quoted"
MAX_LINES = 10_000
"""A quote that is never closed swallows at most this many lines, not the rest of a big file."""
_END = "\u241elk-end"
_BLOCK, _ROW, _START, _ODD, _PARSED = "_lk_block", "_lk_row", "_lk_start", "_lk_odd", "_lk_parsed"


@dataclass(frozen=True)
class Dialect:
    """How a delimited file is written.

    ``strip_blanks`` drops blanks after delimiters; ``None`` does so in records where a blank follows every delimiter.
    ``null_value`` is the text that stands for NULL; with ``None`` an empty field without quotes does.
    """

    delimiter: str = ","
    null_value: str | None = None
    strip_blanks: bool | None = None


def lines(spark: SparkSession, path: Paths, *, only: str = "*") -> DataFrame:
    """Lines of all files below the path: ``_lk_record``, ``_lk_file`` (name), ``_lk_path`` and what orders the lines of a file."""
    reader = spark.read.option("recursiveFileLookup", "true").option("pathGlobFilter", only).option("lineSep", "\n")
    return load(reader, "text", path).select(
        F.col("value").alias(RECORD),
        F.col("_metadata.file_name").alias(FILE),
        F.col("_metadata.file_path").alias(PATH),
        F.col("_metadata.file_block_start").alias(_BLOCK),
        F.monotonically_increasing_id().alias(_ROW),
    )


def unnumbered(lines: DataFrame) -> DataFrame:
    """Every line a record, without a position: no shuffle."""
    return lines.select(FILE, _without_return(RECORD).alias(RECORD)).where(F.trim(RECORD) != "")


def numbered(lines: DataFrame, dialect: Dialect, *, multiline: bool, header: int | None = None) -> DataFrame:
    """Records with ``_lk_position``, their first line's number from 1; with *header* (widest expected), ``_lk_header``.

    ``_lk_header`` holds the fields of the file's first line in lower case. With *multiline* a quoted field may run over several lines.
    One shuffle by file, whatever is asked.
    """
    ordered = Window.partitionBy(PATH).orderBy(_BLOCK, _ROW)
    df = lines.withColumn(POSITION, F.row_number().over(ordered).cast("bigint"))
    df = df.withColumn(RECORD, F.when(F.col(POSITION) == 1, F.regexp_replace(RECORD, "^\ufeff", "")).otherwise(F.col(RECORD)))
    if header is not None:
        first = F.when(F.col(POSITION) == 1, _header(header, dialect))
        df = df.withColumn(HEADER, first).withColumn(HEADER, F.first(HEADER, ignorenulls=True).over(ordered))
    if multiline:
        df = _joined(df, dialect)
    kept = [FILE, POSITION, *([HEADER] if header is not None else [])]
    return df.select(*kept, _without_return(RECORD).alias(RECORD)).where(F.trim(RECORD) != "")


def _header(width: int, dialect: Dialect) -> Column:
    """The names in a header line, in lower case and without blanks around them."""
    names = _as_array(_from_csv(_without_return(RECORD), width, dialect), width)
    known = F.filter(names, lambda name: name.isNotNull() & (name != _END))
    return F.transform(known, lambda name: F.lower(F.trim(name)))


def _joined(df: DataFrame, dialect: Dialect) -> DataFrame:
    """Lines between an opening and a closing quote become one record, at the position of the first.

    A line is inside a quoted field when the lines before it hold an odd number of quotes. Quotes that can neither open nor close
    a field (as in ``5" pipe``) do not count.
    """
    before = Window.partitionBy(PATH).orderBy(_BLOCK, _ROW).rowsBetween(Window.unboundedPreceding, -1)
    upto = Window.partitionBy(PATH).orderBy(_BLOCK, _ROW).rowsBetween(Window.unboundedPreceding, 0)
    df = df.withColumn(_ODD, _quotes(F.col(RECORD), dialect) % 2)
    inside = F.coalesce(F.sum(_ODD).over(before), F.lit(0)) % 2 == 1
    df = df.withColumn(_START, F.max(F.when(~inside, F.col(POSITION))).over(upto))
    start = F.when(F.col(POSITION) - F.col(_START) < MAX_LINES, F.col(_START)).otherwise(F.col(POSITION))
    text = F.sort_array(F.collect_list(F.struct(POSITION, RECORD)))
    header = [F.first(HEADER).alias(HEADER)] if HEADER in df.columns else []
    return (
        df.withColumn(_START, start)
        .groupBy(PATH, FILE, _START)
        .agg(F.array_join(F.transform(text, lambda line: line[RECORD]), "\n").alias(RECORD), *header)
        .withColumnRenamed(_START, POSITION)
    )


def _quotes(line: Column, dialect: Dialect) -> Column:
    """How many quotes of a line open or close a field; doubled ones count as none, which keeps odd odd."""
    delimiter = re.escape(dialect.delimiter)
    stray = rf'(?<!(?:^|{delimiter})[ \t]{{0,3}})"(?![ \t]*(?:$|{delimiter}))'
    single = F.regexp_replace(line, '""', "")
    count = F.length(F.regexp_replace(F.regexp_replace(single, stray, ""), '[^"]', ""))
    return F.when(line.contains('"'), count).otherwise(0)


def _without_return(record: str) -> Column:
    return F.when(F.col(record).endswith("\r"), F.regexp_replace(record, "\r$", "")).otherwise(F.col(record))


def parse(df: DataFrame, width: int, dialect: Dialect) -> DataFrame:
    """Add ``_lk_fields`` (array of text) and ``_lk_count``, their number (NULL: more than *width*, or an open quote).

    An empty field is NULL, or empty text if it stands in quotes; see `null_marked`. A record without a quote is only split, which is
    several times as fast as Spark's CSV parser.
    """
    # In steps, not in one expression: Spark keeps them apart, so each record is parsed once and not once for each field.
    simple = ~F.col(RECORD).contains('"')
    plain, quoted = _stripped(F.col(RECORD), dialect), F.when(~simple, _from_csv(F.col(RECORD), width, dialect))
    df = df.withColumn(_PARSED, quoted).withColumn(_PARSED, F.when(~simple, _as_array(F.col(_PARSED), width)))
    marks = F.array_position(_PARSED, _END) - 1
    split = F.split(plain, re.escape(dialect.delimiter), -1)
    df = df.withColumn(FIELDS, F.when(simple, split).otherwise(F.col(_PARSED)))
    count = F.when(simple, F.size(FIELDS)).otherwise(F.when(marks >= 0, marks).cast("int"))
    return df.withColumn(COUNT, F.when(count <= width, count)).withColumn(QUOTED, ~simple).drop(_PARSED)


def _stripped(record: Column, dialect: Dialect) -> Column:
    """A record without quotes, without the blanks that follow its delimiters where they are to be dropped."""
    stripped = F.regexp_replace(F.ltrim(record), rf"({re.escape(dialect.delimiter)})[ \t]+", "$1")
    if dialect.strip_blanks is None:
        return F.when(_blank_after_every_delimiter(record, dialect), stripped).otherwise(record)
    return stripped if dialect.strip_blanks else record


def _as_array(parsed: Column, width: int) -> Column:
    return F.array(*(parsed[f"c{i}"] for i in range(width + 1)))


def _from_csv(record: Column, width: int, dialect: Dialect) -> Column:
    """A record as a struct of *width* + 1 texts. The mark appended as one more field tells how many fields came before it."""
    schema = ", ".join(f"c{i} string" for i in range(width + 1))
    options = {"sep": dialect.delimiter, "escape": '"', "nullValue": NO_NULL, "multiLine": "true", "mode": "PERMISSIVE"}
    marked = F.concat(record, F.lit(dialect.delimiter + _END))
    kept = F.from_csv(marked, schema, options)
    stripped = F.from_csv(marked, schema, {**options, "ignoreLeadingWhiteSpace": "true"})
    if dialect.strip_blanks is None:
        return F.when(_blank_after_every_delimiter(record, dialect), stripped).otherwise(kept)
    return stripped if dialect.strip_blanks else kept


def _blank_after_every_delimiter(record: Column, dialect: Dialect) -> Column:
    delimiter = re.escape(dialect.delimiter)
    outside = F.regexp_replace(record, '"[^"]*"', "")
    blank = record.contains(f"{dialect.delimiter} ") | record.contains(f"{dialect.delimiter}\t")
    return blank & outside.rlike(f"{delimiter}[ \t]") & ~outside.rlike(f"{delimiter}(?![ \t]|$)")


def header_of(spark: SparkSession, file: str, dialect: Dialect, *, strip: bool = True) -> list[str]:
    """The fields of a file's first line, *strip*: without blanks around them. Reads that line at once; *file* as Spark lists it."""
    first = load(spark.read.option("lineSep", "\n"), "text", unquote(file)).head()
    line = first[0].removeprefix("\ufeff").rstrip("\r") if first else ""
    names = next(csv.reader([line], delimiter=dialect.delimiter, skipinitialspace=strip), [])
    return [name.strip() if strip else name for name in names]


def null_marked(value: Column, dialect: Dialect, *, quoted: Column) -> Column:
    """Without a NULL marker an empty field is NULL unless it stands in quotes; with one, the marker is NULL and nothing else.

    *quoted* tells whether the record was parsed with its quotes, where an empty field that is NULL already had none.
    """
    if dialect.null_value is None:
        return F.when(quoted | (value != ""), value)
    return F.when(value.isNull(), F.lit("")).when(value != dialect.null_value, value)
