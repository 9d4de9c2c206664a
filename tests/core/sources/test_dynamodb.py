"""DynamoDB's exports and stream records in the shapes that AWS documents, and what each becomes."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from lakekit.errors import ConfigError, SourceError
from lakekit.sources.dynamodb import dynamodb

DATA = Path(__file__).parent / "data" / "dynamodb"


def rows(feed, *columns, order_by=None):
    """The feed as dictionaries of plain Python values."""
    df = feed.df.select(*columns) if columns else feed.df
    return [r.asDict(recursive=True) for r in (df.orderBy(*order_by) if order_by else df).collect()]


def test_the_shared_order_becomes_a_row(spark):
    ddl = "order_id string, order_total decimal(10,2), order_timestamp timestamp"
    feed = dynamodb(str(DATA / "orders_day1_dynamodb.json"), keys="order_id", schema=ddl, spark=spark)
    assert rows(feed, "order_id", "order_total", "order_timestamp", "ddb_phase", "ddb_sequence", "_lk_op", "_lk_reason") == [
        {
            "order_id": "ord789",
            "order_total": Decimal("79.99"),
            "order_timestamp": datetime(2025, 6, 4, 9, 27, 10),
            "ddb_phase": 0,
            "ddb_sequence": None,
            "_lk_op": "upsert",
            "_lk_reason": None,
        }
    ]


def test_full_export_infers_the_union_of_attributes(spark, tmp_path):
    """As DynamoDB writes it: gzipped lines, attributes here and there, one of them of several types."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "abc.json.gz").write_bytes(gzip.compress((DATA / "full_export.json").read_bytes()))
    (folder / "empty.json.gz").write_bytes(gzip.compress(b""))
    feed = dynamodb(str(folder), keys="id", export_time=datetime(2024, 6, 1, tzinfo=UTC), spark=spark)
    assert feed.df.drop("_lk_op", "_lk_reason", "_lk_raw").schema.simpleString() == (
        "struct<blobs:array<binary>,extra:string,id:decimal(38,18),lines:array<struct<qty:decimal(38,18),sku:string>>,mixed:string,name:string,"
        "nested:struct<city:string,deep:struct<n:decimal(38,18)>,zip:string>,none:string,ok:boolean,price:decimal(38,18),raw:binary,"
        "sizes:array<decimal(38,18)>,tags:array<string>,ddb_phase:int,ddb_sequence:decimal(38,0)>"
    )
    first, second, third, fourth = rows(feed, order_by=["_lk_reason", "id"])
    assert first | {"_lk_raw": None} == {
        "blobs": [bytearray(b"a"), bytearray(b"b")],
        "extra": None,
        "id": Decimal(10),
        "lines": [{"qty": Decimal(2), "sku": "x"}, {"qty": None, "sku": "y"}],
        "mixed": "text",
        "name": "Ann",
        "nested": {"city": "Oslo", "deep": {"n": Decimal(100)}, "zip": None},
        "none": None,
        "ok": True,
        "price": Decimal("79.99"),
        "raw": bytearray(b"\x00\xff\x10"),
        "sizes": [Decimal("2.5"), Decimal(9), Decimal(10)],
        "tags": ["a", "b"],
        "ddb_phase": 0,
        "ddb_sequence": Decimal(1717200000000000),
        "_lk_op": "upsert",
        "_lk_reason": None,
        "_lk_raw": None,
    }
    assert {k: v for k, v in second.items() if v is not None and not k.startswith(("_lk", "ddb"))} == {
        "extra": "only here",
        "id": Decimal(11),
        "lines": [],
        "mixed": "7",
        "nested": {"city": None, "deep": None, "zip": "0150"},
        "tags": ["z"],
    }
    assert [(r["id"], r["price"], r["mixed"], r["_lk_reason"]) for r in (third, fourth)] == [
        (None, None, None, "attribute id: cannot be read as decimal(38,18) without loss"),
        (Decimal(12), None, '{"k":{"S":"v"}}', "attribute price: cannot be read as decimal(38,18) without loss"),
    ]


