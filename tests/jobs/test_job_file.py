"""Reading a job file: places, YAML and JSON, overrides, references and secrets. Needs no Spark."""

from __future__ import annotations

import json

import pytest

from lakekit.errors import ConfigError
from lakekit.job.document import Node, override, parse, plain, read
from lakekit.job.references import Scope, argument_names, resolve

ORDERS = """\
job: orders          # a comment
defaults: &defaults
  ties: content
table:
  name: sales.orders
  create: {partition_by: ["days(ordered_at)", region], merge_on_read: on}
steps:
  - evolve: {allow: [add]}
  - upsert:
      <<: *defaults
      batch_id: 2024-05-01
      note: 012
      empty:
"""


def test_every_value_knows_its_line() -> None:
    root = parse(ORDERS, "orders.yaml")
    upsert = root.value["steps"].value[1].value["upsert"]
    assert root.value["table"].value["name"] == Node("sales.orders", "orders.yaml:5")
    assert upsert.place == "orders.yaml:9"
    assert upsert.value["batch_id"] == Node("2024-05-01", "orders.yaml:11")
    assert upsert.value["ties"] == Node("content", "orders.yaml:3"), "a merged key stands where it was written"


def test_yaml_1_2_scalars() -> None:
    assert plain(parse(ORDERS, "x.yaml"))["steps"][1]["upsert"] == {
        "ties": "content",
        "batch_id": "2024-05-01",
        "note": "012",
        "empty": None,
    }
    text = "[on, yes, No, 1:30, 0o7, 1_000, -7, +3, .5, 1e3, 1., ~, null, '5', \"true\", true, FALSE, 2024-05-01T10:00:00Z]"
    numbers = ["on", "yes", "No", "1:30", "0o7", "1_000", -7, 3, 0.5, 1000.0, 1.0, None, None, "5", "true", True, False]
    assert plain(parse(text, "x.yaml")) == [*numbers, "2024-05-01T10:00:00Z"]


