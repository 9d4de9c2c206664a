"""Apache Hudi: copy-on-write and merge-on-read tables, written by Hudi's DataFrame writer only.

Hudi's SQL MERGE is wrong in 1.0.2 (it updates where it should delete, and writes NULL keys), so every change goes through the
writer. Three things differ from Hudi's defaults: rows are located by lakekit's planner, not by an index (``hudi_rows``); one
lakekit writer at a time plans and writes (``hudi_guard``); and no metadata table is built for new tables, because keeping it
costs more than the listings that it saves: set the property ``hoodie.metadata.enable`` to have one.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.cdc import ACTION, INSERT, REMOVE
from lakekit.columns import col
from lakekit.errors import ConfigError, TableNotFound
from lakekit.formats import session_catalog as catalog
from lakekit.formats.base import VERSIONS, Adapter, ChangeSet, Landing, Spec, Unsupported, View, unsupported
from lakekit.formats.failures import translated
from lakekit.formats.hudi_catalog import register
from lakekit.formats.hudi_guard import held
from lakekit.formats.hudi_rows import DELETED, FILE, KEY, OLD, RECORD_KEY, key_text, located, record_key_of
from lakekit.formats.hudi_table import COMMENT, META, OPTION, SERVICES, TOKEN, HudiTable, Instant, storage_conf
from lakekit.partitioning import Bucket, Days, Hours, Identity, Months, Transform, Truncate, Years

_KEEP = 30  # commits whose files stay readable; archiving must keep more, or the cleaner idles for ever
WRITE = {
    # Ours to decide: rows come decided, one per key, so Hudi has nothing to combine, order or look up.
    "hoodie.combine.before.upsert": "false",
    "hoodie.combine.before.insert": "false",
    "hoodie.write.record.merge.mode": "COMMIT_TIME_ORDERING",
    "hoodie.datasource.write.payload.class": "org.apache.hudi.common.model.OverwriteWithLatestAvroPayload",
    # A killed writer leaves an unfinished instant; the next one rolls it back before it writes.
    "hoodie.clean.failed.writes.policy": "EAGER",
    "hoodie.clean.commits.retained": str(_KEEP),
    "hoodie.clean.max.commits": "10",
    "hoodie.keep.min.commits": str(_KEEP + 10),
    "hoodie.keep.max.commits": str(_KEEP + 20),
    # 60,000 by default: half a megabyte of bloom filter in the smallest file. It grows with the rows anyway.
    "hoodie.index.bloom.num_entries": "1000",
    "hoodie.embed.timeline.server": "false",
    "hoodie.write.markers.type": "DIRECT",
}
_LOCATED = {"_hoodie.spark.sql.merge.into.prepped": "true"}
_ODD_PARTITION = unsupported("Hudi's key generators write the partition's text only", instead="add a column with the value and partition by it")


class Hudi(Adapter):
    """A Hudi table in Spark's catalog or at a path."""

    name = "hudi"
    partitioning: Mapping[type[Transform], Callable[..., Any] | Unsupported] = {
        Identity: lambda t: t.column,
        Years: _ODD_PARTITION,
        Months: _ODD_PARTITION,
        Days: _ODD_PARTITION,
        Hours: _ODD_PARTITION,
        Bucket: _ODD_PARTITION,
        Truncate: _ODD_PARTITION,
    }
    alterations = {"add": True, "widen": True}
    modes = {"copy-on-write": "COPY_ON_WRITE", "merge-on-read": "MERGE_ON_READ"}
    verbs = {
        "create": True, "append": True, "overwrite": True, "delete": True, "upsert": True, "upsert (partial)": True, "evolve (add)": True,
        "evolve (widen)": True, "as_of": True, "versions": True, "rollback": True, "drop": True, "paths as names": True,
    }  # fmt: skip
    locators = (RECORD_KEY, FILE)
    hidden = (KEY, DELETED, *META)

    @property
    def path(self) -> str:
        """Where the files are: the name itself, the catalog's location, or the warehouse's."""
        if catalog.is_path(self.table):
            return self.table.rstrip("/")
        found = catalog.registered(self.spark, self.table)
        return found[1].rstrip("/") if found is not None else catalog.default_location(self.spark, self.table)

    def exists(self) -> bool:
        with translated(self.table, "looking for it"):
            return catalog.folder_exists(self.spark, f"{self.path}/.hoodie/hoodie.properties")

    def _load(self) -> HudiTable:
        """The table's metadata as it is now."""
        if not self.exists():
            raise TableNotFound(f"{self.table}: no Hudi table at {self.path}. Create it first, or check the name.")
        with translated(self.table, "loading the table"):
            table = HudiTable(self.spark, self.path)
            self._register(table)
            return table

    def _register(self, table: HudiTable) -> None:
        """Let SQL know the name of a table whose files are there: a local session's catalog is empty at first."""
        if not catalog.is_path(self.table) and catalog.registered(self.spark, self.table) is None:
            register(self.spark, self.table, table.path, table.schema, table.partition_columns, table.properties.get(COMMENT))

    def view(self) -> View:
        table = self._load()
        with translated(self.table, "reading its metadata"):
            return View(
                version=table.version,
                schema=T.StructType([f for f in table.schema.fields if f.name not in self.hidden]),
                partition_columns=table.partition_columns,
                merge_on_read=table.merge_on_read,
                empty=_never_written(table),
            )

    def read(self, version: str | None = None) -> DataFrame:
        table = self._load()
        reader = self.spark.read.format("hudi").option("hoodie.datasource.query.type", "snapshot")
        if version is not None and version != table.version:
            reader = reader.option("as.of.instant", version)
        with translated(self.table, "reading it"):
            rows = reader.load(self.path)
        return rows.select("*", F.substring_index(META[4], "_", 1).alias(FILE))

    def create(self, spec: Spec) -> None:
        partitions = [self.can(self.partitioning, type(t), f"partition transform {t.name}")(t) for t in spec.partitioning]
        if self.exists():
            return
        with translated(self.table, "creating it"):
            self._init(spec, partitions)
            self._register(HudiTable(self.spark, self.path))

    def _init(self, spec: Spec, partitions: Sequence[str]) -> None:
        key = record_key_of(spec.keys, spec.schema)
        name = self.path.rsplit("/", 1)[-1]
        builder = self._jvm.org.apache.hudi.common.table.HoodieTableMetaClient.newTableBuilder()
        builder.setTableType(self.modes["merge-on-read" if spec.merge_on_read else "copy-on-write"]).setTableName(name)
        builder.setRecordKeyFields(key).setTableCreateSchema(self._avro(with_key_column(spec.schema, key), name))
        builder.setRecordMergeMode(self._jvm.org.apache.hudi.common.config.RecordMergeMode.COMMIT_TIME_ORDERING)
        builder.setCommitTimezone(self._jvm.org.apache.hudi.common.model.HoodieTimelineTimeZone.UTC)
        builder.setHiveStylePartitioningEnable(True).setUrlEncodePartitioning(True)
        builder.setKeyGeneratorClassProp(f"org.apache.hudi.keygen.{_key_generator(partitions)}")
        if partitions:
            builder.setPartitionFields(",".join(partitions))
        client = builder.initTable(storage_conf(self.spark), self.path)
        self._keep_options(client, spec)

    @property
    def _jvm(self) -> Any:
        return self.spark._jvm

    def _avro(self, schema: T.StructType, name: str) -> str:
        java = self._jvm.org.apache.spark.sql.types.DataType.fromJson(schema.json())
        return str(self._jvm.org.apache.hudi.AvroConversionUtils.convertStructTypeToAvroSchema(java, f"{name}_record", f"hoodie.{name}").toString())

    def _keep_options(self, client: Any, spec: Spec) -> None:
        """Keep the user's properties in ``hoodie.properties``, from where every write takes them."""
        kept = {OPTION + k: v for k, v in spec.properties.items()}
        if spec.comment is not None:
            kept[COMMENT] = spec.comment
        if kept:
            properties = self._jvm.java.util.Properties()
            for key, value in kept.items():
                properties.setProperty(key, value)
            self._jvm.org.apache.hudi.common.table.HoodieTableConfig.update(client.getStorage(), client.getMetaPath(), properties)

    def apply(self, view: View, changes: ChangeSet, token: str) -> None:
        table = self._load()
        self._check_keys(table, changes)
        key = F.when(col(ACTION) == INSERT, key_text(changes.keys, table.schema)).otherwise(col(RECORD_KEY))
        rows = self._keyed(changes.rows, table, key)
        if view.empty:
            rows = rows.where(col(ACTION) == INSERT)
            self._write(table, _complete(rows, table), "bulk_insert", token)
        else:
            self._upsert(table, rows, token, deletes=bool(changes.deletes or (changes.updates and table.partition_columns)))

    def _check_keys(self, table: HudiTable, changes: ChangeSet) -> None:
        if table.record_key != (KEY,) and set(table.record_key) != set(changes.keys):
            raise ConfigError(
                f"{self.table}: its record key is {', '.join(table.record_key) or 'generated'}, the feed's keys are {', '.join(changes.keys)}. "
                "Use the same columns, or load the table anew with lakekit."
            )

    def _keyed(self, rows: DataFrame, table: HudiTable, key: Column) -> DataFrame:
        return rows.withColumn(KEY, key) if KEY in table.schema.names else rows

    def _upsert(self, table: HudiTable, rows: DataFrame, token: str, *, deletes: bool, **more: str) -> None:
        columns = table.schema.names
        if deletes and DELETED not in columns:
            columns = [*columns, DELETED]
        self._write(table, located(rows, columns, table.partition_columns), "upsert", token, **_LOCATED, **more)

    def _write(self, table: HudiTable, rows: DataFrame, operation: str, token: str, **more: str) -> None:
        options = {
            **WRITE,
            **({} if table.has_metadata_table else {"hoodie.metadata.enable": "false"}),
            "hoodie.table.name": table.name,
            "hoodie.datasource.write.operation": operation,
            TOKEN: token,
            **table.options,
            **more,
        }
        # The zone of instants is one for the whole JVM; a table keeps to its own.
        self._jvm.org.apache.hudi.common.table.timeline.HoodieInstantTimeGenerator.setCommitTimeZone(table.config.getTimelineTimezone())
        with translated(self.table, f"writing ({operation})"):
            rows.write.format("hudi").options(**options).mode("append").save(self.path)
            self._refresh()

    def _refresh(self) -> None:
        """Let SQL by name see the commit; Spark keeps the file list of a table that it has read."""
        if not catalog.is_path(self.table):
            self.spark.catalog.refreshTable(catalog.sql_name(self.table))

    def append(self, rows: DataFrame, view: View, token: str) -> None:
        table = self._load()
        self._write(table, _complete(self._keyed(rows, table, F.expr("uuid()")), table), "bulk_insert", token)

    def overwrite(self, rows: DataFrame, where: str | None, view: View, token: str) -> None:
        table = self._load()
        fresh = self._keyed(rows, table, F.expr("uuid()"))
        if where is None:
            self._write(table, _complete(fresh, table), "insert_overwrite_table", token)
            return
        gone = self._standing(table, where)
        news = fresh.withColumn(ACTION, F.lit(INSERT))
        # Padding could put a new row into the very file group in which its key is being deleted.
        self._upsert(table, gone.unionByName(news, allowMissingColumns=True), token, deletes=True, **{"hoodie.parquet.small.file.limit": "0"})

    def delete(self, where: str, token: str) -> None:
        table = self._load()
        gone = self._standing(table, where)
        if not gone.isEmpty():
            self._upsert(table, gone, token, deletes=True)

    def _standing(self, table: HudiTable, where: str) -> DataFrame:
        """The rows where a condition holds, as deletes."""
        old = {OLD + c: col(c) for c in table.partition_columns}
        return self.read().where(where).withColumns({ACTION: F.lit(REMOVE), **old})

    def add_columns(self, fields: Sequence[T.StructField]) -> None:
        table = self._load()
        schema = table.schema
        for field in fields:
            schema = _with_field(schema, field.name.split("/"), field.dataType)
        self._reshape(table, schema)

    def widen_column(self, name: str, data_type: T.DataType) -> None:
        table = self._load()
        self._reshape(table, T.StructType([T.StructField(f.name, data_type if f.name == name else f.dataType) for f in table.schema.fields]))

    def _reshape(self, table: HudiTable, schema: T.StructType) -> None:
        """A commit without rows carries the new schema; files of the old one are read through it."""
        self._write(table, self.spark.createDataFrame([], schema), "bulk_insert", uuid.uuid4().hex)

    def landing(self, view: View, token: str, *, wrote: bool) -> Landing:
        table = self._load()
        facts = [table.facts(i) for i in table.since(view.version)]
        found = [f for f in facts if f is None or f.operation not in SERVICES]
        ours = [f for f in found if f is not None and f.token == token]
        return Landing(
            alone=len(found) == len(ours) and bool(ours) == wrote,
            version=table.version,
            files_added=sum(f.files_added for f in ours),
            files_removed=sum(f.files_removed for f in ours),
            bytes_added=sum(f.bytes_added for f in ours),
            rows_added=sum(f.inserted + f.updated for f in ours),
            rows_removed=sum(f.deleted + f.updated for f in ours),
        )

    def versions(self) -> DataFrame:
        table = self._load()
        parent, rows = None, []
        for instant in table.history:
            rows.append(_version_row(table, instant, parent))
            parent = instant.version
        return self.spark.createDataFrame(rows, VERSIONS)

    def resolve(self, version: str) -> str:
        if version not in {i.version for i in self._load().history}:
            raise TableNotFound(f"{self.table}: no version {version}. See versions(); it may have been cleaned.")
        return version

    def rollback(self, version: str, token: str) -> None:
        table = self._load()
        self._write(table, _complete(self.read(version), table), "insert_overwrite_table", token)

    def drop(self) -> None:
        path = self.path
        with translated(self.table, "dropping it"):
            if not catalog.is_path(self.table):
                self.spark.sql(f"DROP TABLE IF EXISTS {catalog.sql_name(self.table)}")
            catalog.delete_folder(self.spark, path)

    @contextmanager
    def guard(self) -> Iterator[None]:
        table = self._load()
        with held(self.spark, self.table, self.path, table.options):
            yield


