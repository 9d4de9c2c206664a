"""The type 2 history that a set of events means, in plain Python. Imports nothing from lakekit.

Written from the contract (C4 and issue 4), not from the code: put the events of a key in order, keep what is true after each, glue
together what is equal. ``Dim`` says how a history is shaped, ``versions`` folds events into rows, ``Ledger`` counts what each batch
must be booked as and what happens to rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests import oracle
from tests.oracle import DELETE, TRUNCATE, UPSERT, Event, Row, Rules, rank

COUNTS = ("read", "applied", "stale", "duplicate", "quarantined", "inserted", "updated", "closed", "split", "deleted")


@dataclass(frozen=True)
class Dim:
    """The shape of a history: ``rules.sequence_by`` orders; ``coarse``: the first of them alone is ``valid_from``."""

    rules: Rules
    track: tuple[str, ...] | None = None
    valid_from: str = "valid_from"
    valid_to: str = "valid_to"
    end: Any = None
    current: str | None = None
    version: str | None = None
    coarse: bool = False

    @property
    def tracked(self) -> tuple[str, ...]:
        return self.rules.payload if self.track is None else self.track

    def position(self, seq: tuple[Any, ...]) -> Any:
        return seq[0] if self.coarse or len(self.rules.sequence_by) == 1 else seq

    @property
    def columns(self) -> set[str]:
        own = {self.valid_from, self.valid_to, self.current, self.version} - {None}
        return {*self.rules.columns} | own  # type: ignore[arg-type]


class Version(NamedTuple):
    since: Any
    until: Any  # None: open
    values: dict[str, Any]
    last: tuple[Any, ...]  # the sequence of its last event


def histories(every: Iterable[Event], dim: Dim) -> dict[tuple[Any, ...], list[Version]]:
    """The versions of each key."""
    by_key = oracle.grouped(every)
    truncations = {e.seq for e in by_key.pop((), [])}
    found = {key: _versions(states(of_key, truncations, dim), dim) for key, of_key in by_key.items()}
    return {key: versions for key, versions in found.items() if versions}


def states(of_key: list[Event], truncations: set[Any], dim: Dim) -> list[tuple[Any, dict[str, Any] | None]]:
    """What is true after each sequence: values by column, or ``None`` while the key is deleted."""
    now: dict[str, Any] | None = None
    found = []
    for seq in sorted({e.seq for e in of_key} | truncations, key=rank):
        here = [e for e in of_key if e.seq == seq]
        if seq in truncations or any(e.op == DELETE for e in here):
            now = None
        else:
            now = (now or dict.fromkeys(dim.rules.payload)) | dict(oracle._at(seq, here, dim.rules))
        found.append((seq, now))
    if not dim.coarse:
        return found
    last = {rank(dim.position(seq)): (seq, state) for seq, state in found}
    return list(last.values())


def _versions(found: list[tuple[Any, dict[str, Any] | None]], dim: Dim) -> list[Version]:
    rows: list[Version] = []
    for seq, values in found:
        position = dim.position(seq)
        open_ = rows[-1] if rows and rows[-1].until is None else None
        if values is None:
            if open_ is not None:
                rows[-1] = open_._replace(until=position)
        elif open_ is not None and all(open_.values[c] == values[c] for c in dim.tracked):
            rows[-1] = open_._replace(values=values, last=seq)
        else:
            if open_ is not None:
                rows[-1] = open_._replace(until=position)
            rows.append(Version(position, None, values, seq))
    return rows


def table(rows: Iterable[Row], dim: Dim) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The type 2 table that a set of events means: (key, valid_from) to row."""
    found = {}
    for key, versions in histories(oracle.events(rows, dim.rules), dim).items():
        for number, version in enumerate(versions, 1):
            row = dict(zip(dim.rules.keys, key, strict=True)) | version.values
            row |= {c: part for c, part in zip(dim.rules.sequence_by, version.last, strict=True) if c in dim.rules.columns}
            row |= {dim.valid_from: version.since, dim.valid_to: dim.end if version.until is None else version.until}
            if dim.current:
                row[dim.current] = version.until is None
            if dim.version:
                row[dim.version] = number
            found[key, version.since] = row
    return found


