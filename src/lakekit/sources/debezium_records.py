"""Debezium's messages as they arrive: files, Kafka's shape, one column of JSON, or structured columns; and a first look at them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.columns import all_of, col
from lakekit.errors import SourceError
from lakekit.sources import json_text
from lakekit.sources.common import Paths, load, session

LOOKED_AT = 10
"""How many records are read at most to find out what the caller left out."""


@dataclass(frozen=True)
class Records:
    """The messages: *text* says whether ``value`` (and ``key``) hold JSON, or the columns are structured already."""

    df: DataFrame
    text: bool


def records(source: DataFrame | Paths, spark: SparkSession | None, prefix: str) -> Records:
    """The messages of a frame, or of files with one message a line. Reads nothing yet."""
    if not isinstance(source, DataFrame):
        lines = load(session(spark).read.option("recursiveFileLookup", "true"), "text", source)
        return _messages(lines.select("value").where("trim(value) <> ''"))
    names = source.columns
    if {"op", "after"} <= set(names) or any(n.startswith(prefix) for n in names):
        return Records(source, False)
    if "value" in names:
        return _messages(source.select(*(_text(source, n) for n in ("value", "key") if n in names)))
    if len(names) == 1:
        return _messages(source.select(_text(source, names[0]).alias("value")))
    return Records(source, False)


def _messages(texts: DataFrame) -> Records:
    """One row for each message, also where several stand on a line."""
    clean = texts.withColumn("value", F.expr(json_text.WITHOUT_BOM))
    return Records(clean.withColumn("value", F.explode(json_text.parted(F.col("value")))), True)


def _text(df: DataFrame, name: str) -> Column:
    if not isinstance(df.schema[name].dataType, (T.StringType, T.BinaryType)):
        raise SourceError(f"the column {name} is {df.schema[name].dataType.simpleString()}; JSON text or its bytes are needed.")
    return col(name).cast("string").alias(name)


def first_message(source: Records, keys: Sequence[str]) -> dict[str, Any]:
    """The first message that names every key column, as a dictionary; empty when there is none. Reads a few records."""
    named = all_of(F.col("value").contains(json.dumps(k, ensure_ascii=False)) for k in keys)
    parsed = (_parse(row["value"]) for row in source.df.where(named).select("value").head(LOOKED_AT))
    return next((message for message in parsed if message), {})


def _parse(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def payload(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message without Kafka Connect's wrapper."""
    inner = message.get("payload")
    return inner if isinstance(inner, dict) else message


def block(message: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema block of a message that carries one."""
    found = message.get("schema")
    return found if isinstance(found, dict) and "payload" in message else None


def fields(schema: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """A struct's fields in a schema block, by name."""
    return {f["field"]: f for f in schema.get("fields", ())}
