"""dms: the documented file shapes and the awkward ones, each as files in and rows out."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lakekit.errors import ConfigError, FeedError, SourceError
from lakekit.sources import dms
from tests.core.sources.folding import bad, conf, rows, table

DATA = Path(__file__).parent / "data"
CUSTOMER = ["custid", "lastname", "firstname", "address", "phone"]


@pytest.fixture(params=["plain", "elsewhere"])
def anywhere(request: pytest.FixtureRequest, spark: SparkSession) -> Iterator[SparkSession]:
    """The session twice: as it is, and in another zone with ANSI the other way round."""
    if request.param == "plain":
        yield spark
        return
    other = "false" if spark.conf.get("spark.sql.ansi.enabled") == "true" else "true"
    with conf(spark, spark__sql__session__timeZone="America/New_York", spark__sql__ansi__enabled=other):
        yield spark


def write(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return str(folder)


def test_documented_sample(spark: SparkSession) -> None:
    feed = dms(str(DATA / "dms_customer"), keys="custid", columns=CUSTOMER)
    assert [(r["_lk_op"], r["phone"], r["dms_position"]) for r in rows(feed)] == [
        ("upsert", "201-555-9012", 1),
        ("upsert", "201-555-9034", 2),
        ("delete", "201-555-9034", 3),
    ]
    assert {r["address"] for r in rows(feed)} == {"1 Skyline Drive, NY, NY"}
    assert feed.columns == [*CUSTOMER, "dms_phase", "dms_file", "dms_position"]
    assert feed.sequence_by == ("dms_phase", "dms_file", "dms_position")
    assert table(feed) == {} and bad(feed) == []


def test_full_load_and_changes_without_header(anywhere: SparkSession) -> None:
    schema = "id int, name string, note string, amount decimal(8,2)"
    feed = dms(str(DATA / "dms_orders"), keys="id", columns=schema)
    assert table(feed) == {
        (1,): {"name": "Ann", "note": '5" pipe', "amount": Decimal("12.00")},
        (2,): {"name": "Bob", "note": "late", "amount": Decimal("3.00")},
        (4,): {"name": " Eve ", "note": "kept blanks", "amount": Decimal("0.10")},
    }
    assert bad(feed) == [
        ("wrong number of fields: 3 instead of 5", "U,2,Bob"),
        ("wrong number of fields, or a quote that is not closed", "U,2,Bob,a,b,c"),
        ("column amount: not a decimal(8,2)", "U,2,Bob,note,eleven"),
        ("wrong number of fields, or a quote that is not closed", 'U,5,"open quote\nU,6,x,y,1'),
    ]
    by_place = {(r["dms_phase"], r["dms_file"], r["dms_position"]): r for r in rows(feed)}
    assert list(by_place) == [
        (0, "LOAD00000001", 1),
        (0, "LOAD00000001", 2),
        (0, "LOAD0000000A", 1),
        *((1, "20240601-093000001", n) for n in (1, 3, 5, 6, 7, 8)),
        *((1, "20240601-0930000015", n) for n in (1, 2, 3)),
        *((1, "20240602-000000000", n) for n in (1, 2, 3)),
    ]
    assert by_place[1, "20240601-093000001", 1]["note"] == "two\nlines, here"
    assert by_place[1, "20240601-093000001", 5]["_lk_op"] is None, "an operation X is none that lakekit knows"
    two = by_place[0, "LOAD00000001", 2]
    assert (two["note"], two["amount"], two["_lk_raw"]) == ('says "hi"', None, '2,Bob,"says ""hi""",')
    assert by_place[1, "20240601-093000001", 3]["name"] == "", "two quotes are empty text, nothing is NULL"
    assert by_place[1, "20240601-0930000015", 2]["_lk_op"] == "delete", "a delete's payload need not be of its type"


