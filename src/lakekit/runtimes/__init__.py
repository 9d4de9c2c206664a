"""Versions and wiring: one table says which Spark, Java and table formats each runtime carries, and how they are wired."""

from lakekit.runtimes.platforms import installed_spark, local_runtime, platform, runtime_of
from lakekit.runtimes.table import JAVA_FROM_PYPI, MAVEN_CENTRAL, RUNTIMES, Build, Runtime, as_markdown, spark_line
from lakekit.runtimes.wiring import CATALOG, FORMATS, WAREHOUSE, WIRING, Wiring, wiring

__all__ = [
    "CATALOG",
    "FORMATS",
    "JAVA_FROM_PYPI",
    "MAVEN_CENTRAL",
    "RUNTIMES",
    "WAREHOUSE",
    "WIRING",
    "Build",
    "Runtime",
    "Wiring",
    "as_markdown",
    "installed_spark",
    "local_runtime",
    "platform",
    "runtime_of",
    "spark_line",
    "wiring",
]
