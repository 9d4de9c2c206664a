"""Run a bound job: source → table → steps, one structured log line each."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lakekit.errors import ConfigError, FeedError, LakekitError
from lakekit.job.bind import Call
from lakekit.job.log import facts, line, logger
from lakekit.job.progress import Watch
from lakekit.job.references import SECRET_KEY
from lakekit.job.spec import Job
from lakekit.job.steps import CURRENT, DATA, ORDERED, PREVIOUS, ROWS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from lakekit.changes import ChangeFeed
    from lakekit.table import Table


def open_session(job: Job) -> SparkSession:
    """The session of the job: a local one, or on Glue, EMR and under spark-submit the one that is there, after a check.

    Raises `lakekit.errors.SessionError` naming what is missing and the conf line to add.
    """
    arguments = dict(job.session.arguments)
    conf: Mapping[str, Any] = arguments.pop("conf", None) or {}
    opened: SparkSession = job.session.function(
        *filter(None, [job.format]), **arguments, conf={key: _secret_or_plain(key, value) for key, value in conf.items()}
    )
    return opened


def _secret_or_plain(key: str, value: Any) -> Any:
    from lakekit.sources.secrets import secret

    return secret(value, key) if SECRET_KEY.match(key) and isinstance(value, str) else value


def run(job: Job, spark: SparkSession | None = None, *, run_id: str | None = None, watch: Watch | None = None) -> tuple[Any, ...]:
    """Run every step in order and return what each returned: a `Commit`, or the schema changes made.

    ``spark`` defaults to `open_session`; ``run_id`` (default: a new one) stands in each log line; ``watch`` shows progress.
    The first step that fails ends the run and its error is raised; steps before it stay done, and running again is safe.
    """
    work = Work(job, spark or open_session(job), run_id or uuid.uuid4().hex[:12])
    if work.creation is not None:
        work.step(0, work.creation)
    watch = watch or (lambda label: nullcontext())
    outcomes = []
    for number, step in enumerate(job.steps, 1):
        with watch(f"[{number}/{len(job.steps)}] {step.name} {job.table}"):
            outcomes.append(work.step(number, step))
    return tuple(outcomes)


@contextmanager
def _placed(call: Call, what: str) -> Iterator[None]:
    """Say where in the job file stands what only the data or the table could show to be wrong."""
    try:
        yield
    except (ConfigError, FeedError) as error:
        if not call.place:
            raise
        raise type(error)(f"{call.place}: {what} {call.name}: {error}") from error


@dataclass
class Work:
    """A job at work: its table, and its feed, read once when first wanted."""

    job: Job
    spark: SparkSession
    run_id: str

    @cached_property
    def table(self) -> Table:
        """The table; holding it touches nothing."""
        from lakekit.table import Table

        return Table(self.spark, self.job.table, self.job.format)

    @cached_property
    def feed(self) -> ChangeFeed:
        """The incoming changes; holding them evaluates nothing."""
        source = self.job.source
        assert source is not None, "binding refuses a step that needs data where there is no source"
        return self._read(source)

    def _read(self, reader: Call, **supplied: Any) -> ChangeFeed:
        supplied |= {"spark": self.spark, PREVIOUS: self.table}
        arguments = {**reader.arguments, **{name: value for name, value in supplied.items() if reader.takes(name)}}
        if CURRENT in arguments:
            arguments[CURRENT] = self._read(arguments[CURRENT], **dict.fromkeys(ORDERED, arguments["keys"]))
        with _placed(reader, "source"):
            feed: ChangeFeed = reader.function(**arguments)
        return feed

    @cached_property
    def creation(self) -> Call | None:
        """What makes the table as the file says (else with the defaults), where it is missing and there is a source to give its columns."""
        wanted = self.job.create if self.job.source is not None else None
        return None if wanted is None or self.table.exists() else wanted

    def step(self, number: int, step: Call, **more: Any) -> Any:
        """Run one step and log its line."""
        start = time.monotonic()
        try:
            outcome = self.call(step, **more)
        except LakekitError as error:
            self._log(step.name, number, start, "failed", error=type(error).__name__, message=str(error))
            raise
        self._log(step.name, number, start, "done", **_without_repeats(facts(outcome)))
        return outcome

    def call(self, step: Call, **more: Any) -> Any:
        """Call a verb of the table with the file's arguments and what the job supplies."""
        from lakekit.job.rows import refusals

        arguments: dict[str, Any] = {"quarantine": self.job.quarantine} if self.job.quarantine and step.takes("quarantine") else {}
        arguments |= step.arguments
        arguments |= {name: self._data(name) for name in DATA if step.takes(name)}
        with refusals(self.job.table), _placed(step, "step"):
            return step.function(self.table, **arguments, **more)

    def _data(self, parameter: str) -> ChangeFeed | DataFrame:
        from lakekit.job.rows import rows_of

        return rows_of(self.feed) if parameter in ROWS else self.feed

    def _log(self, step: str, number: int, start: float, status: str, **values: Any) -> None:
        job, seconds = self.job, round(time.monotonic() - start, 3)
        said = {"run": self.run_id, "job": job.name, "table": job.table, "format": job.format, "step": step, "number": number}
        logger.info(line("step", **said, status=status, seconds=seconds, **values))


def _without_repeats(found: dict[str, Any]) -> dict[str, Any]:
    """A commit's facts without those that the line says already."""
    said = {"operation", "table", "format", "seconds"}
    return {("batch" if key == "batch_id" else key): value for key, value in found.items() if key not in said}
