"""What a live Spark session has and lacks for the table formats, found by class and by conf, never by trying."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.sql import SparkSession

from lakekit.errors import SessionError
from lakekit.runtimes import WIRING, Wiring, platform, runtime_of, wiring

EXTENSIONS = "spark.sql.extensions"
CATALOG = "spark.sql.catalog."


@dataclass(frozen=True)
class Gap:
    """One thing that a session lacks for a format: a class that no jar brings, or a conf line."""

    format: str
    missing: str
    conf: tuple[str, str] | None = None

    def __str__(self) -> str:
        return f"{self.format}: {self.missing}" + (f"; add --conf {self.conf[0]}={self.conf[1]}" if self.conf else "")


def has_class(jvm: Any, name: str) -> bool:
    """Whether the JVM can load a class, looked up the way Spark looks up a data source; the class is not initialised."""
    try:
        loader = jvm.org.apache.spark.util.Utils.getContextOrSparkClassLoader()
        jvm.java.lang.Class.forName(name, False, loader)
    except Py4JJavaError:
        return False
    return True


def confs(spark: SparkSession) -> dict[str, str]:
    """Every conf that is set in the session, SQL confs over the context's own."""
    context = dict(spark.sparkContext.getConf().getAll())
    rows = spark._jsparkSession.conf().getAll()  # type: ignore[attr-defined]  # a Scala map; SQL's SET would list the same
    iterator = rows.iterator()
    while iterator.hasNext():
        pair = iterator.next()
        context[pair._1()] = pair._2()
    return context


def gaps(spark: SparkSession, formats: Sequence[str]) -> tuple[Gap, ...]:
    """Everything that the session lacks for the formats, in extension order."""
    found, jvm = confs(spark), jvm_of(spark)
    wanted = [line for line in WIRING if line.name in formats]
    extensions = _listed(found.get(EXTENSIONS))
    whole = ",".join(_ordered(extensions, wanted))
    return tuple(gap for line in wanted for gap in _gaps(line, found, jvm, extensions, whole))


def jvm_of(spark: SparkSession) -> Any:
    """The session's JVM; `SessionError` for Spark Connect, which has none on this side."""
    jvm = getattr(spark, "_jvm", None)
    if jvm is None:
        raise SessionError("lakekit needs a classic Spark session; this one is Spark Connect, which shows no classes and confs of its server.")
    return jvm


def _gaps(line: Wiring, found: dict[str, str], jvm: Any, extensions: Sequence[str], whole: str) -> list[Gap]:
    if not has_class(jvm, line.probe):
        lacking = [Gap(line.name, f"class {line.probe} is in no jar of this session")]
    else:
        lacking = []
    if line.extension not in extensions:
        lacking.append(Gap(line.name, f"{EXTENSIONS} lacks {line.extension}", (EXTENSIONS, whole)))
    catalogs = {key: value for key, value in found.items() if key.startswith(CATALOG) and "." not in key.removeprefix(CATALOG)}
    own_place = line.catalog_conf == f"{CATALOG}spark_catalog"
    values = [catalogs.get(line.catalog_conf)] if own_place else list(catalogs.values())
    if not any(value in line.catalogs for value in values):
        lacking.append(Gap(line.name, f"no catalog of class {line.catalogs[0]}", (line.catalog_conf, line.catalogs[0])))
    lacking += [Gap(line.name, f"{key} is {found.get(key, 'not set')}", (key, value)) for key, value in line.confs.items() if found.get(key) != value]
    return lacking


def _listed(value: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (value or "").split(",") if part.strip())


def _ordered(present: Sequence[str], wanted: Sequence[Wiring]) -> list[str]:
    """The extensions that the session should have: strangers first, then the formats' in their order."""
    ours = [line.extension for line in WIRING if line in wanted or line.extension in present]
    return [name for name in present if name not in ours] + ours


def require(spark: SparkSession, formats: Sequence[str]) -> None:
    """Raise `SessionError` with every gap and the lines that close them, when the session lacks anything for the formats."""
    lacking = gaps(spark, formats)
    if not lacking:
        return
    lines = [f"  - {gap}" for gap in lacking]
    names = ", ".join(sorted({gap.format for gap in lacking}))
    raise SessionError("\n".join([f"the Spark session ({spark.version}, {platform()}) cannot work with {names}:", *lines, f"Next: {_hint(spark, lacking)}."]))


def _hint(spark: SparkSession, lacking: Sequence[Gap]) -> str:
    runtime = runtime_of(spark.version)
    names = sorted({gap.format for gap in lacking})
    if runtime is None:
        return "start Spark with the formats' jars and the conf lines above; jars cannot be added to a running JVM"
    carried = [name for name in names if name in runtime.formats]
    paths = ",".join(path for name in carried for path in runtime.formats[name].builtin)
    return runtime.hint.format(formats=",".join(names), jars=paths, names=", ".join(f'"{name}"' for name in names))


def available(spark: SparkSession) -> tuple[str, ...]:
    """The formats that lack nothing in the session."""
    return tuple(line.name for line in WIRING if not gaps(spark, [line.name]))


def package_version(jvm: Any, name: str) -> str | None:
    """The version that a class's jar states in its manifest, or the jar's file name, or None."""
    try:
        cls = jvm.java.lang.Class.forName(name, False, jvm.org.apache.spark.util.Utils.getContextOrSparkClassLoader())
        source = cls.getProtectionDomain().getCodeSource()
    except Py4JError:
        return None
    return str(source.getLocation().getPath()).rpartition("/")[2] if source is not None else None


__all__ = ["Gap", "available", "confs", "gaps", "has_class", "jvm_of", "package_version", "require", "wiring"]
