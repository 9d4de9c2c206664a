"""How the suite is shared out between the processes that run it."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of one table format and mode stay together, in order, and so do those of a file: they share tables and servers."""
    for item in items:
        mode = getattr(item, "callspec", None) and item.callspec.params.get("mode")  # type: ignore[attr-defined]
        item.add_marker(pytest.mark.xdist_group(mode.id if mode else str(item.path)))
