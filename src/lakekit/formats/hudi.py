"""Apache Hudi: copy-on-write and merge-on-read tables, written by Hudi's DataFrame writer only.

Hudi's SQL MERGE is wrong in 1.0.2 (it updates where it should delete, and writes NULL keys), so every change goes through the
writer. Three things differ from Hudi's defaults: rows are located by lakekit's planner, mostly not by an index (``hudi_rows``); one
lakekit writer at a time plans and writes (``hudi_guard``); and no metadata table is built for new tables, because keeping it
costs more than the listings that it saves: set the property ``hoodie.metadata.enable`` to have one (``hudi_write``).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.cdc import ACTION, INSERT, REMOVE
from lakekit.columns import col
from lakekit.confs import hadoop_confs
from lakekit.errors import ConfigError, TableNotFound
from lakekit.formats import session_catalog as catalog
from lakekit.formats.base import (
    KEYS_PROPERTY,
    SCD_PROPERTY,
    VERSIONS,
    Adapter,
    ChangeSet,
    Landing,
    Scan,
    Spec,
    Unsupported,
    View,
    in_one_schema,
    unsupported,
)
from lakekit.formats.failures import translated
from lakekit.formats.hudi_catalog import check_place, forget, register
from lakekit.formats.hudi_create import make, unpartitionable, with_field, with_type
from lakekit.formats.hudi_guard import held, lock_confs
from lakekit.formats.hudi_rows import DELETED, FILE, KEY, OLD, PATH, RECORD_KEY, key_text, located, partitions_met
from lakekit.formats.hudi_sizes import bytes_removed, fewer_rows
from lakekit.formats.hudi_table import COMMENT, META, SERVICES, HudiTable, Instant
from lakekit.formats.hudi_write import INDEXED, LISTS, LOCATED, UNPADDED, options
from lakekit.formats.partition_values import EMPTY_TEXT, JULIAN_DATE, PartitionValue, refusing
from lakekit.partitioning import Bucket, Days, Hours, Identity, Months, Transform, Truncate, Years

_NO_TRANSFORM = unsupported(
    "Hudi partitions by stored columns only", instead="add the value as a column in the source and partition by that"
)


MANY_ROWS = 10_000
"""Changed rows from which on it pays to ask whether Hudi's index would be cheaper."""
MANY_PARTITIONS = 200
"""Partitions of which one process may list the files to find out."""
LISTED_ONCE = {"hoodie.datasource.read.file.index.listing.partition-path-prefix.analysis.enabled": "false"}

_REPLACE = "replace it in the source, or partition by another column"
_WIDER = {
    "int to bigint": True,
    # It reads the old files by way of text, so 0.1, and copies them as numbers when it rewrites them, so 0.10000000149011612.
    "float to double": unsupported(
        "Hudi reads a float as one double until its file is rewritten, and as another afterwards",
        instead="add a double column, or overwrite a new table with the values cast",
    ),
}


