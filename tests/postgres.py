"""A real PostgreSQL for tests: an own cluster on loopback, run by an ordinary user, gone afterwards; and its log, decoded."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest

UNCHANGED = object()
"""A large value that a change did not touch and that the log therefore does not hold."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """One message of the log: I, U, D, T (truncate) or M (logical message); values are PostgreSQL's own text."""

    kind: str
    lsn: int
    xid: int
    commit_lsn: int
    table: str | None = None
    old: Row | None = None
    new: Row | None = None


@contextmanager
def postgres() -> Iterator[str]:
    """Run a cluster with ``wal_level=logical`` and give its connection string; skips the test where none can be installed."""
    binaries = _binaries()
    home = Path(tempfile.mkdtemp(prefix="lakekit-postgres-"))
    user = _ordinary_user()
    if user:
        shutil.chown(home, user)
    run = _Runner(binaries, home, user)
    guard = run.guard()
    try:
        yield run.start()
    finally:
        guard.communicate(timeout=120)


@dataclass
class _Runner:
    binaries: Path
    home: Path
    user: str | None

    def start(self) -> str:
        port, password = _free_port(), secrets.token_hex(16)
        pwfile = self.home / "password"
        pwfile.write_text(password)
        pwfile.chmod(0o600)
        if self.user:
            shutil.chown(pwfile, self.user)
        data = str(self.home / "data")
        self("initdb", "-D", data, "-U", "tester", "-A", "scram-sha-256", "--pwfile", str(pwfile), "-E", "UTF8", "--locale=C", "--no-sync")
        options = f"-c listen_addresses=127.0.0.1 -p {port} -k {self.home} -c wal_level=logical -c fsync=off -c timezone=UTC"
        self("pg_ctl", "-D", data, "-w", "-t", "120", "-l", str(self.home / "log"), "-o", options, "start")
        return f"host=127.0.0.1 port={port} user=tester password={password} dbname=postgres"

    def guard(self) -> subprocess.Popen[bytes]:
        """Stops the server and tidies up when its standard input ends: when told to, and also when the tests are killed."""
        script = 'cat; "$1/pg_ctl" -D "$2/data" -w -m immediate stop; rm -rf "$2"'
        command = ["sh", "-c", script, "guard", str(self.binaries), str(self.home)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, stdin=subprocess.PIPE, cwd="/", start_new_session=True, **quiet, **self.as_user)

    @property
    def as_user(self) -> dict[str, Any]:
        return {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid, "extra_groups": []} if self.user else {}

    def __call__(self, program: str, *arguments: str) -> None:
        command = [str(self.binaries / program), *arguments]
        # Not captured: the server would inherit the pipe and hold it open.
        with (self.home.parent / f"{self.home.name}.out").open("w") as out:
            done = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, cwd="/", timeout=180, check=False, **self.as_user)
        said = Path(out.name).read_text()
        Path(out.name).unlink()
        assert done.returncode == 0, f"{program}: {said}"


def _ordinary_user() -> str | None:
    """PostgreSQL refuses to run as root."""
    return "nobody" if os.geteuid() == 0 else None


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _binaries() -> Path:
    """Where PostgreSQL's programs are; installs Debian's package where there are none and that can be done."""
    found = _find()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "postgresql"]):
            subprocess.run(command, capture_output=True, timeout=400, check=False, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
        found = _find()
    if found is None:
        pytest.skip(
            "PostgreSQL is not installed and cannot be: no initdb on PATH or below /usr/lib/postgresql, and apt-get did not bring it"
        )
    return found


def _find() -> Path | None:
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    return next((p.parent for p in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), None)


# The log ---------------------------------------------------------------------------------------------------------------


def changes(connection: psycopg2.extensions.connection, slot: str, publication: str) -> list[Change]:
    """What the slot holds, through PostgreSQL's own output plugin pgoutput (which Debezium uses too); the slot moves on."""
    query = "SELECT lsn::text, xid::text::int, data FROM pg_logical_slot_get_binary_changes(%s, NULL, NULL, 'proto_version', '1', "
    with connection.cursor() as cursor:
        cursor.execute(query + "'publication_names', %s, 'messages', 'true')", (slot, publication))
        return list(_decoded([(number(lsn), xid, bytes(data)) for lsn, xid, data in cursor.fetchall()]))


def number(lsn: str) -> int:
    """``16/B374D848`` as the number that it is.

    >>> number("1/00000002")
    4294967298
    """
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def _decoded(messages: list[tuple[int, int, bytes]]) -> Iterator[Change]:
    relations: dict[int, tuple[str, list[str]]] = {}
    commit = 0
    for lsn, xid, data in messages:
        kind, body = data[:1].decode(), _Reader(data[1:])
        if kind == "B":
            commit = body.int64()
        elif kind == "R":
            oid, _, name = body.int32(), body.text(), body.text()
            body.skip(1)
            relations[oid] = (name, [body.column() for _ in range(body.int16())])
        elif kind in ("I", "U", "D"):
            table, columns = relations[body.int32()]
            tuples = body.tuples(columns)
            yield Change(kind, lsn, xid, commit, table, tuples.get("K", tuples.get("O")), tuples.get("N"))
        elif kind == "T":
            count, _ = body.int32(), body.skip(1)
            for _ in range(count):
                yield Change(kind, lsn, xid, commit, relations[body.int32()][0])
        elif kind == "M":
            yield Change(kind, lsn, xid, commit)


class _Reader:
    """A message of the logical replication protocol, read from the front."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def skip(self, size: int) -> bytes:
        self.at += size
        return self.data[self.at - size : self.at]

    def int16(self) -> int:
        return int(struct.unpack("!h", self.skip(2))[0])

    def int32(self) -> int:
        return int(struct.unpack("!i", self.skip(4))[0])

    def int64(self) -> int:
        return int(struct.unpack("!q", self.skip(8))[0])

    def text(self) -> str:
        end = self.data.index(b"\0", self.at)
        return self.skip(end + 1 - self.at)[:-1].decode()

    def column(self) -> str:
        self.skip(1)
        name = self.text()
        self.skip(8)
        return name

    def tuples(self, columns: list[str]) -> dict[str, Row]:
        """The old (K: its key, O: all of it) and the new (N) row."""
        found = {}
        while self.at < len(self.data):
            kind = self.skip(1).decode()
            count = self.int16()
            assert count == len(columns)
            found[kind] = {name: self.value() for name in columns}
        return found

    def value(self) -> Any:
        kind = self.skip(1)
        if kind == b"t":
            return self.skip(self.int32()).decode()
        return None if kind == b"n" else UNCHANGED
