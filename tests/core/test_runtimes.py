"""The version table: complete, locked, and the only place that knows a version."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from lakekit import jars
from lakekit.errors import ConfigError
from lakekit.runtimes import FORMATS, JAVA_FROM_PYPI, RUNTIMES, as_markdown, local_runtime, platform, runtime_of

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_the_extras_pin_the_tables_versions():
    assert EXTRAS["spark35"] == [f"pyspark=={RUNTIMES['local-3.5'].spark}"]
    assert EXTRAS["spark41"] == [f"pyspark=={RUNTIMES['local-4.1'].spark}"]
    java = RUNTIMES["local-3.5"].java
    for extra, spark in (("local", "spark35"), ("local41", "spark41")):
        assert EXTRAS[extra] == [f"lakekit[{spark}]", f"{JAVA_FROM_PYPI}>={java},<{java + 1}"]


def test_every_row_says_all_that_the_issue_asks_for():
    assert {"local-3.5", "local-4.1", "glue-5.1", "glue-6.0", "emr-7.12", "emr-spark-8.1"} <= RUNTIMES.keys()
    for row in RUNTIMES.values():
        assert row.java == 17 and row.scala in ("2.12", "2.13") and row.python and row.hint
        assert set(row.formats) == set(FORMATS)
        for name, build in row.formats.items():
            assert build.coordinates or build.builtin or build.switch or build.untested, (row.name, name)


def test_lock_and_table_name_the_same_jars():
    named = {coordinate for row in RUNTIMES.values() for build in row.formats.values() for coordinate in build.coordinates}
    named |= {coordinate for row in RUNTIMES.values() for group in row.extras.values() for coordinate in group}
    assert named == set(jars.locks())
    assert all(re.fullmatch(r"[0-9a-f]{64}", lock.sha256) and lock.size > 0 for lock in jars.locks().values())


def test_no_other_module_names_a_coordinate_or_a_jar():
    coordinate = re.compile(r"org\.apache\.(iceberg|hudi|hadoop):|io\.delta:|_2\.1[23][:-]")
    knows = [path for path in (ROOT / "src").rglob("*.py") if path.parent.name != "runtimes" and _mentions(coordinate, path)]
    assert knows == []


def _mentions(pattern: re.Pattern[str], path: Path) -> bool:
    code = re.sub(r'"""(?s:.*?)"""', "", path.read_text())  # a docstring's example is no knowledge
    return pattern.search(code) is not None


def test_the_documentation_shows_the_table():
    assert as_markdown() in (ROOT / "docs" / "session.md").read_text(), "docs/session.md: put lakekit.runtimes.as_markdown() there"


def test_hudi_on_spark_4_1_is_stated_as_not_tested():
    row = local_runtime("4.1")
    assert row.tested == ("delta", "iceberg")
    with pytest.raises(ConfigError, match=r"local-4\.1 carries no build of hudi: no Hudi bundle.*Formats here: delta, iceberg"):
        row.coordinates(["hudi"])


def test_unknown_names_say_what_is_known():
    with pytest.raises(ConfigError, match=r"unknown table format 'icebreg'\. Formats: delta, hudi, iceberg"):
        local_runtime("3.5").coordinates(["icebreg"])
    with pytest.raises(ConfigError, match=r"unknown jar group 'gcp' for local-3\.5\. Groups: aws, jdbc"):
        local_runtime("3.5").coordinates([], ["gcp"])
    with pytest.raises(ConfigError, match=r"no local runtime for Spark 2\.4\.8\. Spark lines known to lakekit: 3\.5, 4\.1"):
        local_runtime("2.4.8")


@pytest.mark.parametrize(
    ("version", "where", "row"),
    [
        ("3.5.6", "local", "local-3.5"),
        ("3.5.9", "local", "local-3.5"),
        ("3.5.6-amzn-1", "emr", "emr-7.12"),
        ("3.5.6-amzn-3", "emr", "emr-7.12"),
        ("4.1.1-amzn-0", "emr", "emr-spark-8.1"),
        ("4.1.1", "glue", "glue-6.0"),
        ("3.3.0", "glue", None),
    ],
)
def test_a_running_spark_finds_its_row(version: str, where: str, row: str | None):
    found = runtime_of(version, where)
    assert (found.name if found else None) == row


def test_the_platform_is_guessed_and_may_be_said(monkeypatch: pytest.MonkeyPatch):
    for variable in ("LAKEKIT_PLATFORM", "GLUE_VERSION", "EMR_RELEASE_LABEL"):
        monkeypatch.delenv(variable, raising=False)
    assert platform() == "local"
    monkeypatch.setenv("EMR_RELEASE_LABEL", "emr-7.12.0")
    assert platform() == "emr"
    monkeypatch.setenv("LAKEKIT_PLATFORM", "glue")
    assert platform() == "glue"
    monkeypatch.setenv("LAKEKIT_PLATFORM", "azure")
    with pytest.raises(ConfigError, match="LAKEKIT_PLATFORM is 'azure'; it takes local, glue, emr"):
        platform()
