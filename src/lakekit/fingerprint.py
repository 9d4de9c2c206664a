"""A row's values as one short text: never the same for two rows that differ, always the same for one.

Each value is written with its kind and its length, and NULL in its own way, so that no values run together (``hash``, ``xxhash64`` and
``concat_ws`` skip NULLs and collide when separators move). A type that only becomes wider keeps its fingerprints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.columns import canonical_float, col
from lakekit.errors import UnsupportedOperation

_BITS = 128


def fingerprint(names: Sequence[str], types: Mapping[str, T.DataType]) -> Column:
    """128 bits of SHA-256 (FIPS 180-4) over the named columns, as 32 hexadecimal digits.

    >>> from pyspark.sql import types as T
    >>> two = {"a": T.StringType(), "b": T.StringType()}
    >>> rows = spark.createDataFrame([("x", None), (None, "x"), ("x", "")], "a string, b string")
    >>> rows.select(fingerprint(["a", "b"], two).alias("key")).distinct().count()
    3
    """
    return F.substring(F.sha2(F.concat(*(written(col(n), types[n], n) for n in names)), 256), 1, _BITS // 4)


def written(value: Column, data_type: T.DataType, name: str) -> Column:
    """A value with its kind and length; NULL is ``-``."""
    kind, text = _text(value, data_type, name)
    return F.when(value.isNull(), F.lit("-")).otherwise(F.concat(F.lit(kind), F.length(text).cast("string"), F.lit(":"), text))


def _text(value: Column, data_type: T.DataType, name: str) -> tuple[str, Column]:
    if isinstance(data_type, T.StringType):
        return "s", value
    if isinstance(data_type, T.IntegralType):
        return "n", value.cast("string")
    if isinstance(data_type, T.BooleanType):
        return "b", value.cast("string")
    if isinstance(data_type, (T.FloatType, T.DoubleType)):
        return "f", canonical_float(value.cast("double"), T.DoubleType()).cast("string")
    if isinstance(data_type, T.DecimalType):
        return "d", digits(value, data_type)
    if isinstance(data_type, T.DateType):
        return "D", F.unix_date(value).cast("string")
    if isinstance(data_type, T.TimestampType):
        return "t", F.unix_micros(value).cast("string")
    if isinstance(data_type, T.TimestampNTZType):
        return "z", value.cast("string")
    if isinstance(data_type, T.BinaryType):
        return "x", F.hex(value)
    if isinstance(data_type, T.StructType):
        return "r", F.concat(*(written(value.getField(f.name), f.dataType, f.name) for f in data_type.fields))
    raise UnsupportedOperation(f"column {name} of type {data_type.simpleString()} cannot be part of a key. Use columns of flat types.")


def digits(value: Column, data_type: T.DecimalType) -> Column:
    """A decimal without needless zeros. Not a cast: that writes 1E-8 or 0.00000001 as the ANSI mode says."""
    scale = data_type.scale
    shape = "S" + "9" * (data_type.precision - scale - 1) + "0" + ("." + "0" * scale if scale else "")
    written = F.regexp_replace(F.trim(F.to_char(value, F.lit(shape))), r"^([+-])0+", "$1")
    return F.regexp_replace(written, r"[.]?0+$", "") if scale else written
