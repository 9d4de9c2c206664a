"""Readers: what arrives, as a `ChangeFeed`.

Each takes a path (or url, or frame) first and ends in `lakekit.changes`; none of them collects data. A job's ``source:`` chooses
one by its name here.
"""

from __future__ import annotations

from lakekit.sources.dms import dms

__all__ = ["dms"]
