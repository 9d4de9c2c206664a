"""lakekit.testing: what users import keeps its promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lakekit.testing import assert_same_rows, orders, random_changes, scramble

NO_SPARK = """
pytest_plugins = ["lakekit.testing.plugin"]


def test_nothing_asks_for_spark():
    from pyspark import SparkContext

    assert SparkContext._active_spark_context is None
    assert SparkContext._gateway is None
"""


def test_the_plugin_starts_no_spark_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(NO_SPARK.split("\n\n\n")[0])
    (tmp_path / "test_it.py").write_text(NO_SPARK.split("\n\n\n")[1])
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_same_rows_ignores_order_and_tells_differences(spark: SparkSession) -> None:
    df = spark.sql("SELECT * FROM VALUES (1, 'a', double('NaN')), (2, NULL, 0D), (2, NULL, 0D) AS t(id, name, x)")
    assert_same_rows(df, [{"id": 2, "x": 0.0}, {"name": "a", "x": float("nan"), "id": 1}, {"id": 2, "x": 0.0}])
    assert_same_rows(df, df.select("x", "name", "id").orderBy("id", ascending=False))
    for wrong in ([(1, "a", float("nan")), (2, None, 0.0)], [(1, "a", 1.0), (2, None, 0.0), (2, None, 0.0)], df.drop("x")):
        with pytest.raises(AssertionError):
            assert_same_rows(df, wrong)


def test_scrambling_loses_nothing() -> None:
    pools = {"keys": [{"id": n} for n in range(5)], "sequences": [{"seq": n} for n in range(50)], "values": {"v": range(9)}}
    changes = random_changes(3, **pools, events=200)
    delivered = scramble(changes, seed=3, batches=5)
    assert {tuple(row.items()) for batch in delivered for row in batch} == {tuple(row.items()) for row in changes}
    assert sum(map(len, delivered)) > len(changes) and len(delivered) == 5
    assert delivered == scramble(changes, seed=3, batches=5) != scramble(changes, seed=4, batches=5)


def test_upserts_of_one_key_and_sequence_agree_unless_conflicts_are_wanted() -> None:
    pools = {"keys": [{"id": 1}], "sequences": [{"seq": 1}], "values": {"v": range(9), "w": ["?", "x"]}}
    assert len({(row["v"], row["w"]) for row in random_changes(1, **pools, deletes=0.0)}) == 1
    assert len({(row["v"], row["w"]) for row in random_changes(1, **pools, deletes=0.0, conflicts=True)}) > 1
    sparse = random_changes(1, **pools, deletes=0.0, unchanged={"v": "-"})
    assert len({row["v"] for row in sparse}) == 2 and len({row["w"] for row in sparse}) == 1


def test_orders_are_the_same_every_time(spark: SparkSession) -> None:
    assert_same_rows(orders(spark, 50, seed=3), orders(spark, 50, seed=3).repartition(5))
    assert orders(spark, 50, seed=3).exceptAll(orders(spark, 50, seed=4)).count() > 0
