"""What a live Spark session has and lacks for the table formats, found by class and by conf, never by trying."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from lakekit.errors import SessionError
from lakekit.gateway import session_confs
from lakekit.runtimes import WIRING, Wiring, platform, runtime_of

EXTENSIONS = "spark.sql.extensions"
CATALOG = "spark.sql.catalog."
SPARK_CATALOG = f"{CATALOG}spark_catalog"


@dataclass(frozen=True)
class Gap:
    """One thing that a session lacks for a format: a class that no jar brings, or something that conf lines bring."""

    format: str
    missing: str
    lines: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.format}: {self.missing}"


def require(spark: SparkSession, formats: Sequence[str]) -> None:
    """Raise `SessionError` with every gap and the lines that close them, when the session lacks anything for the formats."""
    lacking = gaps(spark, formats)
    if lacking:
        names = sorted({gap.format for gap in lacking})
        head = f"the Spark session ({spark.version}, {platform()}) cannot work with {', '.join(names)}:"
        raise SessionError("\n".join([head, *(f"  - {gap}" for gap in lacking), *advice(lacking), f"Next: {_hint(spark, names)}."]))


def advice(lacking: Iterable[Gap]) -> list[str]:
    """The conf lines that close the gaps, each once; where two formats want one place, the later in extension order has it."""
    lines = {key: value for gap in lacking for key, value in gap.lines}
    return ["Conf lines to add:", *(f"  --conf {key}={value}" for key, value in lines.items())] if lines else []


def gaps(spark: SparkSession, formats: Sequence[str]) -> tuple[Gap, ...]:
    """Everything that the session lacks for the formats, in extension order."""
    found, jvm = confs(spark), jvm_of(spark)
    wanted = [line for line in WIRING if line.name in formats]
    return tuple(gap for line in wanted for gap in _gaps(line, found, jvm, wanted))


def available(spark: SparkSession) -> tuple[str, ...]:
    """The formats that lack nothing in the session, in extension order."""
    return tuple(line.name for line in WIRING if not gaps(spark, [line.name]))


def _gaps(line: Wiring, found: Mapping[str, str], jvm: Any, wanted: Iterable[Wiring]) -> Iterator[Gap]:
    extensions = listed(found.get(EXTENSIONS))
    if not has_class(jvm, line.probe):
        yield Gap(line.name, f"class {line.probe} is in no jar of this session")
    if line.extension not in extensions:
        whole = ",".join(_ordered(extensions, wanted))
        yield Gap(line.name, f"{EXTENSIONS} lacks {line.extension}", ((EXTENSIONS, whole),))
    if not any(value in line.catalogs for value in _catalogs(line, found)):
        proposed = {line.catalog_conf: line.catalogs[0], **(line.local_catalog if platform() == "local" else line.cloud_catalog)}
        yield Gap(line.name, f"no catalog of class {' or '.join(line.catalogs)}", tuple(proposed.items()))
    for key, value in line.confs.items():
        if found.get(key) != value:
            yield Gap(line.name, f"{key} is {found.get(key, 'not set')}, not {value}", ((key, value),))


def _catalogs(line: Wiring, found: Mapping[str, str]) -> Iterator[str]:
    """The catalog classes in the places where the format's catalog may stand: Spark's own name, or any name."""
    for key, value in found.items():
        if key == line.catalog_conf or (line.catalog_conf != SPARK_CATALOG and _names_catalog(key)):
            yield value


def _names_catalog(key: str) -> bool:
    return key.startswith(CATALOG) and "." not in key.removeprefix(CATALOG)


def listed(value: str | None) -> tuple[str, ...]:
    """The entries of a conf that is a list."""
    return tuple(part.strip() for part in (value or "").split(",") if part.strip())


def _ordered(present: Sequence[str], wanted: Iterable[Wiring]) -> list[str]:
    """The extensions that the session should have: strangers first, then the formats' in their order."""
    needed = {line.extension for line in wanted} | set(present)
    ours = [line.extension for line in WIRING if line.extension in needed]
    return [name for name in present if name not in ours] + ours


def _hint(spark: SparkSession, names: Sequence[str]) -> str:
    """The next step, in the words of the platform."""
    runtime = runtime_of(spark.version)
    if runtime is None:
        return "start Spark with the formats' jars and the conf lines above; a running JVM takes no new jars"
    paths = [path for name in names if name in runtime.formats for path in runtime.formats[name].builtin]
    quoted = ", ".join(f'"{name}"' for name in names)
    return runtime.hint.format(formats=",".join(names), jars=",".join(paths), names=quoted)


# --- what the session says of itself --------------------------------------------------------------------------------------


def confs(spark: SparkSession) -> dict[str, str]:
    """Every conf that is set in the session, SQL confs over the context's own."""
    return {**dict(spark.sparkContext.getConf().getAll()), **session_confs(spark)}


def jvm_of(spark: SparkSession) -> Any:
    """The session's JVM; `SessionError` for Spark Connect, which has none on this side."""
    jvm = getattr(spark, "_jvm", None)
    if jvm is None:
        raise SessionError("lakekit needs a classic Spark session. This one is Spark Connect: start Spark in this process instead.")
    return jvm


def has_class(jvm: Any, name: str) -> bool:
    """Whether the JVM can load a class, looked up the way Spark looks up a data source; the class is not initialised."""
    return _class(jvm, name) is not None


def jar_of(jvm: Any, name: str) -> str | None:
    """The file name of the jar that a class comes from, or None when it is not there."""
    found = _class(jvm, name)
    source = found.getProtectionDomain().getCodeSource() if found is not None else None
    return str(source.getLocation().getPath()).rpartition("/")[2] if source is not None else None


def _class(jvm: Any, name: str) -> Any:
    try:
        loader = jvm.org.apache.spark.util.Utils.getContextOrSparkClassLoader()
        return jvm.java.lang.Class.forName(name, False, loader)
    except Py4JJavaError:
        return None
