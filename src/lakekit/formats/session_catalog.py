"""Tables that live in Spark's own catalog: where their files are, also when a new process has an empty catalog.

A local session's catalog forgets its tables with the process; their files under ``<warehouse>/<db>.db/<table>`` stay.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from lakekit.errors import ConfigError
from lakekit.formats.sql import dotted, text
from lakekit.gateway import hadoop_path

_CATALOG = "spark_catalog"
_MARKERS = {"delta": "_delta_log", "hudi": ".hoodie"}
"""By what folder a table's files tell their format."""


def is_path(name: str) -> bool:
    """Whether a table name is a path.

    >>> is_path("s3a://lake/orders"), is_path("sales.orders")
    (True, False)
    """
    return "/" in name


def name_parts(name: str) -> tuple[str, str]:
    """Database and table of a two- or three-part name; raises ``ConfigError`` for another catalog or shape."""
    parts = name.replace("`", "").split(".")
    if len(parts) == 3 and parts[0] == _CATALOG:
        parts = parts[1:]
    if len(parts) != 2:
        raise ConfigError(f"table name {name}: expected database.table, {_CATALOG}.database.table, or a path.")
    return parts[0], parts[1]


def sql_name(name: str) -> str:
    """The quoted name of a table in Spark's catalog."""
    return dotted(_CATALOG, *name_parts(name))


def registered(spark: SparkSession, name: str) -> tuple[str, str] | None:
    """Provider and location of a table that the catalog knows, else ``None``."""
    database, table = name_parts(name)
    catalog: Any = spark._jsparkSession.sessionState().catalog()
    jvm: Any = spark._jvm
    identifier = jvm.org.apache.spark.sql.catalyst.TableIdentifier(table, jvm.scala.Option.apply(database))
    if not catalog.databaseExists(database) or not catalog.tableExists(identifier):
        return None
    metadata = catalog.getTableMetadata(identifier)
    provider = metadata.provider()
    return (provider.get() if provider.isDefined() else "", _plain(spark, metadata.location()))


def default_location(spark: SparkSession, name: str) -> str:
    """Where Spark's catalog keeps, or would keep, the files of a managed table."""
    database, table = name_parts(name)
    catalog: Any = spark._jsparkSession.sessionState().catalog()
    if catalog.databaseExists(database):
        return f"{_plain(spark, catalog.getDatabaseMetadata(database).locationUri()).rstrip('/')}/{table}"
    return f"{str(spark.conf.get('spark.sql.warehouse.dir')).rstrip('/')}/{database}.db/{table}"


def _plain(spark: SparkSession, uri: Any) -> str:
    """A place as paths are written; as a URI it has ``%20`` for a blank."""
    jvm: Any = spark._jvm
    return str(jvm.org.apache.hadoop.fs.Path(uri).toString())


def check_free(spark: SparkSession, name: str, path: str, format: str) -> None:
    """Raise ``ConfigError`` where the catalog, or the folder itself, has a table of another format in this place."""
    known = None if is_path(name) else registered(spark, name)
    others = {other for other, marker in _MARKERS.items() if other != format and folder_exists(spark, f"{path}/{marker}")}
    if known is not None and known[0].lower() != format:
        others.add(known[0])
    if others:
        raise ConfigError(
            f"{name}: here is a table of format {', '.join(sorted(others))} already. Choose another name, or drop that table first."
        )


def folder_exists(spark: SparkSession, path: str) -> bool:
    """Whether a folder exists on the path's own file system."""
    files, folder = hadoop_path(spark, path)
    return bool(files.exists(folder))


def delete_if_empty(spark: SparkSession, path: str) -> None:
    """Delete a folder that holds nothing; any other stays."""
    files, folder = hadoop_path(spark, path)
    if files.exists(folder) and len(files.listStatus(folder)) == 0:
        with suppress(Py4JError):  # somebody has just written into it
            files.delete(folder, False)


def register(spark: SparkSession, name: str, provider: str, location: str) -> None:
    """Tell the catalog about a table whose files are there."""
    spark.sql(f"CREATE DATABASE IF NOT EXISTS {dotted(_CATALOG, name_parts(name)[0])}")
    spark.sql(f"CREATE TABLE IF NOT EXISTS {sql_name(name)} USING {provider} LOCATION {text(location)}")


def delete_folder(spark: SparkSession, path: str) -> None:
    """Delete a table's files."""
    files, folder = hadoop_path(spark, path)
    files.delete(folder, True)
