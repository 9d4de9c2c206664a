"""A PostgreSQL log told as Debezium tells it (JSON messages) and as AWS DMS tells it (CSV files)."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg2.extensions

from tests.contract.postgres_workload import COLUMNS
from tests.postgres import UNCHANGED, Change, Row

PLACEHOLDER = "__debezium_unavailable_value"
Message = tuple[bytes | None, bytes | None]

# Debezium --------------------------------------------------------------------------------------------------------------

_CONNECT: dict[str, dict[str, Any]] = {
    "bigint": {"type": "int64"},
    "text": {"type": "string"},
    "numeric(12,2)": {
        "type": "bytes",
        "name": "org.apache.kafka.connect.data.Decimal",
        "parameters": {"scale": "2", "connect.decimal.precision": "12"},
    },
    "numeric": {
        "type": "struct",
        "name": "io.debezium.data.VariableScaleDecimal",
        "fields": [{"field": "scale", "type": "int32"}, {"field": "value", "type": "bytes"}],
    },
    "timestamptz": {"type": "string", "name": "io.debezium.time.ZonedTimestamp"},
    "jsonb": {"type": "string", "name": "io.debezium.data.Json"},
    "bytea": {"type": "bytes"},
    "text[]": {"type": "array", "items": {"type": "string", "optional": True}},
}
_ROW = {"type": "struct", "optional": True, "fields": [{"field": n, "optional": n != "id", **_CONNECT[t]} for n, t in COLUMNS.items()]}
_ENVELOPE = {
    "type": "struct",
    "name": "pg.public.things.Envelope",
    "fields": [
        {"field": "before", **_ROW},
        {"field": "after", **_ROW},
        {"field": "source", "type": "struct", "fields": [{"field": "lsn", "type": "int64"}, {"field": "connector", "type": "string"}]},
        {"field": "op", "type": "string"},
    ],
}


def debezium(changes: Iterable[Change]) -> list[Message]:
    """Key and value of each message that Debezium's PostgreSQL connector writes for these changes."""
    return [message for change in changes for message in _messages(change)]


def snapshot(rows: Iterable[Row], lsn: int) -> list[Message]:
    """The messages of Debezium's first snapshot; *rows* hold PostgreSQL's own text."""
    return [_message("r", lsn, None, row, snapshot="true") for row in rows]


def heartbeat() -> Message:
    """What an idle connector writes."""
    return b'{"serverName":"pg"}', b'{"ts_ms":1718000000000}'


def _messages(change: Change) -> list[Message]:
    """An update that changes the key becomes a delete, a tombstone and a create, as Debezium has it."""
    if change.kind == "T":
        return [_message("t", change.lsn, None, None)]
    if change.kind == "M":
        return [_message("m", change.lsn, None, None)]
    if change.kind == "I":
        return [_message("c", change.lsn, None, change.new)]
    if change.kind == "D":
        return [_message("d", change.lsn, change.old, None), _tombstone(change.old)]
    new = _completed(change)
    if change.old is not None and change.old["id"] != new["id"]:
        return [_message("d", change.lsn, change.old, None), _tombstone(change.old), _message("c", change.lsn, None, new)]
    return [_message("u", change.lsn, change.old, new)]


def _completed(change: Change) -> Row:
    """With REPLICA IDENTITY FULL the connector takes what is unchanged from the old row."""
    assert change.new is not None
    known = {n: v for n, v in (change.old or {}).items() if v is not None}
    return {n: known.get(n, v) if v is UNCHANGED else v for n, v in change.new.items()}


def _tombstone(row: Row | None) -> Message:
    return _key(row), None


def _key(row: Row | None) -> bytes | None:
    return None if row is None else json.dumps({"schema": {"type": "struct"}, "payload": {"id": int(row["id"])}}).encode()


def _message(op: str, lsn: int, before: Row | None, after: Row | None, snapshot: str = "false") -> Message:
    source = {"connector": "postgresql", "db": "postgres", "table": "things", "lsn": lsn, "snapshot": snapshot, "txId": 1}
    payload = {"before": _image(before), "after": _image(after), "source": source, "op": op, "ts_ms": 1, "transaction": None}
    return _key(after or before), json.dumps({"schema": _ENVELOPE, "payload": payload}, ensure_ascii=False).encode()