def test_incremental_export(spark):
    feed = dynamodb(str(DATA / "incremental_export.json"), keys="id", schema="id bigint, name string", spark=spark)
    found = rows(feed, "_lk_op", "id", "name", "ddb_phase", "ddb_sequence", "_lk_reason", order_by=["id"])
    assert [tuple(r.values()) for r in found] == [
        ("upsert", 10, "Bea", 1, Decimal(1680109764000001), None),
        ("delete", 11, None, 1, Decimal(1680109764000002), None),
        ("delete", 13, None, 1, Decimal(1680109764000003), None),
        ("upsert", 14, None, 1, None, "no sequence number or write time of at most 38 digits"),
    ]


def test_stream_records(spark):
    feed = dynamodb(str(DATA / "stream.json"), keys=["id", "at"], schema="id decimal(20,5), at string, v int, w string", spark=spark)
    found = rows(
        feed, "_lk_op", "id", "at", "v", "w", "ddb_phase", "ddb_sequence", "_lk_reason", order_by=["id", "ddb_sequence", "_lk_reason"]
    )
    assert [tuple(r.values()) for r in found] == [
        (None, None, None, None, None, None, None, "neither an item of an export nor a stream record"),  # a manifest's line
        (None, None, None, None, None, None, None, "the line is not a JSON object"),
        (None, None, None, None, None, 1, Decimal("300000000000000499661"), None),  # unknown operation: the change feed says so
        ("upsert", Decimal(1), "a", 1, None, 1, Decimal("4421584500000000017450439091"), None),
        ("upsert", Decimal(1), "a", 2, "new", 1, Decimal("4421584500000000017450439092"), None),  # 1.0 is the same key as 1
        ("delete", Decimal(2), "b", None, None, 1, Decimal("300000000000000499659"), None),
        (
            "upsert",
            Decimal(3),
            "c",
            None,
            None,
            1,
            Decimal("300000000000000499660"),
            "the stream record has no NewImage; its view type must include the new image",
        ),
        ("upsert", Decimal(4), "d", None, None, 1, None, "no sequence number or write time of at most 38 digits"),
        ("upsert", Decimal(6), "f", None, None, 1, Decimal(1700000000123000), "attribute v: cannot be read as int without loss"),
        ("upsert", Decimal(7), "g", None, None, 1, Decimal(1700000000123456), "attribute v: cannot be read as int without loss"),
    ]


def test_no_record_is_lost_in_a_folder_on_a_line_or_in_an_event(spark, tmp_path):
    """As Firehose delivers (folders by the hour, records behind one another), and as a Lambda saw them."""

    def record(name, number, **attributes):
        image = {"id": {"S": name}, **attributes}
        return {"eventName": "MODIFY", "dynamodb": {"Keys": {"id": {"S": name}}, "NewImage": image, "SequenceNumber": number}}

    hour = tmp_path / "2024/06/01/13"
    hour.mkdir(parents=True)
    tricky = '}{ "quoted" } { \\'
    (hour / "stream-1.gz").write_bytes(
        gzip.compress((json.dumps(record("a", "1")) + json.dumps(record("b", "2", t={"S": tricky}))).encode())
    )
    (tmp_path / "event.json").write_text(json.dumps({"Records": [record("c", "3", late={"N": "1"}), record("d", "4")]}))
    feed = dynamodb(str(tmp_path), keys="id", spark=spark)
    assert [tuple(r.values()) for r in rows(feed, "id", "t", "late", "ddb_sequence", "_lk_reason", order_by=["id"])] == [
        ("a", None, None, Decimal(1), None),
        ("b", tricky, None, Decimal(2), None),
        ("c", None, Decimal(1), Decimal(3), None),
        ("d", None, None, Decimal(4), None),
    ]


