"""The order of Debezium's events: where each connector keeps its position in the log, and how two positions compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lakekit.errors import ConfigError
from lakekit.sources import exact

PHASE = "dbz_phase"
"""First part of the sequence: 0 for a row read by a snapshot, 1 for a change from the log."""


@dataclass(frozen=True)
class Part:
    """One sequence column: its name, where the envelope keeps it (a dotted path), and how its text becomes a comparable value."""

    name: str
    path: str
    read: Callable[[str], str]
    optional: bool = False


def _whole(text: str) -> str:
    return f"CASE WHEN {text} RLIKE '^[0-9]+$' THEN try_cast({text} AS BIGINT) END"


def _digits(text: str) -> str:
    return f"CASE WHEN {text} RLIKE '^[0-9]+$' THEN try_cast({text} AS DECIMAL(38,0)) END"


def _file_number(text: str) -> str:
    """``mysql-bin.1000000`` comes after ``mysql-bin.999999``: the number counts, not the text."""
    return f"try_cast(regexp_extract({text}, '[.]([0-9]+)$', 1) AS BIGINT)"


def _hex_lsn(text: str) -> str:
    """SQL Server's ``00000027:00000758:0005`` as the number that it is."""
    sound = f"{text} RLIKE '^[0-9A-Fa-f]{{8}}:[0-9A-Fa-f]{{8}}:[0-9A-Fa-f]{{4}}$'"
    number = exact.integer_from_hex(f"concat('0', replace({text}, ':', ''))")
    return f"CASE WHEN {sound} THEN {number} END"


_MYSQL = (
    Part("dbz_file", "source.file", _file_number),
    Part("dbz_pos", "source.pos", _whole),
    Part("dbz_row", "source.row", _whole, optional=True),
)
_ORDERS: dict[str, tuple[Part, ...]] = {
    "postgresql": (Part("dbz_lsn", "source.lsn", _whole),),
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
    "sqlserver": (
        Part("dbz_commit_lsn", "source.commit_lsn", _hex_lsn),
        Part("dbz_change_lsn", "source.change_lsn", _hex_lsn),
        Part("dbz_serial", "source.event_serial_no", _whole, optional=True),
    ),
}
_WHOLE_IMAGES = ("mysql", "mariadb", "sqlserver")


def parts_of(connector: str | None, order_by: Sequence[str]) -> tuple[Part, ...]:
    """The sequence columns after the phase. Raises ``ConfigError`` for a connector whose order lakekit does not know.

    >>> [part.name for part in parts_of("mysql", ())]
    ['dbz_file', 'dbz_pos', 'dbz_row']
    >>> [part.name for part in parts_of(None, ["source.scn", "transaction.total_order"])]
    ['dbz_source_scn', 'dbz_transaction_total_order']
    """
    if order_by:
        return tuple(Part("dbz_" + path.lstrip("_").replace(".", "_"), path, _digits) for path in order_by)
    if connector not in _ORDERS:
        raise ConfigError(
            f"connector {connector!r}: lakekit does not know how its events are ordered. Name the fields that order them with "
            f"order_by=['source.scn', …], or connector= one of {', '.join(sorted(_ORDERS))}."
        )
    return _ORDERS[connector]


def whole_images(connector: str | None) -> bool:
    """Whether this connector's row images are always complete, so that no column can say "unchanged"."""
    return connector in _WHOLE_IMAGES


def phase(op: str, snapshot: str, parts: Sequence[Part], position: str) -> str:
    """SQL for the phase. An incremental snapshot reads between changes and carries their position, so it takes part in their order."""
    inside = f"{snapshot} = 'incremental' AND {parts[0].read(f'{position}.{parts[0].name}')} IS NOT NULL"
    return f"CASE WHEN {op} = 'r' AND NOT coalesce({inside}, false) THEN 0 ELSE 1 END"


def connector_with(names: Iterable[str], prefix: str) -> str | None:
    """The connector whose position a flattened message with these fields carries; ``None`` when it carries none.

    >>> connector_with(["id", "__op", "__source_lsn"], "__")
    'postgresql'
    """
    there = {n.removeprefix(prefix).removeprefix("source_") for n in names if n.startswith(prefix)}
    return next((c for c, parts in _ORDERS.items() if {p.path.rpartition(".")[2] for p in parts if not p.optional} <= there), None)
