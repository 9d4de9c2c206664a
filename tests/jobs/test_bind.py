"""Binding keys to signatures: names, defaults, types, places. Needs no Spark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import pytest

from lakekit.errors import ConfigError
from lakekit.job.bind import bind
from lakekit.job.document import Node, parse
from lakekit.partitioning import Bucket, Days, Identity, Transform

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def write(
    feed: DataFrame,
    path: str,
    *,
    keys: Sequence[str],
    limit: int = 0,
    share: float = 1.0,
    deep: bool = False,
    ties: Literal["fail", "quarantine", "content"] = "fail",
    ignore_nulls: bool | Sequence[str] = False,
    partition_by: str | Transform | Iterable[str | Transform] = (),
    properties: Mapping[str, str] = {},
    where: str | Column | None = None,
    version: str | int | datetime | None = None,
    scd: Literal[0, 1, 2] = 1,
    anything: Any = None,
    untyped=None,
) -> None: ...


def bound(text: str, expanded: bool = False) -> dict[str, Any]:
    node = parse(text, "job.yaml")
    if expanded:
        node = Node({key: Node(child.value, child.place, expanded=True) for key, child in node.value.items()}, node.place)
    return bind(write, node, "step 1 (write)", supplied=["feed"])


def test_each_kind_of_annotation() -> None:
    assert bound("""
        path: s3://x
        keys: [id, region]
        limit: 5
        share: 1
        deep: true
        ties: content
        ignore_nulls: [email]
        partition_by: ["days(ordered_at)", "bucket(16, customer_id)", region]
        properties: {write.target: "1"}
        where: region = 'EU'
        version: 7
        scd: 2
        anything: {a: [1, x]}
        untyped: [1, {b: null}]
    """) == {
        "path": "s3://x",
        "keys": ("id", "region"),
        "limit": 5,
        "share": 1.0,
        "deep": True,
        "ties": "content",
        "ignore_nulls": ("email",),
        "partition_by": (Days("ordered_at"), Bucket("customer_id", 16), Identity("region")),
        "properties": {"write.target": "1"},
        "where": "region = 'EU'",
        "version": 7,
        "scd": 2,
        "anything": {"a": [1, "x"]},
        "untyped": [1, {"b": None}],
    }
    assert bound("{path: a, keys: [], ignore_nulls: true, where: null, version: 2024-05-01}") == {
        "path": "a",
        "keys": (),
        "ignore_nulls": True,
        "where": None,
        "version": "2024-05-01",
    }


def test_text_from_a_reference_may_become_what_is_asked_for() -> None:
    assert bound("{path: '5', keys: [], limit: '5', share: '0.5', deep: 'true', version: '7'}", expanded=True) == {
        "path": "5",
        "keys": (),
        "limit": 5,
        "share": 0.5,
        "deep": True,
        "version": "7",
    }
    with pytest.raises(ConfigError, match=r"limit: expected a whole number, got text\.$"):
        bound("{path: a, keys: [], limit: many}", expanded=True)
    with pytest.raises(ConfigError, match="limit: expected a whole number, got text"):
        bound("{path: a, keys: [], limit: '5'}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path: a\nkey: [id]", 'job.yaml:2: step 1 (write): unknown key "key"; nearest is "keys". Known: path, keys, '),
        ("path: a\nkeys: [id]\nfeed: x", 'job.yaml:3: step 1 (write): unknown key "feed"'),
        ("path: a", 'job.yaml:1: step 1 (write): the key "keys" is missing.'),
        ("path: a\nkeys: id", "job.yaml:2: step 1 (write): keys: expected a list of text, got text. Write [value]."),
        ("path: a\nkeys:\n  - id\n  - 7", "job.yaml:4: step 1 (write): keys: expected text, got a whole number. Quote it."),
        ("path: a\nkeys: []\ndeep: 1", "job.yaml:3: step 1 (write): deep: expected true or false, got a whole number."),
        ("path: a\nkeys: []\nlimit: true", "job.yaml:3: step 1 (write): limit: expected a whole number, got true or false."),
        ("path: a\nkeys: []\nlimit: 1.5", "limit: expected a whole number, got a number."),
        ("path: a\nkeys: []\nties: contnt", 'ties: expected one of "fail", "quarantine", "content", got text; nearest is "content".'),
        ("path: a\nkeys: []\nignore_nulls: some", "ignore_nulls: expected true or false or a list of text, got text."),
        ("path: a\nkeys: []\nscd: 7", "scd: expected one of 0, 1, 2, got a whole number."),
        ("path: a\nkeys: []\nscd: true", "scd: expected one of 0, 1, 2, got true or false."),
        ("path: a\nkeys: []\nproperties:\n  a: 1", "job.yaml:4: step 1 (write): properties: expected text, got a whole number. Quote it."),
        ("path: a\nkeys: []\nproperties: [a]", "properties: expected keys with values, got a list."),
        (
            "path: a\nkeys: []\nversion: [1]",
            "version: expected text or a whole number or a time such as 2024-05-01T00:00:00 or nothing, got a list.",
        ),
        ("path:\nkeys: []", "job.yaml:1: step 1 (write): path: expected text, got nothing."),
        ("[a, b]", "job.yaml:1: step 1 (write): expected keys with values, got a list. Known: path, keys"),
    ],
)
def test_a_mistake_names_place_step_and_way_out(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        bound(text)
    assert message in str(raised.value)


def test_a_bad_partition_transform_is_found_before_spark() -> None:
    with pytest.raises(ConfigError, match=r"job\.yaml:3: step 1 \(write\): partition_by: .*__import__"):
        bound("path: a\nkeys: []\npartition_by: [\"__import__('os').system('ls')\"]")


def test_one_plain_value_goes_to_the_first_parameter() -> None:
    def delete(where: str) -> None: ...
    def drop() -> None: ...

    assert bind(delete, parse("id = 3", "job.yaml"), "step 1 (delete)") == {"where": "id = 3"}
    assert bind(drop, parse("", "job.yaml"), "step 1 (drop)") == {}
    for text in ("all", "[all]"):
        with pytest.raises(ConfigError, match="it takes none"):
            bind(drop, parse(text, "job.yaml"), "step 1 (drop)")
    with pytest.raises(ConfigError, match='the key "where" is missing'):
        bind(delete, parse("", "job.yaml"), "step 1 (delete)")
