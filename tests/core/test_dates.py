"""The date dimension against Python's own calendar."""

from __future__ import annotations

import calendar
from datetime import date, timedelta
from typing import Any

import pytest
from pyspark.sql import SparkSession

import lakekit as lk
from lakekit.errors import ConfigError
from tests.core.sources.folding import conf


def expected(day: date, fiscal_start: int, named_by: str) -> dict[str, Any]:
    quarter, last = (day.month + 2) // 3, calendar.monthrange(day.year, day.month)[1]
    iso = day.isocalendar()
    month_end = date(day.year, day.month, last)
    quarter_end = date(day.year, quarter * 3, calendar.monthrange(day.year, quarter * 3)[1])
    began = day.year if day.month >= fiscal_start else day.year - 1
    fiscal_month = (day.month - fiscal_start) % 12 + 1
    return {
        "date_key": int(day.strftime("%Y%m%d")), "date": day, "year": day.year, "quarter": quarter, "month": day.month,
        "month_name": calendar.month_name[day.month], "year_month": day.strftime("%Y-%m"), "day": day.day,
        "day_of_year": day.timetuple().tm_yday, "days_in_month": last, "weekday": day.isoweekday(),
        "weekday_name": calendar.day_name[day.weekday()], "is_weekend": day.isoweekday() > 5,
        "iso_year": iso.year, "iso_week": iso.week, "iso_year_week": f"{iso.year}-W{iso.week:02}",
        "week_start": day - timedelta(days=day.weekday()), "month_start": day.replace(day=1), "month_end": month_end,
        "quarter_start": date(day.year, quarter * 3 - 2, 1), "quarter_end": quarter_end, "year_start": date(day.year, 1, 1),
        "year_end": date(day.year, 12, 31), "is_month_end": day == month_end, "is_quarter_end": day == quarter_end,
        "is_year_end": (day.month, day.day) == (12, 31), "fiscal_month": fiscal_month, "fiscal_quarter": (fiscal_month + 2) // 3,
        "fiscal_year": began + (named_by == "end" and fiscal_start > 1),
    }  # fmt: skip


@pytest.mark.parametrize(("start", "named_by"), [(1, "end"), (10, "end"), (4, "start")])
def test_every_column_of_every_day(spark: SparkSession, start: int, named_by: str) -> None:
    first, last = date(2008, 1, 1), date(2020, 12, 31)
    with conf(spark, spark__sql__session__timeZone="Pacific/Apia"):  # which skipped the 30th of December 2011
        rows = lk.date_dimension(first, last.isoformat(), fiscal_start=start, fiscal_named_by=named_by, spark=spark).collect()
    found = {row["date"]: row.asDict() for row in rows}
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    assert len(rows) == len(days)
    assert [found[day] for day in days] == [expected(day, start, named_by) for day in days]


def test_types_and_the_far_past(spark: SparkSession) -> None:
    one = lk.date_dimension("1899-12-31", "1899-12-31")
    assert not [name for name in one.columns if name.startswith("fiscal")]
    assert {kind for _, kind in one.dtypes} == {"int", "date", "string", "boolean"}
    assert one.first()["date_key"] == 18991231
    many = lk.date_dimension("1600-01-01", "2399-12-31", fiscal_start=7)
    assert many.count() == 292194 == many.select("date_key").distinct().count()


@pytest.mark.parametrize(
    ("arguments", "more", "message"),
    [
        (("2024-02-30", "2024-03-01"), {}, "start is no date"),
        (("2024-02-01", "soon"), {}, "end is no date"),
        (("2024-02-02", "2024-02-01"), {}, "end is before start"),
        (("2024-02-01", "2024-02-01"), {"fiscal_start": 13}, "fiscal_start is 13"),
        (("2024-02-01", "2024-02-01"), {"fiscal_named_by": "middle"}, "must be 'end' or 'start'"),
    ],
)
def test_mistakes(spark: SparkSession, arguments: tuple[str, str], more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        lk.date_dimension(*arguments, **more)
