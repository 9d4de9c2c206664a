"""A Java runtime for Spark: the installed one where it fits, else the one from PyPI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from lakekit.errors import SessionError
from lakekit.runtimes import JAVA_FROM_PYPI, Runtime


def find_java(runtime: Runtime) -> Path:
    """The ``java`` to start Spark with: that of ``JAVA_HOME``, else that on the PATH, else the one from PyPI.

    Raises `SessionError` when none of them has the runtime's version.
    """
    seen = {place: _version(binary) for place, binary in _installed()}
    for place, binary in _installed():
        if seen[place] == runtime.java:
            return binary
    packaged = _from_pypi()
    if packaged is not None and _version(packaged) == runtime.java:
        return packaged
    raise SessionError(_none(runtime, seen))


def _home_of(binary: Path) -> Path | None:
    """The home that a ``java`` is in; a version manager's script on the PATH is in nobody's home, so None is an answer."""
    home = binary.resolve().parent.parent
    return home if (home / "bin" / "java").is_file() and (home / "lib").is_dir() else None


def java_home(runtime: Runtime) -> Path | None:
    """The home of `find_java`'s answer, for those who start Spark themselves; None where it is in nobody's home."""
    return _home_of(find_java(runtime))


def _installed() -> Iterator[tuple[str, Path]]:
    home = os.environ.get("JAVA_HOME")
    if home and (Path(home) / "bin" / "java").is_file():
        yield "JAVA_HOME", Path(home) / "bin" / "java"
    if on_path := shutil.which("java"):
        yield "java on PATH", Path(on_path)


def _from_pypi() -> Path | None:
    try:
        package = import_module(JAVA_FROM_PYPI)
    except ImportError:
        return None
    return Path(str(package.JAVA_HOME)) / "bin" / "java"


def _version(binary: Path) -> int | None:
    """The major version that a ``java`` reports, or None when it does not run."""
    try:
        return parse_version(_ask(binary, "-version"))
    except (OSError, subprocess.SubprocessError):
        return None


def _ask(binary: Path, question: str) -> str:
    answer = subprocess.run([binary, question], capture_output=True, text=True, timeout=30, check=True)
    return answer.stdout + answer.stderr


def parse_version(answer: str) -> int | None:
    """The major version in the answer of ``java -version``.

    >>> parse_version('openjdk version "17.0.15" 2025-04-15'), parse_version('java version "1.8.0_402"')
    (17, 8)
    """
    match = re.search(r'version "(?:1\.)?(\d+)', answer)
    return int(match.group(1)) if match else None


def _none(runtime: Runtime, seen: Mapping[str, int | None]) -> str:
    others = "; ".join(f"{place} is {f'Java {version}' if version else 'not a working Java'}" for place, version in seen.items())
    return (
        f"Spark {runtime.spark} needs Java {runtime.java}, and none was found ({others or 'no JAVA_HOME, no java on PATH'}). "
        f"Install it with: pip install '{JAVA_FROM_PYPI}>={runtime.java},<{runtime.java + 1}' (or pip install 'lakekit[local]')."
    )


# --- starting a small Java ----------------------------------------------------------------------------------------------------

WITHOUT = """#!/bin/sh
# Starts {java} without the modules that it lacks.
for option do
    shift
    case "$option" in {unwanted}) ;; *) set -- "$@" "$option" ;; esac
done
exec '{java}' "$@"
"""


@contextmanager
def starting_home(runtime: Runtime, java: Path) -> Iterator[Path | None]:
    """The ``JAVA_HOME`` to start Spark with; None where the environment's own will do.

    Spark 4 starts Java with ``--add-modules=jdk.incubator.vector``, which only its linear algebra uses and which the small Java
    from PyPI leaves out, and then does not start. For such a Java the home is a passing one, whose ``java`` drops the option.
    """
    lacking = _lacking(runtime, java)
    if not lacking:
        yield _home_of(java)
        return
    with TemporaryDirectory(prefix="lakekit-java-") as folder:
        script = Path(folder) / "bin" / "java"
        script.parent.mkdir()
        script.write_text(WITHOUT.format(java=java, unwanted="|".join(f"--add-modules={name}" for name in lacking)))
        script.chmod(0o755)
        yield Path(folder)


def _lacking(runtime: Runtime, java: Path) -> list[str]:
    """The modules that Spark's launcher names and this Java does not have."""
    if not runtime.java_modules:
        return []
    present = {line.partition("@")[0].strip() for line in _ask(java, "--list-modules").splitlines()}
    return [name for name in runtime.java_modules if name not in present]
