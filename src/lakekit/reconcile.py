"""Compare a table with another copy of its data: equal by count and content hash, or the keys and columns that differ.

One pass: both sides are hashed and counted on their way into one full outer join by key, whose differing rows are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.columns import Fitted, any_of, canonical_float, col, comparable, find, fit, instant, meeting, same_type
from lakekit.errors import ConfigError

MISSING, UNEXPECTED, DIFFERENT, DUPLICATE = "missing", "unexpected", "different", "duplicate"
"""What is wrong with a key: only in the source, only in the table, on both sides with other values, more than once on a side."""

DIFFERENCE, COLUMNS = "difference", "columns"
"""Columns of the differences beside the keys."""

Number = int | float | Decimal
_KEY, _TIMES, _FIRST, _DIFFERS = "_lk_key", "_lk_times_", "_lk_first", "_lk_differs_"
_SIDES = ("table", "source")
_LOW = 0xFFFFFFFF


@dataclass(frozen=True)
class Reconciliation:
    """What a comparison found. ``differences`` has the keys, ``difference`` and ``columns`` (array of names), and no values.

    Rows: ``table_rows``, ``source_rows``. Keys: ``matched`` (the same on both sides), ``missing`` (only in the source), ``unexpected``
    (only in the table), ``different``, ``duplicate`` (more than once on a side; such keys are not compared further).
    ``by_column`` counts the keys that differ in a column. The hashes, sums of 64-bit row hashes, tell the compared columns of all rows in
    any order, those with a tolerance left out; ``equal`` rests on the values themselves.
    """

    table: str
    equal: bool
    table_rows: int
    source_rows: int
    matched: int
    missing: int
    unexpected: int
    different: int
    duplicate: int
    table_hash: str
    source_hash: str
    by_column: Mapping[str, int]
    differences: DataFrame = field(repr=False, compare=False)

    def __bool__(self) -> bool:
        return self.equal

    def as_dict(self) -> dict[str, Any]:
        """The facts as a plain dictionary, ready for JSON; no value of a row is among them."""
        return {name: value for name, value in vars(self).items() if name != "differences"}

    def __str__(self) -> str:
        if self.equal:
            return f"reconcile {self.table}: equal, {self.table_rows} rows, content {self.table_hash}"
        wrong = {MISSING: self.missing, UNEXPECTED: self.unexpected, DIFFERENT: self.different, DUPLICATE: self.duplicate}
        counts = " ".join(f"{name}={count}" for name, count in wrong.items() if count)
        columns = ", ".join(f"{name} ({count})" for name, count in self.by_column.items() if count)
        rows = f"{self.table_rows} rows in the table, {self.source_rows} in the source"
        return f"reconcile {self.table}: differs, {rows}: {counts}" + (f"; columns: {columns}" if columns else "")


@dataclass(frozen=True)
class _Column:
    """A compared column: its name, each side in the one type where they meet, and how far they may lie apart."""

    place: int
    names: tuple[str, str]
    of_one_type: bool
    sides: tuple[Fitted, Fitted]
    data_type: T.DataType
    tolerance: Column | None = None

    @property
    def name(self) -> str:
        """As the table spells it."""
        return self.names[0]

    def value(self, side: int) -> str:
        """Name of the helper column with a side's value."""
        return f"_lk_{_SIDES[side]}_v{self.place}"

    def misfit(self, side: int) -> str:
        """Name of the helper column that tells whether a side's value did not fit."""
        return f"_lk_{_SIDES[side]}_b{self.place}"

    def key(self, side: int) -> Column:
        """A side's key; one that does not fit is itself as text, equal to no key that fits."""
        value, bad = self.sides[side]
        text = F.lit(None).cast("string") if bad is None else F.when(bad, col(self.names[side]).cast("string"))
        # Nullable on both sides: were it on one only, Spark would cast the other side's key, and shuffle that side once more.
        fitting = F.when(value.isNotNull() if bad is None else ~bad, canonical_float(value, self.data_type))
        return F.struct(fitting.alias("k"), text.alias("m"))

    def shown(self, key: Column) -> Column:
        """The key out of the struct of keys: in its type, or as text where a side holds it in another."""
        value, text = key.getField(f"k{self.place}").getField("k"), key.getField(f"k{self.place}").getField("m")
        return value if self.of_one_type else F.coalesce(text, value.cast("string"))

    def projected(self, side: int) -> list[Column]:
        """The helper columns of a side."""
        value, bad = self.sides[side]
        plain = comparable(canonical_float(value, self.data_type), self.data_type).alias(self.value(side))
        return [plain] if bad is None else [plain, F.coalesce(bad, F.lit(False)).alias(self.misfit(side))]

    def hashed(self, side: int) -> list[Column]:
        """What the content hash takes in: whether there is a value, and the value."""
        if self.tolerance is not None:
            return []
        fits = F.lit(0) if self.sides[side][1] is None else col(self.misfit(side)).cast("int")
        return [F.when(col(self.value(side)).isNull(), F.lit(2)).otherwise(F.lit(0)) + fits, col(self.value(side))]

    def differs(self) -> Column:
        one, other = col(self.value(0)), col(self.value(1))
        alike = one.eqNullSafe(other)
        if self.tolerance is not None:
            alike = alike | F.coalesce(F.abs(F.try_subtract(one, other)) <= self.tolerance, F.lit(False))
        misfits = [col(self.misfit(side)) for side in (0, 1) if self.sides[side][1] is not None]
        return ~alike | any_of(misfits)


