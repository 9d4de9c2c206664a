"""The jars of the table formats: listed, fetched once, verified, and handed to Spark as local paths.

lakekit fetches the fixed list of coordinates from `lakekit.runtimes` itself, without Ivy: the list is short, each file is
checked against ``jars.lock``, and a failure says which coordinate, which repository and what to do, where Spark would only
say ``JAVA_GATEWAY_EXITED``.

Environment: ``LAKEKIT_JARS_DIR`` is the folder where the jars are kept (default ``~/.cache/lakekit/jars``), filled beforehand for
machines without a network; ``LAKEKIT_MAVEN_REPO`` is the repository (an ``https:`` or ``file:`` URL, or a folder).
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from lakekit.errors import JarError
from lakekit.maven import Jar, address, download, public
from lakekit.runtimes import MAVEN_CENTRAL

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Lock:
    """What a jar must be: its SHA-256 in hexadecimal digits and its size in bytes."""

    sha256: str
    size: int


@cache
def locks() -> Mapping[str, Lock]:
    """The shipped lock file as coordinate → `Lock`."""
    text = resources.files("lakekit").joinpath("jars.lock").read_text("utf-8")
    lines = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return {coordinate: Lock(sha256, int(size)) for sha256, size, coordinate in lines}


def folder(dest: Path | str | None = None) -> Path:
    """Where the jars are kept: ``dest``, else ``LAKEKIT_JARS_DIR``, else ``~/.cache/lakekit/jars``."""
    if chosen := dest or os.environ.get("LAKEKIT_JARS_DIR"):
        return Path(chosen).expanduser()
    cache_home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache_home).expanduser() / "lakekit" / "jars"


def repository() -> str:
    """The Maven repository: ``LAKEKIT_MAVEN_REPO``, else Maven Central."""
    return os.environ.get("LAKEKIT_MAVEN_REPO") or MAVEN_CENTRAL


def ensure(
    coordinates: Sequence[str],
    *,
    dest: Path | str | None = None,
    repo: str | None = None,
    verify: bool = False,
    progress: Progress | None = None,
) -> tuple[Path, ...]:
    """Return the local paths of the jars, fetching those that are not there yet.

    A file that is there is trusted when its size is the lock's; ``verify=True`` reads it through and compares its SHA-256, and
    fetches a wrong one again. Files appear whole or not at all, so several processes may call this at once.
    Raises `JarError` for a coordinate that the lock does not know, an unreachable repository or a wrong checksum.
    """
    target = folder(dest)
    wanted = [Jar.parse(coordinate) for coordinate in coordinates]
    missing = [jar for jar in wanted if not present(jar, target, verify=verify)]
    if missing:
        source = address(repo or repository())
        _make(target)
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(lambda jar: _fetch(jar, target, source, progress or _say), missing))
    return tuple(target / jar.file_name for jar in wanted)


def present(jar: Jar, target: Path, *, verify: bool = False) -> bool:
    """Whether the folder holds the jar with the lock's size and, with ``verify``, the lock's SHA-256."""
    path, lock = target / jar.file_name, _lock(jar)
    if not path.is_file() or path.stat().st_size != lock.size:
        return False
    return not verify or sha256(path) == lock.sha256


def sha256(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _lock(jar: Jar) -> Lock:
    try:
        return locks()[jar.coordinate]
    except KeyError:
        raise JarError(f"{jar.coordinate} is not in lakekit's jars.lock. `lakekit jars list` shows the coordinates that are.") from None


def _make(target: Path) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"the jar folder {target} cannot be made ({error.strerror})"
        raise JarError(f"{reason}. Set LAKEKIT_JARS_DIR to a folder that you may write to.") from error


def _fetch(jar: Jar, target: Path, repo: str, progress: Progress) -> None:
    """Fetch beside the target under a name of our own, verify, then rename: nobody ever sees half a jar."""
    partial = target / f".{jar.file_name}.{uuid.uuid4().hex}"
    started = time.monotonic()
    progress(f"fetching {jar.coordinate} ({_lock(jar).size / 1e6:.0f} MB) from {public(repo)}")
    try:
        digest = download(jar, repo, partial)
        _check(jar, repo, digest, partial.stat().st_size)
        partial.replace(target / jar.file_name)
    except OSError as error:
        reason = f"{jar.coordinate}: cannot write to {target} ({error.strerror})"
        raise JarError(f"{reason}. Free some space or set LAKEKIT_JARS_DIR to another folder.") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    progress(f"fetched {jar.coordinate} in {time.monotonic() - started:.1f} s")


def _check(jar: Jar, repo: str, digest: str, size: int) -> None:
    lock = _lock(jar)
    if digest != lock.sha256:
        raise JarError(
            f"{jar.coordinate} from {public(repo)} has SHA-256 {digest[:16]}… and {size} bytes; jars.lock says {lock.sha256[:16]}… and "
            f"{lock.size}. The repository serves another file: fetch again, or name a faithful mirror in LAKEKIT_MAVEN_REPO."
        )


def _say(line: str) -> None:
    print(f"lakekit: {line}", file=sys.stderr, flush=True)
