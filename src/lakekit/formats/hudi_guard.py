"""One lakekit writer at a time per Hudi table.

Hudi's own conflict detection lets two writers insert one new key (two rows, seen in 3 of 3 tries), so planning and writing happen
under one lock. On a local file system it is an operating-system lock on a file in ``.hoodie``, which ends with its process. On any
other it is the lock provider that the table's option or the session's conf ``hoodie.write.lock.provider`` names, for example
``org.apache.hudi.client.transaction.lock.StorageBasedLockProvider``; without one there is no lock, and one writer at a time is then
the user's promise.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyspark.sql import SparkSession

from lakekit.errors import CommitConflict
from lakekit.formats.failures import translated
from lakekit.formats.hudi_table import storage_conf
from lakekit.gateway import session_confs

PROVIDER = "hoodie.write.lock.provider"
TIMEOUT = "hoodie.write.lock.wait_time_ms"
_DEFAULT_TIMEOUT_MS = 600_000
_held = threading.local()
_threads: dict[str, threading.Lock] = {}
_threads_guard = threading.Lock()


@contextmanager
def held(spark: SparkSession, table: str, path: str, options: Mapping[str, str]) -> Iterator[None]:
    """Hold the table's lock; whoever holds it in this thread already just goes on. Raises ``CommitConflict`` after the wait time."""
    mine: set[str] = _held.__dict__.setdefault("paths", set())
    folder = local_folder(path)
    path = str(folder.resolve()) if folder is not None else path
    if path in mine:
        yield
        return
    seconds = int(options.get(TIMEOUT, _DEFAULT_TIMEOUT_MS)) / 1000
    lock = _file_lock(spark, table, folder, seconds) if folder is not None else _provider_lock(spark, table, path, options, seconds)
    with lock:
        mine.add(path)
        try:
            yield
        finally:
            mine.discard(path)


def lock_confs(spark: SparkSession) -> dict[str, str]:
    """The session's confs ``hoodie.write.lock.*``, for tables that name no provider themselves."""
    return {k: v for k, v in session_confs(spark).items() if k.startswith("hoodie.write.lock.")}


def local_folder(path: str) -> Path | None:
    """The folder of a table on a local file system, else ``None``.

    >>> local_folder("file:/tmp/lake/orders"), local_folder("/tmp/lake"), local_folder("s3a://lake/orders")
    (PosixPath('/tmp/lake/orders'), PosixPath('/tmp/lake'), None)
    """
    return Path(path.removeprefix("file:")) if urlsplit(path).scheme in ("", "file") else None


@contextmanager
def _file_lock(spark: SparkSession, table: str, folder: Path, seconds: float) -> Iterator[None]:
    """The JVM holds the lock, not Python: it lives exactly as long as the writes that it guards, also when Python is killed."""
    deadline = time.monotonic() + seconds
    # An operating-system lock belongs to the process: its threads keep each other out by themselves.
    with _in_process(table, str(folder), seconds):
        file = _opened(spark, table, folder)
        try:
            while not _locked(table, file):
                if time.monotonic() > deadline:
                    raise _busy(table, seconds)
                time.sleep(random.uniform(0.02, 0.1))
            yield
        finally:
            file.close()


def _opened(spark: SparkSession, table: str, folder: Path) -> Any:
    (folder / ".hoodie").mkdir(parents=True, exist_ok=True)  # creating the table is guarded too
    with translated(table, "opening its lock file"):
        return _java(spark).java.io.RandomAccessFile(str(folder / ".hoodie" / ".lakekit.lock"), "rw")


def _locked(table: str, file: Any) -> bool:
    with translated(table, "locking it"):
        return file.getChannel().tryLock() is not None


@contextmanager
def _in_process(table: str, folder: str, seconds: float) -> Iterator[None]:
    with _threads_guard:
        lock = _threads.setdefault(folder, threading.Lock())
    if not lock.acquire(timeout=seconds):
        raise _busy(table, seconds)
    try:
        yield
    finally:
        lock.release()


def _busy(table: str, seconds: float) -> CommitConflict:
    return CommitConflict(f"{table}: another writer has held the table's lock for {seconds:.0f} s. Run the same batch again.")


@contextmanager
def _provider_lock(spark: SparkSession, table: str, path: str, options: Mapping[str, str], seconds: float) -> Iterator[None]:
    name = options.get(PROVIDER)
    if name is None:
        yield
        return
    with translated(table, f"locking with {name}"):
        provider = _provider(spark, name, path, options)
        won = provider.tryLock(int(seconds * 1000), _java(spark).java.util.concurrent.TimeUnit.MILLISECONDS)
    try:
        if not won:
            raise _busy(table, seconds)
        yield
    finally:
        if won:
            provider.unlock()
        provider.close()


def _provider(spark: SparkSession, name: str, path: str, options: Mapping[str, str]) -> Any:
    """Hudi's lock provider as its own writers make it."""
    jvm = _java(spark)
    properties = jvm.org.apache.hudi.common.config.TypedProperties()
    for key, value in {"hoodie.write.lock.filesystem.path": f"{path}/.hoodie/lock", **options, "hoodie.base.path": path}.items():
        properties.setProperty(key, value)
    complete = jvm.org.apache.hudi.config.HoodieLockConfig.newBuilder().fromProperties(properties).build().getProps()
    configuration = jvm.org.apache.hudi.common.config.LockConfiguration(complete)
    storage = storage_conf(spark)
    types = _array(spark, jvm.java.lang.Class, configuration.getClass(), storage.getClass().getSuperclass())
    values = _array(spark, jvm.java.lang.Object, configuration, storage)
    return jvm.org.apache.hudi.common.util.ReflectionUtils.loadClass(name, types, values)


def _array(spark: SparkSession, kind: Any, *values: Any) -> Any:
    gateway: Any = spark.sparkContext._gateway
    array = gateway.new_array(kind, len(values))
    for i, value in enumerate(values):
        array[i] = value
    return array


def _java(spark: SparkSession) -> Any:
    return spark._jvm
