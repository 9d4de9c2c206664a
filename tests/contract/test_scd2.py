"""Type 2: what issue 4 names case by case. Several keys share a table, a case each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pyspark.sql import SparkSession

import lakekit as lk
from tests.contract.harness import MODES, Mode, check_sum, data_files, files, in_first_mode, in_plain_modes
from tests.contract.scd_harness import Past, counts
from tests.oracle import Row, Rules
from tests.scd_oracle import Dim, Ledger

SCHEMA = "id string, lsn bigint, op string, name string, note string"
RULES = Rules(("id",), ("lsn",), ("id", "lsn", "name", "note"))
DESCRIBED = {"delete_when": "op = 'D'", "truncate_when": "op = 'T'", "except_columns": ["op"]}


def up(id: str, lsn: int, name: str | None, note: str | None = None) -> Row:
    return {"id": id, "lsn": lsn, "op": "U", "name": name, "note": note}


def gone(id: str, lsn: int) -> Row:
    return {"id": id, "lsn": lsn, "op": "D"}


def intervals(subject: Past, id: str) -> list[tuple[Any, Any, Any]]:
    found = sorted((r for (key, _), r in subject.rows().items() if key == (id,)), key=lambda r: r["valid_from"])
    return [(r["name"], r["valid_from"], r["valid_to"]) for r in found]


FIRST = [up(id, 10, "A") for id in ("gap", "again", "early")] + [up(id, 5, "A") for id in ("twice", "back", "swept", "tie")]
RUNS = [up("run", n, "Alice", f"n{n}") for n in (5, 10, 15)]
Shown = dict[str, list[tuple[Any, Any, Any]]]
STEPS: list[tuple[list[Row], Shown]] = [
    ([*RUNS, *FIRST, up("null", 5, None), up("untracked", 5, "A", "old"), up("end", 7, "x"), gone("unseen", 30)], {}),
    ([up("run", 20, "Charlie"), up("null", 9, "x"), up("untracked", 9, "A", "new"), gone("again", 20), gone("back", 9)], {}),
    (
        [up("run", 12, "Bob"), gone("gap", 15), up("early", 3, "A"), up("null", 12, None), up("unseen", 20, "late")],
        {
            "run": [("Alice", 5, 12), ("Bob", 12, 15), ("Alice", 15, 20), ("Charlie", 20, None)],
            "unseen": [("late", 20, 30)],  # a tombstone keeps an older insert from being current
        },
    ),
    (
        [up("gap", 30, "A"), up("again", 30, "A"), up("untracked", 7, "B", "between"), gone("run", 17)],
        {"again": [("A", 10, 20), ("A", 30, None)]},  # delete and insert of the same value keep the gap
    ),
    ([gone("gap", 12), gone("again", 15), up("run", 18, "Dora"), up("tie", 5, "A"), gone("tie", 5), up("twice", 9, "A")], {}),
    (
        [up("gap", 13, "B"), up("again", 17, "B"), gone("never", 5), gone("never", 9), up("never", 7, "late")],
        {"gap": [("A", 10, 12), ("B", 13, 15), ("A", 30, None)]},  # the first delete is still known
    ),
    (
        [{"op": "T", "lsn": 40}, up("swept", 39, "late"), up("swept", 41, "new"), up("end", 40, "at the horizon")],
        {"swept": [("A", 5, 39), ("late", 39, 40), ("new", 41, None)]},
    ),
    (
        [{"op": "T", "lsn": 40}, {"op": "T", "lsn": 25}, up("fresh", 24, "closed history"), up("fresh", 50, "current")],
        {"fresh": [("closed history", 24, 25), ("current", 50, None)]},
    ),
]


@in_plain_modes
def test_late_events_deletes_and_truncates(history: Callable[..., Past], mode: Mode) -> None:
    subject = history("late", SCHEMA, Dim(RULES, track=("name",)), **DESCRIBED).create()
    ledger = Ledger(subject.dim)

    def deliver(rows: list[Row], *, foretold: bool = False) -> lk.Commit:
        dry = subject.scd2(rows, dry_run=True) if foretold else None
        commit = subject.scd2(rows)
        assert counts(commit) == ledger.book(rows)
        assert dry is None or counts(dry) == counts(commit)
        subject.check()
        return commit

    if mode == MODES[0]:
        commits: list[lk.Commit] = []
        for rows, shown in STEPS:
            commits.append(deliver(rows, foretold=len(commits) in (2, 6)))
            assert {id: intervals(subject, id) for id in shown} == shown
        assert (commits[2].split, commits[2].stale, commits[-1].duplicate) == (1, 0, 1)
    else:  # what the events mean does not depend on how they come
        for steps in (STEPS[:3], STEPS[3:5], STEPS[5:]):
            deliver([row for rows, _ in steps for row in rows])
    before = data_files(subject.spark, subject.table.name)
    replay = subject.scd2(subject.delivered)
    assert counts(replay) == ledger.book(subject.delivered[: len(subject.delivered) // 2])
    assert not replay.changed and replay.applied == 0 and data_files(subject.spark, subject.table.name) == before


VALUES = "id string, lsn bigint, op string, s string, tags map<string,int>, list array<int>, x double, n int"


@in_plain_modes
def test_what_is_a_change(history: Callable[..., Past]) -> None:
    """NULL and value, moves between columns, case, blanks, Unicode forms, order in arrays: changes. Maps as sets, NaN, −0.0: none."""
    rules = Rules(("id",), ("lsn",), ("id", "s", "tags", "list", "x", "n"))
    subject = history("values", VALUES, Dim(rules), delete_when="op = 'D'", except_columns=["op", "lsn"]).create()
    base = {"s": "Köln", "tags": {"a": 1, "b": None}, "list": [1, 2], "x": 0.0, "n": 1}
    moves = [
        {"s": "köln"}, {"s": "Köln "}, {"s": "Ko\u0308ln"}, {"s": None}, {"s": ""}, {"s": "None"}, {"tags": None}, {"tags": {}},
        {"tags": {"a": 1}}, {"list": [2, 1]}, {"list": []}, {"list": None}, {"x": None}, {"x": float("nan")}, {"n": None},
        {"s": "1", "n": None},
    ]  # fmt: skip
    same = [{"tags": {"b": None, "a": 1}}, {"x": -0.0}, {}]
    each = [(f"k{n}", lsn, change if lsn == 2 else {}) for n, change in enumerate(moves + same) for lsn in (1, 2)]
    rows = [{"id": id, "lsn": lsn, "op": "U", **base, **change} for id, lsn, change in each]
    nan = [{"id": "nan", "lsn": lsn, "op": "U", **base, "x": float("nan")} for lsn in (1, 2)]
    commit = subject.scd2([*rows, *nan])
    assert commit.inserted == 2 * len(moves) + len(same) + 1
    subject.check()
    wider = VALUES.replace("n int", "n bigint")
    commit = subject.scd2([{**row, "lsn": row["lsn"] + 5} for row in rows if row["lsn"] == 2], wider)
    assert (commit.inserted, commit.closed) == (0, 0), "a wider type with equal values is no change"
    subject.check()


@in_first_mode
def test_bad_input_is_refused_before_any_write(history: Callable[..., Past], spark: SparkSession) -> None:
    subject = history("refused", SCHEMA, Dim(RULES, track=("name",)), **DESCRIBED).create()
    subject.scd2([up("a", 1, "A")])
    before = files(spark, subject.table.name)
    feed, table = subject.feed([up("a", 2, "B")]), subject.table
    refused: list[tuple[type[Exception], str, Callable[[], Any]]] = [
        (lk.errors.FeedError, "track names nonsense", lambda: table.scd2(feed, track=["nonsense"])),
        (lk.errors.FeedError, "never tracked", lambda: table.scd2(feed, track=["id"])),
        (lk.errors.ConfigError, "track=name", lambda: table.scd2(feed)),
        (lk.errors.ConfigError, "track=name", lambda: table.scd2(feed, track=["note"])),
        (lk.errors.ConfigError, "valid_to", lambda: table.scd2(feed, track="name", valid_to="until")),
        (lk.errors.ConfigError, "keys=id", lambda: table.scd2(subject.feed([], keys=["name"]), track="note")),
        (lk.errors.ConfigError, "type=2", lambda: table.scd6(feed, track="name")),
        (lk.errors.ConfigError, "type 2", lambda: table.upsert(feed)),
        (lk.errors.ConfigError, "end_of_time", lambda: table.scd2(feed, track="name", end_of_time="never")),
        (lk.errors.ConfigError, "bigint", lambda: table.as_of("2024-01-01")),
        (lk.errors.FeedError, "not a DataFrame", lambda: table.scd2(feed.df)),  # type: ignore[arg-type]
        (lk.errors.ConfigError, "on_delete", lambda: table.scd2(feed, track="name", on_delete="x")),  # type: ignore[arg-type]
        (lk.errors.SchemaConflict, "extra", lambda: table.scd2(subject.feed([], SCHEMA + ", extra int"), track="name")),
        (lk.errors.TieConflict, "1 events", lambda: table.scd2(subject.feed([up("a", 1, "Z")]), track="name")),
    ]
    unmade = lk.Table(spark, f"{table.name}_unmade", format=subject.mode.format)
    refused.append((lk.errors.ConfigError, "partition_by names nosuch", lambda: unmade.create(feed, scd=2, partition_by="nosuch")))
    for error, words, call in refused:
        with pytest.raises(error, match=words):
            call()
    plain = lk.Table(spark, f"{subject.table.name}_plain", format=subject.mode.format)
    plain.upsert(subject.feed([up("a", 1, "A")]))
    with pytest.raises(lk.errors.ConfigError, match="no type 2 table"):
        plain.scd2(feed, track="name")
    with pytest.raises(lk.errors.ConfigError, match="no type 2 table"):
        unmade.scd4(feed, history=plain.name, track="name")
    with pytest.raises(lk.errors.ConfigError, match="on_delete"):
        unmade.scd4(feed, history=f"{table.name}_nowhere", on_delete="x")  # type: ignore[arg-type]
    with pytest.raises(lk.errors.ConfigError, match="this very table"):
        unmade.scd4(feed, history=unmade.name)
    with pytest.raises(lk.errors.FeedError, match="previous_name"):
        unmade.scd3(subject.feed([], SCHEMA + ", previous_name string"), track="name")
    assert not unmade.exists()
    assert {f for f in files(spark, subject.table.name) if "plain" not in f} == set(before)
    held = subject.table.scd2(subject.feed([up("a", 1, "Z"), up("b", 1, "B")], ties="quarantine"), **subject.options)
    assert (held.quarantined, held.applied) == (1, 1)
    subject.delivered.append(up("b", 1, "B"))
    subject.check()


@in_first_mode
def test_what_is_forgotten_changes_nothing(history: Callable[..., Past]) -> None:
    subject = history("forgotten", SCHEMA, Dim(RULES, track=("name",)), **DESCRIBED).create()
    subject.scd2([up("a", 5, "A"), up("a", 10, "A"), up("b", 5, "B"), gone("b", 10)])
    subject.scd2([], tombstone_retention="0 seconds")
    before = subject.rows()
    late = subject.table.scd2(subject.feed([up("a", 7, "late"), up("b", 8, "late"), gone("a", 6), up("c", 9, "unseen")]), **subject.options)
    check_sum(late)
    assert (late.stale, late.beyond_horizon, late.changed) == (4, 4, False)
    assert subject.rows() == before
    subject.scd2([up("a", 12, "new"), up("b", 12, "B")])
    subject.check()


@in_plain_modes
def test_a_crash_between_journal_and_table(history: Callable[..., Past], monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal is written, the table is not: the same batch again gives the table of a clean run, an in-order batch between or not."""
    subject = history("crashed", SCHEMA, Dim(RULES, track=("name",)), **DESCRIBED).create()
    subject.scd2([up("a", 5, "A"), up("b", 5, "B"), up("c", 5, "C")])
    adapter = type(subject.table._adapter)
    batch = [up("a", 10, "A"), gone("b", 10), up("c", 3, "late"), up("c", 9, "C"), {"op": "T", "lsn": 4}]
    with monkeypatch.context() as patched:
        patched.setattr(adapter, "apply", _killed)
        with pytest.raises(RuntimeError, match="killed"):
            subject.table.scd2(subject.feed(batch), **subject.options)
    subject.scd2([up("a", 20, "A2"), up("b", 20, "B2")])
    subject.scd2(batch)
    subject.check()
    replay = subject.scd2(batch)
    assert not replay.changed and replay.applied == 0
    subject.check()


