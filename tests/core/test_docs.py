"""The documentation says what is so: its examples run, its matrix is generated, its links lead somewhere."""

from __future__ import annotations

import contextlib
import doctest
import io
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

import lakekit as lk
from lakekit import matrix

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")


def fences(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return [body for name, body in FENCE.findall(page.read_text()) if name == language]


def test_the_readme_and_the_formats_page_show_the_generated_matrix():
    for page in (ROOT / "README.md", ROOT / "docs" / "formats.md"):
        text = page.read_text()
        assert matrix.placed(text, matrix.markdown()) == text, f"{page}: run python -m lakekit.matrix README.md docs/formats.md"


def test_the_matrix_has_every_entry_and_the_reason_of_every_refusal():
    table = matrix.markdown()
    for adapter in lk.formats.ADAPTERS.values():
        for capabilities in (adapter.verbs, adapter.alterations, adapter.modes, adapter.partitioning):
            assert capabilities
            for entry in capabilities.values():
                if isinstance(entry, lk.formats.base.Unsupported):
                    assert f"{entry.reason}. Instead: {entry.instead}." in table
    widths = {line.count("|") for line in table.splitlines() if line.startswith("|")}
    assert widths == {len(lk.formats.ADAPTERS) + 2}


def test_the_readme_example_prints_what_it_says(spark: SparkSession):
    page = ROOT / "README.md"
    example, printed = fences(page, "python")[0], fences(page, "text")[0]
    assert len(example.strip().splitlines()) <= 20
    out = io.StringIO()
    table = lk.Table(spark, re.search(r'Table\(spark, "([\w.]+)"', example)[1], format="delta")
    try:
        with contextlib.redirect_stdout(out):
            exec(compile(example, "README.md", "exec"), {})
        assert normal(out.getvalue()) == normal(printed)
    finally:
        table.drop()


def normal(text: str) -> list[str]:
    """Lines without what no reader sees."""
    return [line.rstrip() for line in text.strip().splitlines()]


@pytest.mark.parametrize("page", [page for page in PAGES if ">>> " in page.read_text()], ids=lambda page: page.name)
def test_the_examples_of_a_page_run(page: Path, spark: SparkSession):
    names = {"spark": spark}
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    out = io.StringIO()
    try:
        for number, block in enumerate(fences(page, "python"), 1):
            test = doctest.DocTestParser().get_doctest(block, names, f"{page.name}, block {number}", str(page), 0)
            runner.run(test, out=out.write, clear_globs=False)
            names.update(test.globs)  # each test works on a copy
        assert runner.summarize(verbose=False).failed == 0, out.getvalue()
        assert runner.tries > 0
    finally:
        drop_tables(spark, {match for block in fences(page, "python") for match in re.findall(r'Table\(spark, "([\w.]+)"', block)})


def drop_tables(spark: SparkSession, names: set[str]) -> None:
    for name in names:
        for each in (name, f"{name}__quarantine"):
            with contextlib.suppress(lk.errors.TableNotFound):
                lk.Table(spark, each).drop()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text()
    missing = [page.name for page in PAGES if page.parent.name == "docs" and page.name != "index.md" and f"]({page.name})" not in index]
    assert missing == []


def test_the_changelog_knows_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


# --- docstrings -----------------------------------------------------------------------------------------------------------


def modules() -> Iterator[str]:
    found = pkgutil.walk_packages(lk.__path__, "lakekit.")
    return (module.name for module in found if not module.name.endswith("__main__"))


def test_every_doctest_of_src_is_collected():
    """pytest runs the doctests of what is in its testpaths; conftest.py gives ``spark`` to those that name it."""
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert "--doctest-modules" in options["addopts"]
    assert "src" in options["testpaths"]
    assert "_spark_in_doctests" in (ROOT / "conftest.py").read_text()


@pytest.mark.parametrize("name", sorted(modules()))
def test_modules_say_what_they_are_for(name: str):
    text = import_module(name).__doc__
    assert text and re.match(r"[^\n]+[.:]", text.strip()), f"{name} needs a docstring whose first line is a sentence"


def test_public_names_say_what_they_are_for():
    public = {name: getattr(lk, name) for name in lk.__all__}
    public |= {f"Table.{name}": value for name, value in vars(lk.Table).items() if not name.startswith("_")}
    silent = [name for name, value in public.items() if not re.match(r"[A-Z`][^\n]*[.:;,\w]", (value.__doc__ or "").strip())]
    assert silent == []
