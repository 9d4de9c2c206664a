"""A random, seeded workload on a PostgreSQL table, and the table's rows at the end."""

from __future__ import annotations

import random
from typing import Any

import psycopg2.extensions

from tests.postgres import Row

COLUMNS = {
    "id": "bigint",
    "name": "text",
    "amount": "numeric(12,2)",
    "free": "numeric",
    "at": "timestamptz",
    "doc": "jsonb",
    "big": "text",
    "raw": "bytea",
    "tags": "text[]",
}
TOASTED = ("big", "raw", "tags")
_TOUCH = ", ".join(("big = big || ''", "raw = raw || ''::bytea", "tags = tags || '{}'::text[]"))
"""Writes the large values anew, so that the log holds them."""

Cursor = psycopg2.extensions.cursor


def create(cursor: Cursor, table: str, identity: str) -> None:
    """The table, its large columns stored apart and uncompressed, with this replica identity."""
    cursor.execute(f"CREATE TABLE {table} ({', '.join(f'{n} {t}' for n, t in COLUMNS.items())}, PRIMARY KEY (id))")
    for column in TOASTED:
        cursor.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")
    cursor.execute(f"ALTER TABLE {table} REPLICA IDENTITY {identity}")


class Workload:
    """Random statements in random transactions. ``touch``: who moves a row to another key also writes its large values anew."""

    def __init__(self, cursor: Cursor, table: str, seed: int, *, touch: bool, truncates: int) -> None:
        self.cursor, self.table, self.random = cursor, table, random.Random(seed)
        self.touch, self.truncates = touch, truncates

    def run(self, transactions: int) -> None:
        """Transactions of one to six statements; some roll back, in whole or to a savepoint."""
        emptied = set(self.random.sample(range(transactions // 4, transactions * 3 // 4), self.truncates))
        for number in range(transactions):
            self.cursor.execute("BEGIN")
            for _ in range(self.random.randint(1, 6)):
                self._statement()
            if self.random.random() < 0.15:
                self.cursor.execute("SAVEPOINT before")
                self._statement()
                self.cursor.execute("ROLLBACK TO SAVEPOINT before")
            if number in emptied:
                self.cursor.execute(f"TRUNCATE {self.table}")
            if self.random.random() < 0.1:
                self.cursor.execute("SELECT pg_logical_emit_message(true, 'note', 'nothing')")
            self.cursor.execute("ROLLBACK" if self.random.random() < 0.12 else "COMMIT")

    def _statement(self) -> None:
        self.cursor.execute(f"SELECT id FROM {self.table} ORDER BY id")
        here = [row[0] for row in self.cursor.fetchall()]
        actions = [self._insert] * 3 if len(here) < 25 else []
        if here:
            actions += [self._small] * 4 + [self._large, self._delete, self._move, self._move, self._same, self._again]
        if len(here) > 1:
            actions += [self._swap]
        self.random.choice(actions)(here)

    def _free(self, here: list[int]) -> int:
        return self.random.choice([i for i in range(1, 40) if i not in here])

    def _insert(self, here: list[int]) -> None:
        self._put(self._free(here))

    def _put(self, key: int) -> None:
        row = {"id": key, **self._values(COLUMNS)}
        self.cursor.execute(f"INSERT INTO {self.table} ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})", list(row.values()))

    def _small(self, here: list[int]) -> None:
        """Touches no large column: the log says "unchanged" of them."""
        self._set(self.random.choice(here), self._values([c for c in COLUMNS if c not in TOASTED], self.random.randint(1, 4)))

    def _large(self, here: list[int]) -> None:
        self._set(self.random.choice(here), self._values(TOASTED, self.random.randint(1, 3)))

    def _set(self, key: int, values: Row) -> None:
        sets = ", ".join(f"{n} = %s" for n in values)
        self.cursor.execute(f"UPDATE {self.table} SET {sets} WHERE id = %s", [*values.values(), key])

    def _same(self, here: list[int]) -> None:
        self.cursor.execute(f"UPDATE {self.table} SET name = name WHERE id = %s", [self.random.choice(here)])

    def _delete(self, here: list[int]) -> None:
        self.cursor.execute(f"DELETE FROM {self.table} WHERE id = %s", [self.random.choice(here)])

    def _again(self, here: list[int]) -> None:
        """Deleted and inserted anew in one transaction."""
        key = self.random.choice(here)
        self.cursor.execute(f"DELETE FROM {self.table} WHERE id = %s", [key])
        self._put(key)

    def _move(self, here: list[int]) -> None:
        self._rename(self.random.choice(here), self._free(here))

    def _swap(self, here: list[int]) -> None:
        """Two rows exchange their keys, by way of a third one."""
        one, other = self.random.sample(here, 2)
        for old, new in ((one, -1), (other, one), (-1, other)):
            self._rename(old, new)

    def _rename(self, old: int, new: int) -> None:
        also = f", {_TOUCH}" if self.touch else ""
        if self.random.random() < 0.5:
            also += ", name = name || '*'"
        self.cursor.execute(f"UPDATE {self.table} SET id = %s{also} WHERE id = %s", [new, old])

    def _values(self, columns: Any, count: int | None = None) -> Row:
        names = [c for c in columns if c != "id"]
        chosen = names if count is None else self.random.sample(names, min(count, len(names)))
        return {n: None if self.random.random() < 0.15 else self._value(n) for n in chosen}

    def _value(self, column: str) -> Any:
        r = self.random
        moment = f"{r.randint(1900, 2100)}-{r.randint(1, 12):02}-{r.randint(1, 28):02}"
        clock = f"{r.randint(0, 23):02}:{r.randint(0, 59):02}:{r.randint(0, 59):02}.{r.choice((0, 5, 123, 999999)):06}"
        large = r.choice((10, 3000, 9000))
        makers = {
            "name": lambda: r.choice(("", "Åse", 'quote " and, comma', "line\nbreak", " blanks ", "NULL", "\\N")),
            "amount": lambda: f"{r.randint(-(10**12) + 1, 10**12 - 1)}e-2",
            "free": lambda: f"{r.choice((1, -1)) * r.randrange(10 ** r.randint(1, 20))}e-{r.randint(0, 18)}",
            "at": lambda: f"{moment} {clock}{r.choice(('+00', '+05:30', '-08'))}",
            "doc": lambda: f'{{"n": {r.randint(0, 99)}, "t": "ü"}}',
            "big": lambda: r.choice("abcdef") * large,
            "raw": lambda: bytes(r.randrange(256) for _ in range(20)) * (large // 20),
            "tags": lambda: [r.choice(("x", 'with "quotes"', "with, comma", "{}")) * (large // 10), None, ""],
        }
        return makers[column]()


def rows(cursor: Cursor, table: str) -> dict[int, Row]:
    """``SELECT *``, instants as microseconds since 1970."""
    told = {"at": "(extract(epoch FROM at) * 1000000)::bigint", "doc": "doc::text"}
    cursor.execute(f"SELECT {', '.join(told.get(c, c) + ' AS ' + c for c in COLUMNS)} FROM {table}")
    found = (dict(zip(COLUMNS, values, strict=True)) for values in cursor.fetchall())
    return {r["id"]: {**r, "raw": None if r["raw"] is None else bytes(r["raw"])} for r in found}