def test_position_is_the_line_in_the_file_whatever_else_is_read(spark: SparkSession, tmp_path: Path) -> None:
    quoted = "".join(f'U,{n},"text of\n{n}, over ""three""\nlines"\n' for n in range(400))
    write(tmp_path / "big", {"20240601-000000001.csv": quoted})
    write(tmp_path / "big", {f"20240601-00000001{n}.csv": f"I,{n},x\n" * 50 for n in range(5)})
    write(tmp_path / "big", {"20240601-000000030.csv.gz": "I,1,x\nI,2,y\n"})
    with conf(spark, spark__sql__files__maxPartitionBytes="700"):
        feed = dms(str(tmp_path / "big"), keys="id", columns="id int, note string")
        together = [r for r in rows(feed) if r["dms_file"] == "20240601-000000001"]
        zipped = [r["dms_position"] for r in rows(feed) if r["dms_file"] == "20240601-000000030"]
    alone = rows(dms(str(tmp_path / "big/20240601-000000001.csv"), keys="id", columns="id int, note string"))
    assert together == alone
    assert [(r["id"], r["dms_position"], r["note"]) for r in alone] == [
        (n, 3 * n + 1, f'text of\n{n}, over "three"\nlines') for n in range(400)
    ]
    assert zipped == [1, 2]


def test_change_sequence_is_exact_and_needs_no_shuffle(anywhere: SparkSession, tmp_path: Path) -> None:
    one, two = "20240601093000010000000000000000009", "20240601093000010000000000000000010"
    path = write(
        tmp_path,
        {
            "LOAD00000001.csv": ",1,load\n,9,load\n",
            "20240601-000000002.csv": f"{two},1,newer\n".replace(two, f"U,{two}") + f"D,{one},9,gone\n",
            "20240601-000000003.CSV": f"U,{one},1,older\nU,{two},9,back\nU,,9,none\nU,12x,9,none\n",
        },
    )
    feed = dms(path, keys="id", columns=["AR_H_CHANGE_SEQ", "id", "note"], header=False, multiline=False)
    assert feed.sequence_by == ("dms_phase", "dms_sequence")
    assert feed.columns == ["id", "note", "dms_phase", "dms_sequence"]
    assert table(feed) == {("1",): {"note": "newer"}, ("9",): {"note": "back"}}
    assert {r["dms_sequence"] for r in rows(feed)} == {None, Decimal(one), Decimal(two)}
    reason = "column AR_H_CHANGE_SEQ: not a whole number of at most 38 digits"
    assert sorted(bad(feed)) == [(reason, "U,,9,none"), (reason, "U,12x,9,none")]
    named = dms(write(tmp_path / "others", {"LOAD1.txt": "I,1\n"}), keys="id", columns=["id"], format="csv")
    assert len(rows(named)) == 1, "files are read as what they are said to be, however they are named"
    plan = feed.df._jdf.queryExecution().executedPlan().toString()
    assert "Exchange" not in plan


def test_commit_time_orders_as_utc(anywhere: SparkSession, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {
            "20240601-000000001.csv": "U,2024-03-31 02:30:00.000002,1,newest\nU,2024-03-31 02:30:00.000001,1,older\nU,,1,none\n",
            "20240601-000000002.csv": "U,2024-03-31T01:30:00-01:00,1,oldest\nI,yesterday,2,x\n"
            "I,2024-11-03 01:30:00,2,a\nU,2024-11-03 01:30:00,2,b\n",
        },
    )
    feed = dms(path, keys="id", columns=["ts", "id", "note"], timestamp_column="TS")
    assert feed.sequence_by == ("dms_phase", "ts", "dms_file", "dms_position")
    assert dict(feed.df.dtypes)["ts"] == "timestamp"
    assert table(feed) == {("1",): {"note": "newest"}, ("2",): {"note": "b"}}
    micros = {r["note"]: r["us"] for r in feed.df.selectExpr("note", "unix_micros(ts) us").collect()}
    assert micros["newest"] == int(datetime(2024, 3, 31, 2, 30, tzinfo=UTC).timestamp()) * 1_000_000 + 2
    assert micros["oldest"] == int(datetime(2024, 3, 31, 2, 30, tzinfo=UTC).timestamp()) * 1_000_000
    assert sorted(bad(feed)) == [
        ("column ts: a change without its commit time", "U,,1,none"),
        ("column ts: not a timestamp", "I,yesterday,2,x"),
    ]


