"""One structured line for each thing a job does: JSON on the logger ``lakekit.job``."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable
from typing import Any

from lakekit.commit import Commit

logger = logging.getLogger("lakekit.job")


def facts(outcome: Any) -> dict[str, Any]:
    """What a step returned, as plain values: the fields of a `Commit` or another fact sheet, a list of schema changes, or nothing.

    >>> facts(Commit("upsert", "sales.orders", "iceberg", read=3, applied=3, seconds=1.25))["read"]
    3
    >>> facts(("AddColumn(channel)",))
    {'changes': ['AddColumn(channel)']}
    """
    if isinstance(outcome, Commit):
        return {**outcome.as_dict(), "seconds": round(outcome.seconds, 3)}
    if hasattr(outcome, "as_dict"):
        return dict(outcome.as_dict())
    if isinstance(outcome, Iterable) and not isinstance(outcome, str):
        return {"changes": [str(change) for change in outcome]}
    return {}


def summary(step: str, outcome: Any) -> str:
    """The same for people, in one line.

    >>> print(summary("evolve", ()), "|", summary("evolve", ("AddColumn(channel, string)",)))
    evolve: no schema change | evolve: AddColumn(channel, string)
    """
    if isinstance(outcome, Iterable) and not isinstance(outcome, str):
        return f"{step}: {', '.join(map(str, outcome)) or 'no schema change'}"
    return str(outcome)


def line(event: str, **values: Any) -> str:
    """The line itself: one JSON object, its keys in the order given."""
    return json.dumps({"event": event, **values}, ensure_ascii=False, default=str)


def to_stderr() -> None:
    """Write the lines to standard error as they are, unless the program has set its logging up by itself."""
    if not logging.getLogger().handlers and not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
    logger.setLevel(min(logger.level or logging.INFO, logging.INFO))
