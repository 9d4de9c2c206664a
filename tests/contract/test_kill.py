"""C9: after a SIGKILL at any moment, the same batch again gives the table of a clean run."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.contract.faults import kills, new_history, new_subject
from tests.contract.harness import MODES


@pytest.mark.slow
@pytest.mark.parametrize("format", dict.fromkeys(mode.format for mode in MODES))
def test_killed_writers(spark: SparkSession, format: str, tmp_path: Path) -> None:
    both = [mode for mode in MODES if mode.format == format]
    caught, length = 0, 0.0
    for mode, rounds in zip(both, (2, 1), strict=True):
        tally = kills(spark, new_subject(spark, mode, "killed"), rounds, seed=rounds, folder=tmp_path, length=length)
        length = tally.length
        assert tally.rounds == rounds
        caught += tally.events["caught at work"]
    assert caught > 0, "no kill fell into an upsert"
    tally = kills(spark, new_history(spark, both[0], "killed2"), 1, seed=3, folder=tmp_path, length=2 * length)
    assert tally.rounds == 1
