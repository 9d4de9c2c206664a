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

from lakekit import knownbad
from lakekit.errors import LakekitError
from lakekit.runtimes import FORMATS, WIRING, Runtime, Wiring, installed_spark, platform, runtime_of, wiring

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
    return Report(facts, states, tuple(knownbad.warnings(_scene(spark, jvm, runtime, confs, states))))


def _scene(
    spark: SparkSession, jvm: Any, runtime: Runtime | None, confs: Mapping[str, str], states: Sequence[FormatState]
) -> knownbad.Scene:
    return knownbad.Scene(
        platform=platform(),
        runtime=runtime,
        spark=spark.version,
        scala=".".join(_scala(jvm).split(".")[:2]),
        java=_java(jvm, "version"),
        pyspark=installed_spark(),
        confs=confs,
        jars={state.name: state.jar for state in states if state.jar is not None},
        ansi=_ansi(spark),
    )


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
    return (
        ("Java", f"{_java(jvm, 'version')} ({_java(jvm, 'home')})"),
        ("Spark", f"{spark.version} ({spark.sparkContext.master})"),
        ("Scala", _scala(jvm)),
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


def _java(jvm: Any, name: str) -> str:
    return str(jvm.java.lang.System.getProperty(f"java.{name}"))


def _scala(jvm: Any) -> str:
    return str(jvm.scala.util.Properties.versionNumberString())


def _ansi(spark: SparkSession) -> bool:
    return str(spark.conf.get("spark.sql.ansi.enabled")).lower() == "true"


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
