"""Readers: what arrives, as a `ChangeFeed`.

Each takes a path (or url, or frame) first and ends in `lakekit.changes`; none of them collects data. A job's ``source:`` chooses
one by its name here.
"""

from __future__ import annotations

from lakekit.sources.debezium import debezium
from lakekit.sources.dms import dms
from lakekit.sources.dynamodb import dynamodb
from lakekit.sources.files import files
from lakekit.sources.jdbc import jdbc
from lakekit.sources.snapshot import snapshot

__all__ = ["debezium", "dms", "dynamodb", "files", "jdbc", "snapshot"]