def test_declared_types_take_what_they_can_hold(spark):
    """One attribute of each kind, right and wrong; a wrong one names its attribute, never its value."""
    good = {
        "id": {"S": "good"}, "i": {"N": "9223372036854775807"}, "d": {"N": "0.1"}, "day": {"S": "2024-02-29"},
        "t": {"S": "2024-02-29T10:00:00+02:00"},
        "doc": {"M": {"a": {"L": [{"N": "1"}, {"S": "x"}]}}}, "m": {"M": {"a": {"N": "1"}, "b": {"NULL": True}}},
        "l": {"L": [{"N": "3"}, {"NULL": True}, {"N": "1"}]},
        "s": {"NS": ["3", "-1", "20"]},
    }  # fmt: skip
    wrong = {
        "i": {"N": "9223372036854775808"}, "day": {"S": "29.02.2024"}, "t": {"S": "2024-02-29T10:00:00.1234567Z"}, "doc": {"XX": "?"},
        "m": {"M": {"a": {"S": "1"}}}, "l": {"L": [{"N": "3"}, {"S": "4"}]}, "s": {"NS": ["3", "1.5"]},
    }  # fmt: skip
    items = [good, *({"id": {"S": k}, k: v} for k, v in wrong.items())]
    df = spark.createDataFrame([(json.dumps({"Item": i}),) for i in items], "line string")
    ddl = "id string, i bigint, d double, day date, t timestamp, doc string, m map<string,int>, l array<int>, s array<smallint>"
    feed = dynamodb(df, keys="id", schema=ddl)
    found = {r["id"]: r for r in rows(feed)}
    held = found.pop("good")
    assert held["_lk_reason"] is None
    assert {k: held[k] for k in good if k != "id"} == {
        "i": 9223372036854775807,
        "d": 0.1,
        "day": date(2024, 2, 29),
        "t": datetime(2024, 2, 29, 8),
        "doc": '{"a":{"L":[{"N":"1"},{"S":"x"}]}}',
        "m": {"a": 1, "b": None},
        "l": [3, None, 1],
        "s": [-1, 3, 20],
    }
    kinds = {
        "i": "bigint",
        "day": "date",
        "t": "timestamp",
        "doc": "string",
        "m": "map<string,int>",
        "l": "array<int>",
        "s": "array<smallint>",
    }
    assert {k: r["_lk_reason"] for k, r in found.items()} == {
        k: f"attribute {k}: cannot be read as {t} without loss" for k, t in kinds.items()
    }
    assert all(json.loads(r["_lk_raw"])["Item"]["id"]["S"] == k for k, r in found.items())


@pytest.mark.parametrize(
    ("source", "arguments", "error", "says"),
    [
        ("full_export.json", {"schema": "name string"}, ConfigError, "keys names id"),
        ("full_export.json", {"schema": "id timestamp_ntz"}, ConfigError, "id as timestamp_ntz"),
        ("full_export.json", {"numbers": "double"}, ConfigError, "numbers is double"),
        ("missing.json", {}, SourceError, "missing.json cannot be read as text"),
        ("../debezium/flattened.jsonl", {}, SourceError, "no line is an export's item"),
    ],
)
def test_what_cannot_be_read_is_said(spark, source, arguments, error, says):
    with pytest.raises(error, match=says):
        dynamodb(str(DATA / source), keys="id", spark=spark, **arguments)


def test_frames_need_a_declared_schema(spark):
    df = spark.createDataFrame([("{}", 1)], "value string, n int")
    with pytest.raises(SourceError, match="Declare them with schema"):
        dynamodb(df, keys="id")
    with pytest.raises(SourceError, match="Select the one that holds the JSON"):
        dynamodb(df.withColumnRenamed("value", "other"), keys="id", schema="id int")


def test_attributes_that_differ_only_in_case_are_refused(spark, tmp_path):
    (tmp_path / "items.json").write_text('{"Item":{"id":{"S":"a"},"Id":{"S":"b"}}}\n')
    with pytest.raises(SourceError, match=r"cannot be read as json.*`id` already exists"):
        dynamodb(str(tmp_path), keys="id", spark=spark)
