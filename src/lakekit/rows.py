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


def rows_in(given: DataFrame | HasRows) -> DataFrame:
    """The rows as a frame."""
    return given if isinstance(given, DataFrame) else given.df()


def rows_now(given: DataFrame | HasRows | None) -> DataFrame | None:
    """The rows as a frame; ``None`` for nothing and for a table that does not exist yet."""
    if given is None or not (isinstance(given, DataFrame) or given.exists()):
        return None
    return rows_in(given)
