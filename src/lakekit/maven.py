"""Fetching one file from a Maven repository, with a message that says what to do when it cannot be had."""

from __future__ import annotations

import base64
import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from lakekit.errors import JarError

CHUNK = 1 << 20
ATTEMPTS = 3
TIMEOUT_SECONDS = 60


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


def address(repo: str) -> str:
    """A repository as a URL; a folder may be named as it is. Raises `JarError` for what is neither.

    >>> address("https://repo.example/maven2/")
    'https://repo.example/maven2'
    """
    with suppress(ValueError):
        if urlsplit(repo).scheme in ("http", "https", "file"):
            return repo.rstrip("/")
    if Path(repo).is_dir():
        return Path(repo).resolve().as_uri()
    shown = "…" if "@" in repo else repo  # it may hold a password
    raise JarError(f"the Maven repository {shown} is no folder and no https:, http: or file: URL. Mend LAKEKIT_MAVEN_REPO or --repo.")


def download(jar: Jar, repo: str, target: Path) -> str:
    """Copy the jar from the repository at an `address` to a file and return its SHA-256; a transient failure is tried again, with a pause.

    Raises `JarError` naming coordinate, repository and next step.
    """
    request = _request(f"{repo}/{jar.path}")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _copy(request, target)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            if not _transient(error) or attempt == ATTEMPTS:
                raise JarError(_why(jar, repo, error)) from error
            time.sleep(attempt)
    raise AssertionError("unreachable")


def _copy(request: urllib.request.Request, target: Path) -> str:
    """Copy and digest; a body that ends early is a broken connection, not a wrong file."""
    digest = hashlib.sha256()
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response, target.open("wb") as out:
        for chunk in _chunks(response.read):
            digest.update(chunk)
            out.write(chunk)
        announced = response.headers.get("Content-Length")
        if announced is not None and out.tell() < int(announced):
            raise ConnectionError(f"the connection ended after {out.tell()} of {announced} bytes")
    return digest.hexdigest()


def _chunks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while chunk := read(CHUNK):
        yield chunk


def _request(url: str) -> urllib.request.Request:
    """A request whose user and password, if the repository's URL holds them, travel in a header."""
    parts = urlsplit(url)
    request = urllib.request.Request(public(url), headers={"User-Agent": "lakekit"})
    if parts.username is not None:
        token = base64.b64encode(f"{parts.username}:{parts.password or ''}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    return request


def public(url: str) -> str:
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
        return f"{jar.coordinate} is not in {public(repo)}: no {jar.path} there. Name another repository in LAKEKIT_MAVEN_REPO or --repo."
    reason = f"HTTP {error.code}" if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
    return (
        f"{jar.coordinate}: the repository {public(repo)} cannot be read ({reason}). Name a mirror in LAKEKIT_MAVEN_REPO or --repo; "
        f"without a network, run `lakekit jars download --dest DIR` on another machine and set LAKEKIT_JARS_DIR to that folder."
    )
