"""Apache Iceberg: snapshots of a table in a named catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.cdc import ACTION, INSERT, REMOVE
from lakekit.columns import all_of, col, quoted
from lakekit.confs import confs
from lakekit.errors import ConfigError, TableNotFound
from lakekit.formats.base import (
    KEYS_PROPERTY,
    SCD_PROPERTY,
    Adapter,
    ChangeSet,
    Landing,
    Spec,
    Unsupported,
    View,
    in_one_schema,
    unsupported,
)
from lakekit.formats.failures import translated
from lakekit.formats.iceberg_columns import in_present_columns
from lakekit.formats.partition_values import EMPTY_TEXT, JULIAN_DATE, PartitionValue
from lakekit.formats.session_catalog import is_path
from lakekit.formats.sql import columns_ddl, dotted, merge, named, nested_ddl, properties_ddl, replace_where, text
from lakekit.gateway import active, elements, session_confs
from lakekit.partitioning import Bucket, Days, Hours, Identity, Months, Transform, Truncate, Years
from lakekit.pruning import values_of

_SPARK_CATALOG = "org.apache.iceberg.spark.SparkCatalog"
_SESSION_CATALOG = "org.apache.iceberg.spark.SparkSessionCatalog"
_MERGE_ON_READ = {f"write.{verb}.mode": "merge-on-read" for verb in ("delete", "update", "merge")}
_PAYS_FROM = 3  # stored rows for each changed one from which rewriting whole partitions beats a MERGE (benchmarks/RESULTS.md)
_FILE_BYTES, _SPLIT_BYTES = 512 << 20, 64 << 20  # Iceberg's default file, and the least that a task rewrites
_ONE_TASK = 200_000  # new rows that one task writes


def _by_word(transform: Transform) -> str:
    return f"{transform.name}({quoted(transform.column)})"


def _by_number(transform: Transform) -> str:
    number = transform.count if isinstance(transform, Bucket) else transform.width if isinstance(transform, Truncate) else 0
    return f"{transform.name}({number}, {quoted(transform.column)})"


class Iceberg(Adapter):
    """An Iceberg table; two-part names live in the session's Iceberg catalog."""

    name = "iceberg"
    partitioning: ClassVar[Mapping[type[Transform], Callable[..., str] | Unsupported]] = {
        Identity: lambda t: quoted(t.column),
        Years: _by_word,
        Months: _by_word,
        Days: _by_word,
        Hours: _by_word,
        Bucket: _by_number,
        Truncate: _by_number,
    }
    alterations: ClassVar[Mapping[str, bool | Unsupported]] = {"add": True, "widen": True}
    partition_values: ClassVar[Mapping[PartitionValue, bool | Unsupported]] = {EMPTY_TEXT: True, JULIAN_DATE: True}
    modes: ClassVar[Mapping[str, str]] = {"copy-on-write": "copy-on-write", "merge-on-read": "merge-on-read"}
    verbs: ClassVar[Mapping[str, bool | Unsupported]] = {
        "create": True, "append": True, "overwrite": True, "delete": True, "upsert": True, "upsert (partial)": True, "evolve (add)": True,
        "scd0": True, "scd2": True, "scd3": True, "scd4": True, "scd6": True, "scd7": True, "infer": True, "unknown_member": True,
        "evolve (widen)": True, "as_of": True, "versions": True, "rollback": True, "drop": True,
        "paths as names": unsupported("Iceberg tables live in a catalog", instead="name the table catalog.namespace.table"),
    }  # fmt: skip

    def __init__(self, spark: Any, table: str) -> None:
        super().__init__(spark, table)
        if is_path(table):
            self.can(self.verbs, "paths as names", "a path as table name")

    @cached_property
    def parts(self) -> list[str]:
        """Catalog, namespace and table."""
        parts = self.table.replace("`", "").split(".")
        return parts if len(parts) > 2 else [default_catalog(self.spark), *parts]

    @cached_property
    def full_name(self) -> str:
        """The quoted name that SQL understands."""
        return dotted(*self.parts)

    def exists(self) -> bool:
        return self._load_or_none() is not None

    def _load_or_none(self) -> Any | None:
        jvm: Any = self.spark._jvm
        try:
            with active(self.spark):
                loaded = jvm.org.apache.iceberg.spark.Spark3Util.loadIcebergTable(self.spark._jsparkSession, self.full_name)
            loaded.refresh()  # the catalog caches tables; another process may have committed since
        except (Py4JError, PySparkException) as error:
            if any(
                word in str(error)
                for word in ("NoSuchTable", "NoSuchNamespace", "NoSuchDatabase", "cannot be found", "NOT_FOUND", "NotFound")
            ):
                return None
            if "REQUIRES_SINGLE_PART_NAMESPACE" in str(error):  # so the first part names no catalog, and Spark takes it for a database
                raise ConfigError(
                    f"{self.table}: the session has no catalog {self.parts[0]}. Set spark.sql.catalog.{self.parts[0]}={_SPARK_CATALOG}, "
                    "or name the table in a catalog that is there."
                ) from error
            if "ClassCastException" in str(error) or "NoSuchIcebergTable" in str(error) or "not an Iceberg table" in str(error):
                return None
            with translated(self.table, "loading the table"):
                raise
        return loaded

    def _load(self) -> Any:
        loaded = self._load_or_none()
        if loaded is None:
            raise TableNotFound(f"{self.table}: no Iceberg table {'.'.join(self.parts)}. Create it first, or check the catalog's name.")
        return loaded

    def view(self) -> View:
        table = self._load()
        snapshot = table.currentSnapshot()
        properties = table.properties()
        rows = None if snapshot is None else snapshot.summary().get("total-records")
        removed = "0" if snapshot is None else snapshot.summary().get("total-position-deletes") or "0"
        return View(
            version=None if snapshot is None else str(snapshot.snapshotId()),
            schema=self.spark.table(self.full_name).schema,
            partition_columns=self._identity_columns(table),
            merge_on_read=properties.get("write.merge.mode") == "merge-on-read",
            empty=snapshot is None or (rows is not None and int(rows) - int(removed) == 0),
            rows=int(rows) if rows else None,
            scd=properties.get(SCD_PROPERTY),
            keys=properties.get(KEYS_PROPERTY),
        )

    def _identity_columns(self, table: Any) -> tuple[str, ...]:
        fields, schema = elements(table.spec().fields()), table.schema()
        return tuple(schema.findColumnName(f.sourceId()) for f in fields if f.transform().isIdentity())

    def read(self, version: str | None = None) -> DataFrame:
        # By name, the one spelling that every Spark line understands: of the read options, `snapshot-id` is refused by the newer
        # and `versionAsOf` silently ignored by the older one.
        return self._evolved(self.spark.table(self._at(version)), version)

    def _evolved(self, rows: DataFrame, version: str | None) -> DataFrame:
        """The rows of the current snapshot in the table's present columns; those of an earlier one as they were."""
        if version is None:
            return rows
        table = self._load()
        snapshot = table.currentSnapshot()
        if snapshot is None or str(snapshot.snapshotId()) != version or snapshot.schemaId() in (None, table.schema().schemaId()):
            return rows
        return in_present_columns(rows, table, snapshot, self.spark.table(self.full_name).schema)

    def _at(self, version: str | None) -> str:
        return self.full_name if version is None else f"{self.full_name}.{quoted(f'snapshot_id_{version}')}"

    def create(self, spec: Spec) -> None:
        transforms = [self.can(self.partitioning, type(t), f"partition transform {t.name}")(t) for t in spec.partitioning]
        properties = {"format-version": "2", **(_MERGE_ON_READ if spec.merge_on_read else {}), **spec.properties}
        ddl = f"CREATE TABLE IF NOT EXISTS {self.full_name} ({columns_ddl(spec.schema)}) USING iceberg"
        if transforms:
            ddl += f" PARTITIONED BY ({', '.join(transforms)})"
        if spec.comment is not None:
            ddl += f" COMMENT {text(spec.comment)}"
        with translated(self.table, "creating it"):
            self.spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {dotted(*self.parts[:-1])}")
            self.spark.sql(f"{ddl} TBLPROPERTIES ({properties_ddl(properties)})")

    def apply(self, view: View, changes: ChangeSet, token: str) -> None:
        with translated(self.table, "applying the changes"):
            partitions = self._rewritable(view, changes)
            if view.empty:
                self._load_first(view, changes)
            elif partitions is not None:
                self._rewrite_in_place(view, changes, partitions)
            else:
                self._merge(changes)

    def _load_first(self, view: View, changes: ChangeSet) -> None:
        # Not an append: a rival that loads the same empty table at once must be refused, and an append conflicts with nothing.
        writer = changes.rows.where(col(ACTION) == INSERT).select(*map(col, changes.columns)).writeTo(self.full_name)
        if view.version is not None:
            writer = writer.option("validate-from-snapshot-id", view.version)
        if changes.placed:
            writer = writer.option("distribution-mode", "none")
        writer.option("isolation-level", "serializable").overwrite(F.lit(True))

    def _merge(self, changes: ChangeSet) -> None:
        isolation = self._load().properties().get("write.merge.isolation-level")
        if isolation == "snapshot":
            raise ConfigError(
                f"{self.table}: write.merge.isolation-level is snapshot, under which two writers can insert one key twice. "
                "ALTER TABLE … SET TBLPROPERTIES ('write.merge.isolation-level' = 'serializable')."
            )
        # The literal bounds already name the touched files; Iceberg's own runtime filter would read the keys once more.
        group_filter = "spark.sql.optimizer.runtime.rowLevelOperationGroupFilter.enabled"
        session = changes.rows.sparkSession  # inside foreachBatch a session of its own, which alone knows the source
        with named(changes.rows) as source, confs(session, {group_filter: str(not self._bound_to_partitions(changes)).lower()}):
            session.sql(merge(self.full_name, source, changes))

    def _bound_to_partitions(self, changes: ChangeSet) -> bool:
        return any(values_of(changes.bounds, c) for c in changes.keys)

    def _rewritable(self, view: View, changes: ChangeSet) -> dict[str, tuple[str, ...]] | None:
        """The partitions that hold every row of these keys, when rewriting them in place is safe and pays."""
        columns = view.partition_columns
        if view.merge_on_read or not columns or not changes.updates + changes.deletes or changes.width > self.broadcast_limit():
            return None
        if self._load().spec().fields().size() != len(columns) or self._load().specs().size() > 1:
            return None
        found = {c: v for c in columns if (v := values_of(changes.bounds, c))}
        if len(found) < len(columns) or self._stored_rows(view, found) < _PAYS_FROM * changes.size:
            return None
        return found

    def _stored_rows(self, view: View, partitions: Mapping[str, tuple[str, ...]]) -> int:
        """How many rows the partitions hold, from the manifests."""
        return self.scan(view.version, in_partitions(partitions)).most or 0

    def _rewrite_in_place(self, view: View, changes: ChangeSet, partitions: Mapping[str, tuple[str, ...]]) -> None:
        """Join the touched partitions of the pinned snapshot with the broadcast changes and overwrite them by filter.

        A MERGE shuffles every touched row twice; this moves none. ``validate-from-snapshot-id`` with serializable isolation
        makes Iceberg refuse the commit when a rival wrote into these partitions since; without both his rows would be lost.
        """
        touched = in_partitions(partitions)
        stored = self._in_large_splits(view).where(touched)
        moved = changes.rows.where(col(ACTION) != INSERT).select(
            *(col(k).alias(f"_lk_key_{i}") for i, k in enumerate(changes.keys)),
            *(col(c).alias(f"_lk_new_{i}") for i, c in enumerate(changes.columns)),
            col(ACTION),
        )
        on = all_of(stored[quoted(k)] == moved[f"_lk_key_{i}"] for i, k in enumerate(changes.keys))
        joined = stored.join(F.broadcast(moved), on, "left").where(~col(ACTION).eqNullSafe(REMOVE))
        kept = joined.select(
            *(F.when(col(ACTION).isNull(), col(c)).otherwise(col(f"_lk_new_{i}")).alias(c) for i, c in enumerate(changes.columns))
        )
        rows = kept
        if changes.inserts:
            news = changes.rows.where(col(ACTION) == INSERT).select(*map(col, changes.columns))
            # New rows come from tasks of their own, else every task would begin a file in every partition.
            news = news.coalesce(1) if changes.inserts <= _ONE_TASK else news.repartition(*map(col, partitions))
            rows = kept.unionByName(news)
        # A task reads one partition and writes its file: nothing to shuffle, nothing to sort.
        writer = rows.writeTo(self.full_name).option("distribution-mode", "none").option("fanout-enabled", "true")
        writer = writer.option("isolation-level", "serializable").option("validate-from-snapshot-id", str(view.version))
        with confs(self.spark, {"spark.sql.iceberg.planning.preserve-data-grouping": "true"}):
            writer.overwrite(touched)

    def _in_large_splits(self, view: View) -> DataFrame:
        """The rows in splits that make files of a good size when each is written back: small files are read together."""
        table = self._load()
        size = int(table.snapshot(int(str(view.version))).summary().get("total-files-size") or 0)
        most = int(table.properties().get("write.target-file-size-bytes") or _FILE_BYTES)
        split = min(most, max(_SPLIT_BYTES, size // (2 * self.spark.sparkContext.defaultParallelism)))
        rows = self.spark.read.options(**{"split-size": str(split), "file-open-cost": "1"}).table(self._at(view.version))
        return self._evolved(rows, view.version)

    def append(self, rows: DataFrame, view: View, token: str) -> None:
        with translated(self.table, "appending"):
            rows.select(*map(col, view.columns)).writeTo(self.full_name).append()

    def overwrite(self, rows: DataFrame, where: str | None, view: View, token: str) -> None:
        with translated(self.table, "overwriting"):
            rows = rows.select(*map(col, view.columns))
            if where is None:
                rows.writeTo(self.full_name).overwrite(F.lit(True))
                return
            with named(rows) as source:
                rows.sparkSession.sql(replace_where(self.full_name, source, view.columns, where))

    def delete(self, where: str, token: str) -> None:
        with translated(self.table, "deleting"):
            self.spark.sql(f"DELETE FROM {self.full_name} WHERE {where}")

    def add_columns(self, fields: Sequence[T.StructField]) -> None:
        if not fields:
            return
        with translated(self.table, "adding columns"):
            names = ", ".join(f"{dotted(*f.name.split('/'))} {nested_ddl(f.dataType)}" for f in fields)
            self.spark.sql(f"ALTER TABLE {self.full_name} ADD COLUMNS ({names})")

    def widen_column(self, name: str, data_type: T.DataType) -> None:
        with translated(self.table, "widening a column"):
            self.spark.sql(f"ALTER TABLE {self.full_name} ALTER COLUMN {dotted(*name.split('/'))} TYPE {data_type.simpleString()}")

    def landing(self, view: View, token: str, *, wrote: bool) -> Landing:
        table = self._load()
        chain = list(self._since(table, view.version))
        # A MERGE takes no snapshot property of ours; the application is ours, and `guard` lets it write one commit at a time.
        ours = [s.summary() for s in chain if s.summary().get("spark.app.id") == self.spark.sparkContext.applicationId]
        current = table.currentSnapshot()
        # After a rollback the chain from the old state is not on top of the view: nothing was added or removed by it.
        back = bool(chain) and str(chain[-1].parentId()) != str(view.version)
        counted = [] if back else ours

        def total(word: str) -> int:
            return sum(int(s.get(word) or 0) for s in counted)

        return Landing(
            alone=len(chain) == len(ours) == int(wrote),
            version=None if current is None else str(current.snapshotId()),
            files_added=total("added-data-files") + total("added-delete-files"),
            files_removed=total("deleted-data-files") + total("removed-delete-files"),
            bytes_added=total("added-files-size"),
            bytes_removed=total("removed-files-size"),
            rows_added=total("added-records"),
            rows_removed=total("deleted-records"),
        )

    @staticmethod
    def _since(table: Any, version: str | None) -> Iterator[Any]:
        snapshot = table.currentSnapshot()
        while snapshot is not None and str(snapshot.snapshotId()) != version:
            yield snapshot
            parent = snapshot.parentId()
            snapshot = None if parent is None else table.snapshot(parent)

    def versions(self) -> DataFrame:
        self._load()

        def number(word: str) -> Column:
            return F.coalesce(F.col("summary").getItem(word).cast("bigint"), F.lit(0))  # the summary leaves out what is none

        history = self.spark.table(f"{self.full_name}.snapshots").select(
            F.col("snapshot_id").cast("string").alias("version"),
            F.col("parent_id").cast("string").alias("parent"),
            F.col("committed_at"),
            F.col("operation"),
            number("added-data-files").alias("files_added"),
            number("deleted-data-files").alias("files_removed"),
            number("added-records").alias("rows_added"),
            number("deleted-records").alias("rows_removed"),
        )
        return in_one_schema(history)

    def moments(self) -> DataFrame:
        # Not the times of the snapshots: after a rollback an older one is the table's state again.
        history = self.spark.table(f"{self.full_name}.history")
        return history.select(F.col("snapshot_id").cast("string").alias("version"), F.col("made_current_at").alias("committed_at"))

    def resolve(self, version: str) -> str:
        table = self._load()
        known = version.isdigit() and table.snapshot(int(version)) is not None
        if not known:
            raise TableNotFound(f"{self.table}: no version {version}. See versions(); it may have been expired.")
        return version

    def rollback(self, version: str, token: str) -> None:
        with translated(self.table, f"rolling back to version {version}"):
            self._load().manageSnapshots().setCurrentSnapshot(int(version)).commit()

    def drop(self) -> None:
        with translated(self.table, "dropping it"):
            self.spark.sql(f"DROP TABLE IF EXISTS {self.full_name} PURGE")


def in_partitions(partitions: Mapping[str, tuple[str, ...]]) -> Column:
    """The condition of lying in one of the partitions."""
    return F.expr(" AND ".join(f"{quoted(c)} IN ({', '.join(v)})" for c, v in partitions.items()))


def default_catalog(spark: Any) -> str:
    """The session's Iceberg catalog: the default catalog where it is one, else ``lake``, else the first by name."""
    for name in (spark.conf.get("spark.sql.defaultCatalog", ""), "lake"):
        if spark.conf.get(f"spark.sql.catalog.{name}", "") in (_SPARK_CATALOG, _SESSION_CATALOG):
            return str(name)
    found = sorted(
        k.split(".")[3]
        for k, v in session_confs(spark).items()
        if k.startswith("spark.sql.catalog.") and k.count(".") == 3 and v in (_SPARK_CATALOG, _SESSION_CATALOG)
    )
    if not found:
        raise ConfigError(
            "the session has no Iceberg catalog. Build it with lk.session('iceberg') or set spark.sql.catalog.lake=" + _SPARK_CATALOG
        )
    return found[0]
