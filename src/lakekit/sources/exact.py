"""Exact values out of text, integers and bytes, as SQL text: Spark's own casts round, drop digits and read the session's zone.

Each function takes SQL text and gives SQL text that is NULL where the value cannot be held without loss. None of them depends on
ANSI mode or on the session time zone. (SQL text and not ``Column``, because ``try_cast`` has no ``Column`` form before Spark 4.)
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pyspark.sql import types as T

_NUMBER = "^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,4})?$"
_MANTISSA = "^[+-]?([0-9]*)[.]?([0-9]*)"
_EXPONENT = "[eE]([+-]?[0-9]+)$"
_ZONED = ":[0-9]{2}.*(Z|z|[+-][0-9]{2}:?[0-9]{2}|[+-][0-9]{2})$"
_TWO_TO_64 = "18446744073709551616BD"
_YEAR_1, _YEAR_9999 = -62_135_596_800_000_000, 253_402_300_799_999_999  # microseconds: what Python, Parquet and Spark all hold


def literal(text: str) -> str:
    """A text as an SQL literal.

    >>> literal("it's")
    "'it\\\\'s'"
    """
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def decimal_from_text(text: str, target: T.DecimalType) -> str:
    """A number's text (``12.50``, ``-1E+2``) as *target*; NULL when it is no number or *target* would lose a digit."""
    integer, fraction = (f"regexp_extract({text}, '{_MANTISSA}', {group})" for group in (1, 2))
    significant = f"length(rtrim('0', concat({integer}, {fraction})))"
    exponent = f"coalesce(try_cast(regexp_extract({text}, '{_EXPONENT}', 1) AS INT), 0)"
    fits = f"({significant} - length({integer}) - {exponent} <= {target.scale} OR {significant} = 0)"
    return f"CASE WHEN {text} RLIKE '{_NUMBER}' AND {fits} THEN try_cast({text} AS {target.simpleString()}) END"


def integer_from_hex(hexadecimal: str) -> str:
    """Two's complement hexadecimal of 1 to 16 bytes as decimal(38,0); NULL beyond 38 digits.

    ``conv`` ends at 64 bits, so the number is put together from a signed upper and an unsigned lower half.
    """
    sign = f"IF(substring({hexadecimal}, 1, 1) >= '8', 'F', '0')"
    return let(
        f"CASE WHEN length({hexadecimal}) BETWEEN 1 AND 32 THEN lpad({hexadecimal}, 32, {sign}) END",
        lambda padded: _from_halves(
            f"CAST(conv(substring({padded}, 1, 16), 16, -10) AS DECIMAL(20,0))",
            f"CAST(conv(substring({padded}, 17, 16), 16, 10) AS DECIMAL(20,0))",
        ),
    )


def _from_halves(upper: str, lower: str) -> str:
    """upper × 2⁶⁴ + lower, so that no step leaves 38 digits: a negative product is taken nearer to zero first."""
    positive = f"try_add(try_multiply({upper}, {_TWO_TO_64}), {lower})"
    negative = f"try_add(try_multiply({upper} + 1BD, {_TWO_TO_64}), {lower} - {_TWO_TO_64})"
    return f"IF({upper} < 0, {negative}, {positive})"


def let(value: str, body: Callable[[str], str]) -> str:
    """SQL of *body* over a *value* that is written, and worked out, once: SQL has no local name but a lambda's."""
    name = fresh(value)
    return f"get(transform(array({value}), {name} -> {body(name)}), 0)"


def fresh(value: str) -> str:
    """The name of a lambda variable that stands nowhere in *value*.

    >>> fresh("`e7`.`x`"), fresh("e1.`x`")
    ('e1', 'e2')
    """
    used = re.findall(r"\be(\d+)\b", re.sub(r"`[^`]*`", "", value))
    return f"e{max(map(int, used), default=0) + 1}"


def bytes_from_base64(text: str) -> str:
    """Base64 text as binary; NULL when it is not base64 (``unbase64`` drops what it cannot read)."""
    return f"try_to_binary({text}, 'base64')"


def decimal_from_base64(text: str, scale: str, target: T.DecimalType) -> str:
    """Kafka Connect's Decimal, base64 of the unscaled big-endian two's complement, as *target*; *scale* is SQL too."""
    unscaled = let(f"hex({bytes_from_base64(text)})", integer_from_hex)
    shifted = f"concat(CAST({unscaled} AS STRING), 'E', CAST(-({scale}) AS STRING))"
    if scale == str(target.scale):  # nothing to lose: only the precision has to hold
        return f"try_cast({shifted} AS {target.simpleString()})"
    return let(shifted, lambda number: decimal_from_text(number, target))


def timestamp_from_micros(micros: str) -> str:
    """Microseconds since 1970 UTC as timestamp; NULL outside the years 1 to 9999 (infinities, overflow)."""
    return f"CASE WHEN {micros} BETWEEN {_YEAR_1} AND {_YEAR_9999} THEN timestamp_micros({micros}) END"


def timestamp_from_millis(millis: str) -> str:
    """Milliseconds since 1970 UTC as timestamp; NULL outside the years 1 to 9999."""
    low, high = _YEAR_1 // 1000, _YEAR_9999 // 1000
    return f"CASE WHEN {millis} BETWEEN {low} AND {high} THEN timestamp_millis({millis}) END"


def timestamp_from_nanos(nanos: str) -> str:
    """Nanoseconds since 1970 UTC as timestamp; NULL when they are no whole microseconds."""
    return f"CASE WHEN pmod({nanos}, 1000) = 0 THEN timestamp_micros({nanos} DIV 1000) END"


def timestamp_from_text(text: str) -> str:
    """ISO 8601 text as timestamp: its own zone, else UTC; NULL when it is finer than microseconds."""
    exact = f"substring(regexp_extract({text}, '[.]([0-9]+)', 1), 7) RLIKE '^0*$'"
    timed = f"IF({text} RLIKE ':', concat({text}, 'Z'), concat({text}, 'T00:00:00Z'))"
    zoned = f"IF({text} RLIKE '{_ZONED}', {text}, {timed})"
    return f"CASE WHEN {text} RLIKE '^[+-]?[0-9]{{4,}}-' AND {exact} THEN try_cast({zoned} AS TIMESTAMP) END"


def date_from_days(days: str) -> str:
    """Days since 1970 as date; NULL outside the years 1 to 9999."""
    return f"CASE WHEN {days} BETWEEN -719162 AND 2932896 THEN date_from_unix_date({days}) END"


def date_from_text(text: str) -> str:
    """``yyyy-mm-dd`` (an ISO zone may follow) as date."""
    iso = f"{text} RLIKE '^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}(Z|[+-][0-9:]+)?$'"
    return f"CASE WHEN {iso} THEN try_cast(substring({text}, 1, 10) AS DATE) END"


def clock_text(value: str, per_second: int) -> str:
    """A time of day, counted in *per_second* parts of a second since midnight, as ``HH:MM:SS[.fraction]`` text."""
    digits = len(str(per_second)) - 1
    second = f"({value} DIV {per_second})"
    parts = ", ':', ".join(f"lpad({part}, 2, '0')" for part in (f"{second} DIV 3600", f"{second} DIV 60 % 60", f"{second} % 60"))
    fraction = f"concat('.', lpad({value} % {per_second}, {digits}, '0'))"
    return f"concat({parts}, IF({value} % {per_second} = 0, '', {fraction}))"


def misread(wire: str, decoded: str) -> str:
    """True where something came in and nothing exact came out."""
    return f"({wire} IS NOT NULL AND {decoded} IS NULL)"
