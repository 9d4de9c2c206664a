"""The date dimension: one row for each day, with the columns that reports group by."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lakekit.errors import ConfigError
from lakekit.sources.common import session

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def date_dimension(
    start: str | date,
    end: str | date,
    *,
    fiscal_start: int | None = None,
    fiscal_named_by: Literal["end", "start"] = "end",
    spark: SparkSession | None = None,
) -> DataFrame:
    """Make a date dimension: one row for each day from *start* to *end*, both included (``date`` or ISO text).

    ============================================================================================  =================================
    columns                                                                                       type
    ============================================================================================  =================================
    ``date_key`` (yyyymmdd), ``date``                                                             int, date
    ``year``, ``quarter``, ``month``, ``day``, ``day_of_year``, ``days_in_month``                 int
    ``month_name``, ``weekday_name`` (English), ``year_month`` (``2024-05``)                      string
    ``weekday`` (ISO: Monday 1 … Sunday 7), ``is_weekend`` (Saturday, Sunday)                     int, boolean
    ``iso_year``, ``iso_week`` (ISO 8601), ``iso_year_week`` (``2024-W05``)                       int, int, string
    ``week_start`` (Monday), ``month_start``, ``month_end``, ``quarter_start``, ``quarter_end``,
    ``year_start``, ``year_end``                                                                  date
    ``is_month_end``, ``is_quarter_end``, ``is_year_end``                                         boolean
    with *fiscal_start*: ``fiscal_year``, ``fiscal_quarter``, ``fiscal_month``                    int
    ============================================================================================  =================================

    *fiscal_start* is the month (1–12) in which the fiscal year begins; ``fiscal_named_by`` says whether ``fiscal_year`` is the
    calendar year in which it ends (as in the United States) or starts. No time zone or locale plays a part. Runs nothing.
    Raises ``ConfigError`` for text that is no date, an end before the start, or a month that is none.

    >>> days = date_dimension("2024-12-30", "2025-01-01", fiscal_start=10)
    >>> days.select("date_key", "iso_year_week", "weekday_name", "month_end", "fiscal_year", "fiscal_quarter").show()
    +--------+-------------+------------+----------+-----------+--------------+
    |date_key|iso_year_week|weekday_name| month_end|fiscal_year|fiscal_quarter|
    +--------+-------------+------------+----------+-----------+--------------+
    |20241230|     2025-W01|      Monday|2024-12-31|       2025|             1|
    |20241231|     2025-W01|     Tuesday|2024-12-31|       2025|             1|
    |20250101|     2025-W01|   Wednesday|2025-01-31|       2025|             2|
    +--------+-------------+------------+----------+-----------+--------------+
    """
    first, last = _day("start", start), _day("end", end)
    if last < first:
        raise ConfigError("date_dimension: end is before start.")
    if fiscal_start is not None and fiscal_start not in range(1, 13):
        raise ConfigError(f"date_dimension: fiscal_start is {fiscal_start}; it is the month, 1 to 12, in which the fiscal year begins.")
    if fiscal_named_by not in ("end", "start"):
        raise ConfigError(f"date_dimension: fiscal_named_by is {fiscal_named_by!r}; it must be 'end' or 'start'.")
    epoch = date(1970, 1, 1).toordinal()
    days = session(spark).range(first.toordinal() - epoch, last.toordinal() - epoch + 1)
    rows = days.select(F.date_from_unix_date(F.col("id").cast("int")).alias("date"))
    return rows.select(*_calendar(F.col("date")), *_fiscal(F.col("date"), fiscal_start, fiscal_named_by))


def _day(name: str, given: str | date) -> date:
    try:
        return date.fromisoformat(given) if isinstance(given, str) else date(given.year, given.month, given.day)
    except ValueError as error:
        raise ConfigError(f"date_dimension: {name} is no date. Write it as in 2024-05-01.") from error


def _calendar(day: Column) -> list[Column]:
    year, month, quarter = F.year(day), F.month(day), F.quarter(day)
    weekday = F.weekday(day) + 1
    iso_year, iso_week = F.year(F.date_add(day, 4 - weekday)), F.weekofyear(day)  # ISO 8601: a week is of the year of its Thursday
    month_end = F.last_day(day)
    quarter_start, year_start = F.make_date(year, quarter * 3 - 2, F.lit(1)), F.make_date(year, F.lit(1), F.lit(1))
    quarter_end, year_end = F.last_day(F.make_date(year, quarter * 3, F.lit(1))), F.make_date(year, F.lit(12), F.lit(31))
    columns = {
        "date_key": year * 10_000 + month * 100 + F.dayofmonth(day),
        "date": day,
        "year": year,
        "quarter": quarter,
        "month": month,
        "month_name": _named(_MONTHS, month),
        "year_month": F.format_string("%04d-%02d", year, month),
        "day": F.dayofmonth(day),
        "day_of_year": F.dayofyear(day),
        "days_in_month": F.dayofmonth(month_end),
        "weekday": weekday,
        "weekday_name": _named(_DAYS, weekday),
        "is_weekend": weekday >= 6,
        "iso_year": iso_year,
        "iso_week": iso_week,
        "iso_year_week": F.format_string("%04d-W%02d", iso_year, iso_week),
        "week_start": F.date_sub(day, weekday - 1),
        "month_start": F.make_date(year, month, F.lit(1)),
        "month_end": month_end,
        "quarter_start": quarter_start,
        "quarter_end": quarter_end,
        "year_start": year_start,
        "year_end": year_end,
        "is_month_end": day == month_end,
        "is_quarter_end": day == quarter_end,
        "is_year_end": day == year_end,
    }
    return [value.alias(name) for name, value in columns.items()]


def _fiscal(day: Column, starts: int | None, named_by: str) -> list[Column]:
    if starts is None:
        return []
    month = F.pmod(F.month(day) - starts, F.lit(12)) + 1
    began = F.year(day) - (F.month(day) < starts).cast("int")
    later = 1 if named_by == "end" and starts > 1 else 0  # a fiscal year that begins in January ends in the year it began
    return [
        (began + later).alias("fiscal_year"),
        F.ceil(month / 3).cast("int").alias("fiscal_quarter"),
        month.alias("fiscal_month"),
    ]


def _named(names: tuple[str, ...], number: Column) -> Column:
    """From a list, not from ``date_format``: that goes through an instant, and some time zones have skipped a day."""
    return F.element_at(F.array(*map(F.lit, names)), number)
