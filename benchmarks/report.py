"""The runs of a benchmark as a Markdown table with what one must know to judge it: machine, versions, load."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pyspark.sql import SparkSession

from benchmarks.data import Size
from lakekit.runtimes import local_runtime

GOALS = {
    "spread": {"iceberg-cow": 0.80, "iceberg-mor": 1.3, "delta-cow": 1.10, "delta-dv": 1.4, "hudi-cow": 1.1, "hudi-mor": 1.1},
    "local": {"iceberg-cow": 1.15, "iceberg-mor": 1.4, "delta-cow": 1.30, "delta-dv": 1.5, "hudi-cow": 1.1, "hudi-mor": 1.1},
    "again": {"iceberg-cow": 0.7, "iceberg-mor": 1.1, "delta-cow": 0.8, "delta-dv": 1.1, "hudi-cow": 0.7, "hudi-mor": 0.7},
    "load": dict.fromkeys(["iceberg-cow", "iceberg-mor", "delta-cow", "delta-dv", "hudi-cow", "hudi-mor"], 1.1),
}
SMALL, ALLOWANCE = 1_000_000, 1.5
"""Up to so many rows lakekit may take so many seconds more than the hand-written statement."""


@dataclass(frozen=True)
class Run:
    """One timed run: seconds, Spark jobs, bytes read and written through file systems, bytes shuffled, new data files and their bytes."""

    mode: str
    scenario: str
    who: str
    seconds: float
    jobs: int
    read: int
    written: int
    shuffled: int
    files: int
    file_bytes: int

    def __str__(self) -> str:
        megabytes = f"read {self.read / 1e6:.1f} MB, written {self.written / 1e6:.1f} MB, shuffled {self.shuffled / 1e6:.1f} MB"
        return f"{self.scenario:6} {self.who:12} {self.seconds:7.2f} s {self.jobs:3d} jobs, {megabytes}, {self.files} new files"


def best(runs: Iterable[Run]) -> Run:
    """The shortest."""
    return min(runs, key=lambda run: run.seconds)


def markdown(runs: Sequence[Run], size: Size, repeats: int, machine: str, load: tuple[str, str]) -> str:
    """The whole page section: facts, then one line for each mode and scenario."""
    lines = [
        f"## {size.rows:,} rows × 20 columns × {size.partitions} partitions, {size.events:,} events",
        "",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {machine}; load average before {load[0]}, after {load[1]}; shortest of {repeats}.",
        "Each pair is hand-written / lakekit. Files are what the run added to the folder, MB read what went through the file system.",
        "",
        "| | scenario | seconds | ratio | goal | Spark jobs | MB read | MB shuffled | data files | MB of files |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    pairs = dict.fromkeys((run.mode, run.scenario) for run in runs)
    lines += [_line(mode, scenario, [r for r in runs if (r.mode, r.scenario) == (mode, scenario)], size) for mode, scenario in pairs]
    return "\n".join([*lines, ""])


def _line(mode: str, scenario: str, runs: list[Run], size: Size) -> str:
    hand, ours = (best(r for r in runs if (r.who == "lakekit") == mine) for mine in (False, True))
    ratio, goal = ours.seconds / hand.seconds, GOALS[scenario][mode]
    close = size.rows <= SMALL and ours.seconds <= hand.seconds + ALLOWANCE
    verdict = "" if ratio <= goal else f" (+{ours.seconds - hand.seconds:.1f} s)" if close else " **missed**"
    cells = [
        mode, scenario, f"{hand.seconds:.2f} / {ours.seconds:.2f}", f"{ratio:.2f}", f"≤ {goal}{verdict}", f"{hand.jobs} / {ours.jobs}",
        f"{hand.read / 1e6:.0f} / {ours.read / 1e6:.0f}", f"{hand.shuffled / 1e6:.0f} / {ours.shuffled / 1e6:.0f}",
        f"{hand.files} / {ours.files}", f"{hand.file_bytes / 1e6:.1f} / {ours.file_bytes / 1e6:.1f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def machine(spark: SparkSession) -> str:
    """Processor, memory, versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    formats = ", ".join(f"{name} {local_runtime().build(name).version}" for name in sorted(local_runtime().tested))
    java = spark._jvm.System.getProperty("java.version")  # type: ignore[union-attr]
    versions = f"Spark {spark.version}, Java {java}, Python {platform.python_version()}, {formats}"
    return f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GB; {versions}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0] if names else platform.processor() or "unknown processor"


def publish(text: str, out: Path | None) -> None:
    """Print a report, and write it where asked."""
    print(text)
    if out:
        out.write_text(text)


def load_average() -> str:
    """The machine's load over one, five and fifteen minutes."""
    return " ".join(f"{value:.1f}" for value in os.getloadavg())