def with_key_column(schema: T.StructType, record_key: str) -> T.StructType:
    """The schema with lakekit's key column at the end, where it is the record key; everything is nullable."""
    own = [T.StructField(KEY, T.StringType())] if record_key == KEY else []
    return T.StructType([*(T.StructField(f.name, f.dataType) for f in schema.fields), *own])


def _with_field(schema: T.StructType, path: Sequence[str], data_type: T.DataType) -> T.StructType:
    """The schema with one more field; a path of several names leads into structs."""
    if len(path) == 1:
        return T.StructType([*schema.fields, T.StructField(path[0], data_type)])
    inner = schema[path[0]].dataType
    assert isinstance(inner, T.StructType)
    wider = _with_field(inner, path[1:], data_type)
    return T.StructType([T.StructField(f.name, wider if f.name == path[0] else f.dataType) for f in schema.fields])


def _complete(rows: DataFrame, table: HudiTable) -> DataFrame:
    """The rows in the table's columns, in its order; what they lack is NULL."""
    return rows.select(*(col(f.name) if f.name in rows.columns else F.lit(None).cast(f.dataType).alias(f.name) for f in table.schema.fields))


def _key_generator(partitions: Sequence[str]) -> str:
    return "NonpartitionedKeyGenerator" if not partitions else "SimpleKeyGenerator" if len(partitions) == 1 else "ComplexKeyGenerator"


def _never_written(table: HudiTable) -> bool:
    """Whether no commit has brought a row yet; commits that only change the schema have not."""
    if len(table.instants) > 3:
        return False
    found = [table.facts(i) for i in table.instants]
    return all(f is not None and not f.files_added for f in found)


def _version_row(table: HudiTable, instant: Instant, parent: str | None) -> tuple[Any, ...]:
    facts = table.facts(instant)
    known = (facts.files_added, facts.files_removed, facts.inserted + facts.updated, facts.deleted + facts.updated) if facts else (None,) * 4
    return (instant.version, parent, table.at(instant.completed), facts.operation if facts else instant.action, *known)

