"""How many bytes a commit of a Hudi table took out of it, and how many rows stand in a partition. No Spark job runs.

Hudi's own metadata counts only what a commit wrote. A file that was rewritten has its size in the metadata of the commit that wrote it.
Of a file group that was replaced as a whole the metadata knows only the name, so its folder is listed as it was before. Hudi deletes the
files themselves later, when it cleans.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lakekit.formats.hudi_table import Facts, HudiTable, Instant
from lakekit.gateway import each


def bytes_removed(table: HudiTable, commits: Iterable[tuple[Instant, Facts]]) -> int:
    """The size of all files that these commits rewrote or replaced."""
    commits = list(commits)
    rewritten = [file for _, facts in commits for file in facts.rewritten]
    known = {instant: table.sizes(instant) for instant in {_written_at(name) for _, name in rewritten}}
    sizes = [known[_written_at(name)].get(name) or table.size_of(partition, name) for partition, name in rewritten]
    return sum(sizes) + sum(_replaced(table, instant, facts.replaced) for instant, facts in commits if facts.replaced)


def _written_at(name: str) -> str:
    """The instant that wrote a base file.

    >>> _written_at("6a6984d5-c2d1-421e-a05d-da96aa81ce94-0_1-17-43_20261121143713404.parquet")
    '20261121143713404'
    """
    return name.rsplit("_", 1)[-1].partition(".")[0]


def _replaced(table: HudiTable, instant: Instant, groups: Mapping[str, frozenset[str]]) -> int:
    """The size of file groups, logs too, as they stood before an instant."""
    view: Any = table.files(before=instant)
    try:
        slices = [(s, ids) for partition, ids in groups.items() for s in each(view.getLatestFileSlices(partition).iterator())]
        return sum(int(s.getTotalFileSize()) for s, ids in slices if s.getFileId() in ids)
    finally:
        view.close()


def fewer_rows(table: HudiTable, partitions: Iterable[str], most: int) -> bool:
    """Whether the base files of some partitions hold fewer rows than *most*, all of them as dense as the first."""
    view: Any = table.files()
    rows, dense = 0.0, None
    try:
        for partition in partitions:
            for file in each(view.getLatestBaseFiles(partition).iterator()):
                size = int(file.getFileSize())
                dense = dense or table.rows_of(file) / size
                rows += size * dense
                if rows >= most:
                    return False
        return True
    finally:
        view.close()