def _image(row: Row | None) -> Row | None:
    return None if row is None else {n: _json(COLUMNS[n], v) for n, v in row.items()}


def _json(type_: str, text: Any) -> Any:
    """A value as Kafka Connect's JsonConverter writes it."""
    if text is None:
        return None
    if text is UNCHANGED:
        return {"bytea": _base64(PLACEHOLDER.encode()), "text[]": [PLACEHOLDER]}.get(type_, PLACEHOLDER)
    encode = {
        "bigint": int,
        "numeric(12,2)": lambda t: _unscaled(Decimal(t), 2),
        "numeric": lambda t: {"scale": _scale(t), "value": _unscaled(Decimal(t), _scale(t))},
        "timestamptz": lambda t: _utc(t).isoformat().replace("+00:00", "Z"),
        "bytea": lambda t: _base64(bytes.fromhex(t[2:])),
        "text[]": lambda t: psycopg2.extensions.UNICODEARRAY(t, None),
    }
    return encode.get(type_, str)(text)


def _scale(text: str) -> int:
    return len(text.partition(".")[2])


def _unscaled(value: Decimal, scale: int) -> str:
    number = int(value.scaleb(scale))
    return _base64(number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


# AWS DMS ---------------------------------------------------------------------------------------------------------------

_PLAIN = [c for c in COLUMNS if c != "tags"]  # DMS carries no arrays
DMS_TYPES = {
    "bigint": "bigint",
    "text": "string",
    "numeric(12,2)": "decimal(12,2)",
    "numeric": "decimal(38,18)",
    "timestamptz": "timestamp",
    "jsonb": "string",
    "bytea": "binary",
}
DMS_COLUMNS = ", ".join(["AR_H_CHANGE_SEQ string", *(f"{p}{n} {DMS_TYPES[COLUMNS[n]]}" for p in ("", "BI_") for n in _PLAIN)])
"""The files' columns as DDL, without the operation."""

Record = list[str | None]


def dms_load(rows: Iterable[Row]) -> list[Record]:
    """The records of a full load; *rows* hold PostgreSQL's own text."""
    return [["I", "", *_fields(row), *_fields(None)] for row in rows]


def dms_changes(changes: Iterable[Change]) -> list[list[Record]]:
    """The records of each transaction in commit order. AR_H_CHANGE_SEQ starts with the commit time: here they are a second apart."""
    told: dict[int, list[Record]] = {}
    start = datetime(2024, 6, 10, 12, tzinfo=UTC)
    for number, change in enumerate((c for c in changes if c.kind in ("I", "U", "D")), 1):
        records = told.setdefault(change.xid, [])
        time = start + timedelta(seconds=len(told))
        records.append(_record(change, f"{time:%Y%m%d%H%M%S}00{number:019}"))
    return list(told.values())


def _record(change: Change, sequence: str) -> Record:
    new = None if change.kind == "D" else _completed(change)
    return [change.kind, sequence, *_fields(new or change.old), *_fields(change.old if change.kind == "U" else None)]


def _fields(row: Row | None) -> list[str | None]:
    return [None if row is None else _dms_text(COLUMNS[n], row[n]) for n in _PLAIN]


def _dms_text(type_: str, text: str | None) -> str | None:
    if text is None:
        return None
    if type_ == "bytea":
        return text[2:]
    return _utc(text).strftime("%Y-%m-%d %H:%M:%S.%f") if type_ == "timestamptz" else text


def dms_file(records: Iterable[Record]) -> str:
    """A file with a header: text quoted, so that empty text is not NULL, which is an empty field."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_NOTNULL) if hasattr(csv, "QUOTE_NOTNULL") else None
    header: Record = ["Op", *(column.split(" ")[0] for column in DMS_COLUMNS.split(", "))]
    for record in (header, *records):
        if writer:
            writer.writerow(record)
        else:  # Python 3.11
            out.write(",".join("" if v is None else '"' + v.replace('"', '""') + '"' for v in record) + "\n")
    return out.getvalue()
