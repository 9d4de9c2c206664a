"""files: CSV, JSON, Parquet and ORC of a declared schema, bad rows, and the manifest that is checked before any of them."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lakekit.errors import ConfigError, SourceError
from lakekit.sources import files
from tests.core.sources.folding import bad, conf, rows

SCHEMA = "id int, name string, amount decimal(6,2), at timestamp, lsn bigint"
NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)


def read(path: Path | str, format: str, schema: str = SCHEMA, **more: Any) -> Any:
    return files(str(path), format=format, schema=schema, keys="id", sequence_by="lsn", **more)


def test_csv(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "in/day=1").mkdir(parents=True)
    (tmp_path / "in/a.csv").write_text(
        'ID,name,amount,at,lsn\n1,"a, ""b""",1.50,2024-06-01 12:00:00,1\n2, x ,,,2\n3,"",1.005,,3\n4,y,1.00\n5,y,,not a time,5\nsix,,,,6\n'
    )
    (tmp_path / "in/day=1/b.csv").write_text("id,name,amount,at,lsn\n7,seven,9999.99,2024-06-01T14:00:00+02:00,7\n8,e,10000.00,,8\n")
    with conf(spark, spark__sql__session__timeZone="America/New_York"):
        feed = read(tmp_path / "in", "csv")
        good = [r for r in rows(feed) if r["_lk_reason"] is None]
        assert [(r["id"], r["name"], r["amount"], r["lsn"]) for r in good] == [
            (1, 'a, "b"', Decimal("1.50"), 1),
            (2, " x ", None, 2),
            (7, "seven", Decimal("9999.99"), 7),
        ]
        noon = feed.df.where("_lk_reason is null and at is not null").selectExpr("unix_seconds(at)").collect()
        assert {r[0] for r in noon} == {int(NOON.timestamp())}
    found = {reason: raw for reason, raw in bad(feed) if not reason.startswith("column amount")}
    assert found["wrong number of fields, or a quote that is not closed"] == "4,y,1.00"
    assert json.loads(found["column at: not a timestamp"] or "") == {"id": "5", "name": "y", "amount": None, "at": "not a time", "lsn": "5"}
    assert json.loads(found["column id: not a int"] or "")["id"] == "six"
    amounts = [json.loads(raw or "")["amount"] for reason, raw in bad(feed) if reason == "column amount: not a decimal(6,2)"]
    assert sorted(amounts) == ["1.005", "10000.00"], "neither rounded nor overflown"
    assert feed.columns == ["id", "name", "amount", "at", "lsn"]


