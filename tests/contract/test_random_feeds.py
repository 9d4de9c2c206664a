"""C1-C8, C10: two hundred random feeds in the first mode and half as many in each of the others, delivered badly, against the oracle.

Many small feeds share one table: the feed's number is part of the key. The events are the same for every mode, only their
batches differ, so that equal answers also show that formats agree.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from itertools import product

from lakekit.testing import random_changes, scramble
from tests.contract.harness import MODES, Mode, Subject, check_sum, conf, counts, data_files, files, no_empty_text, utc
from tests.oracle import Ledger, Row, Rules

FEEDS = 100
ZONE = "spark.sql.session.timeZone"
NAMES = ["a", "A", "a ", " a", "", "x,num:1", "x", "ä|b", "NULL", "__null__", "default"]
NUMBERS = [Decimal("1.00"), Decimal("1.50"), Decimal("-0.01"), Decimal("99999999.99")]
DOUBLES = [0.0, 1.5, -1.5, float("nan"), float("inf"), float("-inf")]
KEYS = [{"name": n, "num": d, "x": x} for n, d, x in product(NAMES, NUMBERS, DOUBLES)]
SEQUENCES = [
    {"lsn": lsn, "pos": pos}
    for lsn, pos in product([None, -1, 2, 9, 10, 11, 2**40], [None, 0, 9, 10])
    if lsn is not None or pos is not None
]
VALUES = {
    "city": [None, "", "Köln", "köln", "Köln ", "a,b;c|d", "😀", "__null__"],
    "day": [None, date(1969, 12, 31), date(2024, 2, 29), date(9999, 12, 31)],
    "flag": [None, True, False],
    "price": [None, Decimal("0.00"), Decimal("-1.10"), Decimal("1.10")],
    "qty": [None, 0, -1, 2**53 + 1, 2**53],
    "ratio": [None, 0.0, -0.0, float("nan"), 1e300, float("-inf")],
    "region": [None, "", "eu", "EU", "us west", "a/b=c%20"],
    "seen": [
        None,
        utc("1969-12-31T23:59:59.999999"),
        utc("2024-11-03T05:30:00"),
        utc("2024-11-03T06:30:00"),
        utc("2024-03-10T07:00:00.000001"),
    ],
}
KEY_TYPES = "feed int, name string, num decimal(10,2), x double"
VALUE_TYPES = "city string, day date, flag boolean, price decimal(10,2), qty bigint, ratio double, region string, seen timestamp"
SCHEMA = f"{KEY_TYPES}, lsn bigint, pos int, op string, {VALUE_TYPES}"
# The same values under other widths and scales; they must meet the same rows.
WIDER = SCHEMA.replace("decimal(10,2)", "decimal(20,5)").replace("feed int", "feed bigint").replace("pos int", "pos bigint")
RULES = Rules(("feed", "name", "num", "x"), ("lsn", "pos"), ("feed", "name", "num", "x", "lsn", "pos", *VALUES))


def number(mode: Mode) -> int:
    """How many feeds a test takes in a mode: what events mean does not depend on it."""
    return FEEDS if mode == MODES[0] else FEEDS // 2


def feeds(first: int, count: int, seed: int, **shape: object) -> list[Row]:
    """The changes of some feeds, each of five keys that tend to resemble each other."""
    dice = random.Random(seed)
    found: list[Row] = []
    for feed in range(first, first + count):
        keys = [{"feed": feed, **key} for key in dice.sample(KEYS, 5)]
        found += random_changes(dice.randrange(2**32), keys=keys, sequences=SEQUENCES, values=VALUES, **shape)  # type: ignore[arg-type]
    dice.shuffle(found)
    return found


def respelled(rows: list[Row], dice: random.Random) -> list[Row]:
    """Zero keys with either sign."""
    return [row | {"x": dice.choice([0.0, -0.0])} if row.get("x") == 0 else row for row in rows]


BAD: list[Row] = [
    {"feed": 1, "name": None, "num": NUMBERS[0], "x": 0.0, "lsn": 99, "op": "U", "city": "no key"},
    {"feed": None, "name": "a", "num": NUMBERS[0], "x": 0.0, "lsn": 99, "op": "D"},
    {"feed": 1, "name": "a", "num": NUMBERS[0], "x": 0.0, "op": "U", "city": "no sequence"},
]


def test_complete_events_with_exact_accounts(new: Callable[..., Subject], mode: Mode) -> None:
    dice = random.Random(MODES.index(mode))
    changes = feeds(0, number(mode), seed=42, events=20, conflicts=True)
    batches = [respelled(batch, dice) for batch in scramble(changes, seed=MODES.index(mode), batches=3)]
    batches[1] += BAD
    batches[2].append({"op": "T", "lsn": 2, "pos": 5})
    rules = replace(RULES, unstorable=no_empty_text(mode, "region"))
    subject = new("complete", SCHEMA, rules, delete_when="op = 'D'", truncate_when="op = 'T'", except_columns=["op"], ties="content")
    subject.create(partition_by=["region"])
    ledger = Ledger(rules)

    for n, batch in enumerate(batches):
        if n == 2:
            with conf(subject.spark, ZONE, "America/New_York"):
                commit = subject.upsert(batch)
                subject.check()
        else:
            commit = subject.upsert(batch, WIDER if n == 1 else None)
            subject.check()
        assert counts(commit) == ledger.book(batch)
        check_sum(commit)
        assert commit.changed

    every = [row for batch in batches for row in batch if row not in BAD]
    before, version = _rows_files(subject), subject.table.versions().count()
    replay = subject.upsert(every)
    assert replay.applied == 0 and not replay.changed
    assert _rows_files(subject) == before
    assert subject.table.versions().count() == version
    subject.check()
    assert counts(replay) == ledger.book(every)


def _rows_files(subject: Subject) -> set[str]:
    """The data files of table and journal; the quarantine may grow, where bad rows come back under other decimals."""
    return {path for path in data_files(subject.spark, subject.table.name) if "__quarantine" not in path}


SPARSE_RULES = Rules(
    RULES.keys, RULES.sequence_by, (*RULES.keys, *VALUES), unchanged="__unchanged__", ignore_nulls=frozenset({"qty", "price", "seen"})
)


def test_sparse_events_without_kept_sequence(new: Callable[..., Subject], mode: Mode) -> None:
    changes = feeds(FEEDS, number(mode), seed=43, events=20, unchanged={"city": "__unchanged__", "region": "__unchanged__"})
    batches = scramble(changes, seed=100 + MODES.index(mode), batches=3)
    batches[1] = [{c: v for c, v in row.items() if c not in ("flag", "day")} for row in batches[1]]
    batches[2] = [{c: v for c, v in row.items() if c != "region"} for row in batches[2]]
    without = {1: SCHEMA.replace("day date, flag boolean, ", ""), 2: SCHEMA.replace("region string, ", "")}
    described = {"delete_when": "op = 'D'", "except_columns": ["op", "lsn", "pos"], "unchanged": "__unchanged__"}
    subject = new("sparse", SCHEMA, SPARSE_RULES, **described, ignore_nulls=["qty", "price", "seen"])
    subject.create()

    for n, batch in enumerate(batches):
        foretold = n == 2 and not mode.merge_on_read
        if foretold:
            before = files(subject.spark, subject.table.name)
            dry = subject.upsert(batch, without.get(n), dry_run=True)
            assert files(subject.spark, subject.table.name) == before
        commit = subject.upsert(batch, without.get(n))
        check_sum(commit)
        subject.check()
        if foretold:
            assert counts(dry) == counts(commit)
            assert dry.dry_run and not dry.changed
    replay = subject.upsert(batches[2], without[2])
    assert replay.applied == 0 and not replay.changed
    subject.check()