def test_headers_are_each_files_own(spark: SparkSession, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {
            "LOAD00000001.csv": "\ufeffid,name,fax\r\n1,Ann,f1\r\n2,Bob,f2\r\n",
            "20240601-000000001.csv": "Op,id,name,fax\nU,1,Ann2,f11\n",
            "20240601-000000002.csv": "Op, Name, ID\nU, Cy, 3\nU, Ann3, 1\n",
            "20240601-000000003.csv": "Op,id,name,tier\nU,2,Bob2,gold\nU,4\n",
        },
    )
    feed = dms(path, keys="id")
    assert feed.columns == ["id", "name", "fax", "tier", "dms_phase", "dms_file", "dms_position"]
    assert table(feed) == {
        ("1",): {"name": "Ann3", "fax": "f11", "tier": None},
        ("2",): {"name": "Bob2", "fax": "f2", "tier": "gold"},
        ("3",): {"name": "Cy", "fax": None, "tier": None},
    }, "a column that a file does not have keeps its value"
    assert bad(feed) == [("wrong number of fields: 2 instead of 4", "U,4")]

    declared = dms(path, keys="id", columns=["id", "name", "fax"])
    assert [(r["_lk_reason"], r["dms_file"]) for r in rows(declared) if r["_lk_reason"]] == [
        ("the file's header lacks the column fax", "20240601-000000002"),
        ("the file's header lacks the column fax", "20240601-000000002"),
        ("the file's header names a column that is not declared", "20240601-000000003"),
        ("the file's header names a column that is not declared", "20240601-000000003"),
    ]
    all_declared = dms(path, keys="id", columns=["id", "name", "fax", "tier"], header=True)
    assert table(all_declared) == {} and len(bad(all_declared)) == 7


def test_a_header_is_not_taken_for_data_nor_data_for_a_header(spark: SparkSession, tmp_path: Path) -> None:
    path = write(tmp_path, {"20240601-000000001.csv": "Op,id,name\nI,1,Ann\n", "20240601-000000002.csv": "I,2,id\nI,id,name\n"})
    assert table(dms(path, keys="id", columns=["id", "name"])) == {
        ("1",): {"name": "Ann"},
        ("2",): {"name": "id"},
        ("id",): {"name": "name"},
    }
    with pytest.raises(ConfigError, match=r"columns are not declared and the first line does not name Op\."):
        dms(str(tmp_path / "20240601-000000002.csv"), keys="id")
    with pytest.raises(ConfigError, match=r"columns=\["):
        dms(path, keys="id", header=False)
    wrong = dms(str(tmp_path / "20240601-000000002.csv"), keys="id", columns=["id", "name"], header=True)
    assert bad(wrong) == [("the file's header names a column that is not declared", "I,id,name")], "no data value in a reason"


def test_feeds_without_operations(spark: SparkSession, tmp_path: Path) -> None:
    path = write(tmp_path, {"LOAD00000001.csv": "I,1\n", "20240601-000000001.csv": "2,I\n3,J\n"})
    inserts = dms(path, keys="id", columns=["id", "name"], op_column=None)
    assert table(inserts) == {("I",): {"name": "1"}, ("2",): {"name": "I"}, ("3",): {"name": "J"}}
    strict = dms(path, keys="id", columns=["id", "name"], full_load_op=True)
    assert [reason for reason, _ in bad(strict)] == ["wrong number of fields: 2 instead of 3"] * 3
    placed = dms(
        write(tmp_path / "last", {"20240601-000000001.csv": "1,Ann,I\n1,Ann,D\n2,Bob,I\n"}),
        keys="id",
        columns=["id", "name", "op"],
        op_column="OP",
    )
    assert table(placed) == {("2",): {"name": "Bob"}}


