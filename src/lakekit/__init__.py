"""lakekit: CDC upserts and more over Apache Iceberg, Delta Lake and Apache Hudi: one API, one meaning, three formats.

Importing lakekit needs neither Spark nor an AWS library; a name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lakekit import errors
from lakekit.commit import Commit
from lakekit.errors import LakekitError

if TYPE_CHECKING:
    from lakekit import partitioning, sources
    from lakekit.changes import ChangeFeed, changes
    from lakekit.session import session
    from lakekit.table import Table

__all__ = ["ChangeFeed", "Commit", "LakekitError", "Table", "changes", "errors", "partitioning", "session", "sources"]

_HOMES = {
    "ChangeFeed": "lakekit.changes",
    "Table": "lakekit.table",
    "changes": "lakekit.changes",
    "session": "lakekit.session",
}


def __getattr__(name: str) -> Any:
    if name in ("partitioning", "sources"):
        return import_module(f"lakekit.{name}")
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value  # `lakekit.session` the module must not shadow `lakekit.session` the function
        return value
    raise AttributeError(f"module 'lakekit' has no attribute {name!r}")
