"""upsert is unchanged inside Structured Streaming's foreachBatch, and a lost checkpoint costs nothing but time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

from pyspark.sql import DataFrame

import lakekit as lk
from tests.contract.harness import Subject, check_sum, in_plain_modes
from tests.frames import frame
from tests.oracle import Row, Rules

RULES = Rules(("id",), ("seq",), ("id", "seq", "v"))
SCHEMA = "id int, seq bigint, op string, v string"
FILES: list[list[Row]] = [
    [{"id": n, "seq": 2, "op": "U", "v": f"v{n}"} for n in range(20)] + [{"id": 30, "seq": 5, "op": "D"}],
    [{"id": n, "seq": 3, "op": "D"} for n in range(5)] + [{"id": n, "seq": n % 4 * 2 + 1, "op": "U", "v": "second"} for n in range(5, 31)],
]


@in_plain_modes
def test_available_now_and_a_lost_checkpoint(new: Callable[..., Subject], tmp_path: Path) -> None:
    subject = new("streamed", SCHEMA, RULES, delete_when="op = 'D'", except_columns=["op"])
    landing, checkpoint = tmp_path / "landing", tmp_path / "checkpoint"
    commits: list[lk.Commit] = []

    def apply(batch: DataFrame, number: int) -> None:
        commits.append(subject.table.upsert(lk.changes(batch, **subject.described), batch_id=str(number)))

    def run(files_a_batch: int) -> None:
        source = subject.spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", files_a_batch).parquet(str(landing))
        query = source.writeStream.foreachBatch(apply).trigger(availableNow=True).option("checkpointLocation", str(checkpoint)).start()
        assert query.awaitTermination(120), "the stream did not end"

    for rows in FILES:
        frame(subject.spark, rows, SCHEMA).coalesce(1).write.mode("append").parquet(str(landing))
        subject.delivered += rows
    run(1)
    assert sorted(commit.read for commit in commits) == sorted(map(len, FILES))
    subject.check()

    rmtree(checkpoint)
    versions = subject.table.versions().count()
    run(10)
    assert len(commits) == 3 and commits[2].read == sum(map(len, FILES))
    assert commits[2].applied == 0 and not commits[2].changed
    assert subject.table.versions().count() == versions
    for commit in commits:
        check_sum(commit)
    subject.check()
