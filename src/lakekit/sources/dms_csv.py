"""The CSV files of a DMS task as one frame: with and without header, with and without operation, and what makes a row bad."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.changes import ABSENT, OP, RAW, REASON
from lakekit.columns import all_of, col, find
from lakekit.errors import ConfigError
from lakekit.sources import common, delimited
from lakekit.sources.common import Paths
from lakekit.sources.delimited import COUNT, FIELDS, HEADER, POSITION, QUOTED, RECORD
from lakekit.sources.dms_files import OPCODE, PHASE, Layout, full_load, matters, name_of, operation, pattern, phase

_NAMED, _HAS_OP, _VALUES = "_lk_named", "_lk_has_op", "_lk_values"


def read_csv(spark: SparkSession, path: Paths, files: Sequence[str], layout: Layout) -> DataFrame:
    """All CSV files, each by its own header where it has one, else by the declared order of columns.

    Adds ``_lk_op``, ``_lk_reason``, ``_lk_raw``, ``_lk_file``, ``dms_phase``, and ``_lk_position`` where rows are counted.
    """
    sampled = _sampled_headers(spark, files, layout) if layout.columns is None else []
    declared = layout.columns or T.StructType([T.StructField(n, T.StringType()) for n in _union(sampled)])
    sparse = len({frozenset(_without(layout.op_column, names)) for names in sampled}) > 1
    op = find(declared.names, layout.op_column) if layout.op_column else None
    op_at = declared.names.index(op) if op else 0
    schema = T.StructType([f for f in declared.fields if f.name != op])
    df = _laid_out(_described(_records(spark, path, files, layout, schema.names), layout, schema.names), schema.names, op_at, layout)
    values = {name: delimited.null_marked(F.get(_VALUES, i), layout.dialect, quoted=col(QUOTED)) for i, name in enumerate(schema.names)}
    df = df.withColumns({**values, REASON: _misshapen(layout, schema.names, sparse=sparse)})
    df = df.withColumn(OP, operation(layout, bare=~col(_HAS_OP))).withColumnRenamed(RECORD, RAW)
    df = _unauthored(df, schema.names, layout, sparse=sparse)
    df = common.parsed(df, schema, matters(schema, layout))
    return df.drop(OPCODE, HEADER, FIELDS, COUNT, QUOTED, _VALUES, _NAMED, _HAS_OP)


def _records(spark: SparkSession, path: Paths, files: Sequence[str], layout: Layout, names: Sequence[str]) -> DataFrame:
    lines = delimited.lines(spark, path, only=pattern(files, "csv"))
    width = len(names) + 1
    if layout.header is False and not layout.multiline and not layout.counted:
        records = delimited.unnumbered(lines)
    else:
        header = None if layout.header is False else width
        records = delimited.numbered(lines, layout.dialect, multiline=layout.multiline, header=header)
    if HEADER not in records.columns:
        records = records.withColumn(HEADER, F.lit(None).cast("array<string>"))
    return delimited.parse(records, width, layout.dialect)


def _described(df: DataFrame, layout: Layout, names: Sequence[str]) -> DataFrame:
    """Add the phase, whether the file names its columns, whether the row has an operation; leave header lines out."""
    df = df.withColumn(PHASE, phase()).withColumn(_NAMED, _has_header(layout, names))
    if layout.header is not False:
        df = df.where(~(col(_NAMED) & (col(POSITION) == 1)))
    return df.withColumn(_HAS_OP, _has_op(layout, len(names)))


def _has_header(layout: Layout, names: Sequence[str]) -> Column:
    """Recognised by its names: every key is there, and the operation, or at least half of all names are declared.

    A header with a column too many is a header all the same: taken for data, it would let values slip into other columns.
    """
    if layout.header is not None or layout.columns is None:
        return F.lit(layout.header is not False)
    keys = all_of(F.array_contains(HEADER, key.lower()) for key in layout.keys)
    op = F.array_contains(HEADER, (layout.op_column or "").lower())
    known = F.size(_undeclared(layout, names)) * 2 <= F.size(HEADER)
    return F.coalesce(keys & (op | known), F.lit(False))


def _undeclared(layout: Layout, names: Sequence[str]) -> Column:
    return F.array_except(HEADER, _lower([*names, layout.op_column or ""]))


def _lower(names: Sequence[str]) -> Column:
    return F.array(*(F.lit(name.lower()) for name in names))


def _has_op(layout: Layout, width: int) -> Column:
    if layout.op_column is None:
        return F.lit(False)
    in_load = F.lit(layout.full_load_op) if layout.full_load_op is not None else F.coalesce(col(COUNT) == width + 1, F.lit(False))
    by_place = F.when(col(PHASE) == 1, F.lit(True)).otherwise(in_load)
    return F.when(col(_NAMED), F.array_contains(HEADER, layout.op_column.lower())).otherwise(by_place)


def _laid_out(df: DataFrame, names: Sequence[str], op_at: int, layout: Layout) -> DataFrame:
    """Add the fields of the declared columns in declared order and the operation.

    By name where the file has a header, else by place; one array, so that a column is then a plain look-up.
    """
    by_name = F.array(*(_named(name) for name in names))
    without_op = F.slice(FIELDS, op_at + 2, len(names))
    if op_at:
        without_op = F.concat(F.slice(FIELDS, 1, op_at), without_op)
    by_place = F.when(col(_HAS_OP), without_op).otherwise(col(FIELDS))
    placed_op = F.when(col(_NAMED), _named(layout.op_column or "")).otherwise(F.get(FIELDS, op_at))
    opcode = F.when(col(_HAS_OP), placed_op).cast("string")
    return df.withColumns({_VALUES: F.when(col(_NAMED), by_name).otherwise(by_place), OPCODE: F.upper(F.trim(opcode))})


def _named(name: str) -> Column:
    return F.get(FIELDS, F.array_position(HEADER, name.lower()).cast("int") - 1)


def _misshapen(layout: Layout, names: Sequence[str], *, sparse: bool) -> Column:
    """Why a record cannot be laid out, or NULL. A header's names may be data where no header is, so none is told."""
    missing = F.array_except(_lower(names), HEADER)
    expected = F.when(col(_NAMED), F.size(HEADER)).otherwise(F.lit(len(names)) + col(_HAS_OP).cast("int"))
    lacking = F.concat(F.lit("the file's header lacks the column "), F.array_join(missing, ", "))
    counted = F.concat_ws(" ", F.lit("wrong number of fields:"), col(COUNT), F.lit("instead of"), expected)
    return F.coalesce(
        F.when(col(_NAMED) & (F.size(_undeclared(layout, names)) > 0), F.lit("the file's header names a column that is not declared")),
        F.when(col(_NAMED) & (F.size(missing) > 0) & F.lit(not sparse), lacking),
        F.when(col(COUNT).isNull(), F.lit("wrong number of fields, or a quote that is not closed")),
        F.when(col(COUNT) != expected, counted),
    )