def differences(
    table: DataFrame,
    source: DataFrame,
    *,
    keys: str | Sequence[str],
    columns: Sequence[str] | None = None,
    tolerance: Mapping[str, Number] | None = None,
) -> DataFrame:
    """Compare two frames by key: one row for each key that is not the same on both sides.

    Returns the keys (as text where the sides hold them in different types), ``difference`` (missing, unexpected, different, duplicate)
    and ``columns`` (names of the columns that differ; NULL but for *different*). Names are compared without case, values by what they
    mean, whatever their types: text ``'33002.00'`` equals decimal 33002.0; NULL = NULL, in keys too; NaN = NaN; maps as sets.
    *columns* (default: all of *source*'s but the keys) are compared; *tolerance* says for numbers how far they may lie apart, for
    timestamps in seconds. Evaluates nothing: what it counts is read by ``result``. Each side is read, and shuffled by key, once.
    Raises ``ConfigError`` for columns that do not exist, ``SchemaConflict`` for types that never compare.

    >>> table = spark.sql("SELECT * FROM VALUES (1, 33002.0, 'a'), (2, 5.5, 'b'), (3, 1.0, NULL) AS (id, pay, note)")
    >>> source = spark.sql("SELECT * FROM VALUES ('1', '33002.00', 'a'), ('2', '5.51', 'B'), ('4', '1', NULL) AS (id, pay, note)")
    >>> differences(table, source, keys="id").sort("id").show()
    +---+----------+-----------+
    | id|difference|    columns|
    +---+----------+-----------+
    |  2| different|[pay, note]|
    |  3|unexpected|       NULL|
    |  4|   missing|       NULL|
    +---+----------+-----------+
    """
    identity = [_key(table, source, i, name) for i, name in enumerate([keys] if isinstance(keys, str) else keys)]
    if not identity:
        raise ConfigError("reconcile: keys needs at least one column.")
    names = {pair.name.lower() for pair in identity}
    if names & {DIFFERENCE, COLUMNS}:
        raise ConfigError(f"reconcile: a key is named {DIFFERENCE} or {COLUMNS}, as the result's own columns are. Rename it on both sides.")
    chosen = [name for name in source.columns if name.lower() not in names] if columns is None else list(columns)
    allowed = {_known(source, name, "tolerance"): value for name, value in (tolerance or {}).items()}
    content = [_paired(table, source, len(identity) + i, name, allowed) for i, name in enumerate(chosen)]
    unused = allowed.keys() - {_known(source, name, "columns") for name in chosen}
    if unused:
        raise ConfigError(f"reconcile: tolerance names {', '.join(sorted(unused))}, which is not compared.")
    sides = [_side(df, side, identity, content) for side, df in enumerate((table, source))]
    joined = sides[0].join(sides[1], col(_KEY + "0") == col(_KEY + "1"), "full_outer")
    return _told(joined, identity, content)


