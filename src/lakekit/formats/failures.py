"""Engine errors become lakekit's: a lost race is a ``CommitConflict``, all else an ``EngineError``; the original is chained."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from lakekit.errors import CommitConflict, DataRejected, EngineError, LakekitError

# Class names and error classes that mean "another writer committed first", as the engines spell them.
_RACE = re.compile(
    r"ValidationException|CommitFailedException|Concurrent\w*(Append|Delete\w*|Modification|Write|Transaction)\w*Exception|"
    r"DELTA_CONCURRENT|MetadataChangedException|ProtocolChangedException|HoodieWriteConflictException|HoodieLockException|"
    r"DELTA_METADATA_CHANGED|DELTA_PROTOCOL_CHANGED|Found conflicting files|DELTA_TABLE_ALREADY_EXISTS|FileAlreadyExistsException|"
    r"the table has been concurrently modified"  # Iceberg, between planning a MERGE and its second look: a bare IllegalStateException
)


@contextmanager
def translated(table: str, doing: str) -> Iterator[None]:
    """Run engine calls; whatever Spark or Java raises leaves as a lakekit error that names the table and no data value."""
    try:
        yield
    except LakekitError:
        raise
    except (Py4JError, PySparkException) as error:
        refused = re.search(r"lakekit: ([^\n]*)", str(error))  # raised by an expression of ours, which names no value
        if refused:
            raise DataRejected(f"{table}: {refused.group(1)}. Nothing was written.") from error
        if _RACE.search(f"{type(error).__name__}: {error}"):
            raise CommitConflict(f"{table}: another writer changed the table while {doing}. Run the same batch again.") from error
        raise EngineError(f"{table}: the engine failed while {doing} ({label(error)}). The cause is chained below.") from error


def label(error: BaseException) -> str:
    """The error's class as the engine names it, without its message, which may hold data values.

    >>> label(ValueError("secret 4711"))
    'ValueError'
    """
    condition = getattr(error, "getErrorClass", lambda: None)()
    if condition:
        return str(condition)
    java = re.search(r"\b([\w.$]+(?:Exception|Error))\b", str(error))
    return java.group(1).rsplit(".", 1)[-1] if java else type(error).__name__
