"""Debezium: change events as JSON or as a frame, enveloped or flattened → ChangeFeed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import DataFrame, SparkSession

from lakekit.changes import ABSENT, OP, RAW, REASON, ChangeFeed, Ties, changes
from lakekit.columns import quoted
from lakekit.sources import debezium_order as order
from lakekit.sources import debezium_types as types
from lakekit.sources import readings
from lakekit.sources.common import Paths
from lakekit.sources.debezium_frame import events
from lakekit.sources.debezium_records import records
from lakekit.sources.debezium_shape import Said, Schema, Shape, shape_of
from lakekit.sources.exact import literal, misread

UNAVAILABLE = "__debezium_unavailable_value"


def debezium(
    path: DataFrame | Paths,
    *,
    keys: str | Sequence[str],
    schema: Schema | None = None,
    connector: str | None = None,
    order_by: str | Sequence[str] = (),
    flattened: bool | None = None,
    prefix: str = "__",
    logical: Mapping[str, str] | None = None,
    decimals: types.Decimals = "base64",
    unavailable: str | None = UNAVAILABLE,
    ties: Ties = "fail",
    ignore_nulls: bool | str | Sequence[str] = False,
    except_columns: str | Sequence[str] = (),
    name: str | None = None,
    spark: SparkSession | None = None,
) -> ChangeFeed:
    """Read Debezium's change events of one table.

    *path* is a frame in Kafka's shape (``value`` and, if there, ``key``, text or binary), a frame with one column of JSON text, a
    frame that is structured already (``op``, ``before``, ``after``, ``source``, or flattened by ``ExtractNewRecordState`` with
    ``__op``, ``__deleted``, ``__lsn`` …), or the path or paths of files with one JSON message a line.

    *schema* is the row's: Spark DDL or ``StructType``, or Kafka Connect's schema block as a dictionary. ``None`` takes it from the
    messages' own schema block. *flattened* and *connector* are found out too. For what is left out, **at most ten records are
    read** when this is called; nothing is, when *schema* and *connector* (or *order_by*) are given.
    With a Spark *schema*, *logical* names the Debezium type of columns whose JSON is ambiguous, ``{"at": "MicroTimestamp"}``, and
    *decimals* says how DECIMAL stands there (``base64``, ``numeric``, ``string``). *prefix* is ``add.fields.prefix``.

    The sequence is ``dbz_phase`` (0 snapshot, 1 log) and then PostgreSQL's ``dbz_lsn``; MySQL's ``dbz_file``, ``dbz_pos``, ``dbz_row``;
    SQL Server's ``dbz_commit_lsn``, ``dbz_change_lsn``, ``dbz_serial``; or a column for each path of *order_by* (digits, such as
    ``"source.scn"`` → ``dbz_source_scn``). They stay in the table unless *except_columns* names them.

    A column that holds *unavailable* (unchanged and not in the log), or that the image lacks, is not authored. Images of MySQL, MariaDB
    and SQL Server are taken as complete, as are all with ``unavailable=None``. Tombstones, heartbeats, transaction and schema
    messages and ``m`` count as ignored. An update that changes the key is a delete and an upsert. A value that its type
    cannot hold exactly makes a bad row.

    Raises ``ConfigError`` or ``SourceError`` when schema or order are neither given nor found.

    >>> row = '{"op":"c","after":{"id":1,"at":1700000000000000},"source":{"lsn":7,"snapshot":"false"}}'
    >>> feed = debezium(spark.createDataFrame([(row,)], "value string"), keys="id", connector="postgresql",
    ...                 schema="id int, at timestamp", logical={"at": "MicroTimestamp"})
    >>> feed.df.select("id", "dbz_phase", "dbz_lsn", "_lk_op").show()
    +---+---------+-------+------+
    | id|dbz_phase|dbz_lsn|_lk_op|
    +---+---------+-------+------+
    |  1|        1|      7|upsert|
    +---+---------+-------+------+
    <BLANKLINE>
    """
    wanted = (keys,) if isinstance(keys, str) else tuple(keys)
    paths = (order_by,) if isinstance(order_by, str) else tuple(order_by)
    messages = records(path, spark, prefix)
    shape = shape_of(messages, Said(wanted, schema, connector, paths, flattened, prefix, logical or {}, decimals))
    placeholder = None if order.whole_images(shape.connector) else unavailable
    return changes(
        _rows(events(messages, shape, sparse=placeholder is not None), shape, placeholder),
        keys=wanted,
        sequence_by=[order.PHASE, *(part.name for part in shape.parts)],
        ties=ties,
        ignore_nulls=ignore_nulls,
        except_columns=except_columns,
        source=name or "debezium",
    )


def _rows(found: DataFrame, shape: Shape, placeholder: str | None) -> DataFrame:
    """One typed row for each event: the row's columns, the sequence, and lakekit's reserved columns."""
    columns = [f"{_column(n, shape, placeholder)} AS {quoted(n)}" for n in shape.readings]
    sequence = ["phase AS " + order.PHASE, *(f"{part.read(_position(part))} AS {part.name}" for part in shape.parts)]
    reserved = [f"act AS {OP}", f"{_reason(shape, placeholder)} AS {REASON}"]
    if "raw" in found.columns:
        reserved.append(f"raw AS {RAW}")
    if placeholder is not None:
        reserved.append(f"{_absent(shape, placeholder, 'present' in found.columns)} AS {ABSENT}")
    return found.selectExpr(*columns, *sequence, *reserved)


def _value(name: str, shape: Shape) -> str:
    found = f"image.{quoted(name)}"
    return f"coalesce({found}, key.{quoted(name)})" if name in shape.keys else found


def _position(part: order.Part) -> str:
    return f"position.{part.name}"


def _matters(name: str, shape: Shape, placeholder: str | None) -> str:
    """Where the column's value counts: keys on upserts and deletes, the rest on upserts that author it."""
    if name in shape.keys:
        return "act IN ('upsert', 'delete')"
    unchanged = _marker(name, shape, placeholder)
    return f"act = 'upsert' AND NOT {unchanged}" if unchanged else "act = 'upsert'"


