"""Where this process runs, and which row of the table that is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

from lakekit.errors import ConfigError, SessionError
from lakekit.runtimes.table import RUNTIMES, Runtime, spark_line

# platform: environment variables, folders; one of either is enough
HINTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "glue": (("GLUE_VERSION", "GLUE_PYTHON_VERSION", "GLUE_COMMAND_CRITERIA"), ("/opt/amazon/spark",)),
    "emr": (("EMR_RELEASE_LABEL", "EMR_SERVERLESS_JOB_RUN_ID"), ("/usr/share/aws/emr", "/emr/instance-controller")),
}
PLATFORMS = ("local", *HINTS)


def platform() -> str:
    """Where this process runs: ``"glue"``, ``"emr"`` or ``"local"``; ``LAKEKIT_PLATFORM`` overrides the guess."""
    if chosen := os.environ.get("LAKEKIT_PLATFORM"):
        if chosen not in PLATFORMS:
            raise ConfigError(f"LAKEKIT_PLATFORM is {chosen!r}; it takes {', '.join(PLATFORMS)}. Leave it unset to let lakekit look.")
        return chosen
    for name, (variables, folders) in HINTS.items():
        if any(variable in os.environ for variable in variables) or any(Path(folder).is_dir() for folder in folders):
            return name
    return "local"


def installed_spark() -> str | None:
    """The version of the pyspark that Python finds, or None; Glue, EMR and a Spark unpacked by hand bring one that pip never installed."""
    try:
        return metadata.version("pyspark")
    except metadata.PackageNotFoundError:
        return str(import_module("pyspark.version").__version__) if find_spec("pyspark") else None


def local_runtime(line: str | None = None) -> Runtime:
    """The local runtime for a Spark line such as ``"3.5"`` (a full version will do), or for the installed pyspark.

    Raises `SessionError` when pyspark is not installed, `ConfigError` when lakekit knows no runtime for that line.
    """
    version = line or installed_spark()
    if version is None:
        raise SessionError("pyspark is not installed. On a laptop: pip install 'lakekit[local]' (Spark and Java); else 'lakekit[spark35]'.")
    known = {runtime.spark_line: runtime for runtime in RUNTIMES.values() if runtime.platform == "local"}
    if spark_line(version) not in known:
        raise ConfigError(f"no local runtime for Spark {version}. Spark lines known to lakekit: {', '.join(known)}.")
    return known[spark_line(version)]


def runtime_of(spark_version: str, where: str | None = None) -> Runtime | None:
    """The table's row for a running Spark version on a platform; None when the table has no row of that Spark line there."""
    rows = [row for row in RUNTIMES.values() if row.platform == (where or platform()) and row.spark_line == spark_line(spark_version)]
    return next((row for row in rows if spark_version == row.spark), rows[0] if rows else None)
