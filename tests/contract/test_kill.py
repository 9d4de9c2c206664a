"""C9: after a SIGKILL at any moment, the same batch again gives the table of a clean run."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.contract.faults import kills, new_history, new_subject
from tests.contract.harness import MODES


@pytest.mark.slow
def test_killed_writers(spark: SparkSession, tmp_path: Path) -> None:
    """Three kills for each format, of a writer that is at work on all tables at once; ``make torture`` kills in every mode and verb."""
    # Where updates add files beside those that stand, more can be left half done.
    made = [new_subject(spark, mode, "killed") for mode in MODES if mode.merge_on_read]
    made.append(new_history(spark, MODES[0], "killed2"))
    tallies = kills(spark, made, 3, seed=3, folder=tmp_path)
    assert all(tally.rounds == 3 for tally in tallies)
    caught = {each.mode.format for each, tally in zip(made, tallies, strict=True) if tally.events["caught at work"]}
    assert caught == {mode.format for mode in MODES}, "no kill fell into an upsert"
