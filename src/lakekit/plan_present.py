"""Plan the table of present rows that a verb of two tables keeps beside a history: types 3 and 4.

The present row of a key follows from its settled history, whether or not that changes now: so a crash between the two writes is
mended by running the same batch again.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lakekit.batch import first_row, kept
from lakekit.cdc import ACTION, AT, INSERT, NOTHING, REMOVE, UPDATE
from lakekit.changes import HIDDEN, SEQ
from lakekit.columns import any_of, col, comparable
from lakekit.formats.base import Adapter, ChangeSet, Landing, View
from lakekit.memory import STORED_SEQ, Memory
from lakekit.plan import Plan
from lakekit.pruning import Bound, where
from lakekit.request import places, where_it_stood
from lakekit.scd import LAST, TO, History

_WAS, _STANDS, _LIVES = "_lk_was", "_lk_stands", "_lk_lives"


def with_present(
    plan: Plan,
    history: History,
    settled: DataFrame,
    table: Adapter,
    view: View,
    memory: Memory,
    bounds: tuple[Bound, ...],
    stack: ExitStack,
) -> Plan:
    """The plan with the present rows of all settled keys written after it; row effects are counted on these."""
    rows = stack.enter_context(kept(_differences(history, settled, table, view, memory, bounds)))
    counts = first_row(rows.agg(*(F.count_if(col(ACTION) == a).alias(a) for a in (INSERT, UPDATE, REMOVE))))
    effects = plan.outcome
    outcome = replace(effects, inserted=counts[INSERT], updated=counts[UPDATE], deleted=counts[REMOVE])
    sizes = (effects.inserted, effects.updated + effects.closed + effects.split, effects.deleted)
    changed = ChangeSet(
        rows=rows,
        keys=history.keys,
        columns=tuple(view.columns),
        unmoved=memory.unmoved(),
        bounds=bounds,
        inserts=counts[INSERT],
        updates=counts[UPDATE],
        deletes=counts[REMOVE],
    )

    def write(token: str) -> Landing:
        table.apply(view, changed, token)
        return table.landing(view, token, wrote=True)

    return replace(plan, outcome=outcome, sizes=sizes, second=write if changed.size else None)


def present(history: History, names: Mapping[str, str], memory: Memory) -> dict[str, Column]:
    """The columns of a present row beside its keys, out of the last state of a settled key; *names* maps previous columns."""
    columns = {c: history.value(c) for c in history.payload}
    columns |= {c: col(SEQ).getField(c) for c in history.sequence.names}  # the caller takes those that the table has
    columns |= {names[c]: col(f"_lk_p{i}").getField("v") for i, c in enumerate(history.previous)}
    if not memory.in_row:
        columns[HIDDEN] = F.struct(col(SEQ).alias(STORED_SEQ))
    return columns


def _differences(history: History, settled: DataFrame, table: Adapter, view: View, memory: Memory, bounds: tuple[Bound, ...]) -> DataFrame:
    """The present rows that must change, each with its action."""
    keys = list(history.keys)
    names = {c: previous_name(c) for c in history.previous}
    types = {f.name: f.dataType for f in view.schema.fields}
    columns = {name: value for name, value in present(history, names, memory).items() if name in types}
    alive = col(LAST) & col(TO).isNull()
    living = settled.where(alive).select(
        *map(col, keys), *(value.cast(types[name]).alias(name) for name, value in columns.items()), F.lit(True).alias(_LIVES)
    )
    everyone = settled.select(*map(col, keys)).distinct()
    after = everyone.join(living, keys, "left")
    if view.empty or view.version is None:
        nowhere = {name: F.lit(None).cast(kind) for name, kind in places(table, view).items()}
        none = F.lit(None).cast(memory.sequence)
        return after.where(_LIVES).withColumns({ACTION: F.lit(INSERT), AT: none, **nowhere})
    where_it_is = [*map(col, table.locators), *where_it_stood(view)]
    stored = table.read(view.version).where(where(bounds))
    row = F.struct(*map(col, columns)).alias(_WAS)
    standing = stored.select(*map(col, keys), row, F.expr(memory.at()).alias(AT), F.lit(True).alias(_STANDS), *where_it_is)
    met = after.join(standing, keys, "left")
    differs = any_of(~_same(name, types[name]) for name in columns)
    action = (
        F.when(col(_LIVES) & col(_STANDS).isNull(), INSERT)
        .when(col(_LIVES).isNull() & col(_STANDS), REMOVE)
        .when(col(_LIVES) & col(_STANDS) & differs, UPDATE)
        .otherwise(NOTHING)
    )
    return met.withColumn(ACTION, action).where(col(ACTION) != NOTHING).drop(_WAS, _STANDS, _LIVES)


def previous_name(column: str) -> str:
    """What the column with a column's previous value is called."""
    return f"previous_{column}"


def _same(name: str, kind: T.DataType) -> Column:
    return comparable(col(name), kind).eqNullSafe(comparable(col(_WAS).getField(name), kind))
