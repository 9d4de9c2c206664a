"""Commit: the fact sheet that every write returns."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Commit:
    """What one write did.

    Events (C8): ``read = applied + stale + duplicate + ignored + quarantined``, exactly.
    Row effects are counted beside them: ``inserted``, ``updated``, ``deleted``, ``closed``, ``split``, ``unchanged``.
    ``version_before`` and ``version`` are the table's states as strings (snapshot id, version, instant);
    they are equal when the write changed nothing. ``None`` means that no such state exists.
    ``rekeyed`` is a frame for a table whose versions have keys: which facts must change theirs (keys, ``old_key``, ``new_key`` and the
    interval; NULL for no version). Else ``None``. Files and bytes are those of the table, not of its journal. ``seconds`` is wall time.

    >>> commit = Commit("upsert", "sales.orders", "iceberg", read=3, applied=2, stale=1, inserted=2, version="7")
    >>> commit.changed
    True
    >>> print(commit)
    upsert sales.orders (iceberg): read=3 applied=2 stale=1 inserted=2 version=7
    """

    operation: str
    table: str
    format: str
    read: int = 0
    applied: int = 0
    stale: int = 0
    duplicate: int = 0
    ignored: int = 0
    quarantined: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    closed: int = 0
    split: int = 0
    unchanged: int = 0
    markers_nulled: int = 0
    beyond_horizon: int = 0
    version_before: str | None = None
    version: str | None = None
    files_added: int = 0
    files_removed: int = 0
    bytes_added: int = 0
    bytes_removed: int = 0
    seconds: float = 0.0
    attempts: int = 1
    dry_run: bool = False
    batch_id: str | None = None
    rekeyed: Any = field(default=None, compare=False, repr=False)

    @property
    def changed(self) -> bool:
        """Whether the table has a new version."""
        return self.version != self.version_before

    def as_dict(self) -> dict[str, Any]:
        """The facts as a plain dictionary, ready for JSON; without the frame ``rekeyed``."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "rekeyed"}

    def __str__(self) -> str:
        skipped = {"operation", "table", "format", "version_before", "version", "attempts", "dry_run"}
        counts = [f"{k}={v:.2f}" if isinstance(v, float) else f"{k}={v}" for k, v in self.as_dict().items() if v and k not in skipped]
        would = any((self.inserted, self.updated, self.deleted, self.closed, self.split)) if self.dry_run else self.changed
        state = "no change" if not would else f"version={self.version}" if self.changed else "would change"
        dry = " [dry run]" if self.dry_run else ""
        return f"{self.operation} {self.table} ({self.format}){dry}: {' '.join([*counts, state])}"
