"""What becomes of the engines' errors: messages as they stand in the jars, with values of rows where the engines put some."""

from __future__ import annotations

import pytest
from pyspark.errors import PySparkException

from lakekit.errors import CommitConflict, DataRejected, EngineError, LakekitError
from lakekit.formats.failures import translated

LOST_RACES = [
    "org.apache.iceberg.exceptions.ValidationException: Found conflicting files that can contain records matching id = 4711",
    "org.apache.iceberg.exceptions.CommitFailedException: Version 7 already exists: file:/lake/db/t/metadata/v7.metadata.json",
    # Between a rival's commit and the second of the two scans of a MERGE's plan; found by `make torture`.
    "java.lang.IllegalStateException: Runtime file filtering is not possible: the table has been concurrently modified. "
    "Row-level operation scan snapshot ID: 1, current table snapshot ID: 2.",
    "org.apache.spark.sql.delta.ConcurrentAppendException: [DELTA_CONCURRENT_APPEND] files were added to partition id=4711",
    "org.apache.hudi.exception.HoodieWriteConflictException: Cannot resolve conflicts for overlapping writes",
]


@pytest.mark.parametrize(
    ("cause", "expected", "says"),
    [
        *((cause, CommitConflict, "db.t: another writer changed the table while merging. Run the same") for cause in LOST_RACES),
        ("SparkRuntimeException: lakekit: column v holds no number\n4711", DataRejected, "db.t: column v holds no number. Nothing"),
        ("java.lang.IllegalStateException: bad row 4711", EngineError, "db.t: the engine failed while merging (IllegalStateException)."),
    ],
)
def test_an_error_of_an_engine(cause: str, expected: type[LakekitError], says: str) -> None:
    with pytest.raises(expected) as caught, translated("db.t", "merging"):
        raise PySparkException(cause)
    assert str(caught.value).startswith(says)
    assert "4711" not in str(caught.value), "no data value in a message"
    assert str(caught.value.__cause__) == cause
