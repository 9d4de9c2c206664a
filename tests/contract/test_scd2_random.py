"""Type 2: as many random feeds as of the upsert, delivered badly, against the histories of the set of events (C1-C8, C10)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from lakekit.testing import random_changes, scramble
from tests import oracle, scd_oracle
from tests.contract.harness import MODES, Mode, conf, data_files, files, in_first_mode, no_empty_text, same, utc
from tests.contract.scd_harness import Past, counts
from tests.contract.test_random_feeds import BAD, FEEDS, KEYS, RULES, SCHEMA, SEQUENCES, VALUES, WIDER, ZONE, number, respelled
from tests.oracle import Row, Rules
from tests.scd_oracle import Dim, Ledger

# Few values, so that neighbours are often equal; what is not tracked varies.
DULL = {**VALUES, "city": [None, "Köln", "köln"], "flag": [None, True], "ratio": [0.0, -0.0, float("nan")]}
FEW = {c: VALUES[c][:2] for c in ("day", "price", "qty", "region", "seen")}


def deliveries(mode: Mode) -> int:
    """In how many batches a feed comes: what an event means does not depend on how rows are written, so the other modes get fewer."""
    return 3 if mode == MODES[0] else 2


def dull_feeds(first: int, count: int, seed: int, **shape: object) -> list[Row]:
    dice = random.Random(seed)
    found: list[Row] = []
    for feed in range(first, first + count):
        keys = [{"feed": feed, **key} for key in dice.sample(KEYS, 4)]
        values = {**DULL, **FEW}
        found += random_changes(dice.randrange(2**32), keys=keys, sequences=SEQUENCES, values=values, **shape)  # type: ignore[arg-type]
    dice.shuffle(found)
    return found


@in_first_mode
def test_complete_events_with_exact_accounts(history: Callable[..., Past], mode: Mode) -> None:
    """In every mode types 4 and 7, which are type 2 and more, take complete events too."""
    dice = random.Random(MODES.index(mode))
    changes = dull_feeds(0, number(mode), seed=52, events=20, conflicts=True, deletes=0.15)
    batches = [respelled(batch, dice) for batch in scramble(changes, seed=MODES.index(mode), batches=deliveries(mode))]
    batches[1] += BAD
    batches[-1] += [{"op": "T", "lsn": 2, "pos": 5}, {"op": "T", "lsn": 2, "pos": 5}, {"op": "T", "lsn": -1, "pos": 9}]
    rules = replace(RULES, unstorable=no_empty_text(mode, "region"))
    dim = Dim(rules, track=("city", "flag", "ratio"), current="is_current", version="version")
    subject = history("complete2", SCHEMA, dim, delete_when="op = 'D'", truncate_when="op = 'T'", except_columns=["op"], ties="content")
    subject.create(partition_by=["region"])
    ledger = Ledger(dim)

    for n, batch in enumerate(batches):
        if batch is batches[-1]:
            with conf(subject.spark, ZONE, "America/New_York"):
                commit = subject.scd2(batch)
                subject.check()
        else:
            commit = subject.scd2(batch, WIDER if n == 1 else None)
            subject.check()
        assert counts(commit) == ledger.book(batch), f"batch {n}"
    every = [row for batch in batches for row in batch if row not in BAD]
    before, version = rows_files(subject), subject.table.versions().count()
    replay = subject.scd2(every)
    assert counts(replay) == ledger.book(every)
    assert not replay.changed and rows_files(subject) == before
    assert subject.table.versions().count() == version
    as_type_1(subject, every)


def rows_files(subject: Past) -> set[str]:
    """The data files of table and journal; the quarantine may grow, where bad rows come back under other decimals."""
    return {path for path in data_files(subject.spark, subject.table.name) if "__quarantine" not in path}


def as_type_1(subject: Past, every: list[Row]) -> None:
    """C5: the open rows are the table that an upsert makes of the same events."""
    dim = subject.dim
    own = {dim.valid_from, dim.valid_to, dim.current, dim.version}
    found = {key: row for (key, _), row in subject.rows().items() if row[dim.valid_to] == dim.end}
    same({key: {c: v for c, v in row.items() if c not in own} for key, row in found.items()}, oracle.table(every, dim.rules))


KEY = ("feed", "name", "num", "x")
SPARSE = Rules(KEY, ("at",), (*KEY, *VALUES), unchanged="__unchanged__", ignore_nulls=frozenset({"qty", "price", "seen"}))
INSTANTS = [{"at": utc("2024-11-03T05:30:00") + timedelta(microseconds=n)} for n in (0, 1, 3_600_000_000, 3_600_000_001, *range(-9, -1))]


def test_sparse_events_in_time(history: Callable[..., Past], mode: Mode) -> None:
    dice = random.Random(53)
    changes: list[Row] = []
    for feed in range(FEEDS, FEEDS + number(mode)):
        keys = [{"feed": feed, **key} for key in dice.sample(KEYS, 4)]
        values = {**DULL, **FEW, "region": VALUES["region"]}
        more = {"unchanged": {"city": "__unchanged__", "region": "__unchanged__"}, "events": 20, "deletes": 0.15}
        changes += random_changes(dice.randrange(2**32), keys=keys, sequences=INSTANTS, values=values, **more)
    dice.shuffle(changes)
    batches = scramble(changes, seed=200 + MODES.index(mode), batches=deliveries(mode))
    schema = SCHEMA.replace("lsn bigint, pos int", "at timestamp")
    batches[1] = [{c: v for c, v in row.items() if c not in ("flag", "day")} for row in batches[1]]
    without = {1: schema.replace("day date, flag boolean, ", "")}
    dim = Dim(SPARSE, track=("city", "flag", "price"), end=oracle.plain(utc("9999-12-31T00:00:00")))
    described = {"delete_when": "op = 'D'", "except_columns": ["op", "at"], "unchanged": "__unchanged__"}
    options = {"end_of_time": "9999-12-31"}
    subject = history("sparse2", schema, dim, options, **described, ignore_nulls=["qty", "price", "seen"]).create()
    ledger = Ledger(dim)

    for n, batch in enumerate(batches):
        if batch is batches[-1]:
            before = files(subject.spark, subject.table.name)
            dry = subject.scd2(batch, without.get(n), dry_run=True)
            assert files(subject.spark, subject.table.name) == before
        commit = subject.scd2(batch, without.get(n))
        subject.check()
        assert counts(commit) == ledger.book(batch), f"batch {n}"
        if batch is batches[-1]:
            assert counts(dry) == counts(commit)
    replay = subject.scd2(batches[-1], without.get(len(batches) - 1))
    assert replay.applied == 0 and not replay.changed
    as_type_1(subject, subject.delivered)


@in_first_mode
def test_business_time(history: Callable[..., Past], mode: Mode) -> None:
    """The day of a change is ``valid_from``; the last change of a day wins, whenever it arrives."""
    rules = Rules(("feed", "name"), ("day", "lsn"), ("feed", "name", "day", "city", "region"))
    dim = Dim(rules, track=("city",), valid_from="day", coarse=True)
    dice = random.Random(54)
    values = {"city": DULL["city"], "region": VALUES["region"]}
    sequences = [{"day": day, "lsn": lsn} for day in VALUES["day"] if day for lsn in (None, 1, 2, 10)]
    keys = [{"feed": feed, "name": name} for feed in range(60) for name in ("a", "A")]
    changes = random_changes(dice.randrange(2**32), keys=keys, sequences=sequences, values=values, events=1200, deletes=0.2)
    schema = "feed int, name string, day date, lsn bigint, op string, city string, region string"
    subject = history("days", schema, dim, delete_when="op = 'D'", except_columns=["op", "lsn"])
    subject.described["sequence_by"] = ["lsn"]
    subject.create()
    batches = scramble(changes, seed=MODES.index(mode), batches=3)
    again = {"feed": 99, "name": "back the same day", "op": "U", "city": "Köln"}
    days = sorted({s["day"] for s in sequences})
    moments = ({"day": days[0], "lsn": 1}, {"day": days[1], "lsn": 5, "op": "D"}, {"day": days[1], "lsn": 7})
    for batch, moment in zip(batches, moments, strict=True):
        batch.append({**again, **moment})
    for batch in batches:
        subject.scd2(batch)
        subject.check()
    replay = subject.scd2(changes)
    assert not replay.changed
    commit = subject.scd2([{"feed": 1, "name": "a", "lsn": 99, "op": "U", "city": "no day"}])
    assert commit.quarantined == 1
    subject.delivered.pop()
    subject.check()
    assert scd_oracle.table(changes, dim)