def carrying(rows: Iterable[Row], dim: Dim, names: dict[str, str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The type 6 table: each version also has the last known value of some columns, under other names."""
    rows = list(rows)
    found = table(rows, dim)
    for key, versions in histories(oracle.events(rows, dim.rules), dim).items():
        for version in versions:
            found[key, version.since] |= {name: versions[-1].values[c] for c, name in names.items()}
    return found


def with_previous(rows: Iterable[Row], dim: Dim, names: dict[str, str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The type 3 table: the present row of each living key, and the last other value of some columns since the key was last absent."""
    found = oracle.table(rows := list(rows), dim.rules)
    by_key = oracle.grouped(oracle.events(rows, dim.rules))
    truncations = {e.seq for e in by_key.pop((), [])}
    for key, row in found.items():
        life: list[dict[str, Any]] = []
        for _, values in states(by_key[key], truncations, dim):
            life = [] if values is None else [*life, values]
        for c, name in names.items():
            others = [values[c] for values in life if values[c] != row[c]]
            row[name] = others[-1] if others else None
    return found


@dataclass
class Ledger:
    """What each batch must be booked as, for histories that are not coarse; one ``book`` call per delivered batch."""

    dim: Dim
    known: set[Event] = field(default_factory=set)

    def book(self, rows: Iterable[Row]) -> dict[str, int]:
        """Counts of one batch, by the names in ``COUNTS``."""
        rows, rules = list(rows), self.dim.rules
        arrived = [e for e in (oracle.event(row, rules) for row in rows) if e is not None]
        after = self.known | set(arrived)
        counts = Counter(read=len(rows), quarantined=len(rows) - len(arrived), duplicate=len(arrived) - len(set(arrived)))
        before_by, after_by = _here(self.known), _here(after)
        counts.update(_fate(e, before_by, after_by, rules) for e in set(arrived))
        counts.update(_effects(histories(self.known, self.dim), histories(after, self.dim), self.dim))
        self.known = after
        return {name: counts[name] for name in COUNTS}


_Here = dict[tuple[Any, Any], list[Event]]


def _here(every: Iterable[Event]) -> _Here:
    found: _Here = {}
    for e in every:
        found.setdefault((e.key, e.seq), []).append(e)
    return found


def _fate(e: Event, before: _Here, after: _Here, rules: Rules) -> str:
    """Duplicate if it is known; stale if its very sequence is deleted or says something larger; else applied: all is kept."""
    if e.op in (DELETE, TRUNCATE):
        return "duplicate" if any(o.op == e.op for o in before.get((e.key, e.seq), [])) else "applied"
    told = _told(e, before, rules)
    if told is not None and dict(e.values).items() <= told.items() and not _dead(e, before):
        return "duplicate"
    if _dead(e, after):
        return "stale"
    says = _told(e, after, rules) or {}
    news = {c for c, value in e.values if says[c] == value and (told is None or c not in told or told[c] != value)}
    if len(e.values) == len(rules.payload) and told is not None and dict(e.values) != says:
        return "stale"
    if len(e.values) == len(rules.payload) and dict(e.values) != says and told is None and not _sparse(e, after, rules):
        return "stale"
    return "applied" if news or (told is None and not e.values) else "stale"


def _sparse(e: Event, known: _Here, rules: Rules) -> bool:
    return any(len(o.values) < len(rules.payload) for o in known.get((e.key, e.seq), []) if o.op == UPSERT)


def _dead(e: Event, known: _Here) -> bool:
    return any(o.op == DELETE for o in known.get((e.key, e.seq), [])) or ((), e.seq) in known


def _told(e: Event, known: _Here, rules: Rules) -> dict[str, Any] | None:
    here = [o for o in known.get((e.key, e.seq), []) if o.op == UPSERT]
    return dict(oracle._at(e.seq, here, rules)) if here else None


def _effects(before: dict[Any, list[Version]], after: dict[Any, list[Version]], dim: Dim) -> Counter[str]:
    counts: Counter[str] = Counter()
    for key in before.keys() | after.keys():
        old = {rank(v.since): (n, v) for n, v in enumerate(before.get(key, []))}
        new = {rank(v.since): (n, v) for n, v in enumerate(after.get(key, []))}
        counts["inserted"] += len(new.keys() - old.keys())
        counts["deleted"] += len(old.keys() - new.keys())
        counts.update(_effect(*old[k], *new[k], dim) for k in old.keys() & new.keys())
    return counts


def _effect(old_number: int, old: Version, number: int, new: Version, dim: Dim) -> str:
    """Closed: it was open and now ends after all that it held; split: it ends earlier than that; else updated, or the same."""
    cut = new.until is not None and (old.until is None or rank(new.until) < rank(old.until))
    if cut:
        inside = old.until is not None or rank(new.until) <= rank(dim.position(old.last))
        return "split" if inside else "closed"
    if old == new and (not dim.version or old_number == number):
        return "same"
    sees_last = set(dim.rules.sequence_by) & set(dim.rules.columns)
    if old._replace(last=()) == new._replace(last=()) and not sees_last and not dim.version:
        return "updated"  # what the row remembers of its last event, in its hidden column
    return "updated"
