"""What lakekit's own tests use and yours may import: a local session, a row comparison, generators of change feeds.

``assert_scd2_valid`` checks a type 2 history, whoever wrote it.

The ``spark`` fixture is a pytest plugin: put ``pytest_plugins = ["lakekit.testing.plugin"]`` into your ``conftest.py``.
"""

from __future__ import annotations

from lakekit.testing.dimensions import assert_scd2_valid
from lakekit.testing.feeds import customer_days, frame, orders, random_changes, scramble
from lakekit.testing.rows import assert_same_rows

__all__ = ["assert_same_rows", "assert_scd2_valid", "customer_days", "frame", "orders", "random_changes", "scramble"]
