"""What is here and what cannot work: versions, formats, catalogs, and combinations known to go wrong.

`examine` looks at a session and returns a `Report`, a plain value; ``lakekit doctor`` prints it.
"""

from __future__ import annotations

import os
import platform as machine
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from lakekit.errors import LakekitError
from lakekit.runtimes import FORMATS, WIRING, Runtime, Wiring, installed_spark, platform, runtime_of, spark_line, wiring

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class FormatState:
    """One table format in a session: the jar and version found, what is lacking, and whether it was asked for."""

    name: str
    jar: str | None
    version: str | None
    expected: str | None
    lacking: tuple[str, ...]
    asked: bool

    @property
    def works(self) -> bool:
        """Whether the session lacks nothing for the format."""
        return not self.lacking


@dataclass(frozen=True)
class Report:
    """What `examine` found: facts as name and value, one state per format, and warnings."""

    facts: tuple[tuple[str, str], ...]
    formats: tuple[FormatState, ...] = ()
    warnings: tuple[str, ...] = ()
    failure: str | None = None

    @property
    def healthy(self) -> bool:
        """Whether every format that was asked for works."""
        return self.failure is None and all(state.works for state in self.formats if state.asked)

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def examine(spark: SparkSession, *formats: str) -> Report:
    """Look at a live session and say what is here and what is wrong with it; nothing is changed and no table is touched.

    ``formats`` are those that must work (default: all that lakekit tests on this Spark). Raises `ConfigError` for an unknown name.
    """
    from lakekit import inspection

    runtime, confs, jvm = runtime_of(spark.version), inspection.confs(spark), inspection.jvm_of(spark)
    asked = tuple(wiring(name).name for name in formats) or (runtime.tested if runtime is not None else FORMATS)
    states = tuple(_state(line, spark, runtime, line.name in asked) for line in WIRING)
    facts = (*_host_facts(), *_spark_facts(spark, jvm, runtime), *_catalog_facts(confs))
    return Report(facts, states, tuple(_warnings(spark, jvm, confs, states, runtime)))


def doctor(formats: Sequence[str]) -> Report:
    """Examine the live session, or a local one made for the purpose; a failure to get one stands in the report."""
    if installed_spark() is None and platform() == "local":
        return Report(_host_facts(), failure="pyspark is not installed. On a laptop: pip install 'lakekit[local]' (Spark and Java).")
    try:
        return examine(_session(formats), *formats)
    except LakekitError as error:
        return Report(_host_facts(), failure=str(error))


def _session(formats: Sequence[str]) -> SparkSession:
    """The live session as it is, were it lacking or not; else what `lakekit.session` makes."""
    from lakekit.session import live_session, managed, session

    if live := live_session():
        return live
    return session() if managed() else session(*formats)


def _state(line: Wiring, spark: SparkSession, runtime: Runtime | None, asked: bool) -> FormatState:
    from lakekit import inspection

    jar = inspection.jar_of(inspection.jvm_of(spark), line.probe)
    build = runtime.formats.get(line.name) if runtime is not None else None
    found = inspection.gaps(spark, [line.name])
    lacking = (*(gap.missing for gap in found), *(text.strip() for text in inspection.advice(found)))
    return FormatState(line.name, jar, jar_version(jar), build.version if build is not None else None, lacking, asked)


def jar_version(jar: str | None) -> str | None:
    """The version in a jar's file name.

    >>> jar_version("iceberg-spark-runtime-3.5_2.12-1.10.0.jar"), jar_version("hudi-spark-bundle.jar")
    ('1.10.0', None)
    """
    match = re.search(r"-(\d+(?:\.\d+)+(?:-amzn-\d+)?[\w.-]*)\.jar$", re.sub(r"^.*_2\.1\d", "", jar)) if jar else None
    return match.group(1) if match else None


# --- facts ------------------------------------------------------------------------------------------------------------------

Facts = tuple[tuple[str, str], ...]


