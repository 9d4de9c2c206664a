"""The jars: fetched once, verified, whole or not at all, with a message that says what to do."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from lakekit import jars, maven
from lakekit.errors import JarError
from lakekit.runtimes import MAVEN_CENTRAL

GOOD, OTHER = "test.group:one:1.0", "test.group:two:2.0"
BODIES = {GOOD: b"jar one " * 40_000, OTHER: b"jar two " * 10}


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, jars.Lock]:
    """A lock file of two small jars in place of the shipped one."""
    locks = {name: jars.Lock(hashlib.sha256(body).hexdigest(), len(body)) for name, body in BODIES.items()}
    monkeypatch.setattr(jars, "locks", lambda: locks)
    monkeypatch.setattr(maven.time, "sleep", lambda seconds: None)
    return locks


@dataclass
class Repository:
    """A real HTTP server that can be told to misbehave, and remembers what it was asked."""

    url: str = ""
    answers: dict[str, list[tuple[int, bytes, int | None]]] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def serve(self, coordinate: str, *answers: tuple[int, bytes] | tuple[int, bytes, int]) -> None:
        """Answer with each of (status, body[, announced length]) in turn, the last one for ever."""
        self.answers["/" + maven.Jar.parse(coordinate).path] = [(*answer, None)[:3] for answer in answers]  # type: ignore[misc]

    def next(self, path: str) -> tuple[int, bytes, int | None]:
        waiting = self.answers.get(path, [(404, b"", None)])
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


@pytest.fixture
def repository() -> Iterator[Repository]:
    found = Repository()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append((self.path, self.headers.get("Authorization")))
            status, body, length = found.next(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    found.serve(GOOD, (200, BODIES[GOOD]))
    found.serve(OTHER, (200, BODIES[OTHER]))
    yield found
    server.shutdown()
    server.server_close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_fetched_once_then_taken_from_the_folder(tmp_path: Path, locked, repository: Repository, capsys):
    paths = jars.ensure([GOOD, OTHER], dest=tmp_path / "new" / "folder", repo=repository.url)
    assert [path.read_bytes() for path in paths] == [BODIES[GOOD], BODIES[OTHER]]
    assert names(paths[0].parent) == ["one-1.0.jar", "two-2.0.jar"]
    assert "fetching test.group:one:1.0" in capsys.readouterr().err
    jars.ensure([GOOD, OTHER], dest=paths[0].parent, repo=repository.url)
    assert len(repository.asked) == 2
    assert capsys.readouterr().err == ""


def test_a_file_repository_and_the_environment(tmp_path: Path, locked, monkeypatch: pytest.MonkeyPatch):
    mirror = tmp_path / "mirror"
    for coordinate, body in BODIES.items():
        target = mirror / maven.Jar.parse(coordinate).path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(body)
    monkeypatch.setenv("LAKEKIT_MAVEN_REPO", mirror.as_uri())
    monkeypatch.setenv("LAKEKIT_JARS_DIR", str(tmp_path / "jars"))
    jars.ensure([GOOD])
    assert names(tmp_path / "jars") == ["one-1.0.jar"]
    jars.ensure([GOOD], dest=tmp_path / "others", repo=str(mirror))
    assert names(tmp_path / "others") == ["one-1.0.jar"], "a folder may be named as it is"
    (mirror / maven.Jar.parse(OTHER).path).unlink()
    with pytest.raises(JarError, match=r"test\.group:two:2\.0 is not in file://.*LAKEKIT_MAVEN_REPO or --repo"):
        jars.ensure([OTHER])


def test_a_changed_file_is_fetched_again(tmp_path: Path, locked, repository: Repository):
    (path,) = jars.ensure([GOOD], dest=tmp_path, repo=repository.url)
    path.write_bytes(b"cut short")
    jars.ensure([GOOD], dest=tmp_path, repo=repository.url)
    assert path.read_bytes() == BODIES[GOOD]
    same_size = b"x" * len(BODIES[GOOD])
    path.write_bytes(same_size)
    jars.ensure([GOOD], dest=tmp_path, repo=repository.url)
    assert path.read_bytes() == same_size, "the size alone is looked at on every start"
    jars.ensure([GOOD], dest=tmp_path, repo=repository.url, verify=True)
    assert path.read_bytes() == BODIES[GOOD]


def test_wrong_content_is_refused_and_leaves_nothing(tmp_path: Path, locked, repository: Repository):
    repository.serve(GOOD, (200, b"y" * len(BODIES[GOOD])))
    with pytest.raises(JarError, match=r"test\.group:one:1\.0 from http://127.* has SHA-256 .*jars\.lock says"):
        jars.ensure([GOOD], dest=tmp_path, repo=repository.url)
    assert names(tmp_path) == []


def test_a_passing_fault_is_tried_again(tmp_path: Path, locked, repository: Repository):
    repository.serve(GOOD, (503, b"busy"), (200, BODIES[GOOD][:1000], len(BODIES[GOOD])), (200, BODIES[GOOD]))
    (path,) = jars.ensure([GOOD], dest=tmp_path, repo=repository.url)
    assert path.read_bytes() == BODIES[GOOD]
    assert len(repository.asked) == 3


def test_what_is_not_there_is_not_tried_again(tmp_path: Path, locked, repository: Repository):
    repository.serve(GOOD, (404, b""))
    with pytest.raises(JarError, match=r"test\.group:one:1\.0 is not in http://127.*: no test/group/one/1\.0/one-1\.0\.jar there"):
        jars.ensure([GOOD], dest=tmp_path, repo=repository.url)
    assert len(repository.asked) == 1


def test_an_unreachable_repository_says_the_way_out(tmp_path: Path, locked):
    with pytest.raises(JarError, match=r"(?s)test\.group:one:1\.0: the repository http://127\.0\.0\.1:9 cannot be read.*LAKEKIT_JARS_DIR"):
        jars.ensure([GOOD], dest=tmp_path, repo="http://127.0.0.1:9")


@pytest.mark.parametrize("repo", ["repo.example/maven2", "/no/such/folder", "s3://bucket/m2", "http://[bad", "me:s3cret@repo.example"])
def test_what_is_no_repository_is_refused_before_anything_is_made(tmp_path: Path, locked, repo: str, capsys):
    with pytest.raises(JarError, match=r"the Maven repository .* is no folder and no https:.*LAKEKIT_MAVEN_REPO or --repo") as raised:
        jars.ensure([GOOD], dest=tmp_path / "jars", repo=repo)
    assert not (tmp_path / "jars").exists() and "s3cret" not in str(raised.value) + capsys.readouterr().err


def test_a_password_travels_in_a_header_and_in_no_message(tmp_path: Path, locked, repository: Repository, capsys):
    private = repository.url.replace("http://", "http://me:s3cret@")
    jars.ensure([GOOD], dest=tmp_path, repo=private)
    assert repository.asked[-1][1] == "Basic bWU6czNjcmV0"
    repository.serve(OTHER, (403, b""))
    with pytest.raises(JarError, match="HTTP 403") as raised:
        jars.ensure([OTHER], dest=tmp_path, repo=private)
    said = str(raised.value) + capsys.readouterr().err
    assert "s3cret" not in said and "me:" not in said and "127.0.0.1" in said


def test_a_coordinate_that_the_lock_does_not_know(tmp_path: Path, locked):
    with pytest.raises(JarError, match=r"test\.group:three:3\.0 is not in lakekit's jars\.lock"):
        jars.ensure(["test.group:three:3.0"], dest=tmp_path)
    with pytest.raises(JarError, match=r"'one-1\.0' is not a Maven coordinate"):
        jars.ensure(["one-1.0"], dest=tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path: Path, locked, repository: Repository):
    (tmp_path / "file").touch()
    with pytest.raises(JarError, match=r"the jar folder .*file/jars cannot be made.*LAKEKIT_JARS_DIR"):
        jars.ensure([GOOD], dest=tmp_path / "file" / "jars", repo=repository.url)


def _ensure(url: str, folder: str) -> None:
    jars.ensure([GOOD, OTHER], dest=folder, repo=url)


def test_several_processes_may_fetch_at_once(tmp_path: Path, locked, repository: Repository):
    fork = multiprocessing.get_context("fork")  # the children share the test's lock file
    children = [fork.Process(target=_ensure, args=(repository.url, str(tmp_path))) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0, 0]
    assert names(tmp_path) == ["one-1.0.jar", "two-2.0.jar"]
    assert (tmp_path / "one-1.0.jar").read_bytes() == BODIES[GOOD]


def test_a_real_jar_from_maven_central(tmp_path: Path):
    coordinate = min(jars.locks(), key=lambda name: jars.locks()[name].size)
    (path,) = jars.ensure([coordinate], dest=tmp_path, repo=MAVEN_CENTRAL, verify=True)
    assert jars.sha256(path) == jars.locks()[coordinate].sha256
