"""The table formats: the only place that knows their names. ``ADAPTERS`` is the registry."""

from __future__ import annotations

from importlib.util import find_spec

from lakekit.errors import ConfigError
from lakekit.formats.base import Adapter
from lakekit.formats.delta import Delta
from lakekit.formats.iceberg import Iceberg

ADAPTERS: dict[str, type[Adapter]] = {a.name: a for a in (Iceberg, Delta)}
if find_spec("lakekit.formats.hudi"):
    from lakekit.formats.hudi import Hudi

    ADAPTERS["hudi"] = Hudi

__all__ = ["ADAPTERS", "Adapter", "adapter_for"]


def adapter_for(name: str) -> type[Adapter]:
    """The adapter of a format; raises ``ConfigError`` naming the known ones."""
    if name not in ADAPTERS:
        raise ConfigError(f"format {name!r} is not known. Known formats: {', '.join(ADAPTERS)}.")
    return ADAPTERS[name]