def _marker(name: str, shape: Shape, placeholder: str | None) -> str | None:
    if placeholder is None or name in shape.keys:
        return None
    return types.marker(shape.readings[name], f"image.{quoted(name)}", placeholder)


def _column(name: str, shape: Shape, placeholder: str | None) -> str:
    return f"CASE WHEN {_matters(name, shape, placeholder)} THEN {shape.readings[name].decode(_value(name, shape))} END"


def _absent(shape: Shape, placeholder: str, with_present: bool) -> str:
    """Names of the columns that the event does not author: marked as unchanged, or not in the image at all."""
    tests = []
    for name in shape.readings:
        if name in shape.keys:
            continue
        found = [_marker(name, shape, placeholder)]
        if with_present:
            found.append(f"(image.{quoted(name)} IS NULL AND NOT coalesce(array_contains(present, {literal(name)}), true))")
        either = " OR ".join(test for test in found if test)
        if either:
            tests.append(f"IF({either}, {literal(name)}, NULL)")
    names = f"array_compact(array({', '.join(tests)}))" if tests else "CAST(NULL AS ARRAY<STRING>)"
    return f"CASE WHEN act = 'upsert' THEN {names} END"


def _reason(shape: Shape, placeholder: str | None) -> str:
    """Why the event is a bad row, or NULL: the message as such, then its position in the log, then its columns."""
    found = ["problem", "IF(act = 'upsert' AND image IS NULL, 'the event has no row image', NULL)"]
    for part in shape.parts:
        text = _position(part)
        given = f"nullif({text}, '') IS NOT NULL"  # MySQL's connector gives a row read by a snapshot an empty file where it has none
        lost = misread(text, part.read(text)) if part.optional else f"{part.read(text)} IS NULL AND (phase = 1 OR {given})"
        found.append(f"IF(act IN ('upsert', 'delete', 'truncate') AND {lost}, {literal(f'{part.path}: no position in the log')}, NULL)")
    for name, reading in shape.readings.items():
        wrong = readings.misread(reading, _value(name, shape))
        if wrong:
            text = literal(f"column {name}: cannot be read as {reading.type.simpleString()} without loss")
            found.append(f"IF({_matters(name, shape, placeholder)} AND {wrong}, {text}, NULL)")
    return f"coalesce({', '.join(found)})"
