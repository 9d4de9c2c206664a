"""C10 seen from outside: engines that are not Spark read every table of the suite and find the rows of the oracle.

Collected last (see conftest): the tables then hold what all other tests left in them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from tests import oracle
from tests.contract.faults import warehouse_of
from tests.contract.harness import Mode, Subject, rows_by_key, same


def read_iceberg(path: Path) -> pa.Table:
    from pyiceberg.table import StaticTable

    newest = (path / "metadata" / "version-hint.text").read_text().strip()
    return StaticTable.from_metadata(str(path / "metadata" / f"v{newest}.metadata.json")).scan().to_arrow()


def read_delta(path: Path) -> pa.Table:
    from deltalake import DeltaTable, QueryBuilder

    return pa.table(QueryBuilder().register("t", DeltaTable(str(path))).execute("SELECT * FROM t").read_all())


def read_hudi(path: Path) -> pa.Table:
    from hudi import HudiTableBuilder

    return pa.Table.from_batches(HudiTableBuilder.from_base_uri(str(path)).build().read())


READERS: dict[str, tuple[str, Callable[[Path], pa.Table]]] = {
    "iceberg": ("{db}/{name}", read_iceberg),
    "delta": ("{db}.db/{name}", read_delta),
    "hudi": ("{db}.db/{name}", read_hudi),
}


def test_other_engines_find_the_same_rows(spark: SparkSession, mode: Mode, seen: list[Subject]) -> None:
    place, read = READERS[mode.format]
    subjects = [subject for subject in seen if subject.mode == mode]
    if not subjects:
        pytest.skip("no table was written in this mode: run the suite as a whole")
    for subject in subjects:
        db, name = subject.table.name.split(".")
        found = read(Path(warehouse_of(spark)) / place.format(db=db, name=name))
        extra = [c for c in found.column_names if c not in subject.rules.columns]
        assert all(c.startswith(("_lakekit", "_hoodie_")) for c in extra), (name, extra)
        # Tables that full loads made have no events to tell their rows from: Spark's reading, which their own tests compare, stands in.
        expected = subject.expected() if subject.delivered else rows_by_key(subject.table.df(), subject.rules)
        same(by_key(found.select(list(subject.rules.columns)), subject.rules.keys), expected)


def by_key(found: pa.Table, keys: tuple[str, ...]) -> dict[Any, Any]:
    """Arrow's rows in the oracle's spelling; fails on two rows of one key."""
    columns = {c: [value(v, found.schema.field(c).type) for v in _exact(found[c]).to_pylist()] for c in found.column_names}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    result = {tuple(row[c] for c in keys): row for row in rows}
    assert len(result) == len(rows), "two rows of one key"
    return result


def _exact(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
    return column


def value(found: Any, type_: pa.DataType) -> Any:
    """One Arrow value in the oracle's spelling: structs are tuples of their values, maps sorted pairs."""
    if found is None:
        return None
    if pa.types.is_struct(type_):
        return tuple(value(found[field.name], field.type) for field in type_)
    if pa.types.is_map(type_):
        return tuple(sorted((k, value(v, type_.item_type)) for k, v in dict(found).items()))
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return tuple(value(v, type_.value_type) for v in found)
    return oracle.plain(found)
