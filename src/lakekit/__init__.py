"""lakekit: CDC upserts and more over Apache Iceberg, Delta Lake and Apache Hudi: one API, one meaning, three formats.

Importing lakekit needs neither Spark nor an AWS library; what works on DataFrames is there when pyspark is.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from lakekit import errors
from lakekit.commit import Commit
from lakekit.errors import LakekitError

__all__ = [
    "ChangeFeed",
    "Commit",
    "LakekitError",
    "Table",
    "changes",
    "date_dimension",
    "errors",
    "partitioning",
    "point_in_time_join",
    "session",
    "sources",
]

# Eager, not lazy: `lk.changes` and `lk.session` are functions that live in modules of the same name,
# and a later import of the module would put the module in the function's place.
if find_spec("pyspark"):
    from lakekit import partitioning, sources
    from lakekit.changes import ChangeFeed, changes
    from lakekit.dates import date_dimension
    from lakekit.pointintime import point_in_time_join
    from lakekit.session import session
    from lakekit.table import Table


def __getattr__(name: str) -> Any:
    if name in __all__:
        raise errors.ConfigError(f"lakekit.{name} needs pyspark, which Glue and EMR bring. Elsewhere: pip install 'lakekit[local]'.")
    raise AttributeError(f"module 'lakekit' has no attribute {name!r}")
