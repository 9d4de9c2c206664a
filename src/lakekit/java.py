"""A Java runtime for Spark: the installed one where it fits, else the one from PyPI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib import import_module
from pathlib import Path

from lakekit.errors import SessionError
from lakekit.runtimes import JAVA_FROM_PYPI, Runtime


def java_home(runtime: Runtime) -> Path | None:
    """The folder to use as ``JAVA_HOME``, or None when ``java`` on the PATH fits as it is.

    ``JAVA_HOME``, then ``java`` on the PATH, then the PyPI package; `SessionError` when none has the runtime's version.
    """
    found = {"JAVA_HOME": _from_environment(), "java on PATH": _from_path()}
    seen = {place: _version(binary) for place, binary in found.items() if binary is not None}
    if seen.get("JAVA_HOME") == runtime.java:
        return Path(os.environ["JAVA_HOME"])
    if seen.get("java on PATH") == runtime.java:
        return _home_of(found["java on PATH"])
    packaged = _from_pypi()
    if packaged is not None and _version(packaged / "bin" / "java") == runtime.java:
        return packaged
    raise SessionError(_none(runtime, seen))


def _from_environment() -> Path | None:
    home = os.environ.get("JAVA_HOME")
    binary = Path(home) / "bin" / "java" if home else None
    return binary if binary is not None and binary.is_file() else None


def _from_path() -> Path | None:
    binary = shutil.which("java")
    return Path(binary) if binary else None


def _home_of(binary: Path | None) -> Path | None:
    """The home of a ``java`` on the PATH; version managers put a script there that is nobody's home, so None is an answer."""
    home = binary.resolve().parent.parent if binary else None
    return home if home is not None and (home / "bin" / "java").is_file() and (home / "lib").is_dir() else None


def _from_pypi() -> Path | None:
    try:
        package = import_module(JAVA_FROM_PYPI)
    except ImportError:
        return None
    return Path(str(package.JAVA_HOME))


def _version(binary: Path) -> int | None:
    """The major version that a ``java`` binary reports, or None when it does not run."""
    try:
        answer = subprocess.run([binary, "-version"], capture_output=True, text=True, timeout=30, check=True).stderr
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_version(answer)


def parse_version(answer: str) -> int | None:
    """The major version in the answer of ``java -version``.

    >>> parse_version('openjdk version "17.0.15" 2025-04-15'), parse_version('java version "1.8.0_402"')
    (17, 8)
    """
    match = re.search(r'version "(?:1\.)?(\d+)', answer)
    return int(match.group(1)) if match else None


def _none(runtime: Runtime, seen: dict[str, int | None]) -> str:
    others = "; ".join(f"{place} is {f'Java {version}' if version else 'not a working Java'}" for place, version in seen.items())
    return (
        f"Spark {runtime.spark} needs Java {runtime.java}, and none was found ({others or 'no JAVA_HOME, no java on PATH'}). "
        f"Install it with: pip install '{JAVA_FROM_PYPI}>={runtime.java},<{runtime.java + 1}' (or pip install 'lakekit[local]')."
    )
