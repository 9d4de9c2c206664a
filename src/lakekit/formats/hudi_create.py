"""Making an empty Hudi table, and a schema's next shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import types as T

from lakekit.formats.base import Spec, Unsupported, unsupported
from lakekit.formats.hudi_rows import KEY, record_key_of
from lakekit.formats.hudi_table import COMMENT, OPTION, storage_conf

_PARTITION_TYPES = (T.StringType, T.ByteType, T.ShortType, T.IntegerType, T.LongType, T.DateType)


def unpartitionable(data_type: T.DataType) -> Unsupported | None:
    """Why a column of a type cannot be a partition column, or ``None``."""
    if isinstance(data_type, _PARTITION_TYPES):
        return None
    return unsupported(
        f"Hudi writes or prunes partitions of type {data_type.simpleString()} wrongly",
        instead="partition by a text, integer or date column",
    )


def make(spark: SparkSession, path: str, spec: Spec, table_type: str, partitions: Sequence[str]) -> None:
    """Make the table's ``.hoodie`` folder. Instants in UTC; a hidden record key where Hudi's own text of the key would lose rows."""
    jvm: Any = spark._jvm
    key = record_key_of(spec.keys, spec.schema, () if spans_partitions(spec.properties) else partitions)
    name = path.rsplit("/", 1)[-1]
    builder = jvm.org.apache.hudi.common.table.HoodieTableMetaClient.newTableBuilder()
    builder.setTableType(table_type).setTableName(name)
    builder.setRecordKeyFields(key).setTableCreateSchema(_avro(spark, _stored(spec.schema, key), name))
    builder.setRecordMergeMode(jvm.org.apache.hudi.common.config.RecordMergeMode.COMMIT_TIME_ORDERING)
    builder.setCommitTimezone(jvm.org.apache.hudi.common.model.HoodieTimelineTimeZone.UTC)
    builder.setHiveStylePartitioningEnable(True).setUrlEncodePartitioning(True)
    builder.setKeyGeneratorClassProp(f"org.apache.hudi.keygen.{_key_generator(partitions)}")
    if partitions:
        builder.setPartitionFields(",".join(partitions))
    _keep(jvm, builder.initTable(storage_conf(spark), path), spec)


def spans_partitions(properties: Mapping[str, str]) -> bool:
    """Whether the table's index takes one record key for one row wherever it stands, so that the partition cannot be part of the key.

    >>> spans_partitions({"hoodie.index.type": "global_bloom"}), spans_partitions({"hoodie.index.type": "SIMPLE"}), spans_partitions({})
    (True, False, False)
    """
    index = properties.get("hoodie.index.type", "").upper()
    return "GLOBAL" in index or index == "RECORD_INDEX"


def _avro(spark: SparkSession, schema: T.StructType, name: str) -> str:
    jvm: Any = spark._jvm
    java = jvm.org.apache.spark.sql.types.DataType.fromJson(schema.json())
    return str(jvm.org.apache.hudi.AvroConversionUtils.convertStructTypeToAvroSchema(java, f"{name}_record", f"hoodie.{name}").toString())


def _stored(schema: T.StructType, record_key: str) -> T.StructType:
    """The schema with lakekit's key column at the end, where it is the record key; everything is nullable."""
    own = [T.StructField(KEY, T.StringType())] if record_key == KEY else []
    return T.StructType([*(T.StructField(f.name, f.dataType) for f in schema.fields), *own])


def _key_generator(partitions: Sequence[str]) -> str:
    return "NonpartitionedKeyGenerator" if not partitions else "SimpleKeyGenerator" if len(partitions) == 1 else "ComplexKeyGenerator"


def _keep(jvm: Any, client: Any, spec: Spec) -> None:
    """Keep the user's properties in ``hoodie.properties``, from where every write takes them."""
    kept = {OPTION + k: v for k, v in spec.properties.items()}
    if spec.comment is not None:
        kept[COMMENT] = spec.comment
    if kept:
        properties = jvm.java.util.Properties()
        for key, value in kept.items():
            properties.setProperty(key, value)
        jvm.org.apache.hudi.common.table.HoodieTableConfig.update(client.getStorage(), client.getMetaPath(), properties)


def with_field(schema: T.StructType, path: Sequence[str], data_type: T.DataType) -> T.StructType:
    """The schema with one more field; a path of several names leads into structs.

    >>> with_field(T.StructType().add("s", T.StructType().add("a", T.IntegerType())), ["s", "b"], T.LongType()).simpleString()
    'struct<s:struct<a:int,b:bigint>>'
    """
    if len(path) == 1:
        return T.StructType([*schema.fields, T.StructField(path[0], data_type)])
    inner = schema[path[0]].dataType
    assert isinstance(inner, T.StructType)
    return with_type(schema, path[0], with_field(inner, path[1:], data_type))


def with_type(schema: T.StructType, name: str, data_type: T.DataType) -> T.StructType:
    """The schema with another type for one column."""
    return T.StructType([T.StructField(f.name, data_type if f.name == name else f.dataType) for f in schema.fields])
