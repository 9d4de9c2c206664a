"""Seeded generators of change feeds: the same seed makes the same changes, on any machine.

Changes are plain dictionaries, so that a test can compute what they mean without Spark; ``frame`` turns them into a DataFrame.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Row = dict[str, Any]


def random_changes(
    seed: int,
    *,
    keys: Sequence[Mapping[str, Any]],
    sequences: Sequence[Mapping[str, Any]],
    values: Mapping[str, Sequence[Any]],
    events: int = 20,
    deletes: float = 0.2,
    conflicts: bool = False,
    unchanged: Mapping[str, Any] | None = None,
    absent: float = 0.3,
) -> list[Row]:
    """Random upserts and deletes of a few keys, drawn from pools of keys, sequences and values.

    ``keys`` and ``sequences`` are pools of column values, ``values`` a pool per payload column. Each change has an ``op`` of ``U`` or
    ``D``; a delete carries its key and sequence only. Two upserts of one key at one sequence agree unless ``conflicts``.
    ``unchanged`` maps columns to the marker that stands for "not said" in the share ``absent`` of the upserts.

    >>> pools = {"keys": [{"id": 1}, {"id": 2}], "sequences": [{"lsn": n} for n in range(9)], "values": {"qty": range(3)}}
    >>> random_changes(7, **pools, events=2)
    [{'id': 2, 'lsn': 2, 'op': 'U', 'qty': 0}, {'id': 1, 'lsn': 8, 'op': 'D', 'qty': None}]
    """
    dice = random.Random(seed)
    said: dict[tuple[int, int, str], Any] = {}

    def value(key: int, sequence: int, column: str) -> Any:
        if unchanged and column in unchanged and dice.random() < absent:
            return unchanged[column]
        drawn = dice.choice(values[column])
        return drawn if conflicts else said.setdefault((key, sequence, column), drawn)

    def change() -> Row:
        key, sequence = dice.randrange(len(keys)), dice.randrange(len(sequences))
        row = {**keys[key], **sequences[sequence]}
        if dice.random() < deletes:
            return {**row, "op": "D", **dict.fromkeys(values)}
        return {**row, "op": "U", **{column: value(key, sequence, column) for column in values}}

    return [change() for _ in range(events)]


def scramble(
    changes: Iterable[Mapping[str, Any]], *, seed: int, batches: int = 4, late: float = 0.25, repeated: float = 0.2
) -> list[list[Row]]:
    """The same changes as a bad network delivers them: in batches, some late, some again, each batch shuffled.

    Every change stands in at least one batch. ``late`` and ``repeated`` are shares of the changes: a late one arrives in some later
    batch than its turn, a repeated one arrives again in any batch, its own included.

    >>> delivered = scramble([{"id": n} for n in range(8)], seed=1, batches=3)
    >>> len(delivered), sorted({row["id"] for batch in delivered for row in batch})
    (3, [0, 1, 2, 3, 4, 5, 6, 7])
    """
    dice = random.Random(seed)
    rows = [dict(change) for change in changes]
    delivered: list[list[Row]] = [[] for _ in range(batches)]
    for n, row in enumerate(rows):
        turn = n * batches // len(rows)
        delivered[dice.randrange(turn, batches) if dice.random() < late else turn].append(row)
        if dice.random() < repeated:
            delivered[dice.randrange(batches)].append(row)
    for batch in delivered:
        dice.shuffle(batch)
    return delivered


def customer_days(seed: int = 1, *, customers: int = 12, days: int = 10) -> list[list[Row]]:
    """Changes of a customer dimension in June, day by day: ``customer_id, changed_at, op, email, address, tier``.

    Every customer signs up on one of the first days; then some move, change their tier or their email, a few leave and may come
    back, and one change in twelve reaches the feed two days late. ``changed_at`` is ISO text in UTC, never twice the same for a
    customer. At most thirty days.

    >>> days = customer_days(customers=4, days=3)
    >>> days[0][0]
    {'customer_id': 1, 'changed_at': '2024-06-01T03:31:01Z', 'op': 'I', 'email': 'c1@example.org', 'address': '84 Lyon', 'tier': 'basic'}
    >>> [len(day) for day in days]
    [4, 1, 3]
    """
    dice = random.Random(seed)
    delivered: list[list[Row]] = [[] for _ in range(days)]
    living: dict[int, Row] = {}
    joins = [0 if dice.random() < 0.7 else dice.randrange(max(1, days // 2)) for _ in range(customers)]
    for day in range(days):
        for customer in range(1, customers + 1):
            joins_on = joins[customer - 1]
            change = None if day < joins_on else _customer_change(dice, customer, living, joining=day == joins_on)
            if change is not None:
                minute = f"{dice.randrange(24):02}:{dice.randrange(60):02}:{dice.randrange(60):02}"
                row = {"customer_id": customer, "changed_at": f"2024-06-{day + 1:02}T{minute}Z", **change}
                late = 2 if dice.random() < 1 / 12 else 0
                delivered[min(day + late, days - 1)].append(row)
    return delivered


def _customer_change(dice: random.Random, customer: int, living: dict[int, Row], *, joining: bool) -> Row | None:
    """What one customer does on one day; ``None``: nothing."""
    cities, tiers = ("Kiel", "Köln", "Bonn", "Lyon", "Graz"), ("basic", "silver", "gold")
    stands = living.get(customer)
    drawn = dice.random()
    if joining or (stands is None and drawn < 0.3):
        address, tier = f"{dice.randrange(1, 99)} {dice.choice(cities)}", dice.choice(tiers)
        living[customer] = {"email": f"c{customer}@example.org", "address": address, "tier": tier}
        return {"op": "I", **living[customer]}
    if stands is None or drawn > 0.5:
        return None
    if drawn < 0.05:
        del living[customer]
        return {"op": "D", "email": None, "address": None, "tier": None}
    changed = {"address": f"{dice.randrange(1, 99)} {dice.choice(cities)}"} if drawn < 0.25 else {"tier": dice.choice(tiers)}
    changed = {"email": f"c{customer}.{dice.randrange(9)}@example.org"} if drawn > 0.4 else changed
    living[customer] = {**stands, **changed}
    return {"op": "U", **living[customer]}


def frame(spark: SparkSession, rows: Iterable[Mapping[str, Any]], schema: str) -> DataFrame:
    """The rows as a DataFrame of ``schema`` (a DDL string such as ``"id bigint, name string"``); what a row leaves out is NULL.

    Give timestamps as aware ``datetime`` values: Python's own time zone then plays no part.

    >>> frame(spark, [{"id": 1, "name": "Ann"}, {"id": 2}], "id int, name string").show()
    +---+----+
    | id|name|
    +---+----+
    |  1| Ann|
    |  2|NULL|
    +---+----+
    <BLANKLINE>
    """
    columns = spark.createDataFrame([], schema).columns
    return spark.createDataFrame([tuple(map(row.get, columns)) for row in rows], schema)


def orders(spark: SparkSession, events: int, *, seed: int = 1, orders: int | None = None) -> DataFrame:
    """A change feed of an order table: ``events`` changes of 14 columns, made inside Spark.

    Columns: ``order_id bigint, lsn bigint, op string`` (``I U D``), ``customer_id bigint, status, channel, country, city, email, currency
    string, quantity int, amount decimal(12,2), ordered_at timestamp, ordered_on date``. One change in ten is a delete, one in
    fifty stands twice, and the rows come in no order. ``orders`` is the number of distinct orders, a third of ``events`` by default.

    >>> feed = orders(spark, 1000)
    >>> len(feed.columns), feed.count(), feed.distinct().count()
    (14, 1000, 980)
    """
    from pyspark.sql import functions as F

    distinct = events - events // 50
    wanted = orders or max(1, events // 3)

    def dice(name: str, sides: int) -> str:
        return f"pmod(xxhash64(lsn, '{name}', {seed}L), {sides})"

    def pick(name: str, *choices: str) -> str:
        return f"element_at(array({', '.join(map(repr, choices))}), cast({dice(name, len(choices))} as int) + 1)"

    of_order = f"pmod(xxhash64(order_id, {seed}L), 31536000)"
    drawn = spark.range(events).selectExpr(f"id % {distinct} AS lsn").selectExpr(f"{dice('order', wanted)} + 1 AS order_id", "lsn")
    complete = drawn.selectExpr(
        "order_id",
        "lsn",
        f"CASE WHEN {dice('op', 10)} = 0 THEN 'D' WHEN {dice('op', 10)} < 4 THEN 'I' ELSE 'U' END AS op",
        "pmod(xxhash64(order_id, 'customer'), 10000) AS customer_id",
        pick("status", "new", "paid", "packed", "shipped", "returned") + " AS status",
        pick("channel", "web", "shop", "app") + " AS channel",
        pick("country", "DE", "FR", "IT", "PL") + " AS country",
        pick("city", "Köln", "Lyon", "Torino", "Łódź", "Kiel") + " AS city",
        "concat('user', pmod(xxhash64(order_id, 'customer'), 10000), '@example.org') AS email",
        "'EUR' AS currency",
        f"cast({dice('quantity', 20)} + 1 AS int) AS quantity",
        f"cast({dice('amount', 1000000)} / 100 AS decimal(12,2)) AS amount",
        f"timestamp_seconds(1704067200 + {of_order}) AS ordered_at",
        f"date_add(DATE'2024-01-01', cast({of_order} div 86400 as int)) AS ordered_on",
    )
    return complete.sort(F.xxhash64("lsn", F.lit(seed)))