def test_values_of_every_type(anywhere: SparkSession, tmp_path: Path) -> None:
    good = '1,127,9223372036854775807,12.50,1e3,true,2024-02-29,2024-06-01 12:00:00,00FFab," x "'
    wrong = {
        "id": "1.5",
        "b": "128",
        "l": "9223372036854775808",
        "d": "12.505",
        "f": "many",
        "t": "maybe",
        "day": "2024-02-30",
        "at": "2024-06-01 12:00:00.0000001",
        "bin": "0xg",
    }
    names = ["id", "b", "l", "d", "f", "t", "day", "at", "bin"]
    parts = good.split(",")
    lines = [",".join([*parts[:i], wrong[n], *parts[i + 1 :]]) for i, n in enumerate(names)]
    path = write(tmp_path, {"20240601-000000001.csv": "\n".join(f"I,{line}" for line in [good, "2,,,,,,,,,", *lines])})
    schema = "id int, b tinyint, l bigint, d decimal(5,2), f double, t boolean, day date, at timestamp, bin binary, s string"
    feed = dms(path, keys="id", columns=schema)
    types = dict(t.split(" ", 1) for t in schema.split(", "))
    assert bad(feed) == [(f"column {n}: not a {types[n]}", f"I,{line}") for n, line in zip(names, lines, strict=True)]
    first, second = (r for r in rows(feed) if r["_lk_reason"] is None)
    assert (first["b"], first["l"], first["d"], first["f"], first["t"]) == (127, 2**63 - 1, Decimal("12.50"), 1000.0, True)
    assert (str(first["day"]), bytes(first["bin"]), first["s"]) == ("2024-02-29", b"\x00\xff\xab", " x ")
    noon = int(datetime(2024, 6, 1, 12, tzinfo=UTC).timestamp())
    assert feed.df.where("id = 1 and _lk_reason is null").selectExpr("unix_seconds(at) s").first() == (noon,)
    assert {second[n] for n in [*names[1:], "s"]} == {None}


def test_null_marker_and_unsupplied_values(spark: SparkSession, tmp_path: Path) -> None:
    path = write(tmp_path, {"20240601-000000001.csv": 'I,1,NULL,7\nI,2,,\\N\nI,3,"NULL",NULL\nU,1,-,-\n'})
    feed = dms(path, keys="id", columns="id int, name string, qty int", null_value="NULL", unchanged="-")
    assert table(feed) == {(1,): {"name": None, "qty": 7}, (3,): {"name": None, "qty": None}}
    assert bad(feed) == [("column qty: not a int", "I,2,,\\N")]
    assert rows(feed)[-1]["_lk_absent"] == ["name", "qty"]
    dashed = write(tmp_path / "p", {"20240601-000000001.csv": "I|1|a,b|\n"})
    assert table(dms(dashed, keys="id", columns=["id", "name", "qty"], delimiter="|")) == {("1",): {"name": "a,b", "qty": None}}


def test_parquet_by_name(anywhere: SparkSession, tmp_path: Path) -> None:
    spark = anywhere
    load = spark.sql("select 1L id, 'load' name, timestamp_ntz '2024-06-01 10:00:00' at union all select 2L, 'load', null").coalesce(1)
    changes = spark.sql(
        "select * from values ('U', 1L, 'one', timestamp_ntz '2024-03-31 02:30:00', 5), ('D', 2L, '', null, null), "
        "('I', 3L, 'x', null, 1), "
        "('Z', 4L, 'x', null, 1), ('U', 1L, 'two', timestamp_ntz '2024-03-31 02:30:00', 7) t(Op, id, name, at, qty)"
    ).coalesce(1)
    for name, df in (("LOAD00000001", load), ("20240601-000000001", changes)):
        df.write.parquet(str(tmp_path / "raw" / name))
        part = next((tmp_path / "raw" / name).glob("part-*.parquet"))
        (tmp_path / "in").mkdir(exist_ok=True)
        part.rename(tmp_path / "in" / f"{name}.parquet")
    feed = dms(str(tmp_path / "in"), keys="id")
    assert feed.sequence_by == ("dms_phase", "dms_file", "dms_position")
    assert [(r["dms_phase"], r["dms_file"], r["dms_position"], r["_lk_op"]) for r in rows(feed)] == [
        (0, "LOAD00000001", 1, "upsert"),
        (0, "LOAD00000001", 2, "upsert"),
        *((1, "20240601-000000001", n, op) for n, op in enumerate(["upsert", "delete", "upsert", None, "upsert"], 1)),
    ]
    assert {k: v["name"] for k, v in table(feed).items()} == {(1,): "two", (3,): "x"}
    utc = int(datetime(2024, 3, 31, 2, 30, tzinfo=UTC).timestamp())
    assert feed.df.where("name = 'two'").selectExpr("unix_seconds(at)").first() == (utc,)
    timed = dms(str(tmp_path / "in"), keys="id", columns="id int, name string, qty tinyint, at timestamp", timestamp_column="at")
    assert timed.columns == ["id", "name", "qty", "at", "dms_phase", "dms_file", "dms_position"]
    assert dict(timed.df.dtypes)["qty"] == "tinyint"
    assert sorted(r["id"] for r in rows(timed) if r["_lk_reason"] == "column at: a change without its commit time") == [2, 3, 4]
    with pytest.raises(SourceError, match="no column fax, which is declared"):
        dms(str(tmp_path / "in"), keys="id", columns=["id", "fax"])


