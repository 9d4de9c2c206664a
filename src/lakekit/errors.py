"""Every error that lakekit raises, in one tree.

::

    LakekitError
    ├── ConfigError            a job file, an argument or a name is wrong; nothing ran
    │   └── SessionError       the Spark session lacks a class or a conf
    ├── JarError               a jar cannot be resolved, fetched or verified
    ├── TableNotFound          the table does not exist
    ├── SchemaConflict         the incoming columns do not fit the table
    ├── UnsupportedOperation   the table format cannot do this; the message says what can
    ├── FeedError              the change feed lacks a column or is wrongly described
    ├── SourceError            a source cannot be read as what it is said to be
    ├── DataRejected           a declared policy refused the data; nothing was written
    │   └── TieConflict        events of one key and sequence disagree
    ├── CommitConflict         other writers won every retry; the table holds their state
    └── EngineError            Spark or the table format failed; the cause is chained

Each message names the thing, the place and the next step, and never holds a data value of a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class LakekitError(Exception):
    """Anything that lakekit raises on purpose."""


class ConfigError(LakekitError):
    """A job file, an argument or a name is wrong; nothing ran."""


class SessionError(ConfigError):
    """The Spark session lacks a class or a configuration."""


class JarError(LakekitError):
    """A jar cannot be resolved, fetched or verified."""


class TableNotFound(LakekitError):
    """The table does not exist, or not in the format asked for."""


class SchemaConflict(LakekitError):
    """The incoming columns do not fit the table."""


class UnsupportedOperation(LakekitError):
    """The table format cannot do this; the message gives the reason and a way out."""


class FeedError(LakekitError):
    """The change feed lacks a column or is wrongly described."""


class SourceError(LakekitError):
    """A source cannot be read as what it is said to be."""


class DataRejected(LakekitError):
    """A declared policy refused the data; nothing was written."""


class TieConflict(DataRejected):
    """Events of one key at one sequence author different values, and the feed says ``ties="fail"``."""


class CommitConflict(LakekitError):
    """Other writers won every retry; the table holds their state and none of this batch is half-applied."""


class EngineError(LakekitError):
    """Spark or the table format failed; the original error is chained as ``__cause__``."""


@contextmanager
def in_table(table: str) -> Iterator[None]:
    """Name the table in a ``SchemaConflict`` that only knows the column."""
    try:
        yield
    except SchemaConflict as conflict:
        raise SchemaConflict(f"{table}: {conflict}") from conflict.__cause__
