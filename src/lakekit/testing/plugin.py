"""The pytest plugin: one local Spark session for all tests, started when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


# Tests are many short plans over few rows: the JVM's optimising compiler costs them more than it gives (40 % of all CPU time).
# Alone, the quick one is given 48 MB for its code, which many tests fill: methods would be thrown out and compiled again for ever.
# And nobody will look at the plans of the last thousand statements, which Spark keeps for a UI that is off.
QUICK = {
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m",
    "spark.sql.ui.retainedExecutions": "20",
}


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """A local session with every table format of its Spark line, in UTC, on two cores, with a warehouse that pytest tidies away.

    Override it in your ``conftest.py`` to change anything. It starts no Spark before a test asks for it.
    """
    import lakekit

    session = lakekit.session(warehouse=str(tmp_path_factory.mktemp("warehouse")), app_name="lakekit-tests", conf=QUICK)
    yield session
    session.stop()
