"""Manifests: a list of files with sizes and SHA-256, checked before any row is read."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from lakekit.errors import SourceError
from lakekit.gateway import hadoop_path
from lakekit.sources.common import load

_READERS = 8
"""Files hashed at once. Each is streamed inside the JVM, so memory stays small and no byte comes to Python."""


@dataclass(frozen=True)
class Entry:
    """One line of a manifest: a file, relative to the source's path or complete, its size in bytes and its SHA-256 in hex."""

    path: str
    size: int
    sha256: str


def verified(spark: SparkSession, manifest: str, folder: str) -> list[str]:
    """The files that the manifest lists, each of them checked: there, of this size, of this SHA-256.

    Reads through Hadoop's file system, so any scheme that Spark reads (``file:``, ``s3a:`` …) works. ``SourceError`` names the first
    file that differs. Files in the folder that the manifest does not list are no part of the delivery.
    """
    entries = read(spark, manifest)
    located = [_locate(entry, folder) for entry in entries]
    with ThreadPoolExecutor(_READERS) as pool:
        found = pool.map(lambda entry: _difference(spark, entry), located)
        wrong = next((difference for difference in found if difference), None)
    if wrong:
        raise SourceError(f"{wrong} {manifest} says otherwise; nothing was read. Deliver the file again, or its manifest.")
    return [entry.path for entry in located]


def read(spark: SparkSession, manifest: str) -> list[Entry]:
    """The entries of a manifest file: JSON (a list, an object with ``files``, or one object a line) or CSV with a header."""
    row = load(spark.read.option("wholetext", "true"), "text", manifest).head()
    text = (row[0] if row else "").removeprefix("\ufeff")
    return parse(text, manifest)


def parse(text: str, name: str) -> list[Entry]:
    """The entries in a manifest's text; ``SourceError`` names the manifest *name* and the entry that is none.

    >>> parse('{"files": [{"path": "a.csv", "size": 3, "sha256": "' + "ab" * 32 + '"}]}', "m.json")[0].path
    'a.csv'
    >>> parse("path,size,sha256\\na.csv,3," + "AB" * 32, "m.csv")[0].size
    3
    """
    try:
        records = _json(text) if text.lstrip()[:1] in ("{", "[") else list(csv.DictReader(text.splitlines(), skipinitialspace=True))
    except ValueError as error:
        raise SourceError(f"{name} is no manifest: neither JSON nor CSV with the header path,size,sha256.") from error
    if not isinstance(records, list) or not records:
        raise SourceError(f"{name} lists no file. A manifest needs path, size and sha256 of each file.")
    return [_entry(record, number, name) for number, record in enumerate(records, 1)]


def _json(text: str) -> Any:
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return whole.get("files", [whole]) if isinstance(whole, dict) else whole


def _entry(record: object, number: int, name: str) -> Entry:
    fields: Mapping[str, Any] = record if isinstance(record, Mapping) else {}
    try:
        entry = Entry(str(fields["path"]).strip(), int(fields["size"]), str(fields["sha256"]).strip().lower())
    except (KeyError, TypeError, ValueError):
        entry = Entry("", 0, "")
    if not entry.path or len(entry.sha256) != 64:
        raise SourceError(f"{name}: entry {number} needs path, size (bytes) and sha256 (64 hexadecimal digits).")
    return entry


def _locate(entry: Entry, folder: str) -> Entry:
    complete = "://" in entry.path or entry.path.startswith(("/", "file:"))
    return entry if complete else Entry(f"{folder.rstrip('/')}/{entry.path}", entry.size, entry.sha256)


def _difference(spark: SparkSession, entry: Entry) -> str | None:
    """What is wrong with a file, or nothing. The size goes first: it costs no reading."""
    try:
        files, path = hadoop_path(spark, entry.path)
        if not files.exists(path):
            return f"{entry.path} is missing."
        if files.getFileStatus(path).getLen() != entry.size:
            return f"{entry.path} has another size."
        return None if _sha256(spark._jvm, files, path) == entry.sha256 else f"{entry.path} has another SHA-256."
    except Py4JError as error:
        raise SourceError(f"{entry.path} cannot be read to verify it. Check the path and the rights to it.") from error


def _sha256(jvm: Any, files: Any, path: Any) -> str:
    stream = files.open(path)
    try:
        return str(jvm.org.apache.commons.codec.digest.DigestUtils.sha256Hex(stream))
    finally:
        stream.close()
