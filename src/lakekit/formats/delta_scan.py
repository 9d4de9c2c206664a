"""A Delta scan whose files are listed once, by one Spark job, for as many looks at it as there are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession

from lakekit.confs import ONE_JOB, confs


class Listing:
    """The files of a filtered frame over a Delta table, as Delta's own planner picks them by their statistics."""

    def __init__(self, session: SparkSession, condition: Column, index: Any) -> None:
        self._session, self._condition = session, condition
        self._index, self._scan = index, index.preparedScan()

    def frame(self) -> DataFrame:
        """The rows of these files that meet the condition; Delta would list them anew, by another job, for every look."""
        log, snapshot = self._index.deltaLog(), self._scan.scannedSnapshot()
        further = (getattr(log, f"createDataFrame$default${i}")() for i in (3, 4))
        return DataFrame(log.createDataFrame(snapshot, self._scan.files(), *further), self._session).where(self._condition)

    @property
    def rows(self) -> int | None:
        """How many rows the files hold, where their statistics say so."""
        found = self._scan.scanned().rows()
        return int(str(found.get())) if found.isDefined() else None


def listed(rows: DataFrame, condition: Column) -> Listing | None:
    """List the files; ``None`` where nothing is left to list, since the condition can never hold."""
    with confs(rows.sparkSession, ONE_JOB):
        plan = rows.where(condition)._jdf.queryExecution().optimizedPlan()
    leaf: Any = plan.collectLeaves().apply(0)
    return Listing(rows.sparkSession, condition, leaf.relation().location()) if leaf.nodeName().startswith("LogicalRelation") else None


def lacking(files: Sequence[Mapping[str, Any]] | None, column: str, values: Iterable[str]) -> bool:
    """Whether the statistics of a version's files rule out every one of some texts; ``None``: Delta noted no list of the files.

    >>> lacking([{"stats": '{"minValues": {"k": "b"}, "maxValues": {"k": "d"}}'}], "k", ["a", "e"])
    True
    """
    if files is None:
        return False
    statistics = [json.loads(file.get("stats") or "{}") for file in files]
    ranges = [(s.get("minValues", {}).get(column), s.get("maxValues", {}).get(column)) for s in statistics]
    return all(low is not None and high is not None and not (low <= v <= high) for v in values for low, high in ranges)
