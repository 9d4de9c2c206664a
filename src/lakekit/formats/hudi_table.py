"""What a Hudi table says of itself: its configuration, its schema and the completed instants of its timeline.

Everything here is metadata read through Hudi's own classes; no Spark job runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

from pyspark.sql import SparkSession
from pyspark.sql import types as T

from lakekit.gateway import as_dict, elements

META = ("_hoodie_commit_time", "_hoodie_commit_seqno", "_hoodie_record_key", "_hoodie_partition_path", "_hoodie_file_name")
"""The columns that Hudi itself puts before each row."""

TOKEN = "_lakekit_token"
OPTION = "lakekit.option."
"""Prefix of the user's table properties in ``hoodie.properties``; lakekit hands them to every write."""
COMMENT = "lakekit.comment"
SERVICES = frozenset({"compact", "log_compact", "cluster"})
"""Operations that move rows between files and change none."""


@dataclass(frozen=True)
class Instant:
    """One completed change of a table. *version* is Hudi's instant, when the writer began; *completed* is when it was done."""

    version: str
    completed: str
    action: str
    java: Any

    @property
    def order(self) -> tuple[str, str]:
        """What came later completed later, whenever it began."""
        return (self.completed, self.version)


@dataclass(frozen=True)
class Facts:
    """What a commit wrote, from its metadata."""

    token: str | None
    operation: str
    files_added: int
    files_removed: int
    bytes_added: int
    inserted: int
    updated: int
    deleted: int
    rewritten: tuple[tuple[str, str], ...] = ()
    """Base files of which this commit made the next ones: partition and name."""
    replaced: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By partition: the file groups that this commit took out of the table."""


class HudiTable:
    """The metadata of a table at a path, as it was when this was made."""

    def __init__(self, spark: SparkSession, path: str) -> None:
        self.path = path
        jvm: Any = spark._jvm
        self._jvm = jvm
        builder = jvm.org.apache.hudi.common.table.HoodieTableMetaClient.builder()
        self.client: Any = builder.setConf(storage_conf(spark)).setBasePath(path).build()
        self.config: Any = self.client.getTableConfig()

    @cached_property
    def properties(self) -> Mapping[str, str]:
        """``hoodie.properties``."""
        return as_dict(self._jvm, self.config.getProps())

    @property
    def name(self) -> str:
        """The name that Hudi checks on every write."""
        return self.properties["hoodie.table.name"]

    @property
    def merge_on_read(self) -> bool:
        """Whether updates go to log files."""
        return self.properties["hoodie.table.type"] == "MERGE_ON_READ"

    @property
    def record_key(self) -> tuple[str, ...]:
        """The record key's columns."""
        return _names(self.properties.get("hoodie.table.recordkey.fields"))

    @property
    def partition_columns(self) -> tuple[str, ...]:
        """The columns of which the partition path is made; ``column:type`` of a custom key generator loses its type."""
        return tuple(n.split(":")[0] for n in _names(self.properties.get("hoodie.table.partition.fields")))

    @property
    def options(self) -> dict[str, str]:
        """The user's write options, kept with the table."""
        return {k.removeprefix(OPTION): v for k, v in self.properties.items() if k.startswith(OPTION)}

    @property
    def has_metadata_table(self) -> bool:
        """Whether some writer has built Hudi's metadata table, which every writer must then keep up."""
        return bool(self.properties.get("hoodie.table.metadata.partitions"))

    @cached_property
    def schema(self) -> T.StructType:
        """The stored columns without Hudi's own five."""
        resolver = self._jvm.org.apache.hudi.common.table.TableSchemaResolver(self.client)
        avro = resolver.getTableAvroSchema(False)
        return T.StructType.fromJson(json.loads(self._jvm.org.apache.hudi.AvroConversionUtils.convertAvroSchemaToStructType(avro).json()))

    @cached_property
    def instants(self) -> list[Instant]:
        """The completed instants of the active timeline in the order in which they were done."""
        return self._sorted(self.client.getActiveTimeline())

    def _sorted(self, timeline: Any) -> list[Instant]:
        done = timeline.getCommitsTimeline().filterCompletedInstants().getInstants()
        found = (Instant(i.requestedTime(), i.getCompletionTime() or i.requestedTime(), i.getAction(), i) for i in elements(done))
        return sorted(found, key=lambda i: i.order)

    @cached_property
    def history(self) -> list[Instant]:
        """The instants of the active and the archived timeline."""
        archived = self._sorted(self.client.getArchivedTimeline())
        known = {i.version for i in self.instants}
        return [*(i for i in archived if i.version not in known), *self.instants]

    @property
    def version(self) -> str | None:
        """The instant that was done last."""
        return self.instants[-1].version if self.instants else None

    def since(self, version: str | None) -> list[Instant]:
        """What was done after a version was."""
        base = next((i for i in self.instants if i.version == version), None)
        return [i for i in self.instants if base is None or i.order > base.order]

    def keeps(self, version: str) -> bool:
        """Whether the cleaner has left the files of a version."""
        last = self.client.getActiveTimeline().getCleanerTimeline().filterCompletedInstants().lastInstant()
        if not last.isPresent():
            return True
        cleaned = self._jvm.org.apache.hudi.common.util.CleanerUtils.getCleanerMetadata(self.client, last.get())
        return version >= (cleaned.getEarliestCommitToRetain() or "")

    def facts(self, instant: Instant) -> Facts | None:
        """What an instant of the active timeline wrote."""
        timeline = self.client.getActiveTimeline()
        if not timeline.containsInstant(instant.version):
            return None
        return read_facts(self._metadata(instant, timeline))

    def _metadata(self, instant: Instant, timeline: Any) -> Mapping[str, Any]:
        metadata = self._jvm.org.apache.hudi.common.table.timeline.TimelineUtils.getCommitMetadata(instant.java, timeline)
        found: Mapping[str, Any] = json.loads(metadata.toJsonString())
        return found

    def sizes(self, version: str) -> Mapping[str, int]:
        """The files that an instant of the active timeline wrote, by name, in bytes; nothing where it is archived."""
        instant = next((i for i in self.instants if i.version == version), None)
        stats = _stats(self._metadata(instant, self.client.getActiveTimeline())) if instant is not None else []
        return {s["path"].rsplit("/", 1)[-1]: int(s.get("fileSizeInBytes") or 0) for s in stats}

    def size_of(self, partition: str, name: str) -> int:
        """A file's size as the file system has it; 0 where the file has been cleaned."""
        path = self._jvm.org.apache.hudi.storage.StoragePath("/".join(p for p in (self.path, partition, name) if p))
        storage = self.client.getStorage()
        return int(storage.getPathInfo(path).getLength()) if storage.exists(path) else 0

    def rows_of(self, file: Any) -> int:
        """How many rows a base file of Hudi's holds, by its footer."""
        return int(self._jvm.org.apache.hudi.common.util.ParquetUtils().getRowCount(self.client.getStorage(), file.getStoragePath()))

    def files(self, *, before: Instant | None = None) -> Any:
        """Hudi's view of the files as they are, or were before an instant, from listings by this process."""
        common = self._jvm.org.apache.hudi.common
        context = common.engine.HoodieLocalEngineContext(self.client.getStorageConf())
        done = self.client.getActiveTimeline().getCommitsTimeline().filterCompletedInstants()
        done = done if before is None else done.findInstantsBefore(before.version)
        return common.table.view.HoodieTableFileSystemView.fileListingBasedFileSystemView(context, self.client, done)

    @cached_property
    def zone(self) -> ZoneInfo:
        """The zone in which the table's instants are written."""
        if self.properties.get("hoodie.table.timeline.timezone", "LOCAL").upper() == "UTC":
            return ZoneInfo("UTC")
        return ZoneInfo(self._jvm.java.util.TimeZone.getDefault().getID())

    def set_zone(self) -> None:
        """Make the JVM write instants in the table's zone: Hudi has one for all tables of a process."""
        self._jvm.org.apache.hudi.common.table.timeline.HoodieInstantTimeGenerator.setCommitTimeZone(self.config.getTimelineTimezone())

    def at(self, instant: str) -> datetime:
        """An instant's text (``yyyyMMddHHmmssSSS``) as an aware time."""
        padded = instant.ljust(17, "0")
        return datetime.strptime(padded[:14] + padded[14:17] + "000", "%Y%m%d%H%M%S%f").replace(tzinfo=self.zone)