def _killed(*_: object) -> None:
    raise RuntimeError("killed")


def test_closed_history_is_left_alone(history: Callable[..., Past], spark: SparkSession, mode: Mode) -> None:
    """In-order batches neither read nor rewrite files that hold closed rows only, where the format knows its files' statistics."""
    rules = Rules(("id",), ("lsn",), ("id", "lsn", "name", "note"))
    subject = history("apart", SCHEMA, Dim(rules, track=("name",), current="is_current"), **DESCRIBED)
    subject.create(partition_by=["is_current"] if mode.format != "hudi" else [])  # which has no use for partitions of booleans
    for day in (1, 2):
        subject.scd2([up(f"k{n}", day, f"day {day}") for n in range(8)])
    closed = {f for f in data_files(spark, subject.table.name) if "is_current=false" in f}
    assert closed or mode.format == "hudi"
    commit = subject.scd2([up(f"k{n}", 3, "day 3") for n in range(8)])
    assert (commit.inserted, commit.closed) == (8, 8)
    assert closed <= data_files(spark, subject.table.name)
    subject.check()


@in_plain_modes
def test_new_columns_and_partial_events(history: Callable[..., Past]) -> None:
    """A column that came later: rows from before never said anything of it, so a late event fills it in until one that does."""
    rules = Rules(("id",), ("lsn",), ("id", "lsn", "name", "note", "tier"))
    subject = history("evolved", SCHEMA, Dim(rules, track=("name", "tier")), **DESCRIBED)
    subject.schema = SCHEMA
    subject.table.create(subject.feed([]), scd=2, track=["name"], merge_on_read=subject.mode.merge_on_read)
    with pytest.raises(lk.errors.ConfigError, match="track"):
        subject.table.scd2(subject.feed([], SCHEMA + ", tier string"), **subject.options, evolve=["add"])
    dim = Dim(rules, track=("name",))
    subject.dim, subject.options = dim, {**subject.options, "track": ("name",)}
    subject.scd2([{k: v for k, v in up("a", n, f"A{n}").items() if k != "tier"} for n in (1, 5, 9)])
    tied = subject.feed([{**up("a", 12, name), "tier": "x"} for name in ("A", "B")], SCHEMA + ", tier string")
    with pytest.raises(lk.errors.TieConflict):  # refused as a whole, it does not bring its column either
        subject.table.scd2(tied, **subject.options, evolve=["add"])
    assert "tier" not in subject.table.df().columns
    subject.scd2([{**up("a", 12, "A12"), "tier": "gold"}, {**up("a", 3, "A3"), "tier": "old"}], SCHEMA + ", tier string", evolve=["add"])
    subject.check()
    subject.scd2([up("a", 20, "A20")], SCHEMA)
    subject.check()
    subject.scd2([{**up("a", 4, "A4"), "tier": "silver"}], SCHEMA + ", tier string")
    subject.check()
