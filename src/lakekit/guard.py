"""What a reader counts while its feed is evaluated, and the check that may refuse the batch before anything is written.

A reader puts the counts into its frame with ``DataFrame.observe``: they ride along in the one job that evaluates the feed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Guard:
    """A check of a feed as a whole. It gets the observed counts by name, and how many events say again what another has said.

    It raises ``DataRejected``, whose message holds counts and never a value.
    """

    check: Callable[[Mapping[str, int], int], None]


def observed(evaluated: DataFrame) -> dict[str, int]:
    """All counts that were observed below a frame, by name, once it has been evaluated.

    Read from the plan that ran, because an ``Observation`` hears of actions only, and a checkpoint's plan is run by a later one. Where
    Spark finds an input empty it drops the plan above it with its counts: a missing name is zero.
    """
    found: dict[str, int] = {}
    rows = evaluated._jdf.queryExecution().observedMetrics().values().iterator()
    while rows.hasNext():
        row = rows.next()
        names = row.schema().fieldNames()
        found |= {name: int(row.getLong(i)) for i, name in enumerate(names)}
    return found
