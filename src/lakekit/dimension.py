"""The verbs of slowly changing dimensions: what ``Table`` has for types 0 to 7."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from typing import Literal

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from lakekit import plan_first, scd_shape, schema, upsert
from lakekit.batch import Batch
from lakekit.changes import IGNORE, OP, RAW, REASON, UPSERT, ChangeFeed, changes
from lakekit.columns import col, quoted
from lakekit.commit import Commit
from lakekit.dimension_tables import VERSIONED, DimensionTable, Options, unknown
from lakekit.errors import ConfigError, FeedError
from lakekit.formats.base import View
from lakekit.memory import check_sequence, memory_of
from lakekit.plan import Plan
from lakekit.pruning import Open, where
from lakekit.request import Pinned, Request, Verb, visible
from lakekit.scd_shape import Shape

OnDelete = Literal["close", "ignore"]
Surrogate = Literal["hash", "sequence"]


class Dimension(DimensionTable):
    """The dimension verbs; ``Table`` is one."""

    def scd2(
        self,
        feed: ChangeFeed,
        *,
        track: str | Sequence[str] | None = None,
        on_delete: OnDelete = "close",
        valid_from: str = "valid_from",
        valid_to: str = "valid_to",
        end_of_time: str | date | None = None,
        current: str | None = None,
        version: str | None = None,
        surrogate: Surrogate | None = None,
        surrogate_key: str = "surrogate_key",
        inferred: str | None = None,
        dry_run: bool = False,
        batch_id: str | None = None,
        quarantine: str | None = None,
        evolve: Sequence[schema.Kind] = (),
        tombstone_retention: str | None = None,
    ) -> Commit:
        """Apply a change feed as type 2 history: half-open rows ``[valid_from, valid_to)``, a function of the set of events (C1–C10).

        A change of a column in *track* (default: of any payload column) opens a version; other columns take the latest value of
        their version. ``valid_from`` has the type of ``sequence_by``, a struct where it has several columns, unless it names a
        column of the feed: then that is business time, and ``sequence_by`` orders the events of one such value, the last of which
        counts. *end_of_time* stands in ``valid_to`` of an open row in place of NULL; *current* and *version* name a boolean and a
        number column to be kept. ``surrogate`` gives each version a key of its own in the column *surrogate_key*: ``"hash"`` (128 bits
        over key and ``valid_from``) or ``"sequence"`` (dense numbers). A row that is split keeps its key; ``Commit.rekeyed`` says which
        facts must change theirs. *inferred* names a boolean column for ``infer``. ``on_delete="ignore"`` lets rows live on. The other
        options are those of ``upsert``.

        Raises what ``upsert`` raises, and ``ConfigError`` for a table that is no type 2 table of this shape.
        """
        shape, feed = self._asked(
            feed, track=track, valid_from=valid_from, valid_to=valid_to, end_of_time=end_of_time, current=current, version=version,
            surrogate=surrogate, surrogate_key=surrogate_key, inferred=inferred,
        )  # fmt: skip
        return self._versioned("scd2", shape, feed, on_delete, Options(dry_run, batch_id, quarantine, evolve, tombstone_retention))

    def scd0(
        self,
        feed: ChangeFeed,
        *,
        first: Literal["sequence", "loaded"] = "sequence",
        dry_run: bool = False,
        batch_id: str | None = None,
        quarantine: str | None = None,
        evolve: Sequence[schema.Kind] = (),
    ) -> Commit:
        """Type 0: keep the first event of each key; later ones, deletes and truncations count as ignored.

        First is the lowest in sequence, so that an earlier event that comes late takes the row over; with ``first="loaded"`` it is
        the first that arrived, and the row never changes. Options and errors are those of ``upsert``.
        """
        if first not in ("sequence", "loaded"):
            raise ConfigError(f"{self.name}: first is {first!r}; it must be 'sequence' or 'loaded'.")
        feed = self._spelled(feed, self._seen())
        if feed.partial:
            raise FeedError(f"{self.name}: scd0 keeps whole events; leave ignore_nulls and unchanged out, or use scd1(feed).")
        options = Options(dry_run, batch_id, quarantine, evolve)
        shape = Shape(feed.keys, feed.sequence_by, type=0)
        view, make = self._shaped(shape, feed, options)
        check_sequence(self.name, view.schema, feed)
        remembers = replace(memory_of(view.schema, feed), partial=False)

        def plan(request: Request, batch: Batch, pinned: Pinned, stack: ExitStack) -> Plan:
            return plan_first.plan(request, batch, pinned, stack, loaded=first == "loaded")

        return upsert.run(self._request(feed, remembers, options, view, Verb("scd0", plan, plan_first.only_upserts), [make]))

    def scd3(
        self,
        feed: ChangeFeed,
        *,
        track: str | Sequence[str],
        dry_run: bool = False,
        batch_id: str | None = None,
        quarantine: str | None = None,
        evolve: Sequence[schema.Kind] = (),
        tombstone_retention: str | None = None,
    ) -> Commit:
        """Type 3: one row a key, with ``previous_<column>`` for each column of *track*: the value it had before the present one.

        A late event corrects the previous value too; a delete ends what came before it. For that the history is kept beside the
        table, in ``<table>__history``. Options and errors are those of ``scd2``.
        """
        options = Options(dry_run, batch_id, quarantine, evolve, tombstone_retention)
        return self._with_history("scd3", f"{self.name}__history", feed, {"track": track}, "close", options)

    def scd4(
        self,
        feed: ChangeFeed,
        *,
        history: str,
        track: str | Sequence[str] | None = None,
        on_delete: OnDelete = "close",
        valid_from: str = "valid_from",
        valid_to: str = "valid_to",
        end_of_time: str | date | None = None,
        current: str | None = None,
        version: str | None = None,
        dry_run: bool = False,
        batch_id: str | None = None,
        quarantine: str | None = None,
        evolve: Sequence[schema.Kind] = (),
        tombstone_retention: str | None = None,
    ) -> Commit:
        """Type 4: this table keeps the present rows, the table named *history* the type 2 rows, in one call.

        The history is written first and the present rows follow from it, so that running a batch again mends whatever a crash left
        between the two. ``inserted``, ``updated`` and ``deleted`` count present rows, ``closed`` and ``split`` those of the history.
        """
        asked = {
            "track": track, "valid_from": valid_from, "valid_to": valid_to, "end_of_time": end_of_time, "current": current,
            "version": version,
        }  # fmt: skip
        options = Options(dry_run, batch_id, quarantine, evolve, tombstone_retention)
        return self._with_history("scd4", history, feed, asked, on_delete, options)

    def scd6(
        self,
        feed: ChangeFeed,
        *,
        track: str | Sequence[str] | None = None,
        on_delete: OnDelete = "close",
        valid_from: str = "valid_from",
        valid_to: str = "valid_to",
        end_of_time: str | date | None = None,
        current: str | None = None,
        version: str | None = None,
        dry_run: bool = False,
        batch_id: str | None = None,
        quarantine: str | None = None,
        evolve: Sequence[schema.Kind] = (),
        tombstone_retention: str | None = None,
    ) -> Commit:
        """Type 6: type 2 rows that each carry ``current_<column>`` of every tracked column: its present value.

        While a key is deleted its rows carry the last known value. Options and errors are those of ``scd2``.
        """
        shape, feed = self._asked(
            feed, track=track, valid_from=valid_from, valid_to=valid_to, end_of_time=end_of_time, current=current, version=version, type=6
        )
        return self._versioned("scd6", shape, feed, on_delete, Options(dry_run, batch_id, quarantine, evolve, tombstone_retention))

    def scd7(
        self,
        feed: ChangeFeed,
        *,
        track: str | Sequence[str] | None = None,
        on_delete: OnDelete = "close",
        durable_key: str = "durable_key",
        version_key: str = "version_key",
        surrogate: Surrogate = "hash",
        valid_from: str = "valid_from",
        valid_to: str = "valid_to",
        end_of_time: str | date | None = None,
        current: str | None = None,
        version: str | None = None,
        dry_run: bool = False,
        batch_id: str | None = None,
        quarantine: str | None = None,
        evolve: Sequence[schema.Kind] = (),
        tombstone_retention: str | None = None,
    ) -> Commit:
        """Type 7: type 2 rows with a key for the version and a durable key for the entity; facts carry both.

        ``as_was(facts)`` then shows facts beside what was true at their time, ``as_is(facts)`` beside what is true now. Options and
        errors are those of ``scd2``.
        """
        shape, feed = self._asked(
            feed, track=track, valid_from=valid_from, valid_to=valid_to, end_of_time=end_of_time, current=current, version=version,
            surrogate=surrogate, surrogate_key=version_key, durable_key=durable_key, type=7,
        )  # fmt: skip
        return self._versioned("scd7", shape, feed, on_delete, Options(dry_run, batch_id, quarantine, evolve, tombstone_retention))

    def infer(self, members: ChangeFeed | DataFrame, *, dry_run: bool = False, batch_id: str | None = None) -> Commit:
        """Insert placeholders for members that facts name before the dimension knows them: key and ``valid_from``, nothing else.

        *members* is a feed with the keys of the table, ordered by the fact's time, as many columns as the table's sequence has and of its
        types, or a frame with the table's own key and sequence columns; a placeholder begins at the first of them. Other columns are
        left out, and keys that the table has are ignored. The first event that tells anything of a placeholder fills it: its row keeps
        its key, and its beginning unless the event is older, and ``is_inferred``, or however ``scd2(inferred=…)`` called the column,
        turns false. Raises ``ConfigError`` for a table that has no such column.
        """
        shape = self._shape("infer", 2)
        if shape.inferred is None:
            raise ConfigError(f"{self.name} has no column that tells inferred rows. Make it with scd2(feed, inferred='is_inferred').")
        if isinstance(members, DataFrame):
            members = changes(members, keys=shape.keys, sequence_by=shape.sequence_by)
        members = self._spelled(members, self._seen())
        if set(members.keys) != set(shape.keys) or len(members.sequence_by) != len(shape.sequence_by):
            raise FeedError(
                f"{self.name}: members to infer need the table's keys, {', '.join(shape.keys)}, and as many sequence columns as it has: "
                f"{', '.join(shape.sequence_by)}. Describe them with keys= and sequence_by=."
            )
        known = self.df().select(*map(col, shape.keys)).distinct().withColumn("_lk_stands", F.lit(True))
        met = members.df.join(known, list(shape.keys), "left")
        said = F.coalesce(col(OP), F.lit(UPSERT)) if OP in met.columns else F.lit(UPSERT)
        op = F.when(col("_lk_stands") | (said != UPSERT), F.lit(IGNORE)).otherwise(F.lit(UPSERT)).alias(OP)
        times = [col(theirs).alias(ours) for theirs, ours in zip(members.sequence_by, shape.sequence_by, strict=True)]
        bad = [col(c) for c in (REASON, RAW) if c in met.columns]
        stored = visible(self._adapter.view())
        unstored = tuple(c for c in shape.sequence_by if c not in stored)
        feed = ChangeFeed(met.select(*map(col, shape.keys), *times, op, *bad), shape.keys, shape.sequence_by, except_columns=unstored)
        return self._versioned("infer", shape, feed, "close", Options(dry_run, batch_id), silent=True)

    def unknown_member(self, *, dry_run: bool = False) -> Commit:
        """Add the row that facts of no known member point to, once: key −1 (``"-1"`` where keys are text), NULL in every other column.

        Raises ``ConfigError`` for a table whose versions have no keys of their own.
        """
        shape = self._shape("unknown_member", 2, 7)
        key = shape.surrogate_key
        if key is None:
            raise ConfigError(f"{self.name}: its versions have no keys of their own. Make it with scd2(feed, surrogate='sequence').")

        def stands() -> bool:
            return not self.df().where(col(key).cast("string") == "-1").isEmpty()

        def insert(view: View, token: str) -> None:
            self._adapter.apply(view, unknown(self._adapter, view, shape), token)

        def once(attempt: int) -> Commit:
            with self._adapter.guard():  # the look too: what it found is to hold while the row is written
                if stands():
                    return self._unchanged("unknown_member")
                return replace(self._write("unknown_member", insert), inserted=1, attempts=attempt)

        if dry_run:
            return replace(self._unchanged("unknown_member"), inserted=int(not stands()), dry_run=True)
        return upsert.insisting(self.name, once)

    def current(self) -> DataFrame:
        """The rows that are true now, one a key, without the columns of their versions: what an upsert of the same events makes (C5).

        Of a table without versions all rows, as ``df()`` has them.
        """
        view = self._adapter.view()
        if view.scd is None or (shape := scd_shape.loads(view.scd)).type not in VERSIONED:
            return self.df()
        ends = scd_shape.end_literal(self.name, shape, view.schema[shape.valid_to].dataType)
        # The row for facts of no known member is open too, but true of nobody.
        return self.df().where(where([Open(shape.valid_to, ends)]) & col(shape.valid_from).isNotNull()).drop(*shape.own.values())

    def as_was(self, facts: DataFrame) -> DataFrame:
        """Facts beside the version that their version key names: what was true at their time. A left join; unknown keys give NULL."""
        shape = self._shape("as_was", 7)
        assert shape.surrogate_key is not None
        return self._beside_facts(facts, self.df(), shape.surrogate_key, shape)

    def as_is(self, facts: DataFrame) -> DataFrame:
        """Facts beside what their durable key's entity is now, or was last: a left join on the durable key."""
        shape = self._shape("as_is", 7)
        assert shape.durable_key is not None
        newest = Window.partitionBy(quoted(shape.durable_key)).orderBy(col(shape.valid_from).desc())
        last = self.df().withColumn("_lk_n", F.row_number().over(newest)).where("_lk_n = 1").drop("_lk_n")
        return self._beside_facts(facts, last, shape.durable_key, shape)
