"""jdbc: a table or a query of a database, read as a snapshot or by its own change columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakekit.changes import ChangeFeed, Ties, changes
from lakekit.errors import ConfigError, SourceError
from lakekit.sources import common
from lakekit.sources.secrets import is_reference, secret

EXTRACTED_AT = "extracted_at"
_SECRET_IN_URL = re.compile(r"(?i)(passw(or)?d|pwd|secret|token)\s*=|//[^/@\s]*:[^/@\s]*@|:[^:/@\s]+/[^/@\s]+@")


def jdbc(
    url: str,
    *,
    keys: str | Sequence[str],
    table: str | None = None,
    query: str | None = None,
    sequence_by: str | Sequence[str] | None = None,
    user: str | None = None,
    password: str | None = None,
    partition_column: str | None = None,
    lower_bound: int | str | None = None,
    upper_bound: int | str | None = None,
    num_partitions: int | None = None,
    fetch_size: int = 10_000,
    driver: str | None = None,
    delete_when: str | Column | None = None,
    upsert_when: str | Column | None = None,
    truncate_when: str | Column | None = None,
    except_columns: str | Sequence[str] = (),
    ignore_nulls: bool | str | Sequence[str] = False,
    unchanged: str | None = None,
    ties: Ties = "fail",
    spark: SparkSession | None = None,
) -> ChangeFeed:
    """Read a database's *table* or *query* through JDBC; its driver must be on the session's class path (``lakekit jars``).

    *password* is a reference, ``env:NAME``, ``file:/path`` or ``aws-secret:name#field``, looked up here; a password in plain, in the
    url too, is refused. *user* is a reference or a name. Without *sequence_by* the feed is a snapshot: it gets ``extracted_at``
    (timestamp, now), so that a later snapshot wins; rows that the database no longer has are not told.

    *partition_column* with *lower_bound*, *upper_bound* and *num_partitions* reads in parallel: the bounds only cut the strides, all
    rows are read, but each stride is a transaction of its own, so name a *sequence_by* if rows may change meanwhile. *fetch_size* is in
    rows. Columns without a zone are read as UTC.

    Opens one connection at once for the schema; rows are read when the feed is used. Raises ``ConfigError`` for secrets in plain and
    contradicting arguments, ``SourceError`` when the database or the driver refuses.

    >>> feed = jdbc("jdbc:postgresql://db:5432/shop", table="public.orders", keys=["order_id"], sequence_by=["updated_at"],
    ...             user="env:PGUSER", password="env:PGPASSWORD")  # doctest: +SKIP
    """
    spark = common.session(spark)
    options = {
        **_relation(url, table, query),
        **_strides(partition_column, lower_bound, upper_bound, num_partitions),
        "fetchsize": str(fetch_size),
        "preferTimestampNTZ": "true",  # Spark would read a wall clock in the JVM's zone
        **({"driver": driver} if driver else {}),
    }
    df = common.instants(_load(spark, {**options, **_credentials(user, password)}, _place(url)))
    if sequence_by is None:
        df, sequence_by = df.withColumn(EXTRACTED_AT, F.lit(datetime.now(UTC))), EXTRACTED_AT
    return changes(
        df,
        keys=keys,
        sequence_by=sequence_by,
        delete_when=delete_when,
        upsert_when=upsert_when,
        truncate_when=truncate_when,
        except_columns=except_columns,
        ignore_nulls=ignore_nulls,
        unchanged=unchanged,
        ties=ties,
        source=f"{_place(url)} {table or 'query'}",
    )


def _relation(url: str, table: str | None, query: str | None) -> dict[str, str]:
    if _SECRET_IN_URL.search(url):
        raise ConfigError("the JDBC url holds a password. Take it out and pass password='env:NAME'.")
    if (table is None) == (query is None):
        raise ConfigError("jdbc needs either table or query.")
    # As a sub-query, because Spark's own option ``query`` cannot be read in parallel.
    return {"url": url, "dbtable": table if table is not None else f"({query}) lakekit_query"}


def _credentials(user: str | None, password: str | None) -> dict[str, str]:
    found = {"user": secret(user, "user") if user and is_reference(user) else user, "password": password and secret(password, "password")}
    return {name: value for name, value in found.items() if value is not None}


def _strides(column: str | None, lower: int | str | None, upper: int | str | None, count: int | None) -> dict[str, str]:
    given = {"partitionColumn": column, "lowerBound": lower, "upperBound": upper, "numPartitions": count}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return {}
    if missing:
        raise ConfigError("partition_column, lower_bound, upper_bound and num_partitions go together: give all four or none.")
    return {name: str(value) for name, value in given.items()}


def _place(url: str) -> str:
    """The url without its parameters, which may tell more than the place."""
    return re.split(r"[?;]", url, maxsplit=1)[0]


def _load(spark: SparkSession, options: dict[str, str], place: str) -> DataFrame:
    try:
        return spark.read.format("jdbc").options(**options).load()
    except (PySparkException, Py4JError) as error:
        raise SourceError(f"{place} cannot be read{_hint(error)}") from _without_secret(error, options)


def _hint(error: BaseException) -> str:
    text = str(error)
    if "No suitable driver" in text or "ClassNotFoundException" in text:
        return ": its JDBC driver is not on the class path. See lakekit jars, group jdbc, and spark.jars."
    return ". Check that the server is up, the table or query, the user and the password; the database's own words follow as the cause."


def _without_secret(error: BaseException, options: dict[str, str]) -> BaseException | None:
    """The cause, unless the driver's words hold the password."""
    hidden = options.get("password")
    return None if hidden and hidden in str(error) else error