class Hudi(Adapter):
    """A Hudi table in Spark's catalog or at a path."""

    name = "hudi"
    nameable = re.compile(r"[^\W\d]\w*")  # as Avro's
    partitioning: ClassVar[Mapping[type[Transform], Callable[..., Any] | Unsupported]] = {
        Identity: lambda t: t.column,
        Years: _NO_TRANSFORM,
        Months: _NO_TRANSFORM,
        Days: _NO_TRANSFORM,
        Hours: _NO_TRANSFORM,
        Bucket: _NO_TRANSFORM,
        Truncate: _NO_TRANSFORM,
    }
    alterations: ClassVar = {"add": True, "widen": True}
    partition_values: ClassVar[Mapping[PartitionValue, bool | Unsupported]] = {
        EMPTY_TEXT: unsupported("Hudi reads it back as NULL", instead=_REPLACE),
        JULIAN_DATE: unsupported("Hudi reads it back as another date", instead=_REPLACE),
    }
    modes: ClassVar = {"copy-on-write": "COPY_ON_WRITE", "merge-on-read": "MERGE_ON_READ"}
    verbs: ClassVar = {
        "create": True, "append": True, "overwrite": True, "delete": True, "upsert": True, "upsert (partial)": True, "evolve (add)": True,
        "scd0": True, "scd2": True, "scd3": True, "scd4": True, "scd6": True, "scd7": True, "infer": True, "unknown_member": True,
        "evolve (widen)": True, "as_of": True, "versions": True, "rollback": True, "drop": True, "paths as names": True,
    }  # fmt: skip
    locators = (RECORD_KEY, FILE, PATH)
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
                scd=table.options.get(SCD_PROPERTY),
                keys=table.options.get(KEYS_PROPERTY),
            )

    def read(self, version: str | None = None) -> DataFrame:
        return self._read(version)

    def scan(self, version: str | None, condition: Column) -> Scan:
        """Asked for statistics, Hudi would list partitions and files, and has none. It lists them once, not anew at each look."""
        return Scan(self._read(version, LISTED_ONCE).where(condition), None, lambda column, values: False)

    def _read(self, version: str | None, options: Mapping[str, str] | None = None) -> DataFrame:
        table = self._load()
        reader = self.spark.read.format("hudi").options(**(options or {})).option("hoodie.datasource.query.type", "snapshot")
        if version is not None and version != table.version:
            self._check_kept(table, version)
            reader = reader.option("as.of.instant", version)
        with translated(self.table, "reading it"):
            rows = reader.load(self.path)
        return rows.select("*", F.substring_index(META[4], "_", 1).alias(FILE))

    def _check_kept(self, table: HudiTable, version: str) -> None:
        if not table.keeps(version):
            raise TableNotFound(f"{self.table}: the files of version {version} have been cleaned. See hoodie.clean.commits.retained.")

    def create(self, spec: Spec) -> None:
        partitions = [self.can(self.partitioning, type(t), f"partition transform {t.name}")(t) for t in spec.partitioning]
        for name in partitions:
            self.can({name: unpartitionable(spec.schema[name].dataType) or True}, name, f"partition_by {name}")
        catalog.check_free(self.spark, self.table, self.path, self.name)
        if not catalog.is_path(self.table):
            check_place(self.spark, self.table, self.path)
        mode = self.modes["merge-on-read" if spec.merge_on_read else "copy-on-write"]
        with held(self.spark, self.table, self.path, {**lock_confs(self.spark), **spec.properties}):
            if self.exists():
                return
            with translated(self.table, "creating it"):
                make(self.spark, self.path, spec, mode, partitions)
                self._register(HudiTable(self.spark, self.path))

    def apply(self, view: View, changes: ChangeSet, token: str) -> None:
        table = self._load()
        self._check_keys(table, changes)
        if view.empty:  # no row stands, so none has locators
            news = changes.rows.where(col(ACTION) == INSERT)
            self._write(table, _complete(_keyed(news, table, lambda: key_text(changes.keys, table.schema)), table), "bulk_insert", token)
            return
        # A row that stands keeps the record key that it has, whoever gave it.
        new, stands = col(ACTION) == INSERT, col(RECORD_KEY)
        rows = _keyed(changes.rows, table, lambda: F.when(new, key_text(changes.keys, table.schema)).otherwise(stands))
        deletes = bool(changes.deletes or (changes.updates and table.partition_columns))
        self._upsert(table, rows, token, deletes=deletes, **self._placing(table, changes))

    def _placing(self, table: HudiTable, changes: ChangeSet) -> Mapping[str, str]:
        """How Hudi is to learn where the rows stand: from the rows, or by its index where a batch changes much of the partitions it meets.

        For a row that says where it stands Hudi 1.0.2 makes a schema of its own, at about a third, for each column, of what it costs to
        read one key from a file.
        """
        if changes.size < MANY_ROWS or not changes.kept:
            return LOCATED
        met, strange = partitions_met(changes.rows, table.partition_columns)
        if strange or len(met) > MANY_PARTITIONS:
            return LOCATED
        with translated(self.table, "listing its files"):
            return INDEXED if fewer_rows(table, met, changes.size * len(table.schema.fields) // 3) else LOCATED

    def _check_keys(self, table: HudiTable, changes: ChangeSet) -> None:
        known, inner = set(table.record_key), set(changes.keys) - set(table.partition_columns)
        if known != {KEY} and known not in (set(changes.keys), inner):
            raise ConfigError(
                f"{self.table}: its record key is {', '.join(table.record_key) or 'generated by Hudi'}, the feed's keys are "
                f"{', '.join(changes.keys)}. Use the same columns, or load the table anew with lakekit."
            )

    def _upsert(self, table: HudiTable, rows: DataFrame, token: str, *, deletes: bool, **more: str) -> None:
        columns = table.schema.names
        if deletes and DELETED not in columns:
            columns = [*columns, DELETED]
        self._write(table, located(rows, columns, table.partition_columns), "upsert", token, **{**LOCATED, **more})

    def _write(self, table: HudiTable, rows: DataFrame, operation: str, token: str, **more: str) -> None:
        table.set_zone()
        rows = refusing(rows, self.unstorable(table.schema, table.partition_columns))
        with translated(self.table, f"writing ({operation})"):
            with hadoop_confs(self.spark, LISTS):
                rows.write.format("hudi").options(**options(table, operation, token, more)).mode("append").save(self.path)
            self._refresh()

    def _refresh(self) -> None:
        """Let SQL by name see the commit; Spark keeps the file list of a table that it has read."""
        if not catalog.is_path(self.table):
            self.spark.catalog.refreshTable(catalog.sql_name(self.table))

    def append(self, rows: DataFrame, view: View, token: str) -> None:
        table = self._load()
        self._write(table, _complete(_unkeyed(rows, table), table), "bulk_insert", token)

    def overwrite(self, rows: DataFrame, where: str | None, view: View, token: str) -> None:
        table = self._load()
        fresh = _unkeyed(rows, table)
        if where is None:
            self._write(table, _complete(fresh, table), "insert_overwrite_table", token)
            return
        gone = self._standing(table, where)
        news = fresh.withColumn(ACTION, F.lit(INSERT))
        self._upsert(table, gone.unionByName(news, allowMissingColumns=True), token, deletes=True, **UNPADDED)

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
            schema = with_field(schema, field.name.split("/"), field.dataType)
        self._reshape(table, schema)

    def widen_column(self, name: str, data_type: T.DataType) -> None:
        table = self._load()
        parent, _, field = name.partition("/")
        stored = table.schema[parent].dataType
        if not field:
            self.check_widening(name, stored, data_type)
            self._reshape(table, with_type(table.schema, name, data_type))
            return
        assert isinstance(stored, T.StructType)
        wider = with_type(stored, field, data_type)
        # Hudi does not read a field of a struct in another type than its file has, so the files are written anew.
        rows = self.read().withColumn(parent, col(parent).cast(wider))
        self._write(table, _complete(rows, table), "insert_overwrite_table", uuid.uuid4().hex)
        self._register_anew()

    def check_widening(self, name: str, stored: T.DataType, wanted: T.DataType) -> None:
        kinds = f"{stored.simpleString()} to {wanted.simpleString()}"
        self.can(_WIDER, kinds, f"widen {name} from {kinds}")

    def _reshape(self, table: HudiTable, schema: T.StructType) -> None:
        """A commit without rows carries the new schema; files of the old one are read through it."""
        self._write(table, self.spark.createDataFrame([], schema), "bulk_insert", uuid.uuid4().hex)
        self._register_anew()

    def _register_anew(self) -> None:
        if not catalog.is_path(self.table):
            forget(self.spark, self.table)
            self._load()

    def landing(self, view: View, token: str, *, wrote: bool) -> Landing:
        table = self._load()
        facts = [(i, table.facts(i)) for i in table.since(view.version)]
        found = [(i, f) for i, f in facts if f is None or f.operation not in SERVICES]
        commits = [(i, f) for i, f in found if f is not None and f.token == token]
        ours = [f for _, f in commits]
        return Landing(
            alone=len(found) == len(ours) and bool(ours) == wrote,
            version=table.version,
            files_added=sum(f.files_added for f in ours),
            files_removed=sum(f.files_removed for f in ours),
            bytes_added=sum(f.bytes_added for f in ours),
            bytes_removed=bytes_removed(table, commits),
            rows_added=sum(f.inserted + f.updated for f in ours),
            rows_removed=sum(f.deleted + f.updated for f in ours),
        )

    def versions(self) -> DataFrame:
        table = self._load()
        parent, rows = None, []
        for instant in table.history:
            rows.append(_version_row(table, instant, parent))
            parent = instant.version
        return in_one_schema(self.spark.createDataFrame(rows, VERSIONS))

    def resolve(self, version: str) -> str:
        table = self._load()
        if version not in {i.version for i in table.history}:
            raise TableNotFound(f"{self.table}: no version {version}. See versions().")
        self._check_kept(table, version)
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
        with held(self.spark, self.table, self.path, {**lock_confs(self.spark), **table.options}):
            yield


def _keyed(rows: DataFrame, table: HudiTable, key: Callable[[], Column]) -> DataFrame:
    """The rows with their record key, where that is a column of lakekit's own."""
    return rows.withColumn(KEY, key()) if KEY in table.record_key else rows


def _unkeyed(rows: DataFrame, table: HudiTable) -> DataFrame:
    """Rows whose keys nobody named: any text that no other row has will do."""
    return _keyed(rows, table, lambda: F.expr("uuid()"))


def _complete(rows: DataFrame, table: HudiTable) -> DataFrame:
    """The rows in the table's columns, in its order; what they lack is NULL."""
    given = set(rows.columns)
    return rows.select(*(col(f.name) if f.name in given else F.lit(None).cast(f.dataType).alias(f.name) for f in table.schema.fields))


def _never_written(table: HudiTable) -> bool:
    """Whether no commit has brought a row yet; commits that only change the schema have not."""
    if len(table.instants) > 3:
        return False
    found = [table.facts(i) for i in table.instants]
    return all(f is not None and not f.files_added for f in found)


def _version_row(table: HudiTable, instant: Instant, parent: str | None) -> tuple[Any, ...]:
    facts, done = table.facts(instant), table.at(instant.completed)
    if facts is None:
        return (instant.version, parent, done, instant.action, None, None, None, None)
    rows = (facts.inserted + facts.updated, facts.deleted + facts.updated)
    return (instant.version, parent, done, facts.operation, facts.files_added, facts.files_removed, *rows)
