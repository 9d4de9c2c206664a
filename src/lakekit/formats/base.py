"""What a table format has to know: a few verbs over a pinned view, and tables that say what it can do."""

from __future__ import annotations

import re
import threading
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.batch import leaf_rows
from lakekit.changes import HIDDEN
from lakekit.columns import col, find
from lakekit.errors import CommitConflict, ConfigError, EngineError, UnsupportedOperation
from lakekit.formats.partition_values import PartitionValue, Unstorable, unstorable
from lakekit.partitioning import Transform
from lakekit.pruning import Bound

# One writer of a table at a time in one process: threads need not race through the storage.
_LOCKS: defaultdict[tuple[str, str], Any] = defaultdict(threading.RLock)


@dataclass(frozen=True)
class Unsupported:
    """Why a format cannot do something, and what can be done instead."""

    reason: str
    instead: str


def unsupported(reason: str, *, instead: str) -> Unsupported:
    """Say no with a reason and a way out."""
    return Unsupported(reason, instead)


@dataclass(frozen=True)
class Spec:
    """The shape of a table to create: columns, partition transforms, write mode, keys."""

    schema: T.StructType
    partitioning: tuple[Transform, ...] = ()
    keys: tuple[str, ...] = ()
    merge_on_read: bool = False
    properties: Mapping[str, str] = field(default_factory=dict)
    comment: str | None = None


SCD_PROPERTY = "lakekit.scd"
"""The table property in which a table of slowly changing rows remembers its shape; ``View.scd`` is its text."""
KEYS_PROPERTY = "lakekit.keys"
"""The table property in which a table made for a feed remembers the feed's keys, a JSON list; ``View.keys`` is its text."""


@dataclass(frozen=True)
class View:
    """One state of a table, known from its metadata alone."""

    version: str | None
    schema: T.StructType
    partition_columns: tuple[str, ...] = ()
    merge_on_read: bool = False
    empty: bool = False
    rows: int | None = None
    scd: str | None = None
    keys: str | None = None

    @property
    def columns(self) -> list[str]:
        """All stored columns, lakekit's hidden one too."""
        return self.schema.names


@dataclass(frozen=True)
class Scan:
    """Filtered rows of a table, and what metadata says of them without a Spark job.

    *most* is how many rows are read at most (``None``: not known); *lacks* tells whether a text column surely has none of some values.
    """

    rows: DataFrame
    most: int | None
    lacks: Callable[[str, Sequence[str]], bool]


@dataclass(frozen=True)
class ChangeSet:
    """What to apply: one row per key.

    *rows* has the table's columns, ``_lk_action`` (insert, update, delete), ``_lk_at`` (the sequence of the row that stood when
    this was planned; a row that has moved on since is left alone) and the format's own locators of that row. *standing* is
    SQL over alias ``t`` for the sequence of a stored row, *unmoved* the condition that the stored row is the one planned for.
    *bounds* are implied by the keys of every row here. *size* is the number of rows, *width* about their bytes. *placed*: all rows of
    one partition of the table lie in one partition of the frame. *kept*: reading *rows* once more computes nothing once more.
    """

    rows: DataFrame
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    unmoved: str
    bounds: tuple[Bound, ...] = ()
    inserts: int = 0
    updates: int = 0
    deletes: int = 0
    width: int = 0
    placed: bool = False
    kept: bool = True

    @property
    def size(self) -> int:
        """How many rows change."""
        return self.inserts + self.updates + self.deletes


@dataclass(frozen=True)
class Landing:
    """What stands on top of a view after a write: whether only our own commit does, and its files."""

    alone: bool
    version: str | None
    files_added: int = 0
    files_removed: int = 0
    bytes_added: int = 0
    bytes_removed: int = 0
    rows_added: int | None = None
    rows_removed: int | None = None


