"""A Spark session that can read and write the table formats: built on a laptop, checked where one is there already."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyspark import SparkContext
from pyspark.errors import PySparkRuntimeError
from pyspark.sql import SparkSession

from lakekit import inspection, jars, maven, secrecy
from lakekit.errors import SessionError
from lakekit.java import find_java, starting_home
from lakekit.runtimes import FORMATS, WAREHOUSE, WIRING, Runtime, Wiring, local_runtime, platform, wiring

# What every local session wants, whatever the format. `conf=` overrides each.
LOCAL = {
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.shuffle.partitions": "2",
    # Listing files with many tasks made a VACUUM of one file take 30 s.
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
    # For each statement Spark writes its plan down for a UI that is off, and in the long form it takes as long as the analysis.
    "spark.sql.ui.explainMode": "simple",
    # Spark keeps a hundred compiled classes, fewer than one upsert needs, and so would compile each anew every time.
    "spark.sql.codegen.cache.maxEntries": "2000",
}
DRIVER_MEMORY = "2g"
# Words in a conf, or in its value, which is then shown in no message.
SECRET = re.compile(rf"{secrecy.WORDS}|pwd|token", re.IGNORECASE)
# Confs that are lists: what the caller passes is added to lakekit's part, and the separator.
LISTS = {"spark.jars": ",", "spark.driver.extraJavaOptions": " "}


def session(
    *formats: str,
    warehouse: str | Path | None = None,
    conf: Mapping[str, Any] | None = None,
    master: str = "local[2]",
    app_name: str = "lakekit",
    extras: Sequence[str] = (),
) -> SparkSession:
    """Return a Spark session in which the table formats work.

    Where no session is live, a local one is built: UTC, no UI, the jars of ``formats`` (default: all that lakekit tests on the
    installed Spark) fetched once and verified, extensions in the right order, Iceberg's catalog ``lake`` and Spark's own
    warehouse at ``warehouse`` (default ``LAKEKIT_WAREHOUSE``, else ``./spark-warehouse``). ``conf`` overrides any conf; ``extras``
    names further jar groups (``aws``, ``jdbc``). ``LAKEKIT_DRIVER_MEMORY`` sets the driver's memory (default 2g), ``LAKEKIT_JAVA_OPTIONS``
    adds Java options; docs/session.md names those that more than halve the time of tests on small tables.

    Where one is live, and on Glue, EMR and under spark-submit, that session is returned after a check of classes and confs: no
    jar is ever added to a running JVM, and of ``conf`` only what Spark lets change at run time is set.

    Raises `SessionError` naming every missing class and conf with the line to add, `JarError` when a jar cannot be fetched.

    Example::

        spark = lk.session("iceberg", "delta", warehouse="/tmp/lake")
    """
    for name in formats:
        wiring(name)  # an unknown name fails before anything starts
    settings = {key: _text(value) for key, value in (conf or {}).items()}
    live = live_session()
    if live is None and not managed():
        return _build(formats, _warehouse(warehouse), settings, master, app_name, extras)
    spark = live or SparkSession.builder.appName(app_name).getOrCreate()
    inspection.require(spark, formats)
    _require_extras(spark, extras)
    _refuse(_unsettable(spark, {**_places(spark, formats, warehouse), **settings}))
    for key, value in settings.items():
        if spark.conf.get(key, None) != value:
            spark.conf.set(key, value)
    return spark


def live_session() -> SparkSession | None:
    """The session that is live in this process, on whatever thread, or None; never starts one."""
    if SparkContext._active_spark_context is None:
        return None
    return SparkSession.getActiveSession() or SparkSession.builder.getOrCreate()


def managed() -> bool:
    """Whether somebody else starts Spark here: Glue, EMR, or any spark-submit."""
    return platform() != "local" or "PYSPARK_GATEWAY_PORT" in os.environ


# --- building a local session -------------------------------------------------------------------------------------------


def _build(
    formats: Sequence[str], warehouse: str, settings: Mapping[str, str], master: str, app_name: str, extras: Sequence[str]
) -> SparkSession:
    runtime = local_runtime()
    wanted = [line for line in WIRING if line.name in (formats or runtime.tested)]
    paths = jars.ensure(runtime.coordinates([line.name for line in wanted], extras))
    _refuse_unloadable(wanted)
    ours = local_confs(wanted, warehouse) | {"spark.jars": ",".join(map(str, paths))}
    builder = SparkSession.builder.master(master).appName(app_name)
    for key, value in merged(ours, settings).items():
        builder = builder.config(key, value)
    with starting_home(runtime, find_java(runtime)) as home, _environment(home):
        return _start(builder, runtime)


def _start(builder: SparkSession.Builder, runtime: Runtime) -> SparkSession:
    try:
        return builder.getOrCreate()
    except PySparkRuntimeError as error:  # the JVM did not come up; what it said stands on stderr above
        raise SessionError(
            f"Java ended before Spark {runtime.spark} could start; its own message stands above. Look at master, LAKEKIT_JAVA_OPTIONS, "
            f"LAKEKIT_DRIVER_MEMORY, JAVA_HOME and spark.driver.* in conf."
        ) from error


def local_confs(wanted: Sequence[Wiring], warehouse: str) -> dict[str, str]:
    """The confs of a local session for some formats. Where two formats want one catalog, the later in `WIRING` has it."""
    found = {
        **LOCAL,
        "spark.driver.memory": os.environ.get("LAKEKIT_DRIVER_MEMORY") or DRIVER_MEMORY,
        "spark.driver.extraJavaOptions": " ".join(_java_options(wanted)),
        "spark.sql.warehouse.dir": warehouse,
        inspection.EXTENSIONS: ",".join(line.extension for line in wanted),
    }
    for line in wanted:
        found |= {line.catalog_conf: line.catalogs[0], **line.confs, **line.local}
        found |= {key: value.replace(WAREHOUSE, warehouse) for key, value in line.local_catalog.items()}
    return found


def merged(ours: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """The caller's settings over lakekit's; of a conf that is a list, both.

    A caller's ``catalog-impl`` also takes the place of lakekit's ``type``: Iceberg refuses to be given both.

    >>> merged({"spark.jars": "a.jar", "spark.ui.enabled": "false"}, {"spark.jars": "b.jar"})
    {'spark.jars': 'a.jar,b.jar', 'spark.ui.enabled': 'false'}
    """
    replaced = {key.removesuffix("catalog-impl") + "type" for key in settings if key.endswith(".catalog-impl")}
    lists = {key: mark.join([ours[key], settings[key]]) for key, mark in LISTS.items() if ours.get(key) and settings.get(key)}
    kept = {key: value for key, value in ours.items() if key not in replaced}
    return {**kept, **settings, **lists, **_extended(ours, settings)}


def _extended(ours: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """The caller's extensions before lakekit's, which keep their order: without one of them its format would not work."""
    if not (ours.get(inspection.EXTENSIONS) and inspection.EXTENSIONS in settings):
        return {}
    own, theirs = (inspection.listed(confs[inspection.EXTENSIONS]) for confs in (ours, settings))
    return {inspection.EXTENSIONS: ",".join([*(name for name in theirs if name not in own), *own])}


def _java_options(wanted: Sequence[Wiring]) -> Iterator[str]:
    """A log of errors only, what the formats want, what the environment adds."""
    yield f'"-Dlog4j2.configurationFile={Path(__file__).with_name("log4j2.properties").as_uri()}"'
    for line in wanted:
        yield from line.java_options
    if added := os.environ.get("LAKEKIT_JAVA_OPTIONS"):
        yield added


def _refuse_unloadable(wanted: Sequence[Wiring]) -> None:
    """After ``spark.stop()`` the JVM lives on with the jars it was started with: what is not in them cannot come."""
    gateway = SparkContext._gateway
    if gateway is None:
        return
    lacking = [line.name for line in wanted if not inspection.has_class(gateway.jvm, line.probe)]
    if lacking:
        raise SessionError(
            f"this process started its JVM without the jars of {', '.join(lacking)}, and a running JVM takes no new ones. "
            f"Start a new Python process and name all formats in the first lakekit.session(...)."
        )


def _warehouse(chosen: str | Path | None) -> str:
    """The warehouse as an absolute path, or as the URI that it is."""
    place = str(chosen or os.environ.get("LAKEKIT_WAREHOUSE") or "spark-warehouse")
    return place if "://" in place else str(Path(place).expanduser().resolve())


@contextmanager
def _environment(home: Path | None) -> Iterator[None]:
    """Start the JVM with the Java that fits and the workers with this very Python; the environment is put back."""
    wanted = {"PYSPARK_PYTHON": os.environ.get("PYSPARK_PYTHON") or sys.executable}
    wanted |= {"JAVA_HOME": str(home)} if home is not None else {}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


# --- using a live session -----------------------------------------------------------------------------------------------


def _places(spark: SparkSession, formats: Sequence[str], warehouse: str | Path | None) -> dict[str, str]:
    """The confs that hold the warehouse, when the caller names one."""
    if warehouse is None:
        return {}
    lines = [line for line in WIRING if line.name in (formats or FORMATS)]
    held = {key for line in lines for key, value in line.local_catalog.items() if WAREHOUSE in value}
    return {key: _warehouse(warehouse) for key in held if spark.conf.get(key, None) is not None}


def _require_extras(spark: SparkSession, extras: Sequence[str]) -> None:
    """The jars of extra groups must be there already; what a platform brings of its own is not looked into."""
    if not extras or platform() != "local":
        return
    held = spark.sparkContext.getConf().get("spark.jars") or ""
    wanted = [maven.Jar.parse(coordinate) for coordinate in local_runtime(spark.version).coordinates([], extras)]
    lacking = [jar.coordinate for jar in wanted if jar.file_name not in held]
    if lacking:
        raise SessionError(
            f"the live Spark session was started without {', '.join(lacking)}, and a running JVM takes no new jars. "
            f"Start a new Python process and name extras={list(extras)} in the first lakekit.session(...)."
        )


def _unsettable(spark: SparkSession, settings: Mapping[str, str]) -> dict[str, str]:
    """The settings that differ from the session's and that Spark does not let change while it runs."""
    found = inspection.confs(spark)
    return {key: value for key, value in settings.items() if found.get(key) != value and not _settable(spark, key)}


def _settable(spark: SparkSession, key: str) -> bool:
    """Spark knows its own keys; a catalog or a foreign prefix it passes on without knowing, so those are taken as settable."""
    return spark.conf.isModifiable(key) or not key.startswith("spark.")


def _refuse(settings: Mapping[str, str]) -> None:
    if settings:
        head = "the live Spark session cannot take these confs, which act only when Spark starts:"
        lines = [f"  --conf {key}={'…' if SECRET.search(f'{key}={value}') else value}" for key, value in settings.items()]
        raise SessionError("\n".join([head, *lines, "Start Spark with them, or leave them out."]))


def _text(value: Any) -> str:
    """A conf value as Spark spells it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
