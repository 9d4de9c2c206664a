"""Debezium's messages in the shapes that its documentation shows, and what each becomes."""

from __future__ import annotations

import base64
import json
import random
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from pathlib import Path

import pytest
from pyspark.sql import functions as F

from lakekit.errors import ConfigError, SourceError
from lakekit.sources import exact
from lakekit.sources.debezium import debezium

DATA = Path(__file__).parent / "data" / "debezium"
_EXACT = Context(prec=80)
PLACEHOLDER = "__debezium_unavailable_value"


def events(feed, *columns):
    """Every event as a tuple, in the order of its sequence where it has one; instants as text in UTC."""
    return [tuple(row) for row in feed.df.select(*columns).collect()]


def by_key(feed):
    """The good upserts as dictionaries, by key and sequence."""
    rows = feed.df.where("_lk_op = 'upsert' AND _lk_reason IS NULL").collect()
    return {(row["id"], *(row[c] for c in feed.sequence_by)): row.asDict(recursive=True) for row in rows}


@pytest.fixture(params=["UTC", "America/New_York"])
def zoned(spark, request):
    """The session in two time zones: no value may depend on it."""
    before = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", request.param)
    yield spark
    spark.conf.set("spark.sql.session.timeZone", before)


def test_postgres_with_schema_blocks(zoned):
    feed = debezium(str(DATA / "postgres_schema.jsonl"), keys="id", spark=zoned)
    assert feed.sequence_by == ("dbz_phase", "dbz_lsn")
    assert feed.df.schema.simpleString() == (
        "struct<id:int,name:string,amount:decimal(10,2),free:decimal(38,18),born:date,at:timestamp,seen:timestamp,opens:bigint,uid:string,"
        "flags:binary,doc:string,big:string,raw:binary,tags:array<string>,nums:array<int>,attrs:map<string,string>,ok:boolean,ratio:double,"
        "dbz_phase:int,dbz_lsn:bigint,_lk_op:string,_lk_reason:string,_lk_raw:string,_lk_absent:array<string>>"
    )
    told = sorted(events(feed, "_lk_op", "id", "dbz_phase", "dbz_lsn", "_lk_reason"), key=repr)
    assert told == sorted(
        [
            ("ignore", None, 1, None, None),  # heartbeat
            ("ignore", None, 1, None, None),  # transaction begin
            ("ignore", None, 1, None, None),  # tombstone in a wrapper
            ("ignore", None, 1, None, None),  # tombstone
            ("ignore", None, 1, 450, None),  # logical message
            ("upsert", 1, 0, 100, None),
            ("upsert", 2, 1, 200, None),
            ("upsert", 1, 1, 300, None),
            ("delete", 2, 1, 400, None),
            ("truncate", None, 1, 500, None),
            ("upsert", 3, 1, 600, "column amount: cannot be read as decimal(10,2) without loss"),
            ("upsert", 4, 1, 601, "column born: not of the declared type"),
            ("upsert", 5, 1, 602, "column added: not in the schema block that the columns were taken from; declare them with schema="),
            (None, None, 1, 603, None),  # unknown operation: the change feed says so
            ("upsert", 6, 1, None, "source.lsn: no position in the log"),
            (None, None, 1, None, "the message is not a JSON object"),
        ],
        key=repr,
    )


def test_postgres_values_are_exact(zoned):
    feed = debezium(str(DATA / "postgres_schema.jsonl"), keys="id", spark=zoned)
    micros = feed.df.withColumns({"at": F.unix_micros("at"), "seen": F.unix_micros("seen")})
    rows = by_key(feed.with_frame(micros))
    first, second, marked = rows[1, 0, 100], rows[2, 1, 200], rows[1, 1, 300]
    assert {k: first[k] for k in list(first)[:18]} == {
        "id": 1,
        "name": 'Ann, "A"',
        "amount": Decimal("-123.45"),
        "free": Decimal("3.14159").quantize(Decimal("1e-18")),
        "born": date(2022, 1, 8),
        "at": 1718000000123456,
        "seen": int(datetime(2024, 6, 10, 6, 13, 20, tzinfo=UTC).timestamp()) * 10**6 + 654321,
        "opens": 30600000000,
        "uid": "123e4567-e89b-12d3-a456-426614174000",
        "flags": bytearray([0x81, 0x07]),
        "doc": '{"a": 1.10}',
        "big": "text",
        "raw": bytearray(b"\x00\xff\x10"),
        "tags": ["x", None, "y"],
        "nums": [1, -2],
        "attrs": {"k": "v"},
        "ok": True,
        "ratio": 0.1,
    }
    assert (second["amount"], second["free"]) == (Decimal("99999999.99"), Decimal(700))
    assert first["_lk_absent"] == []
    assert marked["_lk_absent"] == ["uid", "doc", "big", "raw", "tags", "nums", "attrs"]
    assert all(marked[name] is None for name in [*marked["_lk_absent"], "free"])
    assert marked["amount"] == Decimal("5.00")


