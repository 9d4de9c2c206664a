"""One lakekit writer at a time per Hudi table.

Hudi's own conflict detection lets two writers insert one new key (two rows, seen in 3 of 3 tries), so planning and writing happen
under one lock. On a local file system it is an operating-system lock on a file in ``.hoodie``, which dies with its process. On any
other it is the lock provider that the table's option or the session's conf ``hoodie.write.lock.provider`` names, for example
``org.apache.hudi.client.transaction.lock.StorageBasedLockProvider``; without one there is no lock, and one writer at a time is then
the user's promise.
"""

from __future__ import annotations

import fcntl
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from pyspark.sql import SparkSession

from lakekit.errors import CommitConflict
from lakekit.formats.failures import translated
from lakekit.formats.hudi_table import storage_conf

PROVIDER = "hoodie.write.lock.provider"
TIMEOUT = "hoodie.write.lock.wait_time_ms"
_DEFAULT_TIMEOUT_MS = 600_000
_held = threading.local()


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
    lock = _file_lock(table, folder, seconds) if folder is not None else _provider_lock(spark, table, path, options, seconds)
    with lock:
        mine.add(path)
        try:
            yield
        finally:
            mine.discard(path)


def local_folder(path: str) -> Path | None:
    """The folder of a table on a local file system, else ``None``.

    >>> local_folder("file:/tmp/lake/orders"), local_folder("/tmp/lake"), local_folder("s3a://lake/orders")
    (PosixPath('/tmp/lake/orders'), PosixPath('/tmp/lake'), None)
    """
    parts = urlsplit(path)
    return Path(unquote(parts.path) if parts.scheme else path) if parts.scheme in ("", "file") else None


@contextmanager
def _file_lock(table: str, folder: Path, seconds: float) -> Iterator[None]:
    with (folder / ".hoodie" / ".lakekit.lock").open("a") as file:
        deadline = time.monotonic() + seconds
        while not _locked(file):
            if time.monotonic() > deadline:
                raise CommitConflict(f"{table}: another writer has held the table's lock for {seconds:.0f} s. Run the same batch again.")
            time.sleep(random.uniform(0.02, 0.1))
        yield  # closing the file frees the lock


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _provider_lock(spark: SparkSession, table: str, path: str, options: Mapping[str, str], seconds: float) -> Iterator[None]:
    name = options.get(PROVIDER)
    if name is None:
        yield
        return
    with translated(table, f"making the lock provider {name}"):
        provider = _provider(spark, name, path, options)
    try:
        with translated(table, "waiting for the table's lock"):
            won = provider.tryLock(int(seconds * 1000), spark._jvm.java.util.concurrent.TimeUnit.MILLISECONDS)  # type: ignore[union-attr]
        if not won:
            raise CommitConflict(f"{table}: another writer has held the table's lock for {seconds:.0f} s. Run the same batch again.")
        try:
            yield
        finally:
            provider.unlock()
    finally:
        provider.close()


def _provider(spark: SparkSession, name: str, path: str, options: Mapping[str, str]) -> Any:
    """Hudi's lock provider as its own writers make it."""
    jvm: Any = spark._jvm
    properties = jvm.org.apache.hudi.common.config.TypedProperties()
    for key, value in {**options, "hoodie.base.path": path, "hoodie.write.lock.filesystem.path": options.get("hoodie.write.lock.filesystem.path", f"{path}/.hoodie/.locks")}.items():
        properties.setProperty(key, value)
    configuration = jvm.org.apache.hudi.common.config.LockConfiguration(properties)
    return jvm.org.apache.hudi.common.util.ReflectionUtils.loadClass(name, _objects(spark, configuration, storage_conf(spark)))


def _objects(spark: SparkSession, *values: Any) -> Any:
    array = spark.sparkContext._gateway.new_array(spark._jvm.java.lang.Object, len(values))  # type: ignore[union-attr]
    for i, value in enumerate(values):
        array[i] = value
    return array
