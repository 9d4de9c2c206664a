"""The table formats: the only place that knows their names. ``ADAPTERS`` is the registry."""

from __future__ import annotations

from lakekit.errors import ConfigError
from lakekit.formats.base import Adapter
from lakekit.formats.delta import Delta
from lakekit.formats.hudi import Hudi
from lakekit.formats.iceberg import Iceberg

ADAPTERS: dict[str, type[Adapter]] = {a.name: a for a in (Iceberg, Delta, Hudi)}

__all__ = ["ADAPTERS", "Adapter", "adapter_for"]


def adapter_for(name: str) -> type[Adapter]:
    """The adapter of a format; raises ``ConfigError`` naming the known ones."""
    if name not in ADAPTERS:
        raise ConfigError(f"format {name!r} is not known. Known formats: {', '.join(ADAPTERS)}.")
    return ADAPTERS[name]
