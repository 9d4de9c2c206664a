"""The answer that every format must give, from the *set* of events, in plain Python. Imports nothing from lakekit.

A delivered row is a dictionary; ``Rules`` says how a feed describes its rows. ``table`` folds a set of events into rows (C1-C6),
``Ledger`` counts what each batch of complete events must be booked as (C8). Both are written to be read, not to be fast.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

Row = Mapping[str, Any]
UPSERT, DELETE, TRUNCATE = "upsert", "delete", "truncate"
COUNTS = ("read", "applied", "stale", "duplicate", "quarantined", "inserted", "updated", "deleted")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAN = "NaN"  # one NaN that equals itself and hashes to one value


@dataclass(frozen=True)
class Rules:
    """How rows of a feed are to be understood; ``columns`` are those of the table, keys and kept sequence columns included."""

    keys: tuple[str, ...]
    sequence_by: tuple[str, ...]
    columns: tuple[str, ...]
    op: str = "op"  # 'D' deletes, 'T' truncates, all else upserts
    unchanged: Any = None
    ignore_nulls: frozenset[str] = frozenset()
    unstorable: Mapping[str, frozenset[Any]] = field(default_factory=dict)  # values that the table cannot hold, by column

    @property
    def payload(self) -> tuple[str, ...]:
        return tuple(c for c in self.columns if c not in self.keys and c not in self.sequence_by)


_LIGHTEST: Any = ()
_Words = Mapping[tuple[Any, ...], Any]  # the last word on each key


class Event(NamedTuple):
    key: tuple[Any, ...]
    seq: tuple[Any, ...]
    op: str
    values: tuple[tuple[str, Any], ...]  # authored payload columns only, by name


def plain(value: Any) -> Any:
    """One spelling of equal values: NaN equals itself, 0.0 and -0.0 are one; instants are microseconds."""
    if isinstance(value, float):
        return NAN if math.isnan(value) else value + 0.0
    if isinstance(value, datetime):
        return (value - EPOCH) // timedelta(microseconds=1)
    if isinstance(value, (list, tuple)):
        return tuple(plain(v) for v in value)
    if isinstance(value, dict):
        return tuple(sorted((k, plain(v)) for k, v in value.items()))
    return value


def rank(value: Any) -> Any:
    """Order of values as the contract says: NULL lowest, NaN highest, tuples part by part."""
    if isinstance(value, tuple):
        return (1, tuple(rank(v) for v in value))
    if value is None:
        return (0, 0)
    return (2, 0) if value == NAN else (1, value)


def event(row: Row, rules: Rules) -> Event | None:
    """The event of one delivered row, or ``None`` when the row is bad (C7)."""
    seq = tuple(plain(row.get(c)) for c in rules.sequence_by)
    op = {"D": DELETE, "T": TRUNCATE}.get(row.get(rules.op) or "U", UPSERT)
    if all(part is None for part in seq):
        return None
    if op == TRUNCATE:
        return Event((), seq, op, ())
    key = tuple(plain(row.get(c)) for c in rules.keys)
    if any(part is None for part in key):
        return None
    values = () if op == DELETE else _authored(row, rules)
    held = [*zip(rules.keys, key, strict=True), *values]
    return None if any(value in rules.unstorable.get(c, ()) for c, value in held) else Event(key, seq, op, values)


def _authored(row: Row, rules: Rules) -> tuple[tuple[str, Any], ...]:
    def authors(column: str) -> bool:
        if column not in row or (row[column] is None and column in rules.ignore_nulls):
            return False
        return rules.unchanged is None or row[column] != rules.unchanged

    return tuple((c, plain(row[c])) for c in sorted(rules.payload) if authors(c))


def events(rows: Iterable[Row], rules: Rules) -> set[Event]:
    """The set of events of any number of delivered rows; bad rows are left out."""
    return {e for e in (event(row, rules) for row in rows) if e is not None}


def table(rows: Iterable[Row], rules: Rules) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The SCD1 table that a set of events means: key to row, ties by content."""
    return fold(events(rows, rules), rules)