def test_csv_without_header_and_with_its_own_marks(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('1|N|"two\nlines"|1\n2||x|2\n')
    feed = read(tmp_path, "csv", "id int, a string, b string, lsn int", header=False, delimiter="|", null_value="N", multiline=True)
    assert [(r["id"], r["a"], r["b"]) for r in rows(feed)] == [(1, None, "two\nlines"), (2, "", "x")]
    with pytest.raises(SourceError, match=r"a\.csv: the first line does not name the columns id, a, b, lsn"):
        read(tmp_path, "csv", "id int, a string, b string, lsn int", delimiter="|")


def test_json(spark: SparkSession, tmp_path: Path) -> None:
    lines = [
        '{"id": 1, "name": "a", "amount": 1.50, "at": "2024-06-01 12:00:00", "lsn": 1, "other": 5}',
        '{"lsn": 2, "id": 2}',
        '{"id": 3, "amount": 1.005, "lsn": 3}',
        '{"id": 4, "at": "soon", "lsn": 4}',
        '{"id": 5.5, "lsn": 5}',
        '{"id": 6, "lsn": ',
        '{"id": 12345678901, "lsn": 7}',
        '{"id": 8, "at": "2024-06-01T12:00:00.0000005Z", "lsn": 8}',
    ]
    (tmp_path / "a.json").write_text("\n".join(lines))
    with conf(spark, spark__sql__session__timeZone="Asia/Tokyo"):
        feed = read(tmp_path, "json")
        found = sorted(bad(feed), key=lambda pair: pair[1] or "")
        good = [r for r in rows(feed) if r["_lk_reason"] is None]
        assert [(r["id"], r["name"], r["amount"]) for r in good] == [(1, "a", Decimal("1.50")), (2, None, None)]
        assert feed.df.where("id = 1").selectExpr("unix_seconds(at)").first() == (int(NOON.timestamp()),)
    unparsed = "not a JSON object, or a value that is not of its declared type"
    assert {raw for reason, raw in found if reason == unparsed} == {lines[4], lines[5], lines[6]}
    assert [reason for reason, _ in found if reason != unparsed] == [
        "column amount: not a decimal(6,2)",
        "column at: not a timestamp",
        "column at: not a timestamp",
    ]
    (tmp_path / "many").mkdir()
    (tmp_path / "many/b.json").write_text('[\n {"id": 1,\n  "lsn": 1},\n {"id": 2, "lsn": 2}\n]')
    assert [r["id"] for r in rows(read(tmp_path / "many", "json", multiline=True))] == [1, 2]


def test_json_loses_no_object_and_no_digit(spark: SparkSession, tmp_path: Path) -> None:
    """Objects behind one another, numbers of 38 digits, values inside values; with ANSI the other way round."""
    lines = [
        '{"id":1,"n":1.25,"lsn":1}{"id":2,"t":"}{ \\"}{\\\\","lsn":1} {"id":3,"n":1e2,"lsn":1}',
        '[{"id":4,"n":1234567890123456789012345678901234567.5,"lsn":1},{"id":5,"n":-0.5,"lsn":1}]',
        '\ufeff{"id":6,"n":"7.10","s":{"n":1.25,"d":"2024-06-01"},"a":[1.5],"lsn":1}',
        '{"id":7,"n":1.05,"lsn":1}{"id":8,"n":1.2500000000000000000000000000000000000001,"lsn":1}',
        '{"id":9,"s":{"n":1.005},"lsn":1}{"id":10,"s":{"d":"2024-06-01T12:00:00"},"lsn":1}{"id":11,"a":[1.25],"lsn":1}{"id":12,"b":200,"lsn":1}',
    ]
    (tmp_path / "a.json").write_text("\n".join(lines))
    schema = "id int, n decimal(38,2), s struct<n: decimal(6,2), d: date>, a array<decimal(6,1)>, b tinyint, t string, lsn int"
    other = "false" if spark.conf.get("spark.sql.ansi.enabled") == "true" else "true"
    with conf(spark, spark__sql__ansi__enabled=other):
        found = {r["id"]: r for r in rows(read(tmp_path, "json", schema))}
    assert {i: str(r["n"]) for i, r in found.items() if r["n"] is not None} == {1: "1.25", 3: "100.00", 5: "-0.50", 6: "7.10", 7: "1.05"}
    assert found[2]["t"] == '}{ "}{\\'
    assert found[6]["s"].asDict() == {"n": Decimal("1.25"), "d": date(2024, 6, 1)} and found[6]["a"] == [Decimal("1.5")]
    assert {i: r["_lk_reason"] for i, r in found.items() if r["_lk_reason"]} == {
        4: "column n: not a decimal(38,2)",  # 37 digits before the point and two behind it are one too many
        8: "column n: not a decimal(38,2)",
        9: "column s: not a struct<n:decimal(6,2),d:date>",
        10: "column s: not a struct<n:decimal(6,2),d:date>",
        11: "column a: not a array<decimal(6,1)>",
        12: "column b: not a tinyint",
    }
    assert found[4]["_lk_raw"] == '{"id":4,"n":1234567890123456789012345678901234567.5,"lsn":1}'
    assert found[9]["_lk_raw"] == '{"id":9,"s":{"n":1.005},"lsn":1}'


def test_nothing_delivered_is_an_empty_feed(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for format in ("csv", "json", "parquet", "orc"):
        assert read(tmp_path / "empty", format).columns == ["id", "name", "amount", "at", "lsn"], format
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv/a.csv").write_text("")
    (tmp_path / "csv/b.csv").write_text("id,lsn\n1,1\n")
    assert [r["id"] for r in rows(read(tmp_path / "csv", "csv", "id int, lsn int"))] == [1]
    (tmp_path / "csv/a.csv").write_text("id, lsn\n")
    with pytest.raises(SourceError, match=r"a\.csv: the first line does not name the columns id, lsn"):
        read(tmp_path / "csv", "csv", "id int, lsn int")
    (tmp_path / "damaged.parquet").write_text("PAR1 secret value PAR1")
    with pytest.raises(SourceError, match=r"damaged\.parquet cannot be read as parquet: a file there is damaged"):
        read(tmp_path / "damaged.parquet", "parquet")


@pytest.mark.parametrize("format", ["parquet", "orc"])
def test_columnar(spark: SparkSession, tmp_path: Path, format: str) -> None:
    first = spark.sql("select 1 id, 'a' name, cast(1.5 as decimal(10,3)) amount, timestamp '2024-06-01 12:00:00' at, 1L lsn, 'x' other")
    later = spark.sql("select 2L id2, 2 id, cast(1.505 as decimal(10,3)) amount, 2L lsn")
    first.write.format(format).save(str(tmp_path / "in/one"))
    later.write.format(format).save(str(tmp_path / "in/two"))
    feed = read(tmp_path / "in", format)
    assert [(r["id"], r["name"], r["amount"], r["_lk_reason"]) for r in rows(feed)] == [
        (1, "a", Decimal("1.50"), None),
        (2, None, None, "column amount: not a decimal(6,2)"),
    ]
    with pytest.raises(SourceError, match="no column fax, which is declared"):
        read(tmp_path / "in", format, SCHEMA + ", fax string")
    with pytest.raises(SourceError, match="column at is timestamp in the source and declared int"):
        read(tmp_path / "in", format, "id int, at int, lsn bigint")
    spark.sql("select 'text' id, 3L lsn").write.format(format).save(str(tmp_path / "in/three"))
    with pytest.raises(SourceError, match=f"cannot be read as {format}"):
        read(tmp_path / "in", format).df.collect()


def manifest_of(folder: Path) -> list[dict[str, Any]]:
    listed = sorted(folder.glob("*.csv"))
    return [{"path": f.name, "size": f.stat().st_size, "sha256": hashlib.sha256(f.read_bytes()).hexdigest()} for f in listed]


def test_manifest_is_verified_before_any_row_is_read(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_text("1,1\n")
    (folder / "b b.csv").write_text("2,2\n" * 300_000)  # more than one buffer
    entries = manifest_of(folder)
    (folder / "late.csv").write_text("3,3\n")
    shapes = {
        "list.json": json.dumps(entries),
        "object.json": json.dumps({"files": [{**e, "path": str(folder / e["path"])} for e in entries]}),
        "lines.json": "\n".join(map(json.dumps, entries)),
        "manifest.csv": "path, size, sha256\n" + "".join(f"{e['path']}, {e['size']}, {e['sha256'].upper()}\n" for e in entries),
    }
    for name, text in shapes.items():
        (tmp_path / name).write_text(text)
        feed = read(folder, "csv", "id int, lsn int", header=False, manifest=str(tmp_path / name))
        assert {r[0]: r[1] for r in feed.df.groupBy("id").count().collect()} == {1: 1, 2: 300_000}, name

    (folder / "a[1].csv").write_text("4,4\n")
    (folder / "a1.csv").write_text("5,5\n")  # what Spark would take the other's name for
    (tmp_path / "one.json").write_text(json.dumps([e for e in manifest_of(folder) if e["path"] == "a[1].csv"]))
    feed = read(folder, "csv", "id int, lsn int", header=False, manifest=str(tmp_path / "one.json"))
    assert [r["id"] for r in rows(feed)] == [4]

    def refused(entry: dict[str, Any], message: str) -> None:
        (tmp_path / "wrong.json").write_text(json.dumps([entries[0], {**entries[1], **entry}]))
        with pytest.raises(SourceError, match=message):
            read(folder, "csv", "id int, lsn int", header=False, manifest=str(tmp_path / "wrong.json"))

    refused({"size": 7}, r"b b\.csv has another size\..*nothing was read")
    refused({"sha256": "0" * 64}, r"b b\.csv has another SHA-256")
    refused({"path": "gone.csv"}, r"in/gone\.csv is missing")
    refused({"sha256": "12"}, r"wrong\.json: entry 2 needs path, size")
    for text, message in (
        ("[]", "lists no file"),
        ("{]", "is no manifest"),
        ("", "lists no file"),
        ('[{"path": "a.csv"}]', "entry 1 needs"),
    ):
        (tmp_path / "wrong.json").write_text(text)
        with pytest.raises(SourceError, match=message):
            read(folder, "csv", "id int, lsn int", manifest=str(tmp_path / "wrong.json"))


def test_errors(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere cannot be read as json"):
        read(tmp_path / "nowhere", "json")
    (tmp_path / "a.csv").write_text("id,lsn,m\n1,1,x\n")
    with pytest.raises(ConfigError, match="column m is declared map<string,int>, but comes as text"):
        read(tmp_path, "csv", "id int, lsn int, m map<string,int>")
    with pytest.raises(ConfigError, match="as interval day to second, which no JSON value is read as"):
        read(tmp_path, "json", "id int, lsn int, a array<interval day to second>")
    with pytest.raises(SourceError, match="keys that are no text cannot be read from JSON"):
        read(tmp_path, "json", "id int, lsn int, m map<int,int>")
