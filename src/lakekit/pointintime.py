"""Facts meet the version of a dimension that was valid at their own time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.columns import all_of, any_of, canonical_float, col, find, fit, fitting, instant, same_type
from lakekit.errors import ConfigError, SchemaConflict
from lakekit.rows import HasRows, rows_in

_ON, _AT, _FROM, _TO, _MET, _OUT = "_lk_on_", "_lk_at", "_lk_from", "_lk_to", "_lk_met", "_lk_out_"


def point_in_time_join(
    facts: DataFrame,
    dimension: DataFrame | HasRows,
    *,
    on: str | Sequence[str] | Mapping[str, str],
    at: str,
    valid_from: str = "valid_from",
    valid_to: str = "valid_to",
    columns: Sequence[str] | None = None,
    prefix: str = "",
    matched: str | None = None,
    observation: Observation | None = None,
) -> DataFrame:
    """Give each fact the columns of the version that was valid at its time; facts without one stay, with NULLs.

    *dimension* (a frame or a type 2 `lakekit.Table`) holds at most one version of a key at a time, half-open ``[valid_from, valid_to)``;
    a ``valid_to`` that is NULL or far in the future is open, a NULL ``valid_from`` means since ever. *on* names the key columns, or maps
    the fact's names to the dimension's. *at* is the fact's column of ``valid_from``'s meaning: dates are the midnight, and clocks without
    a zone the instant, of UTC; a composite ``valid_from`` needs a struct. A fact whose key or time is NULL meets nothing.

    Returns the columns of *facts*, then *columns* of the dimension (default: all but its keys and the interval), each with *prefix*
    before its name, then *matched* (boolean) if named. *observation* counts while the result is first used: ``facts``, ``unmatched``,
    ``without_key_or_time`` and ``unmatched_rate`` (unmatched / facts; NULL for no fact), in ``observation.get``.
    What Spark evaluates twice, as it does below a global sort, is counted twice; the rate stays right.

    One equi-join by key with the interval as condition: each side is shuffled at most once, the facts not at all where Spark can
    broadcast the dimension. Raises ``ConfigError`` for a column that does not exist or a name that would stand twice, ``SchemaConflict``
    for columns that cannot be compared.

    >>> customers = spark.sql('''
    ...     SELECT * FROM VALUES (1, 'gold', DATE'2024-01-01', DATE'2024-03-01'), (1, 'silver', DATE'2024-03-01', NULL)
    ...     AS (id, tier, valid_from, valid_to)''')
    >>> orders = spark.sql('''
    ...     SELECT * FROM VALUES ('a', 1, DATE'2024-02-29'), ('b', 1, DATE'2024-03-01'), ('c', 1, DATE'2023-12-31'), ('d', NULL, NULL)
    ...     AS (order, customer, ordered_on)''')
    >>> point_in_time_join(orders, customers, on={"customer": "id"}, at="ordered_on").sort("order").show()
    +-----+--------+----------+------+
    |order|customer|ordered_on|  tier|
    +-----+--------+----------+------+
    |    a|       1|2024-02-29|  gold|
    |    b|       1|2024-03-01|silver|
    |    c|       1|2023-12-31|  NULL|
    |    d|    NULL|      NULL|  NULL|
    +-----+--------+----------+------+
    """
    versions = rows_in(dimension)
    pairs = _pairs(facts, versions, on)
    time, start, end = _found(facts, at, "at"), _found(versions, valid_from, "valid_from"), _found(versions, valid_to, "valid_to")
    taken = _taken(versions, columns, {*(theirs for _, theirs in pairs), start, end})
    _refuse_twice([*facts.columns, *(prefix + name for name in taken), *([matched] if matched else [])])

    cast = {f"{_ON}l{i}": _fitted(facts, mine, versions.schema[theirs].dataType) for i, (mine, theirs) in enumerate(pairs)}
    cast[_AT] = _point(facts, time, versions.schema[start].dataType)
    asis = dict(zip(cast, [*(mine for mine, _ in pairs), time], strict=True))
    # A column that needs no cast is not shuffled twice under two names.
    left = facts.select(*map(col, facts.columns), *(value.alias(name) for name, value in cast.items() if value is not None))
    mine = {name: col(name) if value is not None else col(asis[name]) for name, value in cast.items()}
    right = versions.select(
        *(canonical_float(col(theirs), versions.schema[theirs].dataType).alias(f"{_ON}r{i}") for i, (_, theirs) in enumerate(pairs)),
        _comparable(versions, start).alias(_FROM),
        _comparable(versions, end).alias(_TO),
        F.lit(True).alias(_MET),
        *(col(name).alias(_OUT + name) for name in taken),
    )
    same = all_of(mine[f"{_ON}l{i}"] == col(f"{_ON}r{i}") for i in range(len(pairs)))
    begun = col(_FROM).isNull() | (col(_FROM) <= mine[_AT])
    joined = left.join(right, same & mine[_AT].isNotNull() & begun & (col(_TO).isNull() | (mine[_AT] < col(_TO))), "left")
    if observation is not None:
        joined = joined.observe(observation, *_measures(mine.values()))
    shown = [F.coalesce(F.col(_MET), F.lit(False)).alias(matched)] if matched else []
    return joined.select(*map(col, facts.columns), *(col(_OUT + name).alias(prefix + name) for name in taken), *shown)


def _measures(keys_and_time: Iterable[Column]) -> list[Column]:
    unmatched = col(_MET).isNull()
    lacking = any_of(value.isNull() for value in keys_and_time)
    return [
        F.count(F.lit(1)).alias("facts"),
        F.count_if(unmatched).alias("unmatched"),
        F.count_if(lacking).alias("without_key_or_time"),
        F.avg(unmatched.cast("int")).alias("unmatched_rate"),
    ]


def _pairs(facts: DataFrame, versions: DataFrame, on: str | Sequence[str] | Mapping[str, str]) -> list[tuple[str, str]]:
    wanted = {on: on} if isinstance(on, str) else dict(on) if isinstance(on, Mapping) else {name: name for name in on}
    if not wanted:
        raise ConfigError("point_in_time_join: on needs at least one key column.")
    return [(_found(facts, mine, "on"), _found(versions, theirs, "on")) for mine, theirs in wanted.items()]


def _found(df: DataFrame, name: str, role: str) -> str:
    hit = find(df.columns, name)
    if hit is None:
        raise ConfigError(f"point_in_time_join: {role} names {name}, which is no column. There are: {', '.join(df.columns)}.")
    return hit


def _taken(versions: DataFrame, columns: Sequence[str] | None, own: set[str]) -> list[str]:
    if columns is None:
        return [name for name in versions.columns if name not in own]
    return [_found(versions, name, "columns") for name in columns]


def _refuse_twice(names: list[str]) -> None:
    lowered = [name.lower() for name in names]
    twice = sorted({name for name in lowered if lowered.count(name) > 1})
    if twice:
        raise ConfigError(f"point_in_time_join: {', '.join(twice)} would stand twice in the result. Give prefix=, or choose columns=.")


def _fitted(facts: DataFrame, name: str, target: T.DataType) -> Column | None:
    """A fact's key in the dimension's type (NULL where that cannot hold it: it meets nothing); ``None`` where it is in it already."""
    source = facts.schema[name].dataType
    if same_type(source, target) and not isinstance(source, (T.FloatType, T.DoubleType)):
        return None
    return canonical_float(fitting(fit(name, source, target)), target)


def _point(facts: DataFrame, at: str, boundary: T.DataType) -> Column | None:
    """The fact's time, comparable with the interval's ends; ``None`` where it is comparable already."""
    source = facts.schema[at].dataType
    if isinstance(boundary, (T.DateType, T.TimestampType, T.TimestampNTZType)):
        return None if isinstance(source, T.TimestampType) else instant(at, source)
    if not same_type(source, boundary) and not (isinstance(source, T.NumericType) and isinstance(boundary, T.NumericType)):
        raise SchemaConflict(f"at: {at} is {source.simpleString()}, the dimension's interval {boundary.simpleString()}. Cast one of them.")
    return None


def _comparable(versions: DataFrame, name: str) -> Column:
    data_type = versions.schema[name].dataType
    return instant(name, data_type) if isinstance(data_type, (T.DateType, T.TimestampType, T.TimestampNTZType)) else col(name)
