"""Plan a bound job: what each step would do, as far as the table format can say without writing."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakekit.job.bind import Call
from lakekit.job.log import summary
from lakekit.job.run import Work, open_session
from lakekit.job.spec import Job
from lakekit.job.steps import CONTENT

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from lakekit.schema import Operation


@dataclass(frozen=True)
class Prediction:
    """What one step would do: a dry `Commit`, schema changes, or None where nothing can be said without writing."""

    number: int
    step: str
    outcome: Any = None

    def __str__(self) -> str:
        unknown = f"{self.step}: runs; its effect cannot be told before"
        return f"{self.number}. {unknown if self.outcome is None else summary(self.step, self.outcome)}"


@dataclass(frozen=True)
class Plan:
    """The predictions for one job. Printing it shows no argument's value.

    ``exists`` says whether its table is there now, ``made`` whether the job would make it.
    """

    job: str
    table: str
    format: str | None
    exists: bool
    made: bool
    predictions: tuple[Prediction, ...]

    def __str__(self) -> str:
        state = "exists" if self.exists else "does not exist and would be made" if self.made else "does not exist"
        head = f"{self.job}: table {self.table} ({self.format or 'format as found'}) {state}"
        return "\n".join([head, *map(str, self.predictions), "Nothing was written."])


def plan(job: Job, spark: SparkSession | None = None) -> Plan:
    """Predict every step's counts and schema changes; writes nothing, not even a table's folder.

    Raises what the run would raise before its first write: for a table that cannot be made as the file says, or that is not there.
    """
    work = Work(job, spark or open_session(job), "plan")
    exists, made = work.table.exists(), work.creation
    if made is not None:
        work.call(made, dry_run=True)
    elif not exists:
        work.table.df()  # raises that there is none
    return Plan(job.name, job.table, job.format, exists, made is not None, tuple(_predict(work)))


def _predict(work: Work) -> Iterator[Prediction]:
    allowed: tuple[str, ...] = ()
    for number, step in enumerate(work.job.steps, 1):
        yield Prediction(number, step.name, _outcome(work, step, allowed))
        # A later step meets the table that an earlier one would have evolved.
        allowed += _allowed(step)


def _outcome(work: Work, step: Call, allowed: tuple[str, ...]) -> Any:
    if work.creation is not None and not any(map(step.takes, CONTENT)):
        return None  # it acts on rows of a table that is yet to be made
    if step.takes("dry_run"):
        return work.call(step, dry_run=True, **_evolved(step, allowed))
    return _schema_changes(work, step) if step.takes("allow") else None


def _schema_changes(work: Work, step: Call) -> tuple[Operation, ...]:
    from lakekit.schema import allowed, diff

    changes = diff(work.table.df().schema, work.feed.schema) if work.table.exists() else ()
    return allowed(changes, _allowed(step), work.job.table)


def _allowed(step: Call) -> tuple[str, ...]:
    parameter = inspect.signature(step.function).parameters.get("allow")
    return tuple(step.arguments.get("allow", parameter.default if parameter else ()))


def _evolved(step: Call, allowed: tuple[str, ...]) -> dict[str, Any]:
    return {"evolve": allowed} if allowed and step.takes("evolve") and "evolve" not in step.arguments else {}
