"""What a row remembers of its events: in its own sequence columns where they are kept, else in the hidden ``_lakekit`` column.

====================================================  ==========================================================
the table's rows                                      ``_lakekit``
====================================================  ==========================================================
complete, sequence columns kept                       none
complete, sequence columns excluded                   ``struct<seq>``
partial (columns authored at different sequences)     ``struct<[seq,] floor, columns: map<name, sequence>>``
====================================================  ==========================================================

``floor`` is the sequence up to which every event of the key is dead (its last delete); ``columns`` names the columns whose
value is older than the row: a missing name means "as new as the row", a NULL sequence "never authored".
"""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import types as T

from lakekit.changes import HIDDEN, ChangeFeed
from lakekit.columns import find, quoted
from lakekit.errors import SchemaConflict

FLOOR, COLUMNS, STORED_SEQ = "floor", "columns", "seq"


@dataclass(frozen=True)
class Memory:
    """Where the sequence of a stored row is found, and whether its columns have sequences of their own."""

    sequence: T.StructType
    in_row: bool
    partial: bool

    def at(self, alias: str = "") -> str:
        """SQL of a stored row's sequence: never NULL itself, its parts may be."""
        home = alias if self.in_row else f"{alias}{HIDDEN}.{STORED_SEQ}."
        return "named_struct(" + ", ".join(f"'{f.name}', {home}{quoted(f.name)}" for f in self.sequence.fields) + ")"

    def unmoved(self) -> str:
        """SQL: the stored row ``t`` is still the one that the change ``s`` was planned for."""
        same = f"{self.at('t.')} <=> s._lk_at"
        return f"{same} AND to_json(t.{HIDDEN}) <=> s._lk_was" if self.partial else same

    @property
    def hidden(self) -> T.StructType | None:
        """The type of ``_lakekit``, or ``None`` when none is needed."""
        fields = [] if self.in_row else [T.StructField(STORED_SEQ, self.sequence)]
        if self.partial:
            fields += [T.StructField(FLOOR, self.sequence), T.StructField(COLUMNS, T.MapType(T.StringType(), self.sequence))]
        return T.StructType(fields) if fields else None


def memory_of(schema: T.StructType, feed: ChangeFeed) -> Memory:
    """What a table of this stored schema can remember of this feed, in the table's own types."""
    stored = schema[HIDDEN].dataType if HIDDEN in schema.names else T.StructType([])
    assert isinstance(stored, T.StructType)
    in_row = feed.keeps_sequence
    if in_row:
        sequence = T.StructType([T.StructField(c, schema[c].dataType) for c in feed.sequence_by])
    elif STORED_SEQ in stored.names:
        remembered = stored[STORED_SEQ].dataType
        assert isinstance(remembered, T.StructType)
        # In the feed's spelling: columns that it leaves out of the table were not spelled like the table's.
        sequence = T.StructType([T.StructField(c, f.dataType) for c, f in zip(feed.sequence_by, remembered.fields, strict=True)])
    else:
        sequence = feed.sequence_type
    return Memory(sequence, in_row, COLUMNS in stored.names)


def check_sequence(table: str, schema: T.StructType, feed: ChangeFeed) -> None:
    """Raise ``SchemaConflict`` where the rows remember another sequence than the feed has, or in another place."""
    stored = schema[HIDDEN].dataType if HIDDEN in schema.names else T.StructType([])
    assert isinstance(stored, T.StructType)
    named, lower = ", ".join(feed.sequence_by), [c.lower() for c in feed.sequence_by]
    if stored.fields:
        hidden = stored[STORED_SEQ if STORED_SEQ in stored.names else FLOOR].dataType
        assert isinstance(hidden, T.StructType)
        excluded = STORED_SEQ in stored.names
        if [c.lower() for c in hidden.names] != lower or excluded == feed.keeps_sequence:
            kept = "leaves them out" if not feed.keeps_sequence else "keeps them as columns"
            raise SchemaConflict(
                f"{table}: its rows remember the sequence {', '.join(hidden.names)}{f' in {HIDDEN} alone' if excluded else ''}, "
                f"the feed is ordered by {named} and {kept}. "
                f"Order it by the same columns{', and leave them out with except_columns' if excluded else ''}."
            )
    elif not feed.keeps_sequence and all(find(schema.names, c) for c in feed.sequence_by):
        raise SchemaConflict(f"{table} keeps the sequence {named} as columns, which the feed leaves out. Take them out of except_columns.")


def wanted(schema: T.StructType, feed: ChangeFeed) -> Memory:
    """What the table must be able to remember to take this feed: partial once an event leaves a column unauthored."""
    now = memory_of(schema, feed)
    visible = [c for c in schema.names if not c.startswith(HIDDEN)]
    missing = [c for c in visible if c not in feed.columns and c not in feed.sequence_by]
    return Memory(now.sequence, now.in_row, now.partial or feed.partial or bool(missing))


def missing_fields(schema: T.StructType, memory: Memory) -> list[T.StructField]:
    """Columns to add so that the table can remember: the whole ``_lakekit``, or fields of it named ``_lakekit/field``."""
    if memory.hidden is None:
        return []
    if HIDDEN not in schema.names:
        return [T.StructField(HIDDEN, memory.hidden)]
    stored = schema[HIDDEN].dataType
    assert isinstance(stored, T.StructType)
    return [T.StructField(f"{HIDDEN}/{f.name}", f.dataType) for f in memory.hidden.fields if f.name not in stored.names]