def read_facts(metadata: Mapping[str, Any]) -> Facts:
    """Read a commit's metadata.

    >>> stat = {"path": "p=1/f-0_0-1-0_20240601.parquet", "numInserts": 2, "numUpdateWrites": 0, "numDeletes": 0, "fileSizeInBytes": 9}
    >>> read_facts({"partitionToWriteStats": {"": [stat]}, "operationType": "BULK_INSERT", "extraMetadata": {}})
    Facts(token=None, operation='bulk_insert', files_added=1, files_removed=0, bytes_added=9, inserted=2, ...)
    """
    stats = _stats(metadata)
    replaced = {p: frozenset(ids) for p, ids in (metadata.get("partitionToReplaceFileIds") or {}).items()}
    rewritten = [(s.get("partitionPath") or "", s["prevBaseFile"]) for s in stats if s.get("prevBaseFile") and ".log." not in s["path"]]

    def total(name: str) -> int:
        return sum(int(s.get(name) or 0) for s in stats)

    return Facts(
        token=(metadata.get("extraMetadata") or {}).get(TOKEN),
        operation=str(metadata.get("operationType") or "unknown").lower(),
        files_added=len(stats),
        files_removed=sum(map(len, replaced.values())) + len(rewritten),
        bytes_added=total("fileSizeInBytes"),
        inserted=total("numInserts"),
        updated=total("numUpdateWrites"),
        deleted=total("numDeletes"),
        rewritten=tuple(rewritten),
        replaced=replaced,
    )


def _stats(metadata: Mapping[str, Any]) -> list[Any]:
    """What a commit says of each file that it wrote."""
    return [s for found in (metadata.get("partitionToWriteStats") or {}).values() for s in found]


def storage_conf(spark: SparkSession) -> Any:
    """The session's Hadoop configuration as Hudi wants it."""
    jvm: Any = spark._jvm
    return jvm.org.apache.hudi.hadoop.fs.HadoopFSUtils.getStorageConf(spark._jsc.hadoopConfiguration())


def _names(listed: str | None) -> tuple[str, ...]:
    return tuple(n.strip() for n in (listed or "").split(",") if n.strip())