def test_json_means_what_json_means() -> None:
    value = {
        "job": "täglich 🚚",
        "n": 1.5e3,
        "path": "a/b",
        "deep": [{"t": True, "nothing": None, "tab": "a\tb", "big": 12345678901234567890}],
    }
    for text in (json.dumps(value), json.dumps(value, indent="\t"), json.dumps(value, ensure_ascii=False, separators=(",", ":"))):
        assert plain(parse(text.replace("a/b", r"a\/b"), "job.json")) == value
    assert parse('{\n\t"a":\n\t\t1}', "job.json").value["a"].place == "job.json:2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2\nb: 3", "x.yaml:2: not valid YAML"),
        ("a:\n\tb: 1", "x.yaml:2: not valid YAML"),
        ("a: 1\nb: 2\na: 3", 'x.yaml:3: the key "a" stands twice'),
        ("a: &here [*here]", "x.yaml:1: an alias refers to the value that it stands in"),
        ("a: !Ref thing", 'x.yaml:1: the tag "!Ref" has no meaning'),
        ("a: 1\n? [x]\n: 2", "x.yaml:2: a key must be plain text"),
        ("a:\n  <<: [x]", "x.yaml:2: << takes keys with values"),
        ("a: &here\n  <<: *here", "x.yaml:2: an alias refers to the value that it stands in"),
        ("a: *nobody", "x.yaml:1: not valid YAML: found undefined alias"),
        ("a: \x07", "x.yaml: not valid YAML: unreadable characters"),
        ("a: " + "[" * 700, "x.yaml: its values lie too deep within each other"),
        ("a: !!python/object/apply:os.system [ls]", "has no meaning in a job file"),
    ],
)
def test_what_is_no_job_file_says_where(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(text, "x.yaml")
    assert message in str(raised.value)


def test_what_was_merged_may_be_referred_to_again() -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b\n  <<: *a\n  x: 3\nc: *b\nd:\n  <<: *b\n  y: 4\ne:\n  z: 5\n  <<: [*b, *a]"
    a, b, d, e = {"x": 1, "y": 2}, {"x": 3, "y": 2}, {"x": 3, "y": 4}, {"x": 3, "y": 2, "z": 5}
    assert plain(parse(text, "x.yaml")) == {"a": a, "b": b, "c": b, "d": d, "e": e}, "own keys first, then the earlier of what is merged"


def test_reading_from_disk(tmp_path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: 1", encoding="utf-8")
    assert plain(read(str(path))) == plain(read(f"file://{path}")) == {"a": 1}
    assert parse("", "empty.yaml").value is None
    path.write_bytes(b"a: \xff\xfe")
    for wrong, message in ((path, "not a text file in UTF-8"), (tmp_path / "no.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=message):
            read(str(wrong))


def test_override_sets_by_path() -> None:
    root = parse(ORDERS, "orders.yaml")
    for assignment in (
        "table.format=delta",
        "steps.1.upsert.batch_id='7'",
        "session.conf={spark.a: 5}",
        "steps.0.evolve.allow=[add, widen]",
    ):
        root = override(root, assignment)
    value = plain(root)
    assert value["table"]["format"] == "delta"
    assert value["steps"] == [{"evolve": {"allow": ["add", "widen"]}}, {"upsert": {**value["steps"][1]["upsert"], "batch_id": "7"}}]
    assert value["session"] == {"conf": {"spark.a": 5}}
    assert root.value["table"].value["format"].place == "--set table.format"
    assert plain(parse(ORDERS, "orders.yaml"))["table"].keys() == {"name", "create"}, "the tree it started from is unchanged"
    assert plain(override(parse("steps: [upsert]", "x.yaml"), "steps.0.upsert.batch_id=b"))["steps"] == [{"upsert": {"batch_id": "b"}}]
    for wrong in ("table", "=x", "job.name=x", "steps.7.upsert=x", "steps.evolve=x", "a..b=1", "a=[1"):
        with pytest.raises(ConfigError, match=r"--set|value:1"):
            override(root, wrong)


def test_references_are_replaced_everywhere() -> None:
    text = """
        path: s3://${arg:bucket}/${env:STAGE:-dev}/in
        where: "a = '$${not a reference}'"
        data: ${job:dir}/data
        nested: ${arg:data:-${job:dir}/${env:STAGE}/x}/y
        unused: ${arg:limit:-${arg:never}}
        numbers: [7, "${arg:limit}", "${arg:gone:-}"]
        warehouse: ${arg:warehouse:-}
        kept: ""
        dashes: ${arg:my-arg}
    """
    scope = Scope({"bucket": "landing", "limit": "5", "my_arg": "x"}, {"STAGE": "prod"}, "/etc/jobs")
    root = resolve(parse(text, "job.yaml"), scope)
    assert plain(root) == {
        "path": "s3://landing/prod/in",
        "where": "a = '${not a reference}'",
        "data": "/etc/jobs/data",
        "nested": "/etc/jobs/prod/x/y",
        "unused": "5",
        "numbers": [7, "5"],
        "kept": "",
        "dashes": "x",
    }
    assert root.value["numbers"].value[1].expanded and not root.value["numbers"].value[0].expanded
    assert argument_names(parse(text, "job.yaml")) == {"bucket", "data", "limit", "never", "gone", "warehouse", "my_arg"}


def test_all_missing_references_are_named_at_once() -> None:
    text = "a: ${arg:table}\nb:\n  - ${env:STAGE}\n  - ${arg:format:-delta}\npassword: ${env:PGPASSWORD}"
    with pytest.raises(ConfigError) as raised:
        resolve(parse(text, "job.yaml"), Scope({"tabel": "secret-looking value"}, {}))
    lines = str(raised.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["job.yaml:1", "job.yaml:3", "job.yaml:5"]
    assert 'argument table is missing; given is "tabel"' in lines[0] and "--table value" in lines[0]
    assert "STAGE is not set" in lines[1] and "PGPASSWORD is not set" in lines[2]
    assert "secret-looking value" not in str(raised.value)
    value = resolve(parse("a: ${arg:x}", "job.yaml"), Scope({"x": "${env:HOME}"}))
    assert plain(value) == {"a": "${env:HOME}"}, "a value is not read for references again"
    for wrong, hint in (("${arq:x}", 'nearest is "arg"'), ("${job:name}", "Known:"), ("${table}", "begins no"), ("${arg:x", "begins no")):
        with pytest.raises(ConfigError, match=hint):
            resolve(parse(f"a: {wrong}", "job.yaml"), Scope())


SECRET = "hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"password: {SECRET}",
        f"jdbc: {{options: {{dbPassword: {SECRET}}}}}",
        f"steps:\n  - source: {{api_key: {SECRET}}}",
        f"conf:\n  spark.hadoop.fs.s3a.secret.key: {SECRET}",
        "token: 12345",
        f"password: ${{arg:password:-{SECRET}}}",
        f"password: ${{env:HOME:-{SECRET}}}",
        f"password: x-${{env:HOME}}-{SECRET}",
        f"url: jdbc:postgresql://db/shop?user=me&password={SECRET}",
        f"url: postgresql://me:{SECRET}@db/shop",
    ],
)
def test_a_secret_in_plain_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        resolve(parse(text, "job.yaml"), Scope({"password": SECRET}))
    assert SECRET not in str(raised.value) and "12345" not in str(raised.value)
    assert str(raised.value).startswith("job.yaml:") and "${env:NAME}" in str(raised.value)


def test_a_secret_stays_a_reference() -> None:
    text = """
        password: ${env:PGPASSWORD}
        secret_key: env:PGPASSWORD
        url: "jdbc:postgresql://db/shop?user=${env:USER}"
        aws.credentials.provider: com.amazonaws.Provider
        keys: [token_id]
        secrets: null
        token: aws-secret:shop/db#password
    """
    environment = {"PGPASSWORD": SECRET, "USER": "me"}
    value = plain(resolve(parse(text, "job.yaml"), Scope(environment=environment)))
    assert value["password"] == value["secret_key"] == "env:PGPASSWORD"
    assert value["token"] == "aws-secret:shop/db#password"
    assert SECRET not in repr(value)
    assert value["url"].endswith("user=me") and value["aws.credentials.provider"].startswith("com.")
