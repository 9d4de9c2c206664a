"""Combinations known to go wrong, each with what to do instead: a `Scene` in, sentences out."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from lakekit.runtimes import WIRING, Runtime, spark_line, wiring

EXTENSIONS = "spark.sql.extensions"


@dataclass(frozen=True)
class Scene:
    """What the rules look at. ``jars`` holds, for each format whose classes are there, the name of its jar."""

    platform: str
    runtime: Runtime | None
    spark: str
    scala: str
    java: str
    pyspark: str | None
    confs: Mapping[str, str]
    jars: Mapping[str, str]
    ansi: bool

    @property
    def extensions(self) -> list[str]:
        return [part.strip() for part in self.confs.get(EXTENSIONS, "").split(",") if part.strip()]

    def set_up(self, name: str) -> bool:
        """Whether a format's classes and its extension are there."""
        return name in self.jars and wiring(name).extension in self.extensions


def warnings(scene: Scene) -> Iterator[str]:
    """Every rule that applies, as a sentence that says what to do."""
    for rule in RULES:
        yield from rule(scene)


def _order(scene: Scene) -> Iterator[str]:
    """Hudi's parser must come first and Iceberg's last, or CALL reaches the wrong one."""
    ours = [line.extension for line in WIRING if line.extension in scene.extensions]
    if [name for name in scene.extensions if name in ours] != ours:
        yield f"{EXTENSIONS} are out of order: CALL may reach the wrong format. Order them {','.join(ours)}"


def _built_for_another(scene: Scene) -> Iterator[str]:
    for name, jar in scene.jars.items():
        if mismatch := built_for_another(jar, spark_line(scene.spark), scene.scala):
            yield f"{name}: {jar} was built for {mismatch}; this is Spark {scene.spark} on Scala {scene.scala}"


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


def _untested(scene: Scene) -> Iterator[str]:
    builds = scene.runtime.formats if scene.runtime is not None else {}
    for name in scene.jars:
        if name in builds and builds[name].untested:
            yield f"{name} is not tested here: {builds[name].untested}"


def _two_sparks(scene: Scene) -> Iterator[str]:
    if scene.pyspark and spark_line(scene.pyspark) != spark_line(scene.spark):
        yield f"pyspark is {scene.pyspark} and the JVM runs Spark {scene.spark}: SPARK_HOME points to another installation; unset it"


def _languages(scene: Scene) -> Iterator[str]:
    if scene.runtime is None:
        return
    row, python = scene.runtime, ".".join(map(str, sys.version_info[:2]))
    if int(scene.java.split(".")[0]) != row.java:
        yield f"Java is {scene.java}; {row.name} runs Java {row.java}, and so do lakekit's tests"
    if python not in row.python:
        yield f"Python is {python}; {row.name} runs Python {', '.join(row.python)}, and so do lakekit's tests"


def _hudi_parser(scene: Scene) -> Iterator[str]:
    if scene.set_up("hudi"):
        yield "With Hudi's extension loaded, SQL VERSION AS OF and TIMESTAMP AS OF fail for Iceberg and Delta. Use Table.as_of(…)"
        yield "Hudi's own SQL MERGE updates rows that it should delete. Use Table.upsert(…), which writes through Hudi's own writer"


def _hudi_beside_delta(scene: Scene) -> Iterator[str]:
    if scene.set_up("hudi") and scene.set_up("delta"):
        yield "With Delta's catalog as spark_catalog, Hudi's ALTER TABLE … RENAME or CHANGE COLUMN is refused; ADD COLUMNS works"


def _delta_on_s3(scene: Scene) -> Iterator[str]:
    if scene.set_up("delta") and scene.platform != "local" and not any(key.startswith("spark.delta.logStore.s3") for key in scene.confs):
        yield (
            "Delta on S3 lets writers of different clusters overwrite each other's commits. If more than one cluster writes a table, "
            "set spark.delta.logStore.s3.impl=io.delta.storage.S3DynamoDBLogStore"
        )


def _ansi_off(scene: Scene) -> Iterator[str]:
    if not scene.ansi:
        yield "ANSI is off: in your own SQL an overflow or a bad cast is a silent NULL; lakekit's verbs mean the same either way"


RULES: tuple[Callable[[Scene], Iterator[str]], ...] = (
    _two_sparks,
    _built_for_another,
    _untested,
    _languages,
    _order,
    _hudi_parser,
    _hudi_beside_delta,
    _delta_on_s3,
    _ansi_off,
)
