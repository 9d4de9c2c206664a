"""jdbc: a table or a query of a database, read as a snapshot or by its own change columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import unquote

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.changes import ChangeFeed, Ties, changes
from lakekit.columns import quoted
from lakekit.errors import ConfigError, SourceError
from lakekit.sources import common
from lakekit.sources.secrets import is_reference, secret

EXTRACTED_AT = "extracted_at"
_SECRET_IN_URL = re.compile(
    r"(?i)(passw(or)?d|pwd|passphrase|(?<![a-z])pass|secret|token|(api|access|account|private|shared)[ _-]?key)\s*="
    r"|//[^/@\s]*:[^/@\s]*@|:[^:/@\s]+/[^/@\s]+@"
)


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
    rows. Columns without a zone are read as UTC. A NUMERIC without a scale is decimal(38,18); a value that does not fit makes a bad row.
    *driver* is the driver's class; those of the usual databases are known.

    Opens a connection at once for the schema (a second one where a NUMERIC has no scale); rows are read when the feed is used.
    Raises ``ConfigError`` for secrets in plain and contradicting arguments, ``SourceError`` when the database or the driver refuses.

    >>> feed = jdbc("jdbc:postgresql://db:5432/shop", table="public.orders", keys=["order_id"], sequence_by=["updated_at"],
    ...             user="env:PGUSER", password="env:PGPASSWORD")  # doctest: +SKIP
    """
    spark = common.session(spark)
    options = {
        **_relation(url, table, query),
        **_strides(partition_column, lower_bound, upper_bound, num_partitions),
        "fetchsize": str(_at_least(0, fetch_size, "fetch_size")),
        "preferTimestampNTZ": "true",  # Spark would read a wall clock in the JVM's zone
        **_driver(url, driver),
    }
    df = common.instants(_exact(spark, {**options, **_credentials(user, password)}, _place(url)))
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
    if _SECRET_IN_URL.search(unquote(url)):
        raise ConfigError("the JDBC url holds a password. Take it out and pass password='env:NAME'.")
    if (table is None) == (query is None):
        raise ConfigError("jdbc needs either table or query.")
    # As a sub-query, because Spark's own option ``query`` cannot be read in parallel; the line's end is one of a comment, too.
    return {"url": url, "dbtable": str(table) if query is None else f"({query.strip().rstrip(';')}\n) lakekit_query"}


def _driver(url: str, driver: str | None) -> dict[str, str]:
    """The driver's class. Java finds it by the url only among the jars that it started with, which those of ``spark.jars`` are not.

    >>> _driver("jdbc:postgresql://db/shop", None), _driver("jdbc:postgresql://db/shop", "my.Driver"), _driver("jdbc:derby:shop", None)
    ({'driver': 'org.postgresql.Driver'}, {'driver': 'my.Driver'}, {})
    """
    found = driver or next((name for start, name in _DRIVERS.items() if url.startswith(start)), None)
    return {"driver": found} if found else {}


_DRIVERS = {
    "jdbc:postgresql:": "org.postgresql.Driver",
    "jdbc:mysql:": "com.mysql.cj.jdbc.Driver",
    "jdbc:mariadb:": "org.mariadb.jdbc.Driver",
    "jdbc:sqlserver:": "com.microsoft.sqlserver.jdbc.SQLServerDriver",
    "jdbc:oracle:": "oracle.jdbc.OracleDriver",
    "jdbc:redshift:": "com.amazon.redshift.jdbc.Driver",
}


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
    _at_least(1, count or 0, "num_partitions")
    return {name: str(value) for name, value in given.items()}


def _at_least(least: int, value: int, role: str) -> int:
    if value < least:
        raise ConfigError(f"{role} is {value}; it must be at least {least}.")
    return value


def _place(url: str) -> str:
    """The url without its parameters, which may tell more than the place."""
    return re.split(r"[?;]", url, maxsplit=1)[0]


def _exact(spark: SparkSession, options: dict[str, str], place: str) -> DataFrame:
    """What the database holds. Spark rounds a number without a declared scale (NUMERIC) to 18 digits, and fails where it has more than
    38 or is no number: such a column is read as text, and a value that its type cannot hold makes a bad row."""
    df = _load(spark, options, place)
    fixed = options.get("partitionColumn", "").lower()
    wide = [f for f in df.schema.fields if _unbounded(f.dataType) and f.name.lower() != fixed]
    if not wide:
        return df
    texts = ", ".join(f"{quoted(f.name)} STRING" for f in wide)
    return common.parsed(_load(spark, {**options, "customSchema": texts}, place), T.StructType(wide))


def _unbounded(found: T.DataType) -> bool:
    return isinstance(found, T.DecimalType) and found.precision == 38 and found.scale > 0


def _load(spark: SparkSession, options: dict[str, str], place: str) -> DataFrame:
    try:
        return spark.read.format("jdbc").options(**options).load()
    except (PySparkException, Py4JError) as error:
        raise SourceError(f"{place} cannot be read{_hint(error)}") from _without_secret(error, options)


def _hint(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, PySparkException):
        return (
            ". Check the names of the columns, partition_column (a number, a date, or a timestamp with time zone) and its bounds; "
            "Spark's own words follow as the cause."
        )
    if "No suitable driver" in text or "ClassNotFoundException" in text:
        return ": its JDBC driver is not on the class path. See lakekit jars, group jdbc, and spark.jars."
    return ". Check that the server is up, the table or query, the user and the password; the database's own words follow as the cause."


def _without_secret(error: BaseException, options: dict[str, str]) -> BaseException | None:
    """The cause, unless the driver's words hold the password."""
    hidden = options.get("password")
    return None if hidden and hidden in str(error) else error
