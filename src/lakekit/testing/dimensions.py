"""Checking that a table is a well-formed type 2 history, whoever wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def assert_scd2_valid(
    df: DataFrame,
    *,
    keys: str | Sequence[str],
    track: str | Sequence[str] | None = None,
    valid_from: str = "valid_from",
    valid_to: str = "valid_to",
    end_of_time: str | date | Column | None = None,
    current: str | None = None,
    version: str | None = None,
    deletes: DataFrame | None = None,
) -> None:
    """Fail unless each key's rows are half-open intervals ``[valid_from, valid_to)`` as type 2 wants them.

    No NULL key or ``valid_from``, no row that ends where it begins or before, no overlap, at most one open row a key and that the
    last, no two neighbours with equal *track* columns (default: every column but keys and interval; name them where others, such as a
    sequence, are kept). *end_of_time* is the ``valid_to`` of open rows where it is not NULL: text or a date as ``scd2`` takes it, or a
    column. *current* and *version* name columns that must be true of open rows only, and count a key's rows from 1. *deletes* (the key
    columns and a column named as ``valid_to``) says where a gap may begin; without it any gap is believed. A row without any key and
    ``valid_from``, as ``unknown_member`` adds, is left out.

    One aggregation in Spark; the message holds counts, no values. Raises ``AssertionError``.

    >>> rows = spark.sql("SELECT * FROM VALUES (1, 'a', 10, 20), (1, 'b', 20, NULL) AS t(id, name, valid_from, valid_to)")
    >>> assert_scd2_valid(rows, keys="id")
    >>> assert_scd2_valid(rows.withColumn("name", rows.id), keys="id")
    Traceback (most recent call last):
        ...
    AssertionError: no valid type 2 history of id: 1 row continues a neighbour with equal name
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    from lakekit.columns import all_of, col, comparable
    from lakekit.scd_shape import moment

    names = [keys] if isinstance(keys, str) else list(keys)
    own = {*names, valid_from, valid_to, current, version}
    tracked = [c for c in df.columns if c not in own] if track is None else [track] if isinstance(track, str) else list(track)
    types = {f.name: f.dataType for f in df.schema.fields}
    start, end = col(valid_from), col(valid_to)
    if end_of_time is not None:
        given = isinstance(end_of_time, (str, date))
        last = F.expr(moment("the history", "end_of_time", str(end_of_time), types[valid_to])) if given else end_of_time
        end = F.when(end != last, end)
    unknown = all_of(col(c).isNull() for c in (*names, valid_from))  # the row for facts of no member
    df = df.where(~unknown)
    in_order = Window.partitionBy(*map(col, names)).orderBy(start)
    seen = df.withColumns(
        {
            "_lk_end": end,
            "_lk_next": F.lead(start).over(in_order),
            "_lk_n": F.row_number().over(in_order),
            **{f"_lk_t{i}": F.lead(comparable(col(c), types[c])).over(in_order) for i, c in enumerate(tracked)},
        }
    )
    until, following = col("_lk_end"), col("_lk_next")
    alike = all_of(col(f"_lk_t{i}").eqNullSafe(comparable(col(c), types[c])) for i, c in enumerate(tracked))
    gap = until.isNotNull() & ~until.eqNullSafe(following)
    if deletes is not None:
        dead = deletes.select(*map(col, names), col(valid_to).alias("_lk_end"), F.lit(True).alias("_lk_deleted")).distinct()
        seen = seen.join(dead, [*names, "_lk_end"], "left")
        gap = gap & col("_lk_deleted").isNull()
    faults = {
        "has a NULL in its key or valid_from": ~all_of(col(c).isNotNull() for c in (*names, valid_from)),
        "ends where it begins, or before": until <= start,
        "is open though another follows": until.isNull() & following.isNotNull(),
        "overlaps the next": until > following,
        f"continues a neighbour with equal {', '.join(tracked)}": until.eqNullSafe(following) & following.isNotNull() & alike,
    }
    if deletes is not None:
        faults["ends in a gap without a delete"] = gap
    if current is not None:
        faults[f"has a {current} that does not say whether it is open"] = ~col(current).eqNullSafe(until.isNull())
    if version is not None:
        faults[f"has a {version} that is not its number"] = ~col(version).eqNullSafe(col("_lk_n"))
    counts = seen.agg(*(F.count_if(F.coalesce(wrong, F.lit(False))).alias(f"c{i}") for i, wrong in enumerate(faults.values()))).first()
    assert counts is not None
    found = [f"{counts[i]} {_plural(counts[i], what)}" for i, what in enumerate(faults) if counts[i]]
    if found:
        raise AssertionError(f"no valid type 2 history of {', '.join(names)}: {'; '.join(found)}")


def _plural(count: int, what: str) -> str:
    if count == 1:
        return f"row {what}"
    verb, _, rest = what.partition(" ")
    return f"rows {({'has': 'have', 'is': 'are'}).get(verb, verb.removesuffix('s'))} {rest}"
