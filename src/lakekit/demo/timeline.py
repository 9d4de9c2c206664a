"""The versions of one key, drawn for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

WIDTH = 40


class Span(NamedTuple):
    """A version: from when until when it was true (``None``: still), and what to say of it."""

    since: datetime
    until: datetime | None
    label: str


def timeline(spans: Sequence[Span], width: int = WIDTH) -> list[str]:
    """One line a version: when it began, a bar to scale, its label. Versions lie between the first beginning and the last known time.

    >>> day = lambda n: datetime(2024, 6, n)
    >>> spans = [Span(day(1), day(3), "Kiel"), Span(day(3), day(4), "Bonn"), Span(day(6), None, "Kiel")]
    >>> print("\\n".join(timeline(spans, width=10)))
    2024-06-01 00:00 ├──┤         Kiel
    2024-06-03 00:00     ├┤       Bonn
    2024-06-06 00:00          ├─→ Kiel
    """
    known = [at for span in spans for at in (span.since, span.until) if at is not None]
    first, last = min(known), max(known)
    scale = (width - 1) / ((last - first).total_seconds() or 1)

    def place(at: datetime) -> int:
        return round((at - first).total_seconds() * scale)

    lines = []
    for span in spans:
        start = place(span.since)
        end = width + 1 if span.until is None else max(place(span.until) - 1, start + 1)
        bar = " " * start + "├" + "─" * (end - start - 1) + ("→" if span.until is None else "┤")
        lines.append(f"{span.since:%Y-%m-%d %H:%M} {bar:<{width + 2}} {span.label}")
    return lines