def _key(table: DataFrame, source: DataFrame, place: int, name: str) -> _Column:
    """A key, on both sides in the table's type."""
    mine, theirs = _known(table, name, "the table"), _known(source, name, "the source")
    types = table.schema[mine].dataType, source.schema[theirs].dataType
    return _Column(place, (mine, theirs), same_type(*types), ((col(mine), None), fit(theirs, types[1], types[0])), types[0])


def _paired(table: DataFrame, source: DataFrame, place: int, name: str, tolerance: Mapping[str, Number]) -> _Column:
    mine, theirs = _known(table, name, "the table"), _known(source, name, "the source")
    types = table.schema[mine].dataType, source.schema[theirs].dataType
    if theirs in tolerance:
        return _tolerant(place, mine, theirs, types, tolerance[theirs])
    other, one, data_type = meeting(theirs, types[1], mine, types[0])  # in this order: an error calls the second one the table's
    return _Column(place, (mine, theirs), same_type(*types), (one, other), data_type)


def _tolerant(place: int, mine: str, theirs: str, types: tuple[T.DataType, T.DataType], tolerance: Number) -> _Column:
    """Both sides in a type that holds what lies between the values of either."""
    if tolerance < 0:
        raise ConfigError(f"reconcile: the tolerance of {mine} is negative.")
    if any(isinstance(t, (T.TimestampType, T.TimestampNTZType, T.DateType)) for t in types):
        one, other = (F.unix_micros(instant(name, t)) for name, t in zip((mine, theirs), types, strict=True))
        micros = F.lit(int(Decimal(str(tolerance)) * 1_000_000))
        return _Column(place, (mine, theirs), False, ((one, None), (other, None)), T.LongType(), micros)
    if not any(isinstance(t, T.NumericType) for t in types):
        raise ConfigError(
            f"reconcile: {mine} has a tolerance, but is {types[0].simpleString()}. Only numbers and times lie near each other."
        )
    floating = any(isinstance(t, (T.FloatType, T.DoubleType)) for t in types)
    target = T.DoubleType() if floating else T.DecimalType(38, 18)
    limit = F.lit(float(tolerance)) if floating else F.lit(Decimal(str(tolerance)))
    return _Column(place, (mine, theirs), False, (fit(mine, types[0], target), fit(theirs, types[1], target)), target, limit)


def _known(df: DataFrame, name: str, role: str) -> str:
    hit = find(df.columns, name)
    if hit is None:
        raise ConfigError(f"reconcile: {role} has no column {name}; there are {', '.join(df.columns)}. Say in columns= what to compare.")
    return hit


def _side(df: DataFrame, side: int, identity: Sequence[_Column], content: Sequence[_Column]) -> DataFrame:
    """One side: key and values, counted and hashed; of a key that stands more than once the first row, with how often it does.

    The key is one struct: its NULLs are equal under ``=``, where for ``<=>`` Spark would shuffle once more, by expressions of its own.
    """
    key = F.struct(*(pair.key(side).alias(f"k{pair.place}") for pair in identity)).alias(f"{_KEY}{side}")
    rows = df.select(key, *(part for pair in content for part in pair.projected(side)))
    hashed = F.xxhash64(
        *(part for pair in identity for part in _flat(side, pair)), *(part for pair in content for part in pair.hashed(side))
    )
    counted = rows.withColumn("_lk_hash", hashed).observe(
        f"_lk_{_SIDES[side]}",
        F.count(F.lit(1)).alias(f"{_SIDES[side]}_rows"),
        # Sums of both halves: no overflow below 2³¹ rows, and unlike an exclusive or they keep rows that stand twice.
        F.coalesce(F.sum(F.shiftrightunsigned("_lk_hash", 32)), F.lit(0)).alias(f"{_SIDES[side]}_high"),
        F.coalesce(F.sum(col("_lk_hash").bitwiseAND(F.lit(_LOW))), F.lit(0)).alias(f"{_SIDES[side]}_low"),
    )
    by_key = Window.partitionBy(f"{_KEY}{side}").orderBy(f"{_KEY}{side}")
    times = F.count(F.lit(1)).over(by_key.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing))
    numbered = counted.drop("_lk_hash").withColumns({f"{_TIMES}{side}": times, _FIRST: F.row_number().over(by_key)})
    return numbered.where(col(_FIRST) == 1).drop(_FIRST)


