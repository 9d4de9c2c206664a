"""C8: every event is booked once, a dry run predicts the books and writes nothing, a replay adds nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lakekit.testing import orders
from tests.contract.harness import Mode, Subject, check_sum, counts, data_files, files, in_plain_modes
from tests.oracle import EPOCH, Ledger, Row, Rules

PAYLOAD = ("customer_id", "status", "channel", "country", "city", "email", "currency", "quantity", "amount", "ordered_at", "ordered_on")
RULES = Rules(("order_id",), ("lsn",), ("order_id", "lsn", *PAYLOAD))


@in_plain_modes
def test_books_dry_run_and_replay(new: Callable[..., Subject], mode: Mode) -> None:
    subject = new("books", "", RULES, delete_when="op = 'D'", except_columns=["op"])
    source = orders(subject.spark, 1500, seed=7)
    subject.schema = ", ".join(f"{f.name} {f.dataType.simpleString()}" for f in source.schema.fields)
    rows = _rows(source)
    later = [row for row in rows if row["lsn"] % 3 == 0] + rows[:100]
    first = [row for row in rows if row["lsn"] % 3 != 0]
    ledger = Ledger(RULES)

    before = files(subject.spark, subject.table.name)
    dry = subject.upsert(first, dry_run=True)
    assert counts(dry) == Ledger(RULES).book(first)
    assert not subject.table.exists() and files(subject.spark, subject.table.name) == before

    subject.create(partition_by=["country"])
    for batch in (first, later):
        before = files(subject.spark, subject.table.name)
        dry = subject.upsert(batch, dry_run=True)
        assert files(subject.spark, subject.table.name) == before
        commit = subject.upsert(batch, batch_id="b")
        expected = ledger.book(batch)
        assert counts(commit) == expected == counts(dry)
        check_sum(commit)
        assert (commit.batch_id, commit.operation, commit.format) == ("b", "upsert", mode.format)
        assert commit.changed and commit.version is not None and commit.files_added > 0 and commit.bytes_added > 0
        subject.check()

    before, versions = data_files(subject.spark, subject.table.name), subject.table.versions().count()
    replay = subject.upsert(later)
    assert counts(replay) == ledger.book(later)
    assert (replay.changed, replay.version, replay.files_added) == (False, commit.version, 0)
    assert data_files(subject.spark, subject.table.name) == before
    assert subject.table.versions().count() == versions


def _rows(source: DataFrame) -> list[Row]:
    """Rows of a frame as a test delivers them, with aware instants."""
    exact = source.withColumn("ordered_at", F.unix_micros("ordered_at"))
    return [record.asDict() | {"ordered_at": EPOCH + timedelta(microseconds=record.ordered_at)} for record in exact.collect()]
