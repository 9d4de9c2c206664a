"""A live line for each step, from Spark's own status tracker; nothing when standard error is no terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark import StatusTracker
    from pyspark.sql import SparkSession

PERIOD = 0.25
"""Seconds between two looks at the tracker."""

Watch = Callable[[str], AbstractContextManager[Any]]
"""Takes a step's label and shows progress while the block runs."""


@dataclass(frozen=True)
class Activity:
    """What Spark is doing now: running jobs, and tasks done of those known in their stages."""

    jobs: int = 0
    done: int = 0
    total: int = 0

    def __str__(self) -> str:
        if not self.total:
            return "planning"
        return f"{100 * self.done // self.total:3d} %  {self.done}/{self.total} tasks in {self.jobs} job{'s'[: self.jobs != 1]}"


def look(tracker: StatusTracker) -> Activity:
    """Read the tracker once."""
    jobs = [info for info in map(tracker.getJobInfo, tracker.getActiveJobsIds()) if info]
    stages = [info for info in map(tracker.getStageInfo, {stage for job in jobs for stage in job.stageIds}) if info]
    return Activity(len(jobs), sum(stage.numCompletedTasks for stage in stages), sum(stage.numTasks for stage in stages))


def watch(spark: SparkSession, stream: IO[str] | None = None) -> Watch:
    """How to show the steps of a job: live on a terminal, not at all elsewhere."""
    out = stream or sys.stderr
    if not out.isatty():
        return lambda label: nullcontext()
    tracker = spark.sparkContext.statusTracker()
    show = _rich(out) if find_spec("rich") else _plain(out)
    return lambda label: _polling(label, tracker, show)


@contextmanager
def _polling(label: str, tracker: StatusTracker, show: Callable[[str], AbstractContextManager[Callable[[str], None]]]) -> Iterator[None]:
    start, stop = time.monotonic(), threading.Event()
    with show(label) as update:

        def poll() -> None:
            while not stop.wait(PERIOD):
                update(f"{label}  {look(tracker)}  {time.monotonic() - start:.0f} s")

        thread = threading.Thread(target=poll, name="lakekit-progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _plain(out: IO[str]) -> Callable[[str], AbstractContextManager[Callable[[str], None]]]:
    @contextmanager
    def show(label: str) -> Iterator[Callable[[str], None]]:
        def update(text: str) -> None:
            out.write(f"\r\x1b[2K{text}")
            out.flush()

        update(label)
        try:
            yield update
        finally:
            update("")

    return show


def _rich(out: IO[str]) -> Callable[[str], AbstractContextManager[Callable[[str], None]]]:
    @contextmanager
    def show(label: str) -> Iterator[Callable[[str], None]]:
        from rich.console import Console

        with Console(file=out).status(label) as status:
            yield lambda text: status.update(text)

    return show
