"""What has rows to look at: a DataFrame, or a table that gives one."""

from __future__ import annotations

from typing import Protocol

from pyspark.sql import DataFrame


class HasRows(Protocol):
    """A `lakekit.Table`, or anything that shows its rows in the same way."""

    def exists(self) -> bool:
        """Whether there is anything to show."""
        ...

    def df(self) -> DataFrame:
        """The rows now."""
        ...

    def current(self) -> DataFrame:
        """Of a table of versions the rows that are true now, one a key; else all rows."""
        ...


def rows_in(given: DataFrame | HasRows) -> DataFrame:
    """The rows as a frame."""
    return given if isinstance(given, DataFrame) else given.df()


def rows_now(given: DataFrame | HasRows | None) -> DataFrame | None:
    """What stands now, one row a key, as a frame; ``None`` for nothing and for a table that does not exist yet."""
    if given is None or isinstance(given, DataFrame):
        return given
    return given.current() if given.exists() else None
