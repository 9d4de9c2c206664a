"""``python -m lakekit.demo``: the same changes on every table format, and proof that the tables are equal."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import lakekit as lk
from lakekit import job
from lakekit.commit import Commit
from lakekit.demo.digest import Digest, digest
from lakekit.demo.feed import described, land, last_words, samples
from lakekit.demo.timeline import Span, timeline
from lakekit.errors import ConfigError, LakekitError
from lakekit.job.progress import watch
from lakekit.runtimes import local_runtime

CONFIG = Path("configs") / "dms_customer.yaml"
HISTORY = Path("configs") / "scd2_customer.yaml"
CUSTOMER = 1
"""Whose history is drawn: some of its changes come late, its first among them."""

MARK = ".lakekit-demo"
SHORT_RUN = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC"
"""Java options: in two minutes of ever new plans the thorough compiler costs more than it brings."""

SHOWN = ("order_id", "lsn", "status", "city", "quantity", "amount")


@dataclass
class Stage:
    """Where the demo plays: its session and folder, and how it shows that it is working."""

    spark: SparkSession
    folder: Path
    watch: Callable[[str], AbstractContextManager[Any]]
    started: float = field(default_factory=time.monotonic)

    @contextmanager
    def step(self, label: str) -> Iterator[None]:
        """Show a label while the block runs: a live line on a terminal, a plain line elsewhere."""
        if not sys.stderr.isatty():
            say(f"  [{time.monotonic() - self.started:3.0f} s] {label} …")
        with self.watch(label):
            yield

    def places(self, database: str) -> Iterator[str]:
        """The folders of a database's tables, with what is in them."""
        for folder in sorted(self.folder.glob(f"warehouse/{database}*/*")):
            files = [file for file in folder.rglob("*") if file.is_file()]
            yield f"{folder}: {len(files)} files, {sum(file.stat().st_size for file in files) / 1e6:.2f} MB"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0 when all tables are equal, 1 when not or when something failed."""
    args = _arguments().parse_args(argv)
    try:
        return run(_fresh(Path(args.dir)), events=args.events, seed=args.seed)
    except LakekitError as error:
        print(f"lakekit demo: {error}", file=sys.stderr)
        return 1


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lakekit.demo", description="The same change feed on every table format.")
    parser.add_argument("--dir", default="demo-lake", help="where the demo's files go; what an earlier run left there is removed")
    parser.add_argument("--events", type=int, default=120_000, help="how many change events are generated (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the generator's seed (default: %(default)s)")
    return parser


def _fresh(folder: Path) -> Path:
    """An empty folder of the demo's own; never removes a folder that another program made."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).exists():
            raise ConfigError(f"{folder} is not empty and not the demo's. Name another folder with --dir.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    return folder.resolve()


def run(folder: Path, *, events: int, seed: int) -> int:
    """Play all acts on every format of the installed Spark."""
    runtime = local_runtime()
    formats = list(runtime.tested)
    started = time.monotonic()
    say(f"lakekit demo: Spark {runtime.spark} with {', '.join(formats)}. Everything goes to {folder}")
    say("Starting Spark; the first time, this fetches the formats' jars.")
    os.environ.setdefault("LAKEKIT_JAVA_OPTIONS", SHORT_RUN)
    spark = lk.session(*formats, warehouse=folder / "warehouse", app_name="lakekit-demo")
    stage = Stage(spark, folder, watch(spark), started)
    try:
        customers(stage, formats)
        equal = orders(stage, formats, events=events, seed=seed)
        equal = histories(stage, formats) and equal
    finally:
        spark.stop()
    say(f"\nDone in {time.monotonic() - started:.0f} s. `make clean` removes {folder.name}.")
    return 0 if equal else 1


# --- first act: a job file ------------------------------------------------------------------------------------------------


def customers(stage: Stage, formats: Sequence[str]) -> None:
    """Run the job file on every format, twice."""
    config = _config(CONFIG)
    title(f"1. A job file, {CONFIG}: what AWS DMS wrote about a customer")
    for file in sorted((config.parent / "data" / "dms_customer").iterdir()):
        for line in file.read_text().splitlines():
            say(f"    {line}")
    for name in formats:
        loaded = job.load(config, arguments={"format": name, "table": f"sales_{name}.customer"})
        for again in ("", " again"):
            with stage.step(f"lakekit run {CONFIG.name}{again}, {name}"):
                commits = job.run(loaded, stage.spark)
            facts(commits[-1])
        left = lk.Table(stage.spark, f"sales_{name}.customer").df().count()
        say(f"    rows now: {left}. The customer's last change is a delete, and the journal remembers it.")


def _config(name: Path) -> Path:
    """A job file of this checkout."""
    checkout = Path(__file__).resolve().parents[3]
    for folder in (Path.cwd(), checkout):
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(f"no {name} here. Run the demo in a checkout of lakekit.")


# --- second act: a feed ---------------------------------------------------------------------------------------------------


def orders(stage: Stage, formats: Sequence[str], *, events: int, seed: int) -> bool:
    """Deliver the feed to every format; says whether all tables end equal to what the set of events means."""
    with stage.step(f"generating {events:,} change events"):
        paths = land(stage.spark, stage.folder / "landing", events, seed=seed)
        first, second = (stage.spark.read.parquet(path) for path in paths)
        chosen = samples(first, second)
        wanted = digest(last_words(first, second))
        before, after = first.count(), second.count()
    title(f"2. A change feed of {len(first.columns)} columns in two deliveries: {before:,} events, then {after:,}; some late, some again")
    found = {name: _deliver(stage, name, paths, chosen) for name in formats}
    title("The same events, the same rows?")
    return verdict({**found, "computed from the set of events without lakekit": wanted})


def _deliver(stage: Stage, name: str, paths: tuple[str, str], chosen: Mapping[int, str]) -> Digest:
    table = lk.Table(stage.spark, f"sales_{name}.orders", format=name)
    first, second = (described(stage.spark.read.parquet(path), path) for path in paths)
    say(f"\n  {table.name} ({name})")
    with stage.step(f"first delivery, {name}"):
        facts(table.upsert(first, batch_id="delivery-1"))
    say(f"    before the second delivery ({'; '.join(f'order {key} {fate}' for key, fate in chosen.items())}):")
    show(table.df(), chosen)
    with stage.step(f"second delivery, {name}"):
        facts(table.upsert(second, batch_id="delivery-2"))
    say("    after it:")
    show(table.df(), chosen)
    with stage.step(f"second delivery again, {name}"):
        facts(table.upsert(second, batch_id="delivery-2"))
    for place in stage.places(f"sales_{name}"):
        say(f"    {place}")
    return digest(table.df())


def verdict(found: Mapping[str, Digest]) -> bool:
    """Say whose rows are equal."""
    for name, each in found.items():
        say(f"    {each}  {name}")
    equal = len(set(found.values())) == 1
    say("    Identical rows everywhere." if equal else "    NOT EQUAL. This is a bug; please report it with the lines above.")
    return equal


# --- third act: history ---------------------------------------------------------------------------------------------------


def histories(stage: Stage, formats: Sequence[str]) -> bool:
    """Keep every version of ten days of customers, the last day delivered first; says whether all formats tell the same history."""
    config = _config(HISTORY)
    title(f"3. Every version of a customer, {HISTORY}: ten days of changes, the last day delivered first")
    found: dict[str, Digest] = {}
    for name in formats:
        table = f"sales_{name}.customer_history"
        for what, path in (("day 10", "2024-06-10.csv"), ("all ten days", "")):
            given = {"format": name, "table": table, "path": str(config.parent / "data" / "customer_days" / path)}
            with stage.step(f"{what}, {name}"):
                commits = job.run(job.load(config, arguments=given), stage.spark)
            facts(commits[-1])
        shown = lk.Table(stage.spark, table).df().drop("surrogate_key")
        found[name] = digest(shown)
    say(f"\n  customer {CUSTOMER}, as every format tells it:")
    for line in timeline(_spans(shown)):
        say(f"    {line}")
    return verdict(found)


def _spans(history: DataFrame) -> list[Span]:
    """The versions of the chosen customer, in UTC."""
    ours = history.where(F.col("customer_id") == CUSTOMER).orderBy("changed_at")
    rows = ours.select(F.unix_micros("changed_at"), F.unix_micros("valid_to"), F.concat_ws(", ", "address", "tier")).collect()
    return [Span(_instant(since), None if until is None else _instant(until), label) for since, until, label in rows]


def _instant(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1e6, UTC)


# --- what is printed ------------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """Print now, whatever standard output is."""
    print(text, flush=True)


def title(text: str) -> None:
    """Print a heading."""
    say(f"\n{text}")


def facts(commit: Commit) -> None:
    """Print the facts of a write."""
    say(f"    {commit}")


def show(df: DataFrame, keys: Iterable[int]) -> None:
    """Print the rows of some orders; an order without a row is missing."""
    df.where(F.col("order_id").isin(*keys)).select(*SHOWN).orderBy("order_id").show(truncate=False)


if __name__ == "__main__":
    sys.exit(main())
