"""C9: two processes upsert the same new keys at once, and one inserts what the other deletes.

Writers are killed in the merge-on-read modes and race in the others; ``make torture`` does both in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.contract.faults import new_history, new_subject, races, rival
from tests.contract.harness import MODES, Mode, in_plain_modes
from tests.contract.writer import Writer


@pytest.fixture(scope="module")
def other(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writer]:
    with rival(spark, {mode.format for mode in MODES}, tmp_path_factory.mktemp("rival")) as writer:
        yield writer


@pytest.mark.slow
@in_plain_modes
def test_never_two_rows_and_never_a_forbidden_one(spark: SparkSession, mode: Mode, other: Writer, tmp_path: Path) -> None:
    assert races(new_subject(spark, mode, "raced"), other, 3, seed=1, folder=tmp_path).rounds == 3


@pytest.mark.slow
@in_plain_modes
def test_histories_and_their_numbers(spark: SparkSession, mode: Mode, other: Writer, tmp_path: Path) -> None:
    """Type 2: the history of all events, and no number twice."""
    assert races(new_history(spark, mode, "raced2"), other, 1, seed=1, folder=tmp_path).rounds == 1
