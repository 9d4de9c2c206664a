"""Delta Lake: versions of a log beside the files, in Spark's catalog or at a path."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, DataFrameWriter, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.columns import col, quoted
from lakekit.confs import ONE_JOB, confs, session_number, shuffle_partitions
from lakekit.errors import LakekitError, TableNotFound
from lakekit.formats import session_catalog as catalog
from lakekit.formats.base import (
    KEYS_PROPERTY,
    SCD_PROPERTY,
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
from lakekit.formats.delta_scan import lacking, listed
from lakekit.formats.failures import translated
from lakekit.formats.partition_values import EMPTY_TEXT, JULIAN_DATE, PartitionValue, refusing
from lakekit.formats.sql import columns_ddl, dotted, merge, named, nested_ddl, properties_ddl, text
from lakekit.partitioning import Bucket, Days, Hours, Identity, Months, Transform, Truncate, Years
from lakekit.runtimes import runtime_of

_DELETION_VECTORS = "delta.enableDeletionVectors"
_TYPE_WIDENING = "delta.enableTypeWidening"
_PATIENCE = 20  # tenths of a second
_PARTITION_BYTES = 32 << 20  # of compressed files, that one task of a MERGE shuffles
_MOST_TASKS = 200  # Spark's own default
_STATEMENTS: defaultdict[int, Any] = defaultdict(threading.RLock)
_NO_TRANSFORM = unsupported(
    "Delta partitions by stored columns only",
    instead="add the value as a column in the source and partition by that, or use liquid clustering",
)


class Delta(Adapter):
    """A Delta table."""

    name = "delta"
    nameable = re.compile(r"[^ ,;{}()\n\t=]+")
    partitioning: ClassVar[Mapping[type[Transform], Callable[..., str] | Unsupported]] = {
        Identity: lambda t: quoted(t.column),
        Years: _NO_TRANSFORM,
        Months: _NO_TRANSFORM,
        Days: _NO_TRANSFORM,
        Hours: _NO_TRANSFORM,
        Bucket: _NO_TRANSFORM,
        Truncate: _NO_TRANSFORM,
    }
    alterations: ClassVar[Mapping[str, bool | Unsupported]] = {
        "add": True,
        "widen": unsupported(
            "Delta 3.3 on Spark 3.5 refuses to change a column's type (on Spark 4.1 it does)",
            instead="cast in the source, or rewrite the table",
        ),
    }
    partition_values: ClassVar[Mapping[PartitionValue, bool | Unsupported]] = {
        EMPTY_TEXT: unsupported("Delta reads it back as NULL", instead="replace it in the source, or partition by another column"),
        JULIAN_DATE: True,
    }
    modes: ClassVar[Mapping[str, str]] = {"copy-on-write": "copy-on-write", "merge-on-read": "deletion vectors"}
    verbs: ClassVar[Mapping[str, bool | Unsupported]] = {
        "create": True, "append": True, "overwrite": True, "delete": True, "upsert": True, "upsert (partial)": True, "evolve (add)": True,
        "scd0": True, "scd2": True, "scd3": True, "scd4": True, "scd6": True, "scd7": True, "infer": True, "unknown_member": True,
        "evolve (widen)": alterations["widen"], "as_of": True, "versions": True, "rollback": True, "drop": True, "paths as names": True,
    }  # fmt: skip

    @property
    def path(self) -> str:
        """Where the table's files are."""
        if catalog.is_path(self.table):
            return self.table.rstrip("/")
        known = catalog.registered(self.spark, self.table)
        return known[1] if known else catalog.default_location(self.spark, self.table)

    @property
    def target(self) -> str:
        """The table as SQL names it."""
        return f"delta.{quoted(self.table.rstrip('/'))}" if catalog.is_path(self.table) else catalog.sql_name(self.table)

    def exists(self) -> bool:
        if catalog.is_path(self.table):
            return self._has_log(self.path)
        known = catalog.registered(self.spark, self.table)
        if known is not None:
            return known[0].lower() == self.name and self._has_log(known[1])
        location = catalog.default_location(self.spark, self.table)
        if not self._has_log(location):
            return False
        with translated(self.table, "registering it in the catalog"):
            catalog.register(self.spark, self.table, self.name, location)
        return True

    def _has_log(self, path: str) -> bool:
        """Whether a table stands at a path. The folder of its log alone is not enough: a rival may be about to write the first commit."""
        if catalog.folder_exists(self.spark, f"{path}/_delta_log/{0:020d}.json"):
            return True
        # The first commit is not there yet, or long gone: only the log itself can tell.
        return catalog.folder_exists(self.spark, f"{path}/_delta_log") and int(_newest(self._log(path)).version()) >= 0

    def _log(self, path: str | None = None) -> Any:
        logs: Any = self.spark._jvm.org.apache.spark.sql.delta.DeltaLog  # type: ignore[union-attr]
        return logs.forTable(self.spark._jsparkSession, path or self.path)

    def _snapshot(self) -> Any:
        if not self.exists():
            raise TableNotFound(f"{self.table}: no Delta table. Create it first, or check the name and the warehouse.")
        with translated(self.table, "reading its log"):
            return _newest(self._log())

    def view(self) -> View:
        snapshot = self._snapshot()
        metadata = snapshot.metadata()
        columns = metadata.partitionColumns()
        properties = metadata.configuration()
        option, shape, keys = (properties.get(name) for name in (_DELETION_VECTORS, SCD_PROPERTY, KEYS_PROPERTY))
        return View(
            version=str(snapshot.version()),
            schema=T.StructType.fromJson(json.loads(metadata.schema().json())),
            partition_columns=tuple(columns.apply(i) for i in range(columns.size())),
            merge_on_read=option.isDefined() and option.get() == "true",
            empty=self._is_empty(int(snapshot.version())),
            scd=shape.get() if shape.isDefined() else None,
            keys=keys.get() if keys.isDefined() else None,
        )

    def _is_empty(self, version: int) -> bool:
        """Whether a version has no file, where a look at one small file says so; asking the snapshot would run Spark jobs."""
        if version == 0:
            return not any("add" in action for action in self._actions(0))
        return bool(self._checksum(version).get("numFiles") == 0)

    def _checksum(self, version: int) -> dict[str, Any]:
        """What Delta notes of a version's size beside its log; empty where it did not."""
        lines = self._lines(f"{version:020d}.crc")
        return json.loads(lines[0]) if lines else {}

    def read(self, version: str | None = None) -> DataFrame:
        reader = self.spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        return reader.load(self.path)

    def scan(self, version: str | None, condition: Column) -> Scan:
        with translated(self.table, "listing its files"):
            listing = listed(self.read(version), condition)
        if listing is None:
            return super().scan(version, condition)
        return Scan(listing.frame(), listing.rows, lambda column, values: lacking(self._files(version), column, values))

    def _files(self, version: str | None) -> list[dict[str, Any]] | None:
        """The files of a version with their statistics, where they are few enough for Delta to note them beside its log."""
        return None if version is None else self._checksum(int(version)).get("allFiles")

    def create(self, spec: Spec) -> None:
        columns = [self.can(self.partitioning, type(t), f"partition transform {t.name}")(t) for t in spec.partitioning]
        properties = {_DELETION_VECTORS: str(spec.merge_on_read).lower(), **spec.properties}
        ddl = f"CREATE TABLE IF NOT EXISTS {self.target} ({columns_ddl(spec.schema)}) USING delta"
        if columns:
            ddl += f" PARTITIONED BY ({', '.join(columns)})"
        if spec.comment is not None:
            ddl += f" COMMENT {text(spec.comment)}"
        if self.exists():
            return
        catalog.check_free(self.spark, self.table, self.path, self.name)
        catalog.delete_if_empty(self.spark, f"{self.path}/_delta_log")  # left by a killed writer; Delta would take it for a stranger's
        try:
            with translated(self.table, "creating it"):
                if not catalog.is_path(self.table):
                    self.spark.sql(f"CREATE DATABASE IF NOT EXISTS {dotted('spark_catalog', catalog.name_parts(self.table)[0])}")
                self.spark.sql(f"{ddl} TBLPROPERTIES ({properties_ddl(properties)})")
        except LakekitError:
            if not self._appears():
                raise

    def _appears(self) -> bool:
        """Whether a rival is creating this table: its first commit may be a moment away."""
        for _ in range(_PATIENCE):
            if self.exists():
                return True
            time.sleep(0.1)
        return False

    @contextmanager
    def _marked(self, token: str, session: SparkSession | None = None, **more: str) -> Iterator[None]:
        """Mark the commit of a statement by a conf of the session: one thread of it at a time, or a commit would bear another's mark."""
        session = session or self.spark
        wanted = {"spark.databricks.delta.commitInfo.userMetadata": _mark(token), **more}
        with _STATEMENTS[session_number(session)], confs(session, wanted):
            yield

    def apply(self, view: View, changes: ChangeSet, token: str) -> None:
        session = changes.rows.sparkSession  # inside foreachBatch a session of its own, which alone knows the source
        tasks = self._tasks(view, changes)
        told = {} if tasks is None else {**ONE_JOB, "spark.sql.shuffle.partitions": str(tasks)}
        if changes.kept or view.empty:  # then Delta need not write it down once more before it reads it twice
            told["spark.databricks.delta.merge.materializeSource"] = "none"
        if changes.placed:
            told["spark.databricks.delta.merge.repartitionBeforeWrite.enabled"] = "false"
        rows = changes.rows
        if tasks is not None and tasks <= session.sparkContext.defaultParallelism:
            told["spark.sql.autoBroadcastJoinThreshold"] = "-1"  # a broadcast is a job too, and of tables this small it saves nothing
        elif not view.empty and changes.width <= self.broadcast_limit():
            # Nobody can tell Spark how few these rows are: it would sort both sides to find the files that they touch.
            rows = rows.hint("broadcast")
        with translated(self.table, "applying the changes"), self._marked(token, session, **told), named(rows) as source:
            session.sql(merge(self.target, source, changes))

    def _tasks(self, view: View, changes: ChangeSet) -> int | None:
        """How many partitions a MERGE's shuffles want; ``None`` where adaptive execution, which makes a job of each, must find out."""
        most = shuffle_partitions(self.spark)
        if view.empty:
            return most
        size = self._checksum(int(view.version or 0)).get("tableSizeBytes")
        if size is None:
            return None
        wanted = max(self.spark.sparkContext.defaultParallelism, -(-(int(size) + changes.width) // _PARTITION_BYTES))
        return wanted if wanted <= max(most, _MOST_TASKS) else None

    def append(self, rows: DataFrame, view: View, token: str) -> None:
        with translated(self.table, "appending"):
            self._writer(rows, view, token).mode("append").save(self.path)

    def _writer(self, rows: DataFrame, view: View, token: str) -> DataFrameWriter:
        storable = refusing(rows, self.unstorable(view.schema, view.partition_columns))
        return storable.select(*map(col, view.columns)).write.format("delta").option("userMetadata", _mark(token))

    def overwrite(self, rows: DataFrame, where: str | None, view: View, token: str) -> None:
        writer = self._writer(rows, view, token).mode("overwrite")
        if where is not None:
            writer = writer.option("replaceWhere", where)
        with translated(self.table, "overwriting"):
            writer.save(self.path)

    def delete(self, where: str, token: str) -> None:
        with translated(self.table, "deleting"), self._marked(token):
            self.spark.sql(f"DELETE FROM {self.target} WHERE {where}")

    def add_columns(self, fields: Sequence[T.StructField]) -> None:
        if not fields:
            return
        names = ", ".join(f"{dotted(*f.name.split('/'))} {nested_ddl(f.dataType)}" for f in fields)
        with translated(self.table, "adding columns"):
            self.spark.sql(f"ALTER TABLE {self.target} ADD COLUMNS ({names})")

    def check_widening(self, name: str, stored: T.DataType, wanted: T.DataType) -> None:
        runtime = runtime_of(self.spark.version)
        if runtime is None or self.name not in runtime.widens:
            super().check_widening(name, stored, wanted)

    def _property(self, name: str) -> str | None:
        found = self._snapshot().metadata().configuration().get(name)
        return str(found.get()) if found.isDefined() else None

    def widen_column(self, name: str, data_type: T.DataType) -> None:
        with translated(self.table, "widening a column"):
            if self._property(_TYPE_WIDENING) != "true":
                self.spark.sql(f"ALTER TABLE {self.target} SET TBLPROPERTIES ({properties_ddl({_TYPE_WIDENING: 'true'})})")
            self.spark.sql(f"ALTER TABLE {self.target} ALTER COLUMN {dotted(*name.split('/'))} TYPE {data_type.simpleString()}")

    def _actions(self, version: int) -> list[dict[str, Any]]:
        """The actions of one commit, read from its file without a Spark job."""
        return [json.loads(line) for line in self._lines(f"{version:020d}.json")]

    def _lines(self, name: str) -> list[str]:
        """The lines of a file of the log; none where it does not exist."""
        jvm: Any = self.spark._jvm
        path = f"{self.path}/_delta_log/{name}"
        if not catalog.folder_exists(self.spark, path):
            return []
        text_ = self._log().store().read(jvm.org.apache.hadoop.fs.Path(path), self.spark._jsc.hadoopConfiguration()).mkString("\n")
        return [line for line in text_.splitlines() if line]

    def landing(self, view: View, token: str, *, wrote: bool) -> Landing:
        current = int(self._snapshot().version())
        before = int(view.version) if view.version is not None else -1
        commits = [self._actions(v) for v in range(before + 1, current + 1)]
        ours = [c for c in commits if _token(c) == _mark(token)]
        added = [a["add"] for c in ours for a in c if "add" in a]
        removed = [a["remove"] for c in ours for a in c if "remove" in a]
        strangers = [c for c in commits if _token(c) != _mark(token) and _changes_data(c)]
        return Landing(
            alone=not strangers and bool(ours) == wrote,
            version=str(current),
            files_added=len(added),
            files_removed=len(removed),
            bytes_added=sum(a["size"] for a in added),
            bytes_removed=sum(r.get("size") or 0 for r in removed),
            rows_added=_metric(ours, "numOutputRows", "numTargetRowsInserted"),
            rows_removed=_metric(ours, "numDeletedRows", "numTargetRowsDeleted"),
        )

    def versions(self) -> DataFrame:
        self._snapshot()

        def metric(*names: str) -> F.Column:  # type: ignore[name-defined]
            return F.coalesce(*(F.col("operationMetrics").getItem(n).cast("bigint") for n in names))

        with translated(self.table, "reading its history"):
            history = self.spark.sql(f"DESCRIBE HISTORY {self.target}")
        return in_one_schema(
            history.select(
                F.col("version").cast("string").alias("version"),
                F.when(F.col("version") > 0, F.col("version") - 1).cast("string").alias("parent"),
                F.col("timestamp").alias("committed_at"),
                F.lower("operation").alias("operation"),
                metric("numTargetFilesAdded", "numFiles", "numAddedFiles").alias("files_added"),
                metric("numTargetFilesRemoved", "numRemovedFiles").alias("files_removed"),
                metric("numTargetRowsInserted", "numOutputRows").alias("rows_added"),
                metric("numTargetRowsDeleted", "numDeletedRows").alias("rows_removed"),
            )
        )

    def resolve(self, version: str) -> str:
        current = int(self._snapshot().version())
        if not version.isdigit() or int(version) > current or not self._readable(int(version)):
            raise TableNotFound(f"{self.table}: no version {version}. See versions(); it may have been vacuumed.")
        return version

    def _readable(self, version: int) -> bool:
        try:
            return self.read(str(version)).schema is not None
        except (Py4JError, PySparkException):  # the log of an old version may be gone; the class for that differs by version
            return False

    def rollback(self, version: str, token: str) -> None:
        with translated(self.table, f"rolling back to version {version}"), self._marked(token):
            self.spark.sql(f"RESTORE TABLE {self.target} TO VERSION AS OF {int(version)}")

    def drop(self) -> None:
        path = self.path
        with translated(self.table, "dropping it"):
            if not catalog.is_path(self.table):
                self.spark.sql(f"DROP TABLE IF EXISTS {self.target}")
            catalog.delete_folder(self.spark, path)
            self.spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()  # type: ignore[union-attr]


def _newest(log: Any) -> Any:
    """The newest snapshot of a log; its version is -1 where no commit stands."""
    return log.update(*(getattr(log, f"update$default${i}")() for i in (1, 2, 3)))


def _mark(token: str) -> str:
    """What a commit of lakekit's says of itself."""
    return f"lakekit-token={token}"


def _token(actions: list[dict[str, Any]]) -> str | None:
    return next((a["commitInfo"].get("userMetadata") for a in actions if "commitInfo" in a), None)


def _changes_data(actions: list[dict[str, Any]]) -> bool:
    return any("metaData" in a or a.get("add", a.get("remove", {})).get("dataChange") for a in actions)


def _metric(commits: list[list[dict[str, Any]]], *names: str) -> int:
    metrics = [a["commitInfo"].get("operationMetrics") or {} for c in commits for a in c if "commitInfo" in a]
    return sum(next((int(m[n]) for n in names if n in m), 0) for m in metrics)
