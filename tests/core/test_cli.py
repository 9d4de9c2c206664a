"""The command line: exit codes, one message per error, and no Spark before it is needed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest

from lakekit import cli, jars, maven
from lakekit.errors import ConfigError, FeedError, JarError, SessionError, TieConflict
from lakekit.job import cli as job_cli
from lakekit.runtimes import RUNTIMES, local_runtime, platforms


def test_exit_codes_of_errors():
    assert [cli.code(kind("")) for kind in (JarError, ConfigError, SessionError, FeedError, TieConflict)] == [1, 2, 2, 2, 3]


def test_help_starts_no_spark(capsys: pytest.CaptureFixture[str]):
    for arguments in (["--help"], ["doctor", "--help"], ["jars", "--help"], ["jars", "download", "--help"]):
        with pytest.raises(SystemExit) as left:
            cli.main(arguments)
        assert left.value.code == 0
    assert "run a job file" in capsys.readouterr().out


def test_without_pyspark_every_option_is_known_and_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for module in (job_cli, platforms):
        monkeypatch.setattr(module, "installed_spark", lambda: None)
    assert cli.main(["run", "--set", "a.b=c", "no.yaml"]) == 2
    assert "pyspark is not installed. On a laptop: pip install 'lakekit[local]'" in capsys.readouterr().err


def test_a_pyspark_that_pip_did_not_install_counts(monkeypatch: pytest.MonkeyPatch):
    def unknown(package: str) -> str:
        raise platforms.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(platforms.metadata, "version", unknown)
    assert platforms.installed_spark() == pyspark.__version__


def test_a_wrong_argument_is_exit_code_2(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as left:
        cli.main(["jars", "upload"])
    assert left.value.code == 2
    assert cli.main(["jars", "list", "--formats", "icebreg"]) == 2
    assert cli.main(["jars", "list", "--spark", "2.4"]) == 2
    assert cli.main(["doctor", "--formats", "icebreg"]) == 2
    said = capsys.readouterr().err
    assert said.count("lakekit: unknown table format 'icebreg'") == 2 and "Traceback" not in said


@pytest.mark.parametrize("line", ["3.5", "4.1"])
def test_jars_list_prints_the_coordinates(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["jars", "list", "--spark", line, "--extras", "jdbc", "--dest", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = RUNTIMES[f"local-{line}"]
    assert [text.split()[0] for text in lines] == list(row.coordinates(row.tested, ["jdbc"]))
    assert all(text.endswith("absent") for text in lines)


def test_a_group_may_stand_among_the_formats(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["jars", "list", "--spark", "3.5", "--formats", "iceberg,aws"]) == 0
    row = RUNTIMES["local-3.5"]
    assert [text.split()[0] for text in capsys.readouterr().out.splitlines()] == list(row.coordinates(["iceberg"], ["aws"]))


def test_jars_download_from_a_mirror_into_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    (coordinate,) = local_runtime().coordinates([], ["jdbc"])
    jar, body = maven.Jar.parse(coordinate), b"a small jar"
    monkeypatch.setattr(jars, "locks", lambda: {coordinate: jars.Lock(hashlib.sha256(body).hexdigest(), len(body))})
    held = tmp_path / "mirror" / jar.path
    held.parent.mkdir(parents=True)
    held.write_bytes(body)
    command = ["jars", "download", "--formats", "jdbc", "--dest", str(tmp_path / "jars"), "--repo", (tmp_path / "mirror").as_uri()]
    assert cli.main(command) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "jars" / jar.file_name)]
    held.unlink()
    assert cli.main(command) == 0, "what the folder holds is not fetched again"
    (tmp_path / "jars" / jar.file_name).unlink()
    assert cli.main(command) == 1
    assert f"lakekit: {coordinate} is not in file://" in capsys.readouterr().err


def test_a_jar_that_cannot_be_had_is_lakekits_message_not_sparks(tmp_path: Path):
    script = "import lakekit as lk; lk.session('iceberg')"
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(Path(cli.__file__).parents[1])}
    env |= {"LAKEKIT_MAVEN_REPO": (tmp_path / "nothing").as_uri()}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env)
    assert done.returncode == 1
    assert "JarError: org.apache.iceberg:iceberg-spark-runtime" in done.stderr and "JAVA_GATEWAY_EXITED" not in done.stderr


def test_the_doctor_prints_a_healthy_report(spark, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["doctor"]) == 0
    assert cli.main(["doctor", "--formats", "iceberg"]) == 0
    out = capsys.readouterr().out
    assert f"Spark                  {spark.version}" in out and "iceberg                works:" in out
