"""All tests, doctests of src included, share the session that lakekit offers to its users' tests."""

from __future__ import annotations

from typing import Any

import pytest

pytest_plugins = ["lakekit.testing.plugin"]


@pytest.fixture(autouse=True)
def _spark_in_doctests(request: pytest.FixtureRequest) -> None:
    """Give the name ``spark`` to those doctests whose examples use it; the others start no Spark."""
    examples: list[Any] = getattr(getattr(request.node, "dtest", None), "examples", [])
    if any("spark" in example.source for example in examples):
        request.getfixturevalue("doctest_namespace")["spark"] = request.getfixturevalue("spark")
