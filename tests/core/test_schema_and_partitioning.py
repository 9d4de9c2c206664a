"""Values without Spark: schema differences, partition transforms, literals, bounds, commits."""

from __future__ import annotations

import pytest
from pyspark.sql import types as T

from lakekit import partitioning, pruning, schema
from lakekit.errors import ConfigError, SchemaConflict
from lakekit.journal import journal_name
from lakekit.literals import literal
from lakekit.quarantine import quarantine_name


def test_schema_diff_and_permission() -> None:
    now = T.StructType().add("id", T.IntegerType()).add("Name", T.StringType())
    new = T.StructType().add("ID", T.LongType()).add("name", T.StringType()).add("extra", T.NullType())
    operations = schema.diff(now, new)
    assert [str(o) for o in operations] == ["WidenColumn(id, int → bigint)", "AddColumn(extra, string)"]
    assert schema.allowed(operations, ["add", "widen"], "t") == operations
    with pytest.raises(SchemaConflict, match=r"t: WidenColumn\(id, int → bigint\) is not allowed. Allowed here: add."):
        schema.allowed(operations, ["add"], "t")


def test_partition_transforms_as_text() -> None:
    wanted = (partitioning.Identity("a"), partitioning.days("b"), partitioning.bucket(16, "c"), partitioning.truncate(3, "d"))
    assert partitioning.parse(["a", "days(b)", "bucket(16, c)", partitioning.truncate(3, "d")]) == wanted
    assert partitioning.parse("years(x)") == (partitioning.years("x"),)
    for wrong in ("bucket(c)", "weeks(a)", "days(3, a)", "days(a", "bucket(0, a)"):
        with pytest.raises(ConfigError):
            partitioning.parse(wrong)


def test_literals_hold_no_plain_text() -> None:
    assert literal("27", T.StringType()) == "CAST(X'27' AS STRING)"
    assert literal("5", T.DecimalType(10, 2)) == "CAST('5' AS decimal(10,2))"
    assert literal("0", T.TimestampType()) == "timestamp_micros(0)"
    assert literal("19000", T.DateType()) == "date_from_unix_date(19000)"


def test_bounds() -> None:
    types = {"id": T.LongType(), "day": T.DateType()}
    measured = {"_lk_bound_low_0": "3", "_lk_bound_high_0": "9", "_lk_bound_values_0": ["2", "1"]}
    found = pruning.bounds(measured, ["id"], ["day"], types)
    assert [b.sql("t.") for b in found] == [
        "t.`id` >= CAST('3' AS bigint) AND t.`id` <= CAST('9' AS bigint)",
        "t.`day` IN (date_from_unix_date(1), date_from_unix_date(2))",
    ]
    assert pruning.values_of(found, "day") == ("date_from_unix_date(1)", "date_from_unix_date(2)")
    many = {"_lk_bound_values_0": [str(i) for i in range(pruning.MOST_VALUES + 1)]}
    assert pruning.bounds(many, [], ["day"], types) == ()


def test_names_beside_a_table() -> None:
    assert journal_name("a.b") == "a.b__journal" and journal_name("s3a://x/y/") == "s3a://x/y__journal"
    assert quarantine_name("a.b") == "a.b__quarantine"
