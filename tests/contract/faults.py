"""Killing writers and racing them: used with small numbers by the tests and with large ones by ``tests.torture``."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

import lakekit as lk
from lakekit.testing import assert_scd2_valid
from tests import oracle, scd_oracle
from tests.contract.harness import DB, Mode, Subject, check_sum, data_files, rows_by_key, same, subject
from tests.contract.scd_harness import Past, past, plain_rows
from tests.contract.writer import Order, Writer
from tests.frames import frame
from tests.oracle import Row, Rules
from tests.scd_oracle import Dim

RULES = Rules(("id",), ("seq",), ("id", "seq", "region", "v"))
SCHEMA = "id string, seq bigint, op string, region string, v string"
DESCRIBED = {"delete_when": "op = 'D'", "except_columns": ["op"]}
KEYS = 60
REGIONS = ["eu", "us", "asia"]


@dataclass
class Tally:
    """What happened over many rounds."""

    mode: str
    rounds: int = 0
    events: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return f"{self.mode}: {self.rounds} rounds, " + ", ".join(f"{n} {name}" for name, n in sorted(self.events.items()))


def warehouse_of(spark: SparkSession) -> str:
    return str(spark.conf.get("spark.sql.warehouse.dir")).removeprefix("file:")


def new_subject(spark: SparkSession, mode: Mode, name: str) -> Subject:
    return subject(spark, mode, name, SCHEMA, RULES, **DESCRIBED).create(partition_by=["region"])


def new_history(spark: SparkSession, mode: Mode, name: str) -> Past:
    """A type 2 table with numbered versions, which two writers must not give out twice."""
    dim = Dim(RULES, track=("region", "v"), version="version")
    made = past(spark, mode, name, SCHEMA, dim, {"surrogate": "sequence"}, **DESCRIBED)
    return made.create(partition_by=["region"])


@dataclass
class Derived(Past):
    """A table of type 4 or 6 under test."""

    verb: str = field(kw_only=True)

    def create(self, **options: Any) -> Derived:
        self.table.create(self.feed([]), scd=int(self.verb[-1]), merge_on_read=self.mode.merge_on_read, **self.options, **options)
        return self

    def check(self) -> None:
        """The present rows and the history of type 4, or the versions of type 6, are those of everything delivered."""
        if self.verb == "scd4":
            past_table = lk.Table(self.spark, self.options["history"], format=self.mode.format)
            same(rows_by_key(self.table.df(), RULES), oracle.table(self.delivered, RULES))
            Past(self.mode, past_table, SCHEMA, RULES, {}, self.delivered, dim=self.dim).check()
        else:
            found = {((r["id"],), r["valid_from"]): r for r in plain_rows(self.table.df())}
            same(found, scd_oracle.carrying(self.delivered, self.dim, {c: f"current_{c}" for c in self.dim.tracked}))

    def check_at_end(self) -> None:
        versions = lk.Table(self.spark, self.options["history"], format=self.mode.format) if self.verb == "scd4" else self.table
        assert_scd2_valid(versions.df(), keys="id", track=self.dim.tracked, version=self.dim.version)


def new_derived(spark: SparkSession, mode: Mode, name: str, *, verb: str) -> Derived:
    """A table of type 4 with its history, or of type 6."""
    table = lk.Table(spark, f"{DB}.{name}_{verb}_{mode.slug}", format=mode.format)
    more = {"history": f"{table.name}_past"} if verb == "scd4" else {}
    dim = Dim(RULES, track=("region", "v"), version="version")
    options = {"track": ["region", "v"], "version": "version", **more}
    described = {"keys": ["id"], "sequence_by": ["seq"], **DESCRIBED}
    return Derived(mode, table, SCHEMA, RULES, described, dim=dim, options=options, verb=verb).create(partition_by=["region"])


def _deliver(made: Subject, rows: list[Row]) -> lk.Commit:
    commit = made.apply(rows)
    made.delivered += rows
    return commit


def order(made: Subject, batch: Path, **more: Any) -> Order:
    """What to tell a writer that is to apply a batch that lies in a file."""
    told = {"verb": made.verb, "told": made.told(), "described": made.described}
    return {"table": made.table.name, "format": made.mode.format, "batch": str(batch), **told, **more}


# --- kills ----------------------------------------------------------------------------------------------------------


def batch_of(round_: int, dice: random.Random) -> list[Row]:
    """Updates, moves, deletes by key only, new keys, and late events for keys that earlier rounds deleted."""
    seq = 10 * round_

    def change(n: int) -> Row:
        key = f"k{n:03}"
        if dice.random() < 0.25:
            return {"id": key, "seq": seq, "op": "D"}
        late = dice.random() < 0.2
        return {"id": key, "seq": seq - 15 if late else seq, "op": "U", "region": dice.choice(REGIONS), "v": f"{key} in round {round_}"}

    return [change(n) for n in dice.sample(range(KEYS), KEYS // 2)]


def kills(spark: SparkSession, made: Sequence[Subject], rounds: int, seed: int, folder: Path) -> list[Tally]:
    """Kill a writer at a random moment of its upserts, one into each table, side by side; the same batches again mend all of them.

    The moments are spread over the length of a first such work: the k-th of n kills falls into the k-th part. The next writer
    starts while the current one is at work.
    """
    dice = random.Random(seed)
    tallies = [Tally(f"{each.mode.id} {each.verb} kills") for each in made]
    for each in made:
        _deliver(each, [{"id": f"k{n:03}", "seq": 0, "op": "U", "region": REGIONS[n % 3], "v": "base"} for n in range(KEYS)])
    formats = dict.fromkeys(each.mode.format for each in made)
    writers = _writers(warehouse_of(spark), formats, folder, rounds + 1)
    length = _length(made, next(writers), folder, dice)
    moments = [(k + dice.random()) / rounds for k in range(rounds)]
    dice.shuffle(moments)
    for k, (moment, writer) in enumerate(zip(moments, writers, strict=True), start=2):
        batches = [batch_of(k, dice) for _ in made]
        orders = _orders(made, batches, folder, k)
        writer.wait_until_ready().tell(*orders)
        time.sleep(moment * length)
        done = {answer["table"]: float(answer["seconds"]) for answer in writer.kill()}
        if len(done) == len(made):
            length = max(done.values())  # the machine has become quicker: later kills must not come too late
        for each, rows, tally in zip(made, batches, tallies, strict=True):
            tally.events["finished before the kill" if each.table.name in done else "caught at work"] += 1
            _mend(each, rows, tally)
            tally.rounds += 1
        print(f"kill {k - 1} of {rounds}: {len(done)} of {len(made)} tables were done", file=sys.stderr, flush=True)
    for each in made:
        each.check_at_end()
    return tallies


def _mend(made: Subject, rows: list[Row], tally: Tally) -> None:
    """Run the batch again, and once more: the first gives the table of a clean run, the second changes nothing."""
    again = _deliver(made, rows)
    check_sum(again)
    made.check()
    tally.events["re-runs that changed the table" if again.changed else "re-runs that found all done"] += 1
    files = data_files(made.spark, made.table.name)
    replay = made.apply(rows)
    assert replay.applied == 0 and not replay.changed, f"{made.mode.id} {made.verb}: {replay}"
    assert data_files(made.spark, made.table.name) == files


def _orders(made: Sequence[Subject], batches: Sequence[list[Row]], folder: Path, round_: int) -> list[Order]:
    stored = [_stored(each, rows, folder / f"{each.table.name}_{round_}") for each, rows in zip(made, batches, strict=True)]
    return [order(each, batch) for each, batch in zip(made, stored, strict=True)]


def _length(made: Sequence[Subject], writer: Writer, folder: Path, dice: random.Random) -> float:
    """How long the first upserts take in a new process."""
    batches = [batch_of(1, dice) for _ in made]
    writer.wait_until_ready().tell(*_orders(made, batches, folder, 1))
    answers = [writer.answer() for _ in made]
    writer.close()
    assert all("commit" in answer for answer in answers), answers
    for each, rows in zip(made, batches, strict=True):
        each.delivered += rows
        each.check()
    return max(float(answer["seconds"]) for answer in answers)


def _writers(warehouse: str, formats: Iterable[str], folder: Path, number: int) -> Iterator[Writer]:
    """Writers one after the other, each started before its predecessor is used; none outlives the loop."""
    folder.mkdir(parents=True, exist_ok=True)
    coming: list[Writer] = []
    try:
        for n in range(number):
            coming = coming or [Writer(warehouse, formats, folder / f"writer_{n}.log").wait_until_ready()]
            current = coming.pop()
            coming = [Writer(warehouse, formats, folder / f"writer_{n + 1}.log")] if n + 1 < number else []
            try:
                yield current
            finally:
                current.close()
    finally:
        for writer in coming:
            writer.close()


def _stored(made: Subject, rows: list[Row], path: Path) -> Path:
    frame(made.spark, rows, made.schema).coalesce(1).write.mode("overwrite").parquet(str(path))
    return path


# --- races ----------------------------------------------------------------------------------------------------------


def rivals(round_: int) -> tuple[list[Row], list[Row]]:
    """Two batches over the same new keys: both insert; one inserts and the other deletes, before and after; moves; own keys."""

    def up(key: str, seq: int, region: str, v: str) -> Row:
        return {"id": f"r{round_:03}-{key}", "seq": seq, "op": "U", "region": region, "v": v}

    def gone(key: str, seq: int) -> Row:
        return {"id": f"r{round_:03}-{key}", "seq": seq, "op": "D"}

    mine = [up("both", 1, "eu", "mine"), up("moved", 2, "us", "mine"), up("late", 1, "eu", "dead"), gone("beaten", 1), gone("killed", 3)]
    theirs = [
        up("both", 2, "eu", "theirs"),
        up("moved", 1, "asia", "theirs"),
        gone("late", 2),
        up("beaten", 2, "eu", "lives"),
        up("killed", 2, "us", "dead"),
    ]
    for batch in (mine, theirs):
        batch.append(up("twin", 1, "eu", "both say the same"))
    mine += [up(f"mine{n}", 1, REGIONS[n % 3], "mine") for n in range(4)]
    theirs += [up(f"theirs{n}", 1, REGIONS[n % 3], "theirs") for n in range(4)]
    if round_ > 1:  # rows that stand already: one moves them, the other deletes them with a key-only delete
        mine += [up(f"old{n}", 5 + n % 2 * 2, REGIONS[(n + 1) % 3], "moved") for n in range(4)]
        theirs += [gone(f"old{n}", 6) for n in range(4)]
    mine = [{**row, "id": row["id"].replace(f"r{round_:03}-old", f"r{round_ - 1:03}-mine")} for row in mine]
    theirs = [{**row, "id": row["id"].replace(f"r{round_:03}-old", f"r{round_ - 1:03}-mine")} for row in theirs]
    return mine, theirs


@contextmanager
def rival(spark: SparkSession, formats: Iterable[str], folder: Path) -> Iterator[Writer]:
    """A second process on the same warehouse."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = Writer(warehouse_of(spark), formats, folder / "rival.log")
    try:
        yield writer.wait_until_ready()
    finally:
        writer.close()


