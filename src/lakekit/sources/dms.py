"""dms: the files that AWS Database Migration Service writes to S3, full load and ongoing changes as one feed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.changes import DELETE, OP, REASON, ChangeFeed, Ties, changes
from lakekit.columns import col, find
from lakekit.errors import SourceError
from lakekit.sources import common, keychange
from lakekit.sources.delimited import FILE, POSITION, Dialect
from lakekit.sources.dms_csv import read_csv
from lakekit.sources.dms_files import PHASE, Layout, kind_of, listing, read_parquet

SEQUENCE, NAME, ROW = "dms_sequence", "dms_file", "dms_position"
_HEADER = "AR_H_"
"""What DMS can add to a row about its event starts so."""
_COMMITTED = ("AR_H_COMMIT_TIMESTAMP", "AR_H_TIMESTAMP")


def dms(
    path: str | Sequence[str],
    *,
    keys: str | Sequence[str],
    columns: str | Sequence[str] | T.StructType | None = None,
    header: bool | None = None,
    op_column: str | None = "Op",
    full_load_op: bool | None = None,
    format: Literal["csv", "parquet"] | None = None,
    sequence_column: str = "AR_H_CHANGE_SEQ",
    timestamp_column: str | None = None,
    before_prefix: str = "BI_",
    delimiter: str = ",",
    null_value: str | None = None,
    strip_blanks: bool | None = None,
    multiline: bool = True,
    unchanged: str | None = None,
    ignore_nulls: bool | str | Sequence[str] = False,
    except_columns: str | Sequence[str] = (),
    ties: Ties = "fail",
    spark: SparkSession | None = None,
) -> ChangeFeed:
    """Read an AWS DMS S3 target: full-load files (``LOAD*``) and change files below *path* as one feed.

    **Columns.** *columns* declares them in file order, without the operation: names (then all CSV columns are text), DDL or a type;
    a value that is not of its type makes the row bad. Without *columns*, Parquet's own schema holds, and CSV needs a header: the
    first lines of the first and last file of each phase are read at once, here. *header* ``None`` recognises a header by its names
    in each file. *op_column* is the operation (I, U, D), first in a file without header unless *columns* places it; ``None``: the
    feed has none, each row is an insert. Full-load files may have it or not (``full_load_op=None``: each row shows by its number
    of fields).

    **Order.** ``dms_phase`` (int: 0 full load, 1 changes), then ``dms_sequence`` (decimal(38,0), the exact *sequence_column*) where
    there is one; else *timestamp_column* (the commit time, as UTC where it has no zone) if named, then ``dms_file`` (the file's name
    without ending: DMS names sort as they were written) and ``dms_position`` (bigint, row in the file). With before images
    ``dms_step`` comes last (see below). All of them stay in the table unless *except_columns* names them.

    **Key changes.** Where *before_prefix* + key columns exist, an update to another key becomes a delete of the old key and an
    upsert of the new one, also when rows exchange keys in one transaction. The before images do not reach the table.

    **CSV.** An empty field without quotes is NULL, or the text *null_value* is (then an empty field is empty text). *strip_blanks*
    ``None`` drops blanks after delimiters in records where a blank follows each of them. *multiline* lets quoted fields hold line
    breaks. A column whose text is *unchanged* (DMS: ``CsvNoSupValue``) keeps its value. With ``header=False``, ``multiline=False``
    and a *sequence_column* nothing is shuffled; otherwise lines are counted, one shuffle by file.

    Bad rows: unknown operation, wrong number of fields, a value not of its declared type, a change without sequence.
    Raises ``SourceError`` when the path or a column is missing, ``ConfigError`` when columns are not declared and cannot be known.

    >>> feed = dms("/landing/customer/", keys=["custid"], columns=["custid", "lastname", "phone"])  # doctest: +SKIP
    >>> feed.sequence_by  # doctest: +SKIP
    ('dms_phase', 'dms_file', 'dms_position')
    """
    spark = common.session(spark)
    named = (keys,) if isinstance(keys, str) else tuple(keys)
    files = listing(spark, path)
    wanted = None if columns is None else common.declared(spark, columns)
    counted = wanted is None or find(wanted.names, sequence_column) is None
    dialect = Dialect(delimiter, null_value, strip_blanks)
    layout = Layout(named, before_prefix, wanted, op_column, header, full_load_op, multiline, counted, dialect, unchanged)
    parquet = (format or kind_of(path, files)) == "parquet"
    df = read_parquet(spark, path, files, layout) if parquet else read_csv(spark, path, files, layout)
    df, sequence_by = _in_order(df, sequence_column, timestamp_column)
    time = find(df.columns, timestamp_column) if timestamp_column else None
    df, sequence_by = _without_before_images(df, named, before_prefix, sequence_by, time)
    return changes(
        _tidy(df, sequence_by),
        keys=named,
        sequence_by=sequence_by,
        ignore_nulls=ignore_nulls,
        except_columns=except_columns,
        ties=ties,
        source=f"dms:{', '.join(common.paths(path))}",
    )


def _tidy(df: DataFrame, sequence_by: Sequence[str]) -> DataFrame:
    """The source's columns first, then what orders them, then lakekit's own."""
    made = [c for c in sequence_by if c in (PHASE, SEQUENCE, NAME, ROW, keychange.STEP)]
    own = [c for c in common.visible(df.columns) if c not in made]
    return df.select(*map(col, (*own, *made, *(c for c in df.columns if c.startswith("_lk_")))))


def _in_order(df: DataFrame, sequence_column: str, timestamp_column: str | None) -> tuple[DataFrame, list[str]]:
    """Add the columns that order the feed, in the order in which they count."""
    sequence = find(df.columns, sequence_column)
    if sequence is not None:
        return _by_sequence(df, sequence), [PHASE, SEQUENCE]
    name = F.regexp_replace(FILE, r"(?i)\.(csv|parquet).*$|\..*parquet$", "")
    df = df.withColumn(NAME, name).withColumn(ROW, col(POSITION)).drop(FILE, POSITION)
    if timestamp_column is None:
        return df, [PHASE, NAME, ROW]
    df, time = _timed(df, timestamp_column)
    return df, [PHASE, time, NAME, ROW]


def _by_sequence(df: DataFrame, column: str) -> DataFrame:
    """The change sequence as an exact number of up to 38 digits; only full-load rows may lack it."""
    text = F.trim(col(column).cast("string"))
    number = F.when(text.rlike(r"^[0-9]{1,38}$"), text)
    needed = F.when((col(PHASE) == 1) & number.isNull(), F.lit(f"column {column}: not a whole number of at most 38 digits"))
    df = df.withColumn(REASON, F.coalesce(REASON, needed))
    return df.withColumn(SEQUENCE, number.cast(T.DecimalType(38, 0))).drop(*({column, FILE, POSITION} - {SEQUENCE}))


def _timed(df: DataFrame, column: str) -> tuple[DataFrame, str]:
    """The commit time as an instant; only full-load rows may lack it."""
    name = find(df.columns, column)
    if name is None:
        raise SourceError(f"timestamp_column: the files have no column {column}. They have: {', '.join(common.visible(df.columns))}.")
    df = common.parsed(df, T.StructType([T.StructField(name, T.TimestampType())]))
    needed = F.when((col(PHASE) == 1) & col(name).isNull(), F.lit(f"column {name}: a change without its commit time"))
    return df.withColumn(REASON, F.coalesce(REASON, needed)), name


def _without_before_images(
    df: DataFrame, keys: Sequence[str], prefix: str, sequence_by: list[str], time: str | None
) -> tuple[DataFrame, list[str]]:
    """Turn before images into key changes and drop them."""
    images = {name: find(df.columns, prefix + name) for name in common.visible(df.columns)} if prefix else {}
    before = {name: image for name, image in images.items() if image is not None}
    own = [name for key in keys if (name := find(df.columns, key)) is not None]
    if not any(key in before for key in own):
        return df.drop(*before.values()), sequence_by
    deleted = {key: F.when(col(OP) == DELETE, F.coalesce(key, before[key])).otherwise(col(key)) for key in own if key in before}
    incidental = [name for name in common.visible(df.columns) if name.upper().startswith(_HEADER) or name == time]
    df = keychange.split(
        df.withColumns(deleted),
        keys=own,
        before=before,
        sequence_by=sequence_by,
        same_statement=_statement(df, sequence_by, time),
        incidental=incidental,
    )
    return df, [*sequence_by, keychange.STEP]


def _statement(df: DataFrame, sequence_by: Sequence[str], time: str | None) -> keychange.SameStatement:
    """How to tell that two rows may be of one statement: their commit time, else the time that a change sequence starts with,
    else that they are neighbours in one file."""
    known = time or next((name for name in (find(df.columns, wanted) for wanted in _COMMITTED) if name is not None), None)
    if known is not None:
        return lambda earlier: earlier[known].eqNullSafe(col(known))
    if SEQUENCE in sequence_by:
        return lambda earlier: _hundredth(earlier[SEQUENCE]) == _hundredth(col(SEQUENCE))
    return lambda earlier: (earlier[NAME] == col(NAME)) & (earlier[ROW] == col(ROW) - 1)


def _hundredth(sequence: Column) -> Column:
    """The first 16 of 35 digits, which are a time to 1/100 s; NULL for a sequence of another shape."""
    text = sequence.cast("string")
    return F.when(F.length(text) == 35, F.substring(text, 1, 16))