def _host_facts() -> Facts:
    return (
        ("lakekit", _version("lakekit")),
        ("Python", f"{machine.python_version()} ({sys.executable})"),
        ("platform", platform()),
        ("pyspark", installed_spark() or "not installed"),
        ("JAVA_HOME", os.environ.get("JAVA_HOME") or "not set"),
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed, run from its source"


def _spark_facts(spark: SparkSession, jvm: Any, runtime: Runtime | None) -> Facts:
    system = jvm.java.lang.System.getProperty
    return (
        ("Java", f"{system('java.version')} ({system('java.home')})"),
        ("Spark", f"{spark.version} ({spark.sparkContext.master})"),
        ("Scala", str(jvm.scala.util.Properties.versionNumberString())),
        ("Hadoop", str(jvm.org.apache.hadoop.util.VersionInfo.getVersion())),
        ("table row", runtime.name if runtime is not None else "none: lakekit knows no runtime of this Spark here"),
        ("ANSI", "on" if _ansi(spark) else "off"),
        ("time zone", f"{spark.conf.get('spark.sql.session.timeZone')} (JVM: {jvm.java.util.TimeZone.getDefault().getID()})"),
        ("warehouse", str(spark.conf.get("spark.sql.warehouse.dir"))),
    )


def _catalog_facts(confs: Mapping[str, str]) -> Facts:
    prefix = "spark.sql.catalog."
    found = {key.removeprefix(prefix): value for key, value in confs.items() if key.startswith(prefix)}
    return tuple((f"catalog {name}", f"{value}{_place(found, name)}") for name, value in sorted(found.items()) if "." not in name)


def _place(found: Mapping[str, str], name: str) -> str:
    place = found.get(f"{name}.warehouse") or found.get(f"{name}.uri")
    return f" ({place})" if place else ""


def _ansi(spark: SparkSession) -> bool:
    return str(spark.conf.get("spark.sql.ansi.enabled")).lower() == "true"


# --- combinations known to go wrong -----------------------------------------------------------------------------------------


def _warnings(
    spark: SparkSession, jvm: Any, confs: Mapping[str, str], states: Sequence[FormatState], runtime: Runtime | None
) -> Iterator[str]:
    found = {state.name: state for state in states if state.jar is not None}
    extensions = [part.strip() for part in confs.get("spark.sql.extensions", "").split(",")]
    yield from _version_warnings(spark, jvm, found, runtime)
    yield from _order_warning(extensions)
    for needs, says in PAIRS:
        if all(need in found and wiring(need).extension in extensions for need in needs):
            yield says
    if "delta" in found and platform() != "local" and not any(key.startswith("spark.delta.logStore.s3") for key in confs):
        yield (
            "Delta on S3 lets writers of different clusters overwrite each other's commits. If more than one cluster writes a table, "
            "set spark.delta.logStore.s3.impl=io.delta.storage.S3DynamoDBLogStore"
        )
    if not _ansi(spark):
        yield "ANSI is off: in your own SQL an overflow or a bad cast is a silent NULL; lakekit's verbs mean the same either way"


PAIRS = (
    (
        ("hudi",),
        "With Hudi's extension loaded, SQL VERSION AS OF and TIMESTAMP AS OF fail for Iceberg and Delta. Use lakekit.Table(…).as_of(…)",
    ),
    (
        ("hudi",),
        "Hudi's own SQL MERGE updates rows that it should delete. Use lakekit.Table(…).upsert(…), which writes through Hudi's DataFrame "
        "writer",
    ),
    (
        ("hudi", "delta"),
        "With Delta's catalog as spark_catalog, Hudi's ALTER TABLE … RENAME or CHANGE COLUMN is refused; ADD COLUMNS works",
    ),
)


def _order_warning(extensions: Sequence[str]) -> Iterator[str]:
    """Hudi's parser must come first and Iceberg's last, or CALL reaches the wrong one."""
    ours = [line.extension for line in WIRING if line.extension in extensions]
    present = [name for name in extensions if name in ours]
    if present != ours:
        yield f"spark.sql.extensions are out of order: CALL may reach the wrong format. Order them {','.join(ours)}"


def _version_warnings(spark: SparkSession, jvm: Any, found: Mapping[str, FormatState], runtime: Runtime | None) -> Iterator[str]:
    scala = ".".join(str(jvm.scala.util.Properties.versionNumberString()).split(".")[:2])
    for state in found.values():
        if mismatch := built_for_another(state.jar or "", spark_line(spark.version), scala):
            yield f"{state.name}: {state.jar} was built for {mismatch}, this is Spark {spark.version} on Scala {scala}"
        untested = runtime.formats[state.name].untested if runtime is not None and state.name in runtime.formats else None
        if untested is not None:
            yield f"{state.name} is not tested here: {untested}"
    if (installed := installed_spark()) and spark_line(installed) != spark_line(spark.version):
        yield f"pyspark is {installed} and the JVM runs Spark {spark.version}: SPARK_HOME points to another installation; unset it"
    if runtime is not None:
        yield from _runtime_warnings(str(jvm.java.lang.System.getProperty("java.version")), runtime)


def _runtime_warnings(java: str, runtime: Runtime) -> Iterator[str]:
    python = ".".join(map(str, sys.version_info[:2]))
    if int(java.split(".")[0]) != runtime.java:
        yield f"Java is {java}; {runtime.name} runs Java {runtime.java}, and so do lakekit's tests"
    if python not in runtime.python:
        yield f"Python is {python}; {runtime.name} runs Python {', '.join(runtime.python)}, and so do lakekit's tests"


def built_for_another(jar: str, line: str, scala: str) -> str | None:
    """The Spark line or Scala version that a jar's name says it was built for, when it is not this one.

    >>> built_for_another("iceberg-spark-runtime-3.5_2.12-1.10.0.jar", "4.1", "2.13")
    'Spark 3.5'
    >>> built_for_another("delta-spark_2.12-3.3.2.jar", "3.5", "2.12") is None
    True
    """
    built_line = re.search(r"spark(?:-runtime-|_)?(\d\.\d)(?=[_-])", jar)
    built_scala = re.search(r"_(2\.1\d)-", jar)
    if built_line and built_line.group(1) != line:
        return f"Spark {built_line.group(1)}"
    return f"Scala {built_scala.group(1)}" if built_scala and built_scala.group(1) != scala else None


# --- printing ---------------------------------------------------------------------------------------------------------------


def _lines(report: Report) -> Iterator[str]:
    width = max(len(name) for name, _ in report.facts)
    yield from (f"{name:<{width}}  {value}" for name, value in report.facts)
    yield from (line for state in report.formats for line in _state_lines(state, width))
    yield from (f"warning: {warning}" for warning in report.warnings)
    if report.failure is not None:
        yield f"FAILED: {report.failure}"


def _state_lines(state: FormatState, width: int) -> Iterator[str]:
    expected = f" (the runtime's is {state.expected})" if state.expected not in (None, state.version) else ""
    verdict = "works" if state.works else "CANNOT WORK" if state.asked else "not set up"
    yield f"{state.name:<{width}}  {verdict}: {state.version or state.jar or 'no jar'}{expected if state.jar else ''}"
    if state.asked:
        yield from (f"{'':<{width}}  - {lack}" for lack in state.lacking)
