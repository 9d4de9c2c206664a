"""A feed's rows for verbs that take rows as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lakekit.changes import IGNORE, OP, REASON, UPSERT, ChangeFeed
from lakekit.columns import any_of, as_condition
from lakekit.errors import DataRejected, EngineError

REFUSAL = "rows are taken as they are, and the source holds a bad row or a change that is no row. Nothing was written. Use upsert."


def rows_of(feed: ChangeFeed) -> DataFrame:
    """The rows of a feed that holds nothing else; what is ignored by nature is left out.

    A bad row, a delete or a truncate among them fails the write when Spark meets it: appending has no place to keep it, and
    leaving it out would lose it.
    """
    df = feed.df.where(F.col(OP).isNull() | (F.col(OP) != IGNORE)) if OP in feed.df.columns else feed.df
    refused = _no_row(feed)
    if refused is not None:
        # The condition hangs on a column that is written, so that Spark cannot leave it out.
        first = feed.columns[0]
        df = df.withColumn(first, F.when(refused, F.raise_error(F.lit(REFUSAL))).otherwise(F.col(f"`{first}`")))
    return df.select(*(F.col(f"`{name}`") for name in feed.columns))


@contextmanager
def refusals(table: str) -> Iterator[None]:
    """Turn what Spark raises for such a row into `DataRejected`."""
    try:
        yield
    except (EngineError, PySparkException, Py4JJavaError) as error:
        if REFUSAL in f"{error} {error.__cause__}":
            raise DataRejected(f"{table}: {REFUSAL}") from error
        raise


def _no_row(feed: ChangeFeed) -> Column | None:
    said = feed.df.columns
    conditions = [F.col(REASON).isNotNull()] if REASON in said else []
    if OP in said:
        conditions.append(F.col(OP).isNull() | (F.col(OP) != UPSERT))
    conditions += [F.coalesce(as_condition(when), F.lit(False)) for when in (feed.delete_when, feed.truncate_when) if when is not None]
    return any_of(conditions) if conditions else None