class Adapter(ABC):
    """One table of one format. Constructing one touches nothing."""

    name: ClassVar[str]
    partitioning: ClassVar[Mapping[type[Transform], Callable[..., Any] | Unsupported]]
    alterations: ClassVar[Mapping[str, bool | Unsupported]]
    modes: ClassVar[Mapping[str, str]]
    partition_values: ClassVar[Mapping[PartitionValue, bool | Unsupported]]
    verbs: ClassVar[Mapping[str, bool | Unsupported]]
    nameable: ClassVar[re.Pattern[str]] = re.compile(r"(?s).+")
    locators: ClassVar[tuple[str, ...]] = ()
    hidden: ClassVar[tuple[str, ...]] = ()

    def __init__(self, spark: SparkSession, table: str) -> None:
        self.spark = spark
        self.table = table

    @abstractmethod
    def exists(self) -> bool:
        """Whether the table exists in this format."""

    @abstractmethod
    def view(self) -> View:
        """The current state; raises ``TableNotFound``. Starts no Spark job over data."""

    @abstractmethod
    def read(self, version: str | None = None) -> DataFrame:
        """All stored columns at a version (default: the current one)."""

    def broadcast_limit(self) -> int:
        """Bytes of changed rows that the driver can hold and hand out."""
        jvm: Any = self.spark._jvm
        return int(jvm.java.lang.Runtime.getRuntime().maxMemory()) // 5

    def scan(self, version: str | None, condition: Column) -> Scan:
        """The stored rows that meet a condition, from the files that metadata does not rule out; made to be looked at repeatedly."""
        found = self.read(version).where(condition)
        return Scan(found, leaf_rows(found), lambda column, values: leaf_rows(found.where(col(column).isin(*values))) == 0)

    def make(self, spec: Spec) -> None:
        """Create an empty table, unless a rival that found it missing too was faster; raises what ``check`` raises."""
        checked = self.check(spec)
        try:
            self.create(checked)
        except (CommitConflict, EngineError):
            if not self.exists():
                raise

    def check(self, spec: Spec) -> Spec:
        """The spec with the columns' own spelling; ``ConfigError`` or ``UnsupportedOperation`` where no such table can be made."""
        names = spec.schema.names
        lowered = [n.lower() for n in names]
        twice = sorted({n for n in lowered if lowered.count(n) > 1})
        self.check_names(names)
        if twice or not names:
            told = f"more than one column is named {', '.join(twice)}" if twice else "a table needs at least one column"
            raise ConfigError(f"{self.table}: {told}. Change the schema.")
        for transform in spec.partitioning:
            if find(names, transform.column) is None:
                shown = ", ".join(n for n in names if not n.startswith(HIDDEN))
                raise ConfigError(f"{self.table}: partition_by names {transform.column}, which is no column. Columns: {shown}.")
            self.can(self.partitioning, type(transform), f"partition transform {transform.name}")
        return replace(spec, partitioning=tuple(replace(t, column=find(names, t.column) or t.column) for t in spec.partitioning))

    def check_names(self, names: Iterable[str]) -> None:
        """Raise ``UnsupportedOperation`` for a column that the format cannot name so."""
        strange = [name for name in names if not self.nameable.fullmatch(name)]
        if strange:
            shown = ", ".join(map(repr, strange))
            raise UnsupportedOperation(f"{self.table}: {self.name} has no column names like {shown}. Instead: rename it in the source.")

    @abstractmethod
    def create(self, spec: Spec) -> None:
        """Create an empty table; nothing happens when it exists already."""

    @abstractmethod
    def apply(self, view: View, changes: ChangeSet, token: str) -> None:
        """Apply the change set in one atomic commit that carries *token*; raises ``CommitConflict`` when a rival was faster."""

    @abstractmethod
    def append(self, rows: DataFrame, view: View, token: str) -> None:
        """Add rows as they are."""

    @abstractmethod
    def overwrite(self, rows: DataFrame, where: str | None, view: View, token: str) -> None:
        """Replace all rows, or those where a condition holds."""

    @abstractmethod
    def delete(self, where: str, token: str) -> None:
        """Delete the rows where a condition holds."""

    @abstractmethod
    def add_columns(self, fields: Sequence[T.StructField]) -> None:
        """Add nullable columns at the end, or nested fields named ``parent.child``."""

    @abstractmethod
    def widen_column(self, name: str, data_type: T.DataType) -> None:
        """Change the type of a column, or of a nested field named ``parent/child``, to a wider one."""

    def check_widening(self, name: str, stored: T.DataType, wanted: T.DataType) -> None:
        """Raise ``UnsupportedOperation`` where the format does not widen columns, or not from this type to that one."""
        self.can(self.alterations, "widen", f"widen column {name}")

    @abstractmethod
    def landing(self, view: View, token: str, *, wrote: bool) -> Landing:
        """What landed on top of *view*: ours, and nothing else?"""

    @abstractmethod
    def versions(self) -> DataFrame:
        """The table's history in lakekit's one schema, see ``VERSIONS``."""

    def moments(self) -> DataFrame:
        """Which ``version`` became the table's state when (``committed_at``)."""
        return self.versions()

    @abstractmethod
    def resolve(self, version: str) -> str:
        """Check that a version exists and can be read; raises ``TableNotFound`` naming it."""

    @abstractmethod
    def rollback(self, version: str, token: str) -> None:
        """Make an earlier version the current state again."""

    @abstractmethod
    def drop(self) -> None:
        """Drop the table and its files."""

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Hold off other lakekit writers of this process; a format whose own conflict detection is not enough holds off all."""
        with _LOCKS[self.name, self.table]:
            yield

    def unstorable(self, schema: T.StructType, partition_columns: Sequence[str]) -> Unstorable:
        """Which values of the partition columns the format would give back as others, by column."""
        refused = {value: entry.reason for value, entry in self.partition_values.items() if isinstance(entry, Unsupported)}
        return unstorable({c: schema[c].dataType for c in partition_columns}, refused)

    def can(self, table: Mapping[Any, Any], what: Any, words: str) -> Any:
        """Look a capability up; raises ``UnsupportedOperation`` with the table's reason and way out."""
        entry = table.get(what, unsupported(f"{self.name} has no {words}", instead="use one of: " + _names(table)))
        if isinstance(entry, Unsupported):
            raise UnsupportedOperation(f"{self.table}: {words}: {entry.reason}. Instead: {entry.instead}.")
        return entry


def _names(table: Mapping[Any, Any]) -> str:
    able = [key for key, entry in table.items() if not isinstance(entry, Unsupported)]
    return ", ".join(sorted(key.__name__.lower() if isinstance(key, type) else str(key) for key in able))


def in_one_schema(history: DataFrame) -> DataFrame:
    """A format's history in the schema that all formats share, oldest version first."""
    # A CASE can be NULL: some formats know that their columns never are, and the schema would tell.
    columns = (F.when(F.lit(True), col(f.name).cast(f.dataType)).alias(f.name) for f in VERSIONS.fields)
    return history.select(*columns).orderBy("committed_at", F.length("version"), "version")


VERSIONS = T.StructType(
    [
        T.StructField("version", T.StringType()),
        T.StructField("parent", T.StringType()),
        T.StructField("committed_at", T.TimestampType()),
        T.StructField("operation", T.StringType()),
        T.StructField("files_added", T.LongType()),
        T.StructField("files_removed", T.LongType()),
        T.StructField("rows_added", T.LongType()),
        T.StructField("rows_removed", T.LongType()),
    ]
)
