"""Comparing a DataFrame with the rows it should hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def assert_same_rows(actual: DataFrame, expected: DataFrame | Iterable[Mapping[str, Any] | tuple[Any, ...]]) -> None:
    """Fail unless both hold the same rows, each as often, in whatever order of rows and columns; NaN equals NaN.

    ``expected`` is a DataFrame with the columns and types of ``actual``, or rows: mappings by column name (a name left out is NULL)
    or tuples in the order of ``actual``'s columns, read in ``actual``'s types. Raises ``AssertionError`` with chispa's
    side-by-side table of what differs. Both sides are collected: for tests only. Needs the package ``chispa``.

    >>> assert_same_rows(spark.sql("SELECT 1 AS id, 'Ann' AS name"), [{"id": 1, "name": "Ann"}])
    >>> assert_same_rows(spark.range(3), [(2,), (0,), (1,)])
    """
    from chispa import DataFramesNotEqualError, assert_df_equality
    from chispa.schema_comparer import SchemasNotEqualError
    from pyspark.sql import DataFrame

    wanted = expected if isinstance(expected, DataFrame) else _like(actual, expected)
    try:
        assert_df_equality(actual, wanted, ignore_nullable=True, ignore_column_order=True, ignore_row_order=True, allow_nan_equality=True)
    except (DataFramesNotEqualError, SchemasNotEqualError) as difference:
        raise AssertionError(str(difference)) from difference


def _like(actual: DataFrame, rows: Iterable[Mapping[str, Any] | tuple[Any, ...]]) -> DataFrame:
    tuples = [row if isinstance(row, tuple) else tuple(map(row.get, actual.columns)) for row in rows]
    nullable = "struct<" + ",".join(f"`{f.name}`:{f.dataType.simpleString()}" for f in actual.schema.fields) + ">"
    return actual.sparkSession.createDataFrame(tuples, nullable)