SWAPS: dict[str, tuple[list[tuple[str, str, str, str]], dict[str, str]]] = {
    # what happens: (old key, new key, name before, name after), and who lives at the end
    "move": ([("A", "D", "alice", "alice")], {"B": "bob", "C": "carl", "D": "alice"}),
    "move with a change": ([("A", "D", "alice", "al")], {"B": "bob", "C": "carl", "D": "al"}),
    "chain of one row": ([("A", "D", "alice", "alice"), ("D", "E", "alice", "alice")], {"B": "bob", "C": "carl", "E": "alice"}),
    "there and back": ([("A", "D", "alice", "alice"), ("D", "A", "alice", "alice")], {"A": "alice", "B": "bob", "C": "carl"}),
    "swap over a third key": (
        [("A", "T", "alice", "alice"), ("B", "A", "bob", "bob"), ("T", "B", "alice", "alice")],
        {"A": "bob", "B": "alice", "C": "carl"},
    ),
    "swap in one statement": ([("A", "B", "alice", "alice"), ("B", "A", "bob", "bob")], {"A": "bob", "B": "alice", "C": "carl"}),
    "swap twice": (
        [("A", "B", "alice", "alice"), ("B", "A", "bob", "bob"), ("A", "B", "bob", "bob"), ("B", "A", "alice", "alice")],
        {"A": "alice", "B": "bob", "C": "carl"},
    ),
    "rotation": (
        [("A", "B", "alice", "alice"), ("B", "C", "bob", "bob"), ("C", "A", "carl", "carl")],
        {"A": "carl", "B": "alice", "C": "bob"},
    ),
    "shift": (
        [("A", "B", "alice", "alice"), ("B", "C", "bob", "bob"), ("C", "D", "carl", "carl")],
        {"B": "alice", "C": "bob", "D": "carl"},
    ),
    "there and on with a change": ([("A", "D", "alice", "alice"), ("D", "E", "alice", "al")], {"B": "bob", "C": "carl", "E": "al"}),
}
FIRST = int("2024060110000000" + "0" * 19)  # a change sequence of 35 digits: time, then a number
NEEDS_ALL_IMAGES = {"rotation", "shift"}
ORDERS: dict[str, dict[str, Any]] = {
    "time": {"timestamp_column": "ts"},
    "sequence": {},
    "position": {},
}


