"""A table compared with another copy of its data, on every format: what is stored reads back as what was meant."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from benchmarks.meter import metered

from tests.contract.harness import Subject, files, in_plain_modes
from tests.frames import frame
from tests.oracle import Rules

RULES = Rules(("id",), ("seq",), ("id", "seq", "pay", "rate", "at", "day", "tags"))
SCHEMA = "id bigint, seq bigint, pay decimal(12,1), rate double, at timestamp, day date, tags map<string,int>"
TEXT = "id string, pay string, rate string, at string, day string, tags map<string,int>"


@in_plain_modes
def test_table_and_source(new: Callable[..., Subject], tmp_path: Path) -> None:
    subject = new("reconciled", SCHEMA, RULES)
    subject.create()
    stored = [
        {"id": n, "seq": n, "pay": Decimal(33002 + n), "rate": float("nan") if n % 3 == 0 else -0.0,
         "at": datetime(2024, 6, 1, n, tzinfo=UTC), "day": date(2024, 6, n + 1), "tags": {"a": n, "b": 1}}
        for n in range(20)
    ]  # fmt: skip
    subject.upsert(stored)
    copy = [
        {"id": str(n), "pay": f"{33002 + n}.00", "rate": "NaN" if n % 3 == 0 else "0", "at": f"2024-06-01T{n:02}:00:00Z",
         "day": f"2024-06-{n + 1:02}", "tags": {"b": 1, "a": n}}
        for n in range(20)
    ]  # fmt: skip
    before = files(subject.spark, subject.table.name)
    same = subject.table.reconcile(frame(subject.spark, copy, TEXT), keys="id")
    assert same and (same.table_rows, same.matched) == (20, 20) and same.table_hash == same.source_hash
    assert subject.table.reconcile(subject.table, keys=["id"]).table_hash != same.table_hash, "with the column that the copy lacks"

    copy[3]["pay"], copy[4]["tags"], copy[5]["rate"] = "33005.05", {"a": 4}, None
    frame(subject.spark, [*copy[:19], {"id": "77"}, copy[0]], TEXT).write.orc(str(tmp_path / "source"))  # no table under test is of ORC
    source = subject.spark.read.schema(TEXT).orc(str(tmp_path / "source"))
    with metered(subject.spark) as found:
        outcome = subject.table.reconcile(source, keys="id")
    assert not outcome and found.scanned("orc") == 21, "the source is read once"
    rows = {(row["id"], row["difference"], tuple(row["columns"] or ())) for row in outcome.differences.collect()}
    assert rows == {
        ("0", "duplicate", ()), ("3", "different", ("pay",)), ("4", "different", ("tags",)), ("5", "different", ("rate",)),
        ("19", "unexpected", ()), ("77", "missing", ()),
    }  # fmt: skip
    near = subject.table.reconcile(source.where("id = '3'"), keys="id", columns=["pay"], tolerance={"pay": 0.05})
    assert (near.matched, near.unexpected, near.different) == (1, 19, 0)
    assert files(subject.spark, subject.table.name) == before, "nothing is written"
