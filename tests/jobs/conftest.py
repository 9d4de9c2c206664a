"""A job file beside two days of its feed."""

from __future__ import annotations

from pathlib import Path

import pytest

ORDERS = """
job: orders
table: {name: "${arg:table}", format: iceberg, create: {partition_by: [region], comment: "daily orders"}}
source:
  dms: {path: "${job:dir}/${arg:day}", keys: [id], header: true, sequence_column: seq, except_columns: dms_phase}
steps:
  - evolve: {allow: [add]}
  - upsert
"""


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """The job file; on day 2 a column more comes."""
    (tmp_path / "day1").mkdir()
    (tmp_path / "day1" / "1.csv").write_text("Op,id,region,qty,seq\nI,1,EU,5,10\nI,2,US,6,11\nI,3,EU,7,12\n")
    (tmp_path / "day2").mkdir()
    (tmp_path / "day2" / "2.csv").write_text("Op,id,region,qty,seq,channel\nU,1,EU,50,20,web\nD,2,US,6,21,web\nI,4,EU,8,22,shop\n")
    path = tmp_path / "orders.yaml"
    path.write_text(ORDERS)
    return path