@pytest.mark.parametrize("images", ["all columns", "keys only"])
@pytest.mark.parametrize("order", list(ORDERS))
def test_key_changes_and_swaps(spark: SparkSession, tmp_path: Path, images: str, order: str) -> None:
    known = {name: case for name, case in SWAPS.items() if images == "all columns" or name not in NEEDS_ALL_IMAGES}
    files: dict[str, str] = {}
    for number, (steps, _) in enumerate(known.values()):  # every case in its own files and key space (column grp)
        files[f"LOAD0000000{number:X}.csv"] = "".join(
            f",,,,,{number},{k},{n}\n" for k, n in zip("ABC", ("alice", "bob", "carl"), strict=True)
        )
        files[f"20240601-00000000{number}.csv"] = "".join(
            f"U,2024-06-01 10:00:00,{FIRST + row},{number},{old},{before if images == 'all columns' else ''},{number},{new},{after}\n"
            for row, (old, new, before, after) in enumerate(steps)
        )
    seq = "AR_H_CHANGE_SEQ" if order == "sequence" else "AR_H_STREAM_POSITION"
    ts = "ts" if order == "time" else "updated_at"
    names = [ts, seq, "BI_grp", "BI_id", *(["BI_name"] if images == "all columns" else ["unused"]), "grp", "id", "name"]
    feed = dms(write(tmp_path, files), keys=["grp", "id"], columns=names, full_load_op=False, **ORDERS[order])
    assert feed.sequence_by[-1] == "dms_step" and bad(feed) == []
    assert not [c for c in feed.columns if c.startswith("BI_")]
    living = table(feed)
    for number, (name, (_, expected)) in enumerate(known.items()):
        assert {k: row["name"] for (grp, k), row in living.items() if grp == str(number)} == expected, name


def test_unrelated_transactions_are_no_swap(spark: SparkSession, tmp_path: Path) -> None:
    """The same two updates are a swap in one transaction, and one row's way there and back, renamed, in two."""
    lines = "U,2024-06-01 10:00:00,A,B,alice\nU,2024-06-01 10:0{}:00,B,A,al\n"
    one, two = (write(tmp_path / m, {"20240601-000000001.csv": lines.format(m)}) for m in "01")
    columns = ["ts", "BI_id", "id", "name"]
    ends = [table(dms(path, keys="id", columns=columns, timestamp_column="ts")) for path in (one, two)]
    assert [sorted(end) for end in ends] == [[("A",), ("B",)], [("A",)]]


def test_deletes_and_inserts_with_before_images(spark: SparkSession, tmp_path: Path) -> None:
    path = write(tmp_path, {"20240601-000000001.csv": "I,,1,a\nI,,2,b\nI,,3,c\nU,3,3,d\nD,1,,\nD,,2,b\nU,x,4,e\n"})
    feed = dms(path, keys="id", columns="BI_id int, id int, name string")
    assert table(feed) == {(3,): {"name": "d"}}
    assert bad(feed) == [("column BI_id: not a int", "U,x,4,e")]


def test_constructing_runs_no_job_when_columns_are_declared(spark: SparkSession) -> None:
    context = spark.sparkContext
    context.setJobGroup("dms-construct", "none expected")
    try:
        dms(str(DATA / "dms_orders"), keys="id", columns=["id", "name", "note", "amount"])
        assert context.statusTracker().getJobIdsForGroup("dms-construct") == []
    finally:
        context.setLocalProperty("spark.jobGroup.id", None)


def test_errors_name_the_thing_and_the_next_step(spark: SparkSession, tmp_path: Path) -> None:
    path = write(tmp_path / "both", {"a.csv": "I,1\n", "b.parquet": ""})
    none = write(tmp_path / "none", {"x.dfm": "{}"})
    cases: list[tuple[type[Exception], str, Any]] = [
        (SourceError, "nowhere cannot be read", lambda: dms(str(tmp_path / "nowhere"), keys="id", columns=["id"])),
        (SourceError, r"holds \.csv and \.parquet files", lambda: dms(path, keys="id", columns=["id"])),
        (SourceError, r"holds no \.csv or \.parquet", lambda: dms(none, keys="id", columns=["id"])),
        (
            SourceError,
            "timestamp_column: the files have no column at",
            lambda: dms(path, keys="id", columns=["id"], format="csv", timestamp_column="at"),
        ),
        (FeedError, "keys: the feed has no column nr", lambda: dms(path, keys="nr", columns=["id"], format="csv")),
        (ConfigError, "no schema in DDL", lambda: dms(path, keys="id", columns="id thing", format="csv")),
    ]
    for error, message, call in cases:
        with pytest.raises(error, match=message):
            call()
