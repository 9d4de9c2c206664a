"""How lakekit asks Hudi's writer to write: its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pyspark.sql import types as T

from lakekit.formats.hudi_table import TOKEN, HudiTable

_RETAINED = 30  # commits whose files stay readable
_SMALL = 18  # digits of a decimal that Spark writes as an integer
_DEFAULTS = {
    # Rows come decided, one per key: Hudi has nothing to combine and nothing to order.
    "hoodie.combine.before.upsert": "false",
    "hoodie.combine.before.insert": "false",
    "hoodie.write.record.merge.mode": "COMMIT_TIME_ORDERING",
    "hoodie.datasource.write.payload.class": "org.apache.hudi.common.model.OverwriteWithLatestAvroPayload",
    # A killed writer leaves an unfinished instant; the next one rolls it back before it writes.
    "hoodie.clean.failed.writes.policy": "EAGER",
    "hoodie.clean.commits.retained": str(_RETAINED),
    "hoodie.clean.max.commits": "10",  # plan a cleaning every ten commits, not at each
    # Archiving keeps more than cleaning retains, or the cleaner idles for ever.
    "hoodie.keep.min.commits": str(_RETAINED + 10),
    "hoodie.keep.max.commits": str(_RETAINED + 20),
    # 60,000 by default: half a megabyte of bloom filter in the smallest file. The filter grows with the rows anyway.
    "hoodie.index.bloom.num_entries": "1000",
    # No web server per write: it answers what the driver knows anyway.
    "hoodie.embed.timeline.server": "false",
    "hoodie.write.markers.type": "DIRECT",
}
LISTS = {"parquet.avro.write-old-list-structure": "false"}
"""Hadoop confs of a write: with the old structure an array cannot hold a NULL, and one of one-field structs reads back as another."""
_PREPPED = "_hoodie.spark.sql.merge.into.prepped"
LOCATED = {_PREPPED: "true"}
"""The rows say where they stand (``hudi_rows``): no index is asked."""
INDEXED = {_PREPPED: "false", "hoodie.index.type": "SIMPLE"}
"""Hudi looks each key up in the base files of the partitions that the rows name."""
UNPADDED = {"hoodie.parquet.small.file.limit": "0"}
"""New rows get files of their own: padding could put a row into the file group in which its key is being deleted."""


def options(table: HudiTable, operation: str, token: str, more: Mapping[str, str]) -> dict[str, str]:
    """The writer's options; the user's own, kept with the table, come before lakekit's choices."""
    # Keeping a metadata table up costs more than the listings that it saves; but where one is, every writer must keep it up.
    lean = {} if table.has_metadata_table else {"hoodie.metadata.enable": "false"}
    fixed = {"hoodie.table.name": table.name, "hoodie.datasource.write.operation": operation, TOKEN: token}
    # Lakekit holds the lock already (``hudi_guard``); the writer would wait for itself.
    own = {key: value for key, value in table.options.items() if not key.startswith("hoodie.write.lock.")}
    return {**_DEFAULTS, **lean, **own, **fixed, **_lists(table.schema), **more}


def _lists(schema: T.StructType) -> dict[str, str]:
    """What keeps lists readable for Hudi's next rewrite of the file.

    Hudi's loads and compactions write by Spark, its upserts read by Avro. For the sake of decimals of up to 18 digits, which Avro does
    not read as Spark writes them today, Hudi turns Spark's *legacy* format on; in that a list is ``bag { array }``, in which Avro finds
    no list: every row that an upsert only copies loses its lists, in silence (Hudi 1.0.2, also without lakekit). So a table with both
    is written by Avro alone, as Hudi's own clustering does then, and one with lists and no such decimal never gets the legacy format.
    """
    if not _holds(schema, lambda t: isinstance(t, T.ArrayType)):
        return {}
    if _holds(schema, lambda t: isinstance(t, T.DecimalType) and t.precision <= _SMALL):
        return {"hoodie.datasource.write.row.writer.enable": "false", "hoodie.file.group.reader.enabled": "false"}
    return {"hoodie.parquet.writelegacyformat.enabled": "false"}


def _holds(data_type: T.DataType, wanted: Callable[[T.DataType], bool]) -> bool:
    """Whether a type or one within it is wanted."""
    if isinstance(data_type, T.StructType):
        return any(_holds(f.dataType, wanted) for f in data_type.fields)
    if isinstance(data_type, T.MapType):
        return _holds(data_type.keyType, wanted) or _holds(data_type.valueType, wanted)
    return wanted(data_type) or (isinstance(data_type, T.ArrayType) and _holds(data_type.elementType, wanted))
