"""What each table format can do, as Markdown, generated from the adapters' capability tables.

``python -m lakekit.matrix README.md docs/formats.md`` puts the table between the markers of these files.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lakekit.errors import ConfigError
from lakekit.formats import ADAPTERS, Adapter
from lakekit.formats.base import Unsupported
from lakekit.partitioning import Bucket, Identity, Transform, Truncate

BEGIN, END = "<!-- begin: python -m lakekit.matrix -->", "<!-- end -->"
_SECTION = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
_CREATE = {"copy-on-write": "`create()`", "merge-on-read": "`create(merge_on_read=True)`"}
Row = tuple[str, Sequence[Any]]


def markdown(adapters: Iterable[type[Adapter]] = tuple(ADAPTERS.values())) -> str:
    """The format × verb, write mode, partition transform and alteration matrix, with a note for each refusal.

    >>> print(markdown().splitlines()[2])
    | `create` | yes | yes | yes |
    """
    formats = list(adapters)
    notes: dict[Unsupported, int] = {}
    head = [_line(["", *(adapter.name for adapter in formats)]), _line(["---"] * (len(formats) + 1))]
    lines = [_line([label, *(_cell(entry, notes) for entry in entries)]) for label, entries in _rows(formats)]
    reasons = [f"<sup>{number}</sup> {refusal.reason}. Instead: {refusal.instead}.  " for refusal, number in notes.items()]
    return "\n".join([*head, *lines, "", *reasons]).rstrip()


def _rows(formats: Sequence[type[Adapter]]) -> Iterator[Row]:
    verbs = [verb for verb in _names(adapter.verbs for adapter in formats) if not verb.startswith("evolve")]
    yield from ((_verb(verb), [adapter.verbs.get(verb) for adapter in formats]) for verb in verbs)
    for kind in _names(adapter.alterations for adapter in formats):
        yield f'`evolve(allow=["{kind}"])`', [adapter.alterations.get(kind) for adapter in formats]
    for mode in _names(adapter.modes for adapter in formats):
        yield _CREATE.get(mode, mode), [adapter.modes.get(mode) for adapter in formats]
    for transform in _names(adapter.partitioning for adapter in formats):
        yield _transform(transform), [adapter.partitioning.get(transform) for adapter in formats]
    for value in _names(adapter.partition_values for adapter in formats):
        yield f"{value.words} in a partition column", [adapter.partition_values.get(value) for adapter in formats]


def _names(tables: Iterable[Mapping[Any, Any]]) -> list[Any]:
    """The names in any of the tables, each once, in the order of their first table."""
    return list(dict.fromkeys(name for table in tables for name in table))


def _verb(name: str) -> str:
    word, space, rest = name.partition(" ")
    return name if space and not rest.startswith("(") else f"`{word}`{space}{rest}"


def _transform(transform: type[Transform]) -> str:
    word = transform.__name__.lower()
    if transform is Identity:
        return '`partition_by="column"`'
    first = "n, " if issubclass(transform, (Bucket, Truncate)) else ""
    return f'`partition_by="{word}({first}column)"`'


def _cell(entry: Any, notes: dict[Unsupported, int]) -> str:
    """A text is what the format calls it; anything else that is no refusal works."""
    if entry is None or entry is False:
        return "no"
    if isinstance(entry, Unsupported):
        return f"no <sup>{notes.setdefault(entry, len(notes) + 1)}</sup>"
    return entry if isinstance(entry, str) else "yes"


def _line(cells: Sequence[str]) -> str:
    return re.sub(r"\s+\|", " |", f"| {' | '.join(cells)} |")


def placed(text: str, table: str) -> str:
    """The text with the table between its markers; raises ``ConfigError`` where there are none.

    >>> print(placed(f"above\\n{BEGIN}\\nold\\n{END}", "new"))
    above
    <!-- begin: python -m lakekit.matrix -->
    new
    <!-- end -->
    """
    if not _SECTION.search(text):
        raise ConfigError(f"no markers here. Put {BEGIN} and {END} where the matrix shall stand.")
    return _SECTION.sub(lambda _: f"{BEGIN}\n{table}\n{END}", text)


def main(files: Sequence[str]) -> None:
    """Print the matrix, or put it into files."""
    table = markdown()
    if not files:
        print(table)
    for file in map(Path, files):
        file.write_text(placed(file.read_text(), table))


if __name__ == "__main__":
    main(sys.argv[1:])
