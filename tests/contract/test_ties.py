"""C3: events of one key at one sequence that disagree, in one batch and with what the table holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import lakekit as lk
from lakekit.testing import assert_same_rows
from tests.contract.harness import Subject, check_sum, counts, files, in_first_mode, in_plain_modes
from tests.oracle import Ledger, Row, Rules

RULES = Rules(("id",), ("seq",), ("id", "seq", "a", "b"))
SCHEMA = "id int, seq bigint, op string, a string, b int"


def up(id: int, seq: int, a: str | None, b: int | None) -> Row:
    return {"id": id, "seq": seq, "op": "U", "a": a, "b": b}


BASE = [up(n, 1, "base", n) for n in range(1, 9)]
SETTLED: list[Row] = [
    *[up(1, 5, "same", 5)] * 3,
    up(2, 5, "settled by the delete", 1),
    up(2, 5, "beside it", 2),
    {"id": 2, "seq": 5, "op": "D"},
]


def refused(subject: Subject, rows: list[Row]) -> None:
    """The batch fails as a whole, and neither table nor journal nor quarantine has a new file."""
    before = files(subject.spark, subject.table.name)
    with pytest.raises(lk.errors.TieConflict) as conflict:
        subject.table.upsert(subject.feed(rows))
    assert "s3cret" not in str(conflict.value)
    assert files(subject.spark, subject.table.name) == before
    subject.check()


@in_plain_modes
def test_fail_and_quarantine(new: Callable[..., Subject]) -> None:
    subject = new("ties", SCHEMA, RULES, delete_when="op = 'D'", except_columns=["op"])
    subject.create()
    subject.upsert(BASE)
    refused(subject, [up(1, 5, "s3cret", 5), up(1, 5, "s3cret too", 5), up(9, 1, "innocent", 9)])
    refused(subject, [up(1, 1, "s3cret", 1)])  # the table holds another payload at this sequence
    commit = subject.upsert(SETTLED)
    assert (commit.applied, commit.duplicate, commit.stale) == (2, 2, 2)
    subject.check()
    refused(subject, [up(1, 5, "same", None)])

    tied = [up(3, 5, "one", 1), up(3, 5, None, 1), up(3, 5, "one", 1), up(4, 1, "not the table's", 4)]
    good = [up(3, 6, "later", 6), up(5, 5, "good", 5), up(6, 1, "base", 6)]
    commit = subject.table.upsert(subject.feed(tied + good, ties="quarantine"), batch_id="b1")
    check_sum(commit)
    assert (commit.read, commit.quarantined, commit.applied, commit.duplicate) == (7, 4, 2, 1)
    subject.delivered += good
    subject.check()
    quarantine = lk.Table(subject.spark, f"{subject.table.name}__quarantine", format=subject.mode.format).df()
    assert_same_rows(quarantine.select("batch_id").distinct(), [("b1",)])
    assert quarantine.count() == len(tied)
    assert quarantine.where("reason IS NULL OR raw IS NULL OR quarantined_at IS NULL OR quarantine_id IS NULL").count() == 0


@in_plain_modes
def test_a_first_batch_that_is_refused_leaves_no_table(new: Callable[..., Subject]) -> None:
    subject = new("ties_first", "id int, seq bigint, op string, a string, b short", RULES, delete_when="op = 'D'", except_columns=["op"])
    table, feed = subject.table, subject.feed([up(1, 5, "s3cret", 5), up(1, 5, "s3cret too", 5)])
    history = f"{table.name}_history"
    for verb in (table.upsert, table.scd2, lambda feed: table.scd4(feed, history=history)):
        with pytest.raises(lk.errors.TieConflict):
            verb(feed)
        assert not table.exists() and not files(subject.spark, table.name)
    assert not lk.Table(subject.spark, history, subject.mode.format).exists()
    subject.upsert([up(n, 1, "narrow", n) for n in range(3)])  # made now, of a type that some formats store wider
    subject.upsert([up(n, 2, "narrow", n) for n in range(2, 4)])
    subject.check()


@in_plain_modes
def test_content(new: Callable[..., Subject]) -> None:
    subject = new("content", SCHEMA, RULES, delete_when="op = 'D'", except_columns=["op"], ties="content")
    ledger = Ledger(RULES)
    batches: list[list[Row]] = [
        [*BASE, up(1, 5, "b", 1), up(1, 5, "a", 9), up(2, 5, None, 9), up(2, 5, "", None), up(3, 5, "x", None), up(3, 5, "x", 0)],
        [up(1, 5, "a", 10), up(2, 5, "é", 0), up(3, 5, "x", 10), up(3, 5, "x", 9), up(4, 1, "base", 3), up(5, 1, "z", None)],
        [{"id": 1, "seq": 5, "op": "D"}, up(1, 5, "zzz", 1), up(6, 1, "base", 6)],
    ]
    for batch in batches:
        commit = subject.upsert(batch)
        assert counts(commit) == ledger.book(batch)
        check_sum(commit)
        subject.check()


SPARSE = Rules(("id",), ("seq",), ("id", "seq", "a", "b", "c"), unchanged="?")


@in_first_mode
def test_sparse_ties_merge(new: Callable[..., Subject]) -> None:
    subject = new("ties_sparse", "id int, seq bigint, op string, a string, b string, c string", SPARSE, delete_when="op = 'D'")
    subject.described |= {"except_columns": ["op"], "unchanged": "?"}
    subject.create()

    def some(id: int, seq: int, a: str | None = "?", b: str | None = "?", c: str | None = "?") -> Row:
        return {"id": id, "seq": seq, "op": "U", "a": a, "b": b, "c": c}

    subject.upsert([some(1, 1, "a0", "b0", "c0"), some(1, 2, a="a2"), some(1, 2, b="b2"), some(2, 1, a="a1"), some(2, 1, a="a1", b="b1")])
    subject.check()
    subject.upsert([some(1, 2, c=None), some(2, 1, b="b1", c="c1")])  # they tie with the table, and agree with it
    subject.check()
    refused(subject, [some(1, 2, a="s3cret")])
    refused(subject, [some(3, 1, a="s3cret", b="1"), some(3, 1, a="s3cret too", c="2")])
    subject.described["ties"] = "content"
    subject.upsert([some(1, 2, a="a1"), some(1, 2, b="b3"), some(2, 1, a=None), some(3, 1, a="x", b="1"), some(3, 1, a="y", c="2")])
    subject.check()


@pytest.mark.parametrize("ties", ["fail", "quarantine", "content"])
@in_first_mode
def test_a_row_repeated_beside_a_delete_of_its_own_sequence(new: Callable[..., Subject], ties: str) -> None:
    """The repetition is a duplicate: the table shows it until this batch. Another upsert there is stale and no tie: the delete won."""
    subject = new(f"beside_{ties}", SCHEMA, RULES, delete_when="op = 'D'", except_columns=["op"], ties=ties)
    subject.create()
    ledger = Ledger(RULES)
    deletes: list[Row] = [{"id": n, "seq": 1, "op": "D"} for n in (1, 2)]
    for batch in (BASE, [*BASE[:1], up(1, 1, "another", 1), up(2, 1, "another", 2), *deletes]):
        assert counts(subject.upsert(batch)) == ledger.book(batch)
        subject.check()
