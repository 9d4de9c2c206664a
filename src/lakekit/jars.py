"""The jars of the table formats: listed, fetched once, verified, and handed to Spark as local paths.

lakekit fetches the fixed list of coordinates from `lakekit.runtimes` itself, without Ivy: the list is short, each file is
checked against ``jars.lock``, and a failure says which coordinate, which repository and what to do, where Spark would only
say ``JAVA_GATEWAY_EXITED``.

Environment: ``LAKEKIT_JARS_DIR`` is the folder where the jars are kept (default ``~/.cache/lakekit/jars``), filled beforehand for
machines without a network; ``LAKEKIT_MAVEN_REPO`` is the repository's URL (``https:`` or ``file:``).
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from lakekit.errors import JarError
from lakekit.runtimes import MAVEN_CENTRAL

CHUNK = 1 << 20
ATTEMPTS = 3
TIMEOUT_SECONDS = 60
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Jar:
    """One jar in Maven's terms.

    >>> Jar.parse("io.delta:delta-storage:3.3.2").path
    'io/delta/delta-storage/3.3.2/delta-storage-3.3.2.jar'
    """

    group: str
    artifact: str
    version: str

    @classmethod
    def parse(cls, coordinate: str) -> Jar:
        """Read ``group:artifact:version``; `JarError` for anything else."""
        parts = coordinate.split(":")
        if len(parts) != 3 or not all(parts):
            raise JarError(f"{coordinate!r} is not a Maven coordinate. Write group:artifact:version.")
        return cls(*parts)

    @property
    def coordinate(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    @property
    def path(self) -> str:
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.file_name}"


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
        _make(target)
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(lambda jar: _fetch(jar, target, repo or repository(), progress or _say), missing))
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
    progress(f"fetching {jar.coordinate} ({_lock(jar).size / 1e6:.0f} MB) from {_public(repo)}")
    try:
        digest = _download(jar, repo, partial)
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
            f"{jar.coordinate} from {_public(repo)} has SHA-256 {digest[:16]}… and {size} bytes; jars.lock says {lock.sha256[:16]}… and "
            f"{lock.size}. The repository serves another file: fetch again, or name a faithful mirror in LAKEKIT_MAVEN_REPO."
        )


def _download(jar: Jar, repo: str, partial: Path) -> str:
    """Copy the jar to a file and return its SHA-256; a transient failure is tried again, with a pause."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _copy(_request(f"{repo.rstrip('/')}/{jar.path}"), partial, _lock(jar).size)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            if not _transient(error) or attempt == ATTEMPTS:
                raise JarError(_why(jar, repo, error)) from error
            time.sleep(attempt)
    raise AssertionError("unreachable")


def _copy(request: urllib.request.Request, partial: Path, size: int) -> str:
    """Copy and digest; a body that ends early is a broken connection, not a wrong file."""
    digest = hashlib.sha256()
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response, partial.open("wb") as out:
        for chunk in _chunks(response.read):
            digest.update(chunk)
            out.write(chunk)
        announced = response.headers.get("Content-Length")
        if announced is not None and out.tell() < min(int(announced), size):
            raise ConnectionError(f"the connection ended after {out.tell()} of {announced} bytes")
    return digest.hexdigest()


def _chunks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while chunk := read(CHUNK):
        yield chunk


def _request(url: str) -> urllib.request.Request:
    """A request whose user and password, if the repository's URL holds them, travel in a header."""
    parts = urlsplit(url)
    request = urllib.request.Request(_public(url), headers={"User-Agent": "lakekit"})
    if parts.username is not None:
        token = base64.b64encode(f"{parts.username}:{parts.password or ''}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    return request


def _public(url: str) -> str:
    """The URL without user and password, fit for a message."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _transient(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code == 429
    return not _absent(error)


def _absent(error: Exception) -> bool:
    """Whether the repository answered that it has no such file."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code == 404
    return isinstance(error, urllib.error.URLError) and isinstance(error.reason, FileNotFoundError)


def _why(jar: Jar, repo: str, error: Exception) -> str:
    if _absent(error):
        return f"{jar.coordinate} is not in {_public(repo)}: no {jar.path} there. Name another repository in LAKEKIT_MAVEN_REPO or --repo."
    reason = f"HTTP {error.code}" if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
    return (
        f"{jar.coordinate}: the repository {_public(repo)} cannot be read ({reason}). Name a mirror in LAKEKIT_MAVEN_REPO or --repo; "
        f"without a network, run `lakekit jars download --dest DIR` on another machine and set LAKEKIT_JARS_DIR to that folder."
    )


def _say(line: str) -> None:
    print(f"lakekit: {line}", file=sys.stderr, flush=True)