def fold(every: Iterable[Event], rules: Rules) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The rows that events add up to."""
    by_key = grouped(every)
    horizon = max((rank(e.seq) for e in by_key.pop((), [])), default=None)
    found = {key: _row(key, of_key, horizon, rules) for key, of_key in by_key.items()}
    return {key: row for key, row in found.items() if row is not None}


def grouped(every: Iterable[Event]) -> dict[tuple[Any, ...], list[Event]]:
    """Events by key; those of truncates stand under the empty key."""
    by_key: dict[tuple[Any, ...], list[Event]] = {}
    for e in every:
        by_key.setdefault(e.key, []).append(e)
    return by_key


def _row(key: tuple[Any, ...], of_key: list[Event], horizon: Any, rules: Rules) -> dict[str, Any] | None:
    deaths = [rank(e.seq) for e in of_key if e.op == DELETE] + ([horizon] if horizon is not None else [])
    live = [e for e in of_key if e.op == UPSERT and (not deaths or rank(e.seq) > max(deaths))]
    if not live:
        return None
    newest = max(live, key=lambda e: rank(e.seq))
    row = dict(zip(rules.keys, key, strict=True)) | dict.fromkeys(rules.payload)
    row |= {c: part for c, part in zip(rules.sequence_by, newest.seq, strict=True) if c in rules.columns}
    return row | {c: value for seq in sorted({e.seq for e in live}, key=rank) for c, value in _at(seq, live, rules)}


def _at(seq: tuple[Any, ...], live: list[Event], rules: Rules) -> list[tuple[str, Any]]:
    """What the events of one sequence author together: the larger payload, or column by column when they are sparse."""
    tied = [e for e in live if e.seq == seq]
    complete = [e for e in tied if len(e.values) == len(rules.payload)]
    assert len(complete) in (0, len(tied)) or len(tied) == 1 or not conflicting(tied), (
        "a tie of complete and sparse events has no one answer"
    )
    if complete and len(complete) == len(tied):
        return list(max((e.values for e in tied), key=rank_values))
    authored: dict[str, Any] = {}
    for c, value in (pair for e in tied for pair in e.values):
        authored[c] = max(authored.get(c, value), value, key=rank)
    return list(authored.items())


def rank_values(values: tuple[tuple[str, Any], ...]) -> Any:
    """Order of complete payloads: column by column in name order."""
    return tuple(rank(v) for _, v in sorted(values))


def conflicting(tied: Iterable[Event]) -> bool:
    """Whether events of one key and sequence author different values for one column, and no delete settles it."""
    tied = list(tied)
    if any(e.op == DELETE for e in tied):
        return False
    authored: dict[str, set[Any]] = {}
    for c, value in (pair for e in tied for pair in e.values):
        authored.setdefault(c, set()).add(value)
    return any(len(values) > 1 for values in authored.values())


@dataclass
class Ledger:
    """What each batch must be booked as (C8), for feeds of complete events; one ``book`` call per delivered batch."""

    rules: Rules
    known: set[Event] = field(default_factory=set)

    def book(self, rows: Iterable[Row]) -> dict[str, int]:
        """Counts of one batch, by the names in ``COUNTS``."""
        rows = list(rows)
        arrived = [e for e in (event(row, self.rules) for row in rows) if e is not None]
        after = self.known | set(arrived)
        counts = Counter(read=len(rows), quarantined=len(rows) - len(arrived), duplicate=len(arrived) - len(set(arrived)))
        before, last = _last_words(self.known), _last_words(after)
        counts.update(_fate(e, before, last, self.known) for e in set(arrived))
        counts.update(_effects(fold(self.known, self.rules), fold(after, self.rules)))
        self.known = after
        return {name: counts[name] for name in COUNTS}


def _fate(e: Event, before: _Words, last: _Words, known: set[Event]) -> str:
    """Duplicate if the table shows just this; else stale if something beats it; else applied.

    A row is shown until the batch replaces it, so an event that it repeats is a duplicate even beside a newer one.
    """
    if e in known and e.op == UPSERT and not _beaten(e, before):
        return "duplicate"
    if _beaten(e, last):
        return "stale"
    return "duplicate" if e in known else "applied"


def _beaten(e: Event, words: _Words) -> bool:
    return bool(_weight(e) < max(words[e.key], words.get((), _LIGHTEST)))


def _last_words(known: Iterable[Event]) -> _Words:
    return {key: max(_weight(e) for e in of_key) for key, of_key in grouped(known).items()}


def _weight(e: Event) -> Any:
    """Later beats earlier, delete and truncate beat upsert, the larger payload beats the smaller."""
    return (rank(e.seq), e.op != UPSERT, rank_values(e.values))


def _effects(before: dict[Any, Any], after: dict[Any, Any]) -> Counter[str]:
    both = before.keys() & after.keys()
    return Counter(
        inserted=len(after.keys() - before.keys()),
        deleted=len(before.keys() - after.keys()),
        updated=sum(before[k] != after[k] for k in both),
    )
