"""The JVM seen from Python: names that are asked for once, and collections that cross in few calls.

A name is looked up anew at every use: ``F.col`` asks the gateway for ``functions``, which py4j tries in every imported package, in
every jar on the class path; then for its member ``col``; and only then calls it. With the jars of a lake on the class path these
searches are a third of what planning an upsert costs the driver. Packages, classes and methods keep their meaning while a JVM lives.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from py4j.java_gateway import JavaClass, JavaMember, JavaPackage
from pyspark.sql import SparkSession

_ROOTS = ("functions", "PythonUtils", "PythonSQLUtils", "org", "com", "java", "scala", "py4j")


def remember_names(spark: SparkSession) -> None:
    """Let the session's view of its JVM keep the names it has resolved; PySpark's own calls gain as well."""
    known = vars(spark._jvm)
    for name in _ROOTS:
        if name not in known:
            known[name] = _keeping(getattr(spark._jvm, name))


@contextmanager
def active(spark: SparkSession) -> Iterator[None]:
    """Make the session this thread's for a while: Java code asks its thread for one, and a new thread has none."""
    jvm: Any = spark._jvm
    sessions = getattr(jvm, spark._jsparkSession.getClass().getName())  # Spark 4 has moved the class
    before = sessions.getActiveSession()
    sessions.setActiveSession(spark._jsparkSession)
    try:
        yield
    finally:
        if before.isDefined():
            sessions.setActiveSession(before.get())
        else:
            sessions.clearActiveSession()


def elements(java_list: Any) -> list[Any]:
    """The elements of a Java list; py4j's own iteration ends by an exception, whose translation costs eighty calls."""
    return [java_list.get(i) for i in range(java_list.size())]


def each(iterator: Any) -> Iterator[Any]:
    """What a Java or Scala iterator gives."""
    while iterator.hasNext():
        yield iterator.next()


def as_dict(jvm: Any, java_map: Any) -> dict[str, str]:
    """A Java map of texts, in one call rather than in several for each entry."""
    found: dict[str, str] = json.loads(jvm.com.fasterxml.jackson.databind.ObjectMapper().writeValueAsString(java_map))
    return found


def session_confs(spark: SparkSession) -> dict[str, str]:
    """The SQL confs that are set in a session."""
    jvm: Any = spark._jvm
    found = spark._jsparkSession.conf().getAll()
    return as_dict(jvm, jvm.scala.collection.JavaConverters.mapAsJavaMapConverter(found).asJava())


def hadoop_path(spark: SparkSession, path: str) -> tuple[Any, Any]:
    """A path's own file system, and the path as Hadoop knows it."""
    jvm: Any = spark._jvm
    found = jvm.org.apache.hadoop.fs.Path(path)
    return found.getFileSystem(spark._jsc.hadoopConfiguration()), found


class _Package(JavaPackage):  # type: ignore[misc]
    def __getattr__(self, name: str) -> Any:
        return _kept(self, name, super().__getattr__(name))


class _Class(JavaClass):  # type: ignore[misc]
    def __getattr__(self, name: str) -> Any:
        return _kept(self, name, super().__getattr__(name))


def _kept(holder: Any, name: str, found: Any) -> Any:
    """Keep what cannot change: no static field's value, and no package that is a class whose jar may still come."""
    if isinstance(found, JavaMember | JavaClass) or (isinstance(found, JavaPackage) and name.islower()):
        vars(holder)[name] = found = _keeping(found)
    return found


def _keeping(found: Any) -> Any:
    for plain, keeping in ((JavaPackage, _Package), (JavaClass, _Class)):
        if type(found) is plain:
            found.__class__ = keeping
    return found