def test_decimals_of_every_size(spark):
    """Base64 big-endian two's complement against Python's own integers, over the whole range of 38 digits and beyond."""
    rnd = random.Random(20261121)
    edges = [n + d for n in (0, 2**63, 2**64, 2**127, 10**38, 10**37) for d in (-1, 0, 1)]
    numbers = [s * n for n in edges for s in (1, -1)] + [rnd.choice((1, -1)) * rnd.randrange(10 ** rnd.randint(1, 40)) for _ in range(400)]
    rows = [
        (str(n), base64.b64encode(n.to_bytes(n.bit_length() // 8 + 1, "big", signed=True)).decode(), rnd.randint(-3, 40)) for n in numbers
    ]
    wide, free = (spark.sql(f"SELECT CAST(0 AS {t}) d").schema["d"].dataType for t in ("decimal(38,7)", "decimal(38,18)"))
    df = spark.createDataFrame(rows, "n string, b string, s int").selectExpr(
        "n", "s", f"{exact.decimal_from_base64('b', '7', wide)} AS fixed", f"{exact.decimal_from_base64('b', 's', free)} AS free"
    )
    for row in df.collect():
        number = int(row["n"])
        assert row["fixed"] == (Decimal(number).scaleb(-7, _EXACT) if abs(number) < 10**38 else None), row
        sign, digits, _ = Decimal(number).as_tuple()
        value = Decimal((sign, digits, -row["s"]))
        held = value == 0 or (value.normalize(_EXACT).as_tuple().exponent >= -18 and abs(value) < 10**20)
        assert row["free"] == (value if held and abs(number) < 10**38 else None), row


def test_text_numbers_and_instants(spark):
    """Digits that a type cannot hold are refused, never rounded; text without a zone is UTC."""
    target = spark.sql("SELECT CAST(0 AS decimal(6,2)) d").schema["d"].dataType
    numbers = {
        "12.50": "12.50", "12.500": "12.50", "12.505": None, "-0.01": "-0.01", "1e3": "1000.00", "1.25E+1": "12.50", "125E-3": None,
        "1E4": None, "0E-40": "0.00", ".5": "0.50", "5.": "5.00", "+7": "7.00", "": None, ".": None, "NaN": None, "1,5": None, "0x1": None,
    }  # fmt: skip
    df = spark.createDataFrame([(t,) for t in numbers], "t string").selectExpr("t", f"{exact.decimal_from_text('t', target)} AS d")
    assert {r["t"]: None if r["d"] is None else str(r["d"]) for r in df.collect()} == numbers
    instants = {
        "1970-01-01T00:00:01Z": 1_000_000, "1970-01-01T00:00:01": 1_000_000, "1970-01-01 00:00:01.5": 1_500_000,
        "1970-01-02": 86_400_000_000,
        "1970-01-01T01:00:00+01:00": 0, "1970-01-01T00:00:00.123456000Z": 123_456, "1970-01-01T00:00:00.1234567Z": None,
        "soon": None, "12:00": None,
    }  # fmt: skip
    spark.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
    try:
        df = spark.createDataFrame([(t,) for t in instants], "t string").selectExpr(
            "t", f"unix_micros({exact.timestamp_from_text('t')}) AS m"
        )
        assert {r["t"]: r["m"] for r in df.collect()} == instants
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")


def test_mysql_orders_numerically_over_file_rollover(spark):
    feed = debezium(
        str(DATA / "mysql_plain.jsonl"),
        keys=["id"],
        schema="id bigint, name string, at timestamp, price decimal(6,2), day date",
        logical={"at": "io.debezium.time.Timestamp"},
        spark=spark,
    )
    assert feed.sequence_by == ("dbz_phase", "dbz_file", "dbz_pos", "dbz_row")
    assert "_lk_absent" not in feed.df.columns  # MySQL's images are whole
    told = (
        feed.df.where("_lk_op <> 'ignore'")
        .orderBy(*feed.sequence_by, "_lk_op")
        .select("_lk_op", "id", "name", "dbz_file", "dbz_pos", "dbz_row")
    )
    assert [tuple(r) for r in told.collect()] == [
        ("upsert", 1, "snapshot", 999999, 154, 0),
        ("upsert", 1, "first", 999999, 900, 0),
        ("upsert", 1, "second", 999999, 900, 1),
        ("upsert", 1, "third", 1000000, 4, 0),
        ("upsert", 4, "read between", 1000000, 70, 0),  # an incremental snapshot takes part in the log's order
        ("delete", 2, None, 1000000, 80, 0),  # an update that moves a row to another key
        ("upsert", 9, "moved", 1000000, 80, 0),
        ("delete", 3, None, 1000000, 120, 0),
    ]
    row = by_key(feed)[1, 1, 1000000, 4, 0]
    assert (row["price"], row["day"], row["at"]) == (Decimal("12.34"), date(2022, 1, 8), datetime(2024, 6, 10, 6, 13, 20, 123000))
    assert feed.df.where("_lk_op = 'ignore'").count() == 1  # the schema change


def test_sqlserver_compares_lsns_exactly(spark):
    feed = debezium(str(DATA / "sqlserver_plain.jsonl"), keys="id", schema="id int, v string", spark=spark)
    assert feed.sequence_by == ("dbz_phase", "dbz_commit_lsn", "dbz_change_lsn", "dbz_serial")
    rows = feed.df.orderBy(*feed.sequence_by).select("v", "dbz_commit_lsn", "_lk_reason").collect()
    assert [tuple(r) for r in rows] == [
        ("snap", Decimal(0x27000007580005), None),
        ("bad", None, "source.commit_lsn: no position in the log"),
        ("a", Decimal(0x27000007580005), None),
        ("b", Decimal(0x2700000AC00002), None),
        ("c", Decimal(0xFFFFFFFFFFFFFFFFFFFF), None),
    ]


def test_flattened_text_and_frame_agree(spark):
    """What ExtractNewRecordState leaves, as JSON and as a frame that is structured already."""
    path = str(DATA / "flattened.jsonl")
    text = debezium(path, keys="id", schema="id int, name string", flattened=True, spark=spark)
    frame = spark.read.json(path).where("id IS NOT NULL AND NOT coalesce(__op = 'r', false)")
    structured = debezium(frame.drop("payload", "schema", "ts_ms"), keys="id", schema="id bigint, name string")
    expected = [
        ("upsert", 3, "in a wrapper", 0, 9, [], None),
        ("upsert", 1, "a", 1, 10, [], None),
        ("upsert", 1, None, 1, 11, ["name"], None),
        ("delete", 2, None, 1, 12, None, None),
        ("upsert", 4, None, 1, 14, ["name"], None),  # a column that the message lacks
        ("upsert", None, "no key", 1, 15, [], None),  # the change feed calls it bad
        ("ignore", None, None, 1, None, None, None),
    ]
    found = text.df.select("_lk_op", "id", "name", "dbz_phase", "dbz_lsn", "_lk_absent", "_lk_reason").collect()
    assert sorted(map(tuple, found), key=repr) == sorted(expected, key=repr)
    kept = [e for e in expected if e[1] in (1, 2, 4)]
    found = structured.df.select("_lk_op", "id", "name", "dbz_phase", "dbz_lsn", "_lk_absent", "_lk_reason").collect()
    # A frame cannot tell a missing field from NULL.
    assert sorted(map(tuple, found), key=repr) == sorted([(*e[:5], [] if e[1] == 4 else e[5], e[6]) for e in kept], key=repr)


def test_kafka_shape_takes_the_key_of_a_delete_without_image(spark):
    message = {"op": "d", "before": None, "after": None, "source": {"lsn": 8, "connector": "postgresql"}}
    create = {"op": "c", "after": {"a": 1, "b": "x", "v": "1"}, "source": {"lsn": 7, "connector": "postgresql"}}
    rows = [
        (json.dumps({"a": 1, "b": "x"}).encode(), json.dumps(create).encode()),
        (json.dumps({"schema": {}, "payload": {"a": 1, "b": "x"}}).encode(), json.dumps({"payload": message}).encode()),
        (json.dumps({"a": 1, "b": "x"}).encode(), None),
    ]
    feed = debezium(spark.createDataFrame(rows, "key binary, value binary"), keys=["a", "b"], schema="a int, b string, v int")
    assert sorted(events(feed, "_lk_op", "a", "b", "v", "dbz_lsn", "_lk_reason"), key=repr) == [
        ("delete", 1, "x", None, 8, None),
        ("ignore", None, None, None, None, None),
        ("upsert", 1, "x", None, 7, "column v: not of the declared type"),
    ]


def test_structured_envelope(spark):
    """A frame whose columns are parsed already, for instance from Avro."""
    image = "struct<id: int, t: bigint, big: string, raw: binary>"
    ddl = f"op string, before {image}, after {image}, source struct<connector: string, lsn: bigint, snapshot: string>"
    rows = [
        ("c", None, (1, 10**9, "x", b"y"), ("postgresql", 5, "false")),
        ("u", (1, 0, None, None), (2, 10**9 + 1, PLACEHOLDER, PLACEHOLDER.encode()), ("postgresql", 6, "false")),
        ("d", (2, None, None, None), None, ("postgresql", 7, "false")),
        (None, None, None, None),
    ]
    feed = debezium(
        spark.createDataFrame(rows, ddl), keys="id", schema="id int, t timestamp, big string, raw binary", logical={"t": "NanoTimestamp"}
    )
    assert sorted(events(feed, "_lk_op", "id", "t", "big", "dbz_lsn", "_lk_absent", "_lk_reason"), key=repr) == [
        ("delete", 1, None, None, 6, None, None),
        ("delete", 2, None, None, 7, None, None),
        ("ignore", None, None, None, None, None, None),
        ("upsert", 1, datetime(1970, 1, 1, 0, 0, 1), "x", 5, [], None),
        ("upsert", 2, None, None, 6, ["big", "raw"], "column t: cannot be read as timestamp without loss"),
    ]


def test_other_orders_numbers_and_types(spark):
    """order_by paths, decimals as JSON numbers and as text, times of day as text, nanoseconds as they are."""
    first = {
        "op": "c",
        "after": {"id": "10", "n": 12.5, "t": 45296789000, "ns": 1718000000123456789},
        "source": {"scn": "5" * 30},
        "ts_ms": 3,
    }
    finer = {"op": "c", "after": {"id": "10", "n": 12.505, "t": 1, "ns": 1}, "source": {"scn": "9"}, "ts_ms": 4}
    unordered = {"op": "c", "after": {"id": "11", "n": 1, "t": 1, "ns": 1}, "source": {}, "ts_ms": 5}
    df = spark.createDataFrame([(json.dumps(m),) for m in (first, finer, unordered)], "body string")
    feed = debezium(
        df,
        keys="id",
        schema="id string, n decimal(5,2), t string, ns bigint",
        order_by=["source.scn", "ts_ms"],
        decimals="numeric",
        logical={"t": "MicroTime", "ns": "NanoTimestamp"},
    )
    assert feed.sequence_by == ("dbz_phase", "dbz_source_scn", "dbz_ts_ms")
    assert sorted(events(feed, "dbz_ts_ms", "dbz_source_scn", "n", "t", "ns", "_lk_reason")) == [
        (3, Decimal("5" * 30), Decimal("12.50"), "12:34:56.789000", 1718000000123456789, None),
        (4, Decimal(9), None, "00:00:00.000001", 1, "column n: cannot be read as decimal(5,2) without loss"),
        (5, None, Decimal("1.00"), "00:00:00.000001", 1, "source.scn: no position in the log"),
    ]
    text = spark.createDataFrame([('{"op":"c","after":{"id":1,"n":"-1.5"},"source":{"lsn":1}}',)], "value string")
    feed = debezium(text, keys="id", schema="id int, n decimal(38,10)", connector="postgresql", decimals="string")
    assert events(feed, "n", "_lk_reason") == [(Decimal("-1.5000000000"), None)]


def test_markers_inside_arrays_of_every_kind(spark):
    """Debezium says "unchanged" in an array's own element type; an array that merely looks similar is a value."""
    raw = PLACEHOLDER.encode()
    ones = [base64.b64encode(bytes([b])).decode() for b in raw]
    marked = {
        "id": 1,
        "longs": list(raw),
        "reals": [float(b) for b in raw],
        "flags": [True] * len(raw),
        "blobs": [base64.b64encode(raw).decode()],
        "money": ones,
        "pairs": {PLACEHOLDER: PLACEHOLDER},
        "shape": {"wkb": base64.b64encode(raw).decode(), "srid": None},
    }
    similar = {
        "id": 2,
        "longs": list(raw)[:-1],
        "reals": [0.0] * len(raw),
        "flags": [True] * (len(raw) - 1),
        "blobs": [base64.b64encode(raw).decode()] * 2,
        "money": ones[1:],
        "pairs": {PLACEHOLDER: PLACEHOLDER, "other": "x"},
        "shape": {"wkb": base64.b64encode(b"x").decode(), "srid": 4326},
    }
    df = spark.createDataFrame([(json.dumps({"op": "c", "after": a, "source": {"lsn": 1}}),) for a in (marked, similar)], "value string")
    ddl = (
        "id int, longs array<bigint>, reals array<double>, flags array<boolean>, blobs array<binary>, money array<decimal(9,0)>, "
        "pairs map<string,string>, shape struct<wkb: binary, srid: int>"
    )
    feed = debezium(df, keys="id", schema=ddl, connector="postgresql")
    rows = by_key(feed)
    names = ["longs", "reals", "flags", "blobs", "money", "pairs", "shape"]
    assert rows[1, 1, 1]["_lk_absent"] == names
    assert [rows[1, 1, 1][n] for n in names] == [None] * len(names)
    assert rows[2, 1, 1]["_lk_absent"] == []
    assert rows[2, 1, 1]["money"] == [Decimal(b) for b in raw[1:]]
    assert (rows[2, 1, 1]["shape"], rows[2, 1, 1]["blobs"]) == ({"wkb": bytearray(b"x"), "srid": 4326}, [bytearray(raw)] * 2)
    whole = debezium(df, keys="id", schema="id int, longs array<bigint>", connector="postgresql", unavailable=None)
    assert "_lk_absent" not in whole.df.columns
    assert by_key(whole)[1, 1, 1]["longs"] == list(raw)


def test_nested_values_that_do_not_fit_make_a_bad_row(spark):
    good = {"id": 1, "l": [base64.b64encode(b"\x7b").decode()], "s": {"d": 0, "x": "keep"}}
    bad_list = {"id": 2, "l": [base64.b64encode(b"\x7b").decode(), "not base64!"], "s": None}
    bad_struct = {"id": 3, "l": None, "s": {"d": 10**9, "x": "keep"}}
    df = spark.createDataFrame(
        [(json.dumps({"op": "c", "after": a, "source": {"lsn": 1}}),) for a in (good, bad_list, bad_struct)], "value string"
    )
    feed = debezium(df, keys="id", schema="id int, l array<decimal(5,1)>, s struct<d: date, x: string>", connector="postgresql")
    assert sorted(events(feed, "id", "l", "_lk_reason")) == [
        (1, [Decimal("12.3")], None),
        (2, [Decimal("12.3"), None], "column l: cannot be read as array<decimal(5,1)> without loss"),
        (3, None, "column s: cannot be read as struct<d:date,x:string> without loss"),
    ]


def test_numbers_keys_and_messages_in_their_odder_forms(spark, tmp_path):
    """JSON numbers where base64 is declared, 38 digits, keys that are only written otherwise, several messages on a line."""

    def line(*updates):
        one = '{{"op":"u","before":{},"after":{},"source":{{"lsn":{}}}}}'
        return "".join(one.format(*update) for update in updates)

    def row(key, rest=""):
        return f'{{"id":{key}{rest}}}'

    folder = tmp_path / "2024/06"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text(
        line(("null", row("1.0", ',"n":1234,"t":"}{ "'), 1), (row("1.0"), row("1.00", ',"n":"BNI="'), 2), (row("1.0"), row("2.0"), 3))
        + "\n"
        + line(("null", row(3, ',"n":12345678901234567890123456789012345678'), 4), ("null", row(4, ',"n":1.005'), 5))
        + line(("null", row(5, ',"b":128'), 6), ("null", row(6, ',"s":{"it\'s":12.5}'), 7))
    )
    ddl = "id decimal(9,2), n decimal(38,0), b tinyint, t string, s struct<`it's`: decimal(5,2)>"
    feed = debezium(str(tmp_path), keys="id", schema=ddl, connector="postgresql", spark=spark)
    assert sorted(events(feed, "dbz_lsn", "_lk_op", "id", "n", "t", "s", "_lk_reason"), key=repr) == [
        (1, "upsert", Decimal(1), Decimal(1234), "}{ ", None, None),
        (2, "upsert", Decimal(1), Decimal(1234), None, None, None),
        (3, "delete", Decimal(1), None, None, None, None),
        (3, "upsert", Decimal(2), None, None, None, None),
        (4, "upsert", Decimal(3), Decimal("12345678901234567890123456789012345678"), None, None, None),
        (5, "upsert", Decimal(4), None, None, None, "column n: cannot be read as decimal(38,0) without loss"),
        (6, "upsert", Decimal(5), None, None, None, "column b: cannot be read as tinyint without loss"),
        (7, "upsert", Decimal(6), None, None, (Decimal("12.50"),), None),
    ]
    flat = [{"id": 1, "__ts_ms": 9, "__source_ts_ms": 5, "__file": "", "__pos": 0, "__op": "r", "__snapshot": "true"}]
    df = spark.createDataFrame([(json.dumps(m),) for m in flat], "value string")
    told = {"keys": "id", "schema": "id int", "flattened": True}
    assert events(debezium(df, order_by="source.ts_ms", **told), "dbz_source_ts_ms") == [(Decimal(5),)]
    assert events(debezium(df, connector="mysql", **told), "dbz_phase", "dbz_file", "_lk_reason") == [(0, None, None)]


def test_reading_runs_no_job_when_all_is_declared(spark):
    counted = spark.sparkContext.statusTracker()
    spark.sparkContext.setJobGroup("debezium-declared", "no job")
    try:
        debezium(str(DATA / "mysql_plain.jsonl"), keys="id", schema="id int, name string", connector="mysql", spark=spark)
        assert counted.getJobIdsForGroup("debezium-declared") == []
    finally:
        spark.sparkContext.setJobGroup("", "")


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"schema": None}, SourceError, "no schema block"),
        ({"schema": "id int", "connector": "oracle"}, ConfigError, "order_by"),
        ({"schema": "name string", "connector": "mysql"}, ConfigError, "keys names id"),
        ({"schema": "id int, at timestamp", "connector": "mysql", "logical": {"at": "Duration"}}, ConfigError, "Duration"),
        (
            {"schema": "id int, at boolean", "connector": "mysql", "logical": {"at": "MicroTimestamp"}},
            ConfigError,
            "MicroTimestamp cannot be read",
        ),
        ({"schema": "id int, other", "connector": "mysql"}, ConfigError, "no schema in DDL"),
        ({"schema": "id int, d interval day to second", "connector": "mysql"}, ConfigError, "which no Debezium value is read as"),
    ],
)
def test_what_cannot_be_read_is_said_before_it_is_tried(spark, arguments, error, says):
    with pytest.raises(error, match=says):
        debezium(str(DATA / "mysql_plain.jsonl"), keys="id", spark=spark, **arguments)
