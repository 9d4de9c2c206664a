"""The demo's generator and digest; the demo itself is run by CI (`make demo`)."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakekit.demo.__main__ import CONFIG, _config, _fresh, verdict
from lakekit.demo.digest import Digest, digest
from lakekit.demo.feed import deliveries, described, last_words, samples
from lakekit.errors import ConfigError

EVENTS = 4000


def test_the_same_seed_makes_the_same_deliveries(spark: SparkSession):
    one, two, other = (deliveries(spark, EVENTS, seed=seed) for seed in (7, 7, 8))
    # Another number of partitions stands for another machine.
    assert [digest(d) for d in one] == [digest(d.repartition(5)) for d in two] != [digest(d) for d in other]


def test_the_deliveries_are_what_the_demo_says_of_them(spark: SparkSession):
    first, second = deliveries(spark, EVENTS, seed=1)
    feed = described(second, "here")
    assert len(first.columns) >= 12
    assert feed.keys == ("order_id",) and feed.sequence_by == ("lsn",) and "op" not in feed.columns

    newest = first.agg(F.max("lsn")).first()[0]
    again = second.join(first, "lsn", "left_semi")
    late = second.where(F.col("lsn") < newest).join(first, "lsn", "left_anti")
    assert again.count() > EVENTS // 100 and late.count() > EVENTS // 100
    assert first.count() > first.distinct().count()  # repeated inside one delivery
    assert {row["op"] for row in second.select("op").distinct().collect()} == {"I", "U", "D"}
    assert first.select("lsn").collect() != first.select("lsn").sort("lsn").collect()

    everything = first.union(second)
    assert everything.distinct().count() == everything.select("lsn").distinct().count()  # one event, one sequence: no ties
    assert everything.where("order_id IS NULL OR lsn IS NULL").isEmpty()


def test_last_words_and_samples_against_plain_python(spark: SparkSession):
    first, second = deliveries(spark, EVENTS, seed=3)
    before, after = {}, {}
    for state, frames in ((before, [first]), (after, [first, second])):
        for row in sorted((row for frame in frames for row in frame.collect()), key=lambda row: row["lsn"]):
            state[row["order_id"]] = row
    alive = {key: row for key, row in after.items() if row["op"] != "D"}
    assert {row["order_id"]: row["lsn"] for row in last_words(first, second).collect()} == {k: row["lsn"] for k, row in alive.items()}

    chosen = samples(first, second)
    assert set(chosen.values()) == {"is new", "has news", "is deleted", "has late news only", "was deleted and has late news only"}
    for key, fate in chosen.items():
        stood = before.get(key)
        if fate == "is new":
            assert stood is None and key in alive
        elif fate == "has news":
            assert stood["op"] != "D" and alive[key]["lsn"] > stood["lsn"]
        elif fate == "is deleted":
            assert stood["op"] != "D" and key not in alive
        else:
            assert after[key]["lsn"] == stood["lsn"] and (stood["op"] == "D") == fate.startswith("was deleted")


def test_the_digest_sees_every_value(spark: SparkSession):
    base = "SELECT 1 AS a, 'x' AS b, CAST(NULL AS STRING) AS c"
    others = (
        "SELECT 2 AS a, 'x' AS b, CAST(NULL AS STRING) AS c",
        "SELECT 1 AS a, CAST(NULL AS STRING) AS b, 'x' AS c",
        "SELECT 1 AS a, 'x' AS b, 'null' AS c",
        "SELECT 1 AS a, 'x' AS b, '' AS c",
        f"{base} UNION ALL {base}",
        f"{base} WHERE false",
    )
    found = [digest(spark.sql(query)) for query in (base, *others)]
    assert len(set(found)) == len(found)


def test_the_verdict(capsys: pytest.CaptureFixture[str]):
    assert verdict({"one": Digest(3, "ab"), "two": Digest(3, "ab")})
    assert not verdict({"one": Digest(3, "ab"), "two": Digest(3, "cd")})
    assert "NOT EQUAL" in capsys.readouterr().out


def test_only_its_own_folder_is_emptied(tmp_path: Path):
    mine = _fresh(tmp_path / "lake")
    (mine / "old").touch()
    assert not (_fresh(mine) / "old").exists()
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    (stranger / "precious").touch()
    with pytest.raises(ConfigError, match="not the demo's"):
        _fresh(stranger)
    assert (stranger / "precious").exists()


def test_the_job_file_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert _config(CONFIG).is_file()
