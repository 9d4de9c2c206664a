"""A change set as the rows that Hudi's upsert writer takes: keyed, located, deletes marked.

lakekit's planner has already found where each changed row stands, so Hudi need not look again. Its writer takes located rows
with Hudi's own five columns in front (the path that its SQL uses for tables without a record key): commit time and file name say
which file group a row is in, NULL says that it is new. Record key and partition path come from the row's own columns.

What this relies on, beside the table's columns, in every row that stands: the locators ``_hoodie_record_key``, ``_lk_file`` and
``_hoodie_partition_path``, and ``_lk_old_<column>``, its value of each partition column.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.batch import first_row
from lakekit.cdc import ACTION, INSERT, REMOVE, UPDATE
from lakekit.columns import any_of, canonical_float, col
from lakekit.errors import UnsupportedOperation
from lakekit.fingerprint import digits
from lakekit.formats.hudi_table import META

KEY, DELETED = "_lakekit_key", "_hoodie_is_deleted"
RECORD_KEY, FILE, PATH, OLD = "_hoodie_record_key", "_lk_file", "_hoodie_partition_path", "_lk_old_"
_GONE, _MOVED = "_lk_gone", "_lk_moved"
_NATIVE = (T.ByteType, T.ShortType, T.IntegerType, T.LongType)


def record_key_of(keys: Sequence[str], schema: T.StructType, partitions: Sequence[str] = ()) -> str:
    """The column to be the record key: the lone integer key itself, else lakekit's own column.

    A record key tells the rows of one partition apart, so keys that the table is partitioned by need not be in it. Hudi's own text of
    a key loses rows: composite keys run together, ``''`` is refused, 0.0 and -0.0 differ, and so do 1 and 1.0.

    >>> schema = T.StructType().add("id", T.LongType()).add("name", T.StringType())
    >>> record_key_of(["id"], schema), record_key_of(["name"], schema), record_key_of(["name", "id"], schema, partitions=["name"])
    ('id', '_lakekit_key', 'id')
    """
    inner = [k for k in keys if k not in partitions] or keys
    lone = len(inner) == 1 and isinstance(schema[inner[0]].dataType, _NATIVE)
    return inner[0] if lone else KEY


def key_text(keys: Iterable[str], schema: T.StructType) -> Column:
    """The text of a key: never the same for two keys, always the same for one, also after a column was widened."""
    parts = [_part(col(k), schema[k].dataType, k) for k in keys]
    return F.concat(*map(_sized, parts))


def _sized(part: Column) -> Column:
    return F.concat(F.length(part).cast("string"), F.lit(":"), part)


def _part(value: Column, data_type: T.DataType, name: str) -> Column:
    if isinstance(data_type, (T.StringType, T.IntegralType, T.BooleanType, T.TimestampNTZType)):
        return value.cast("string")
    if isinstance(data_type, (T.FloatType, T.DoubleType)):
        return canonical_float(value.cast("double"), T.DoubleType()).cast("string")
    if isinstance(data_type, T.DecimalType):
        return digits(value, data_type)
    if isinstance(data_type, T.DateType):
        return F.unix_date(value).cast("string")
    if isinstance(data_type, T.TimestampType):
        return F.unix_micros(value).cast("string")
    if isinstance(data_type, T.BinaryType):
        return F.hex(value)
    if isinstance(data_type, T.StructType):  # where versions begin, in a table with a sequence of several columns
        fields = [(value.getField(f.name), f) for f in data_type.fields]
        parts = [F.when(v.isNull(), F.lit("-")).otherwise(_sized(_part(v, f.dataType, f.name))) for v, f in fields]
        return F.concat(*parts)
    kind = data_type.simpleString()
    raise UnsupportedOperation(f"column {name} of type {kind} cannot be a key of a Hudi table. Instead: use columns of flat types.")


def located(rows: DataFrame, columns: Sequence[str], partitions: Sequence[str]) -> DataFrame:
    """Decided rows as Hudi takes them; a row that moves to another partition becomes a delete there and an insert here."""
    if not partitions:
        return rows.withColumn(_GONE, col(ACTION) == REMOVE).select(*_meta(col(ACTION) != INSERT), *map(_value, columns))
    moved = (col(ACTION) == UPDATE) & any_of(~col(OLD + c).eqNullSafe(col(c)) for c in partitions)
    sides = F.when(moved, F.array(F.lit(True), F.lit(False))).otherwise(F.array(col(ACTION) == REMOVE))
    spread = rows.withColumns({_MOVED: moved, _GONE: F.explode(sides)})
    stands = (col(ACTION) != INSERT) & (~col(_MOVED) | col(_GONE))
    return spread.select(*_meta(stands), *(_old_value(c) if c in partitions else _value(c) for c in columns))


def partitions_met(rows: DataFrame, partitions: Sequence[str]) -> tuple[list[str], int]:
    """The paths of the partitions in which changed rows stand, and the number of partitions in which only new rows are."""
    new = col(ACTION) == INSERT
    where = [F.when(new, col(c)).otherwise(col(OLD + c)).alias(c) for c in partitions]
    each = rows.select(*where, PATH).groupBy(*map(col, partitions)).agg(F.max(PATH).alias(PATH))
    found = first_row(each.agg(F.collect_set(PATH).alias("met"), F.count_if(col(PATH).isNull()).alias("strange")))
    return found["met"], found["strange"]


def _value(name: str) -> Column:
    return F.when(col(_GONE), F.lit(True)).alias(DELETED) if name == DELETED else col(name)


def _old_value(name: str) -> Column:
    """A delete goes to the partition where the row stands."""
    return F.when(col(_GONE), col(OLD + name)).otherwise(col(name)).alias(name)


def _meta(stands: Column) -> list[Column]:
    """Hudi's five columns: set where a row stands, NULL where it is new. Of the commit time Hudi only asks whether it is there."""
    known = {META[0]: F.lit("0" * 17), RECORD_KEY: col(RECORD_KEY), META[4]: col(FILE)}
    return [F.when(stands, known.get(name, F.lit(None))).cast("string").alias(name) for name in META]
