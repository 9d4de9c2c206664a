"""Count what Spark does for a piece of work: jobs, stages, tasks, bytes and records, from its own status store.

Only numbers that repeat from run to run, and seconds beside them. Everything that the session does between entering and leaving is
counted, on whatever thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Job:
    """One Spark job. *scans* names the file scans in it; a stage that Spark skipped counts nothing."""

    id: int
    name: str
    description: str
    group: str
    seconds: float
    tasks: int
    input_bytes: int
    input_records: int
    shuffled: int
    spilled: int
    scans: dict[str, int]


@dataclass
class Metered:
    """What happened between entering and leaving ``metered``; *read* and *written* are bytes through Hadoop's file systems."""

    seconds: float = 0.0
    read: int = 0
    written: int = 0
    jobs: list[Job] = field(default_factory=list)

    def total(self, what: str) -> int:
        """A number of all jobs together."""
        return sum(getattr(job, what) for job in self.jobs)

    def scanned(self, source: str) -> int:
        """Records that came out of stages which scan a source, named as Spark names it: ``orc``, ``parquet spark_catalog.db.t``."""
        return sum(records for job in self.jobs for scan, records in job.scans.items() if scan == source)


@contextmanager
def metered(spark: SparkSession) -> Iterator[Metered]:
    """Meter what the session does in the block."""
    found = Metered()
    _settle(spark)
    first, (read, written) = _next_job(spark), _file_system(spark)
    started = time.perf_counter()
    yield found
    found.seconds = time.perf_counter() - started
    _settle(spark)
    after = _file_system(spark)
    found.read, found.written = after[0] - read, after[1] - written
    found.jobs = list(_jobs(spark, first))


def _settle(spark: SparkSession) -> None:
    """The status store learns from events that arrive a little later."""
    _context(spark).listenerBus().waitUntilEmpty()


def _context(spark: SparkSession) -> Any:
    return spark._jsc.sc()  # type: ignore[attr-defined]


def _next_job(spark: SparkSession) -> int:
    return int(_context(spark).dagScheduler().nextJobId())


def _file_system(spark: SparkSession) -> tuple[int, int]:
    statistics: Any = list(spark._jvm.org.apache.hadoop.fs.FileSystem.getAllStatistics())  # type: ignore[union-attr]
    return sum(s.getBytesRead() for s in statistics), sum(s.getBytesWritten() for s in statistics)


def _jobs(spark: SparkSession, first: int) -> Iterator[Job]:
    store = _context(spark).statusStore()
    for id in range(first, _next_job(spark)):
        yield _job(store, store.job(id))


def _job(store: Any, data: Any) -> Job:
    ran = list(_stages_that_ran(store, data))
    scans: dict[str, int] = {}
    for stage in ran:
        for name in _scans(store.operationGraphForStage(stage.stageId()).rootCluster()):
            scans[name] = scans.get(name, 0) + stage.inputRecords()
    begun, ended = _instant(data.submissionTime()), _instant(data.completionTime())
    return Job(
        id=data.jobId(),
        name=data.name(),
        description=data.description().get() if data.description().isDefined() else "",
        group=data.jobGroup().get() if data.jobGroup().isDefined() else "",
        seconds=(ended - begun) / 1000,
        tasks=sum(s.numCompleteTasks() for s in ran),
        input_bytes=sum(s.inputBytes() for s in ran),
        input_records=sum(s.inputRecords() for s in ran),
        shuffled=sum(s.shuffleWriteBytes() for s in ran),
        spilled=sum(s.diskBytesSpilled() for s in ran),
        scans=scans,
    )


def _stages_that_ran(store: Any, data: Any) -> Iterator[Any]:
    missing = 0
    for id in _list(data.stageIds()):
        stage = _stage(store, id)
        missing += stage is None
        if stage is not None and stage.status().toString() == "COMPLETE":
            yield stage
    assert missing <= data.numSkippedStages(), "the status store has forgotten stages that ran; raise spark.ui.retainedStages"


def _stage(store: Any, id: int) -> Any | None:
    """A stage, or ``None``: of more than a thousand stages Spark forgets the skipped ones first."""
    try:
        return store.lastStageAttempt(id)
    except Py4JJavaError as error:
        if error.java_exception.getClass().getSimpleName() == "NoSuchElementException":
            return None
        raise


def _scans(cluster: Any) -> set[str]:
    """The scans in a stage's graph; Spark names each cluster of RDDs after the plan's node that made it."""
    found = {cluster.name().removeprefix("Scan ").strip()} if cluster.name().startswith("Scan ") else set()
    return found.union(*map(_scans, _list(cluster.childClusters())))


def _instant(option: Any) -> int:
    return int(option.get().getTime()) if option.isDefined() else 0


def _list(scala: Any) -> list[Any]:
    return [scala.apply(i) for i in range(scala.size())]
