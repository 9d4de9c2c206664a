"""What a reader counts while its feed is evaluated, and the check that may refuse the batch before anything is written.

A reader puts the counts into its frame with ``DataFrame.observe``: they ride along in the one job that evaluates the feed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession

from lakekit.confs import confs
from lakekit.gateway import each

OWN = "_lk_"
"""How the names of lakekit's own observations begin; what they observe are whole numbers."""

_EXCLUDED = "spark.sql.adaptive.optimizer.excludedRules"
_FORGETS = "org.apache.spark.sql.execution.adaptive.AQEPropagateEmptyRelation"


@dataclass(frozen=True)
class Guard:
    """A check of a feed as a whole. It gets the observed counts by name, and how many events say again what another has said.

    It raises ``DataRejected``, whose message holds counts and never a value.
    """

    check: Callable[[Mapping[str, int], int], None]


@contextmanager
def counting(spark: SparkSession) -> Iterator[None]:
    """While plans are made and run in this block, what they observe is not lost.

    Adaptive execution replaces a plan whose last exchange turns out empty by nothing, and the counts below are nowhere then.
    """
    before = spark.conf.get(_EXCLUDED, None)
    with confs(spark, {_EXCLUDED: f"{before},{_FORGETS}" if before else _FORGETS}):
        yield


def observed(evaluated: DataFrame) -> dict[str, int]:
    """All counts that lakekit observed below a frame, by name, once it has been evaluated under ``counting``.

    Read from the plan that ran: an ``Observation`` hears of actions only, and a checkpoint's plan is run by a later one.
    """
    metrics = evaluated._jdf.queryExecution().observedMetrics()
    found: dict[str, int] = {}
    for name in each(metrics.keys().iterator()):
        if name.startswith(OWN):  # a frame may be observed by its user too
            row = metrics.apply(name)
            found |= {column: int(row.getLong(i)) for i, column in enumerate(row.schema().fieldNames())}
    return found