def _unauthored(df: DataFrame, names: Sequence[str], layout: Layout, *, sparse: bool) -> DataFrame:
    """Name in ``_lk_absent`` the columns that a row leaves as they are: the marker's, and those that its file does not have."""
    if layout.unchanged is None and not sparse:
        return df
    payload = [name for name in names if find(layout.keys, name) is None]
    marked = {name: col(name).eqNullSafe(F.lit(layout.unchanged)) if layout.unchanged is not None else F.lit(False) for name in payload}
    absent = {name: marked[name] | (col(_NAMED) & ~F.array_contains(HEADER, name.lower())) for name in payload}
    listed = F.array_compact(F.array(*(F.when(F.coalesce(test, F.lit(False)), F.lit(name)) for name, test in absent.items())))
    return df.withColumn(ABSENT, listed).withColumns({name: F.when(~marked[name], col(name)) for name in payload})


def _sampled_headers(spark: SparkSession, files: Sequence[str], layout: Layout) -> list[list[str]]:
    """Names in the first and the last full-load file and the first and the last file of changes; reads one line of each."""
    named = [file for file in files if ".csv" in name_of(file).lower()]
    phases = ([f for f in named if full_load(name_of(f))], [f for f in named if not full_load(name_of(f))])
    sample = dict.fromkeys(file for files in phases if files for file in (files[0], files[-1]))
    headers = {file: names for file in sample if (names := delimited.header_of(spark, file, layout.dialect))}
    lacking = {name for file, names in headers.items() for name in _telling(file, layout) if find(names, name) is None}
    if layout.header is False or lacking or not headers:
        said = f"the first line does not name {', '.join(sorted(lacking))}" if lacking else "there is no header to take them from"
        raise ConfigError(f"the columns are not declared and {said}. Declare them in file order: columns=[…] or a schema in DDL.")
    return list(headers.values())


def _telling(file: str, layout: Layout) -> list[str]:
    """Names without which a first line is no header: the keys, and the operation of a file of changes unless a header is asserted."""
    op = layout.op_column
    return [*layout.keys, op] if op and layout.header is None and not full_load(name_of(file)) else [*layout.keys]


def _union(headers: Sequence[Sequence[str]]) -> list[str]:
    """All names in order of first appearance, each once whatever its case."""
    seen: dict[str, str] = {}
    for names in headers:
        for name in names:
            seen.setdefault(name.lower(), name)
    return list(seen.values())


def _without(op_column: str | None, names: Sequence[str]) -> list[str]:
    return [name.lower() for name in names if name.lower() != (op_column or "").lower()]
