"""What a job file may name: readers of `lakekit.sources` and the writing verbs of `lakekit.Table`.

Nothing is listed here. A reader is a function that `lakekit.sources` exports; a step is a public method of `Table` that takes
incoming data or returns a `Commit`. A new verb is a new step the moment it exists.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

CONTENT = ("feed", "feed_or_schema", "df")
"""Parameters through which a verb takes what the table is to hold, which tells how to make a table that is missing."""

ROWS = ("df", "source_df")
DATA = (*CONTENT, "members", "source_df")
"""Parameters through which a verb takes the incoming data, those of ``ROWS`` as plain rows; the job fills them from its source."""

PREVIOUS, CURRENT = "previous", "current"
"""Of a reader that compares: what stands, which is the job's table, and what is compared with it, which names a reader of its own."""

SUPPLIED = (*DATA, PREVIOUS, "self", "spark", "dry_run")
"""Parameters that a job fills by itself; a file may not name them."""

ORDERED = ("keys", "sequence_by")
"""What the reader below ``current`` is given: the keys of the comparison, and no order, because a full load has none."""


def readers() -> dict[str, Callable[..., Any]]:
    """The readers by name, as `lakekit.sources` exports them."""
    from lakekit import sources

    return {name: getattr(sources, name) for name in sources.__all__ if inspect.isroutine(getattr(sources, name))}


def verbs() -> dict[str, Callable[..., Any]]:
    """The verbs of `lakekit.Table` that may be a step, by name."""
    from lakekit.table import Table

    public = {name: member for name, member in inspect.getmembers(Table, inspect.isroutine) if not name.startswith("_")}
    return {name: verb for name, verb in public.items() if name != "create" and (takes_data(verb) or _returns_commit(verb))}


def takes_data(verb: Callable[..., Any]) -> bool:
    """Whether the verb needs a source."""
    return any(name in DATA for name in inspect.signature(verb).parameters)


def _returns_commit(verb: Callable[..., Any]) -> bool:
    annotation = inspect.signature(verb).return_annotation
    return "Commit" in (annotation if isinstance(annotation, str) else getattr(annotation, "__name__", ""))