def _flat(side: int, pair: _Column) -> list[Column]:
    key = col(f"{_KEY}{side}").getField(f"k{pair.place}")
    return [key.getField("k").isNull(), key.getField("k"), key.getField("m")]


def _told(joined: DataFrame, identity: Sequence[_Column], content: Sequence[_Column]) -> DataFrame:
    """What is wrong with each key, counted; keys with which nothing is wrong are emptied before they are counted, then left out."""
    judged = joined.select("*", *(pair.differs().alias(f"{_DIFFERS}{pair.place}") for pair in content))
    here, there = col(f"{_TIMES}0").isNotNull(), col(f"{_TIMES}1").isNotNull()
    twice = (F.coalesce(col(f"{_TIMES}0"), F.lit(1)) > 1) | (F.coalesce(col(f"{_TIMES}1"), F.lit(1)) > 1)
    unequal = any_of(col(f"{_DIFFERS}{pair.place}") for pair in content)
    what = F.when(twice, DUPLICATE).when(~here, MISSING).when(~there, UNEXPECTED).when(unequal, DIFFERENT)
    judged = judged.select("*", what.alias(DIFFERENCE))
    wrong, different = col(DIFFERENCE).isNotNull(), col(DIFFERENCE) == DIFFERENT
    key = F.coalesce(col(f"{_KEY}0"), col(f"{_KEY}1"))
    named = F.array_compact(
        F.array(*(F.when(col(f"{_DIFFERS}{pair.place}"), F.lit(pair.name)) for pair in content), F.lit(None).cast("string"))
    )
    told = judged.select(
        *(F.when(wrong, pair.shown(key)).alias(pair.name) for pair in identity),
        DIFFERENCE,
        F.when(different, named).alias(COLUMNS),
    )
    return told.observe(
        "_lk_keys",
        F.count_if(~wrong).alias("matched"),
        *(F.count_if(col(DIFFERENCE) == each).alias(each) for each in (MISSING, UNEXPECTED, DIFFERENT, DUPLICATE)),
        *(F.count_if(F.array_contains(COLUMNS, pair.name)).alias(f"{_DIFFERS}{pair.name}") for pair in content),
    ).where(wrong)


def result(table: str, found: DataFrame, counts: Mapping[str, int]) -> Reconciliation:
    """What a comparison found: *found* are the evaluated differences, *counts* what was observed on the way to them."""
    numbers = {name: counts.get(name, 0) for name in ("table_rows", "source_rows", "matched", MISSING, UNEXPECTED, DIFFERENT, DUPLICATE)}
    hashes = [f"{counts.get(f'{side}_high', 0):016x}{counts.get(f'{side}_low', 0):016x}" for side in _SIDES]
    by_column = {name.removeprefix(_DIFFERS): count for name, count in counts.items() if name.startswith(_DIFFERS)}
    equal = not any(numbers[each] for each in (MISSING, UNEXPECTED, DIFFERENT, DUPLICATE))
    return Reconciliation(table, equal, **numbers, table_hash=hashes[0], source_hash=hashes[1], by_column=by_column, differences=found)
