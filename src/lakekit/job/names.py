"""The nearest valid name, for messages about a wrong one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(wrong: str, known: Iterable[str], say: str = "nearest is") -> str:
    """A clause that names the known word closest to ``wrong``, or nothing when none is close.

    >>> nearest("tabel", ["table", "source"])
    '; nearest is "table"'
    >>> nearest("xyz", ["table"])
    ''
    """
    by_lower = {name.lower(): name for name in known}
    matches = get_close_matches(wrong.lower(), by_lower, n=1, cutoff=0.5)
    return f'; {say} "{by_lower[matches[0]]}"' if matches else ""