def races(made: Subject, writer: Writer, rounds: int, seed: int, folder: Path) -> Tally:
    """Let this process and the rival upsert at once; whoever gives up runs again, and the table is that of all events."""
    dice, tally = random.Random(seed), Tally(f"{made.mode.id} {made.verb} races")
    for k in range(1, rounds + 1):
        mine, theirs = rivals(k)
        batch = _stored(made, theirs, folder / f"{made.table.name}_{k}")
        start = time.time() + 0.4
        writer.tell(order(made, batch, at=start + dice.uniform(0, 0.4)))
        ours = _at(start + dice.uniform(0, 0.4), lambda rows=mine: made.apply(rows))
        answer = writer.answer()
        assert "error" not in answer, answer
        made.delivered += mine + theirs
        for lost, rows in ((ours is None, mine), ("conflict" in answer, theirs)):
            if lost:
                tally.events["gave up with CommitConflict"] += 1
                made.apply(rows)
        made.check()
        attempts = [ours.attempts if ours else 0, (answer.get("commit") or {}).get("attempts", 0)]
        tally.events["rounds with a retry inside"] += max(attempts) > 1
        tally.rounds += 1
    made.check_at_end()
    return tally


def _at(moment: float, work: Callable[[], lk.Commit]) -> lk.Commit | None:
    """Do the work at a moment; ``None`` when other writers won."""
    time.sleep(max(0.0, moment - time.time()))
    try:
        return work()
    except lk.errors.CommitConflict:
        return None
