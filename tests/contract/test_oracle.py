"""The oracle against hand-made answers: who checks the checker."""

from __future__ import annotations

from decimal import Decimal
from itertools import permutations

import pytest

from tests import oracle
from tests.oracle import Ledger, Rules

RULES = Rules(keys=("id",), sequence_by=("seq",), columns=("id", "seq", "a", "b"))


def up(id: object, seq: object, **values: object) -> dict[str, object]:
    return {"id": id, "seq": seq, "op": "U", **values}


def gone(id: object, seq: object) -> dict[str, object]:
    return {"id": id, "seq": seq, "op": "D"}


def rows(*delivered: dict[str, object], rules: Rules = RULES) -> list[tuple[object, ...]]:
    return sorted((tuple(row[c] for c in rules.columns) for row in oracle.table(delivered, rules).values()), key=repr)


CASES = {
    "latest wins": ([up(1, 2, a="x", b=1), up(1, 1, a="y", b=2)], [(1, 2, "x", 1)]),
    "explicit null overwrites": ([up(1, 1, a="x", b=1), up(1, 2, a=None, b=1)], [(1, 2, None, 1)]),
    "missing column inherits": ([up(1, 1, a="x", b=1), up(1, 2, b=2)], [(1, 2, "x", 2)]),
    "delete resets inheritance": ([up(1, 1, a="x", b=1), gone(1, 2), up(1, 3, b=2)], [(1, 3, None, 2)]),
    "delete beats upsert at its sequence": ([up(1, 2, a="x", b=1), gone(1, 2)], []),
    "late delete keeps the newer row": ([up(1, 3, a="x", b=1), gone(1, 2)], [(1, 3, "x", 1)]),
    "late upsert stays dead": ([gone(1, 2), up(1, 1, a="x", b=1)], []),
    "truncate reaches every key": ([up(1, 1, a="x", b=1), up(2, 5, a="y", b=2), {"op": "T", "seq": 3}], [(2, 5, "y", 2)]),
    "repeats are one": ([up(1, 1, a="x", b=1)] * 3, [(1, 1, "x", 1)]),
    "sparse ties merge": ([up(1, 1, a="x"), up(1, 1, b=1)], [(1, 1, "x", 1)]),
    "complete ties: larger payload": ([up(1, 1, a="x", b=1), up(1, 1, a="w", b=9)], [(1, 1, "x", 1)]),
    "complete ties: null lowest": ([up(1, 1, a=None, b=9), up(1, 1, a="", b=1)], [(1, 1, "", 1)]),
    "sparse ties: larger value": ([up(1, 1, a="x"), up(1, 1, a="y"), up(1, 1, b=3)], [(1, 1, "y", 3)]),
    "bad rows fall out": ([up(None, 1, a="x", b=1), up(1, None, a="x", b=1)], []),
}


@pytest.mark.parametrize("case", CASES)
def test_table_in_any_order(case: str) -> None:
    delivered, expected = CASES[case]
    for order in permutations(delivered):
        assert rows(*order) == expected


def test_composite_sequences_compare_part_by_part_with_null_lowest() -> None:
    rules = Rules(keys=("id",), sequence_by=("file", "pos"), columns=("id", "a"))
    delivered = [
        {"id": 1, "file": 2, "pos": None, "a": "low"},
        {"id": 1, "file": 2, "pos": -5, "a": "high"},
        {"id": 1, "file": 1, "pos": 99, "a": "old"},
        {"id": 2, "file": None, "pos": 1, "a": "kept"},
        {"id": 3, "file": None, "pos": None, "a": "bad"},
    ]
    assert rows(*delivered, rules=rules) == [(1, "high"), (2, "kept")]


def test_keys_of_equal_value_are_one_key() -> None:
    delivered = [up(Decimal("1.50"), 1, a="x", b=1), up(Decimal("1.5"), 2, a="y", b=1), up(float("nan"), 1, a="n", b=1)]
    delivered += [
        up(float("nan"), 2, a="m", b=1),
        up(-0.0, 1, a="z", b=1),
        up(0.0, 2, a="o", b=1),
        up("A", 1, a="A", b=1),
        up("a ", 1, a="a ", b=1),
    ]
    assert {row[2] for row in rows(*delivered)} == {"y", "m", "o", "A", "a "}


def test_marker_and_ignored_nulls_author_nothing() -> None:
    rules = Rules(keys=("id",), sequence_by=("seq",), columns=("id", "a", "b"), unchanged="?", ignore_nulls=frozenset("b"))
    assert rows(up(1, 1, a="x", b=1), up(1, 2, a="?", b=None), rules=rules) == [(1, "x", 1)]
    assert rows(up(1, 2, a="?", b=2), rules=rules) == [(1, None, 2)]


def test_conflicts() -> None:
    def tied(*delivered: dict[str, object]) -> bool:
        return oracle.conflicting(oracle.events(delivered, RULES))

    assert tied(up(1, 1, a="x", b=1), up(1, 1, a="y", b=1))
    assert not tied(up(1, 1, a="x"), up(1, 1, b=1))
    assert not tied(up(1, 1, a="x", b=1), up(1, 1, a="x", b=1))
    assert not tied(up(1, 1, a="x", b=1), up(1, 1, a="y", b=1), gone(1, 1))


def test_ledger_books_every_event_once() -> None:
    ledger = Ledger(RULES)
    first = [up(1, 1, a="x", b=1), up(1, 1, a="x", b=1), up(1, 2, a="y", b=1), gone(2, 5), up(3, 1, a="x", b=1), up(None, 1)]
    assert ledger.book(first) == {
        "read": 6,
        "applied": 3,
        "stale": 1,
        "duplicate": 1,
        "quarantined": 1,
        "inserted": 2,
        "deleted": 0,
        "updated": 0,
    }
    assert ledger.book(first) == {
        "read": 6,
        "applied": 0,
        "stale": 1,
        "duplicate": 4,
        "quarantined": 1,
        "inserted": 0,
        "deleted": 0,
        "updated": 0,
    }
    late = [gone(1, 1), up(2, 4, a="x", b=1), gone(3, 2), up(1, 3, a="y", b=1)]
    assert ledger.book(late) == {
        "read": 4,
        "applied": 2,
        "stale": 2,
        "duplicate": 0,
        "quarantined": 0,
        "inserted": 0,
        "deleted": 1,
        "updated": 1,
    }
    assert ledger.book([{"op": "T", "seq": 9}, up(1, 8, a="x", b=1)]) == {
        "read": 2,
        "applied": 1,
        "stale": 1,
        "duplicate": 0,
        "quarantined": 0,
        "inserted": 0,
        "deleted": 1,
        "updated": 0,
    }
