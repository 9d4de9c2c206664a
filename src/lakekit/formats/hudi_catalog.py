"""Telling Spark's catalog of a Hudi table whose files are there.

Hudi's CREATE TABLE rewrites ``hoodie.properties``: it moves the partition columns to the end and forgets what it does not know. So a
table is made through Hudi's table builder, and the catalog learns of it through the second half of Hudi's own command, which
touches no file and also writes what Hive and Athena need.
"""

from __future__ import annotations

from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import types as T

from lakekit.errors import UnsupportedOperation
from lakekit.formats import session_catalog as catalog
from lakekit.formats.sql import dotted
from lakekit.gateway import hadoop_path


def register(spark: SparkSession, name: str, path: str, schema: T.StructType, partitions: tuple[str, ...], comment: str | None) -> None:
    """Register a table; nothing happens when the catalog knows the name."""
    jvm: Any = spark._jvm
    session = spark._jsparkSession
    check_place(spark, name, path)
    spark.sql(f"CREATE DATABASE IF NOT EXISTS {dotted('spark_catalog', catalog.name_parts(name)[0])}")
    described = _described(spark, name, path, schema, partitions, comment)
    known = jvm.org.apache.spark.sql.catalyst.catalog.HoodieCatalogTable.apply(session, described)
    jvm.org.apache.spark.sql.hudi.command.CreateHoodieTableCommand.createTableInCatalog(session, known, True, jvm.scala.Option.empty())


def check_place(spark: SparkSession, name: str, path: str) -> None:
    """Raise ``UnsupportedOperation`` for a place that a URI spells otherwise: Hudi would look for the table in ``%20`` for a blank."""
    if "%" in str(_uri(spark, path).toString()):
        raise UnsupportedOperation(
            f"{name}: Hudi finds no table by name in {path}, because of a blank or another character that URIs escape. "
            "Instead: choose a warehouse without such characters, or name the table by its path."
        )


def forget(spark: SparkSession, name: str) -> None:
    """Take a table out of the catalog and leave its files, so that it is registered anew in its present shape."""
    database, table = catalog.name_parts(name)
    jvm: Any = spark._jvm
    identifier = jvm.org.apache.spark.sql.catalyst.TableIdentifier(table, jvm.scala.Option.apply(database))
    spark._jsparkSession.sessionState().catalog().dropTable(identifier, True, False)


def _described(spark: SparkSession, name: str, path: str, schema: T.StructType, partitions: tuple[str, ...], comment: str | None) -> Any:
    """Spark's description of an external table: ``CatalogTable``, argument by argument, since Scala's defaults do not reach Python."""
    jvm: Any = spark._jvm
    sql, option, utils = jvm.org.apache.spark.sql, jvm.scala.Option.apply, jvm.PythonUtils
    none, no_options = jvm.scala.Option.empty(), utils.toScalaMap({})
    database, table = catalog.name_parts(name)
    storage = sql.catalyst.catalog.CatalogStorageFormat(option(_uri(spark, path)), none, none, none, False, no_options)
    return sql.catalyst.catalog.CatalogTable(
        sql.catalyst.TableIdentifier(table, option(database)),
        sql.catalyst.catalog.CatalogTableType.EXTERNAL(),
        storage,
        sql.types.DataType.fromJson(schema.json()),
        option("hudi"),
        utils.toSeq(list(partitions)),
        none,  # buckets
        "",  # owner
        jvm.java.lang.System.currentTimeMillis(),
        -1,  # last access
        "",  # created by
        no_options,
        none,  # statistics
        none,  # view text
        option(comment) if comment is not None else none,
        utils.toSeq([]),
        False,
        True,
        no_options,
        none,  # view's original text
    )


def _uri(spark: SparkSession, path: str) -> Any:
    files, folder = hadoop_path(spark, path)
    return files.makeQualified(folder).toUri()
