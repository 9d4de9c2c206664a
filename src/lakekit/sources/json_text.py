"""JSON as text, before it is parsed: one document a row, and numbers to their last digit.

Spark parses the first document of a text and drops what follows in silence, rounds a number to its decimal's scale, and reads one
into text by way of a double. So documents are parted first, and numbers that must not lose a digit are put in quotes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from pyspark.sql import Column
from pyspark.sql import functions as F

MARK = "\u241f"
"""Stands before a number that was put in quotes, so that it is told from text."""

WITHOUT_BOM = "ltrim('\ufeff', value)"
"""SQL for the column ``value`` without the mark that a file may begin with."""

_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?=\s*[,}\]])"
_BACKSLASH, _QUOTE, _END = "\u0001", "\u0002", "\u0003"  # JSON allows none of them unescaped, so none stands in the text


def parted(text: Column) -> Column:
    """The documents of a text as an array: objects may stand behind one another on a line, as Firehose writes them."""
    more = F.instr(text, "}") < F.length(F.rtrim(text))  # far cheaper than the pattern, and false for an object of plain values
    return F.when(more & text.rlike(r"\}\s*\{"), _parted(text)).otherwise(F.array(text))


def _parted(text: Column) -> Column:
    """Cut between two objects, not inside a string. With escapes hidden, every second piece between quotes is a string."""
    hidden = F.replace(F.replace(text, F.lit("\\\\"), F.lit(_BACKSLASH)), F.lit('\\"'), F.lit(_QUOTE))
    cut = F.transform(
        F.split(hidden, '"', -1),
        lambda piece, n: F.when(n % 2 == 0, F.regexp_replace(piece, r"\}\s*\{", "}" + _END + "{")).otherwise(piece),
    )
    whole = F.replace(F.replace(F.array_join(cut, '"'), F.lit(_QUOTE), F.lit('\\"')), F.lit(_BACKSLASH), F.lit("\\\\"))
    return F.split(whole, _END, -1)


def listed(text: Column) -> Column:
    """The documents of a text that may be an array of them, as an array."""
    elements = F.when(F.substring(text, 1, 100).rlike(r"^\s*\["), F.from_json(text, "array<string>"))
    return F.coalesce(elements, parted(text))


def with_numbers_kept(text: Column, names: Iterable[str]) -> Column:
    """The text with the numbers of these fields in quotes, behind ``MARK``; inside a string a field's quotes are escaped ones."""
    fields = "|".join(re.escape(json.dumps(name, ensure_ascii=False)) for name in names)
    return F.regexp_replace(text, rf"((?:{fields})\s*:\s*)({_NUMBER})", f'$1"{MARK}$2"') if fields else text


def as_it_was(text: Column) -> Column:
    """The text before ``with_numbers_kept``."""
    return F.regexp_replace(text, f'"{MARK}([^"]*)"', "$1")


def is_number(value: str) -> str:
    """SQL that is true where a text was a JSON number and no JSON string."""
    return f"startswith({value}, '{MARK}')"


def digits(value: str) -> str:
    """SQL for a number's text, whether it stood in the JSON as number or as string."""
    return f"ltrim('{MARK}', {value})"
