"""jdbc: against Derby, which ships with Spark, in this process's memory."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from lakekit.errors import ConfigError, FeedError, SourceError
from lakekit.sources import common, jdbc
from tests.core.sources.folding import bad, conf, rows

URL = "jdbc:derby:memory:shop"
SECRET = "s3cr3t-of-the-shop"
BOUNDS: dict[str, Any] = {"partition_column": "order_id", "lower_bound": 100, "upper_bound": 140, "num_partitions": 3}


@pytest.fixture(scope="module")
def shop(spark: SparkSession) -> Iterator[str]:
    """A database with one table, which asks for user and password."""
    jvm: Any = spark._jvm
    jvm.java.lang.Class.forName("org.apache.derby.jdbc.EmbeddedDriver")
    connection = jvm.java.sql.DriverManager.getConnection(f"{URL};create=true;user=app;password={SECRET}")
    for statement in (
        "create table orders (order_id int primary key, note varchar(40), amount decimal(10,2), changed timestamp, lsn bigint, op char(1))",
        "insert into orders values (1, 'one', 1.50, timestamp('2024-03-31 02:30:00.000001'), 10, 'U')",
        "insert into orders values (2, null, 0.10, timestamp('2024-06-01 12:00:00'), 11, 'D')",
        *(f"insert into orders values ({n}, 'bulk', {n}.25, null, {n}, 'U')" for n in range(100, 140)),
        f"call syscs_util.syscs_create_user('APP', '{SECRET}')",  # from the next start on Derby asks for it
    ):
        prepared = connection.createStatement()
        prepared.execute(statement)
        prepared.close()
    connection.close()
    with pytest.raises(Py4JJavaError, match="shutdown"):  # stops the database; in memory its tables stay
        jvm.java.sql.DriverManager.getConnection(f"{URL};shutdown=true;user=app;password={SECRET}")
    yield URL


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("SHOP_PASSWORD", SECRET)
    return {"user": "app", "password": "env:SHOP_PASSWORD"}


def test_table_in_parallel(spark: SparkSession, shop: str, credentials: dict[str, Any]) -> None:
    with conf(spark, spark__sql__session__timeZone="America/New_York"):
        feed = jdbc(shop, table="orders", keys="order_id", sequence_by="lsn", delete_when="op = 'D'", fetch_size=7, **BOUNDS, **credentials)
        assert feed.keys == ("ORDER_ID",) and feed.sequence_by == ("LSN",)
        assert feed.df.rdd.getNumPartitions() == 3
        found = {r["ORDER_ID"]: r for r in rows(feed)}
        assert sorted(found) == [1, 2, *range(100, 140)], "the bounds cut strides, they filter nothing"
        assert (str(found[1]["AMOUNT"]), found[2]["NOTE"], found[1]["OP"]) == ("1.50", None, "U")
        micros = feed.df.where("order_id = 1").selectExpr("unix_micros(changed)").first()
        assert micros == (int(datetime(2024, 3, 31, 2, 30, tzinfo=UTC).timestamp()) * 1_000_000 + 1,), "a wall clock is UTC"


def test_query_as_snapshot(spark: SparkSession, shop: str, credentials: dict[str, Any], tmp_path: Any) -> None:
    (tmp_path / "password").write_text(SECRET + "\n")
    before = datetime.now(UTC)
    feed = jdbc(
        shop,
        query="select order_id, note from orders where order_id < 3",
        keys="order_id",
        user="app",
        password=f"file:{tmp_path / 'password'}",
    )
    assert feed.sequence_by == ("extracted_at",)
    assert feed.columns == ["ORDER_ID", "NOTE", "extracted_at"]
    once, again = (feed.df.selectExpr("order_id", "unix_micros(extracted_at) at").collect() for _ in range(2))
    assert sorted(once) == sorted(again), "read twice, it is one snapshot"
    assert int(before.timestamp() * 1e6) <= once[0]["at"] <= int(datetime.now(UTC).timestamp() * 1e6)
    later = jdbc(shop, query="select order_id from orders", keys="order_id", **credentials)
    assert later.df.selectExpr("unix_micros(extracted_at)").first()[0] > once[0]["at"]


def test_a_number_without_a_scale_is_read_as_text(
    spark: SparkSession, shop: str, credentials: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Derby has no such number, so its decimal(10,2) is taken for one, and the query makes one that decimal(10,2) cannot hold."""
    module = sys.modules["lakekit.sources.jdbc"]
    monkeypatch.setattr(module, "_unbounded", lambda found: isinstance(found, T.DecimalType))
    query = "select order_id, amount, lsn from orders where order_id < 3 -- and no more;\n;"
    feed = jdbc(shop, query=query, keys="order_id", sequence_by="lsn", **credentials)
    monkeypatch.setattr(common, "_from_text", lambda name, field: f"CASE WHEN {name} <> '0.10' THEN CAST({name} AS DECIMAL(10,2)) END")
    refusing = jdbc(shop, query=query, keys="order_id", sequence_by="lsn", **credentials)
    assert [str(r["AMOUNT"]) for r in rows(feed)] == ["1.50", "0.10"]
    assert bad(refusing) == [("column AMOUNT: not a decimal(10,2)", '{"ORDER_ID":2,"AMOUNT":"0.10","LSN":11}')]


def test_secrets_never_show(
    spark: SparkSession, shop: str, credentials: dict[str, Any], capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = jdbc(shop, table="orders", keys="order_id", **credentials)
    plan = feed.df._jdf.queryExecution().toString()
    feed.df.explain("extended")
    assert SECRET not in repr(feed) + str(feed.source) + plan + "".join(capfd.readouterr())
    monkeypatch.setenv("SHOP_PASSWORD", "wr0ng-" + SECRET)
    with pytest.raises(SourceError, match=r"jdbc:derby:memory:shop cannot be read\. Check that the server is up") as refused:
        jdbc(shop, table="orders", keys="order_id", **credentials)
    assert SECRET not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "url",
    [
        "jdbc:postgresql://db/shop?user=app&password=hunter2",
        "jdbc:sqlserver://db;databaseName=shop;Password=hunter2",
        "jdbc:mysql://app:hunter2@db/shop",
        "jdbc:oracle:thin:scott/hunter2@db:1521/shop",
        "jdbc:redshift://db/shop?PWD=hunter2",
        "jdbc:postgresql://db/shop?pass=hunter2",
        "jdbc:x://db/shop;AccessKey = hunter2",
        "jdbc:x://db/shop?passphrase=hunter2",
        "jdbc:mysql://db/shop?%70assword=hunter2",
    ],
)
def test_a_password_in_the_url_is_refused(spark: SparkSession, url: str) -> None:
    with pytest.raises(ConfigError, match="the JDBC url holds a password") as refused:
        jdbc(url, table="orders", keys="order_id")
    assert "hunter2" not in str(refused.value)


def test_errors_name_the_thing_and_the_next_step(spark: SparkSession, shop: str, credentials: dict[str, Any]) -> None:
    cases: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (ConfigError, "password must be a reference, env:NAME, file:/path or aws-secret", {"table": "orders", "password": "hunter2"}),
        (ConfigError, "the environment variable NO_SUCH is not set", {"table": "orders", "password": "env:NO_SUCH"}),
        (ConfigError, "the file /no/such cannot be read", {"table": "orders", "password": "file:/no/such"}),
        (ConfigError, "either table or query", {}),
        (ConfigError, "either table or query", {"table": "orders", "query": "select 1"}),
        (ConfigError, "go together", {"table": "orders", "partition_column": "order_id"}),
        (ConfigError, "fetch_size is -1; it must be at least 0", {"table": "orders", "fetch_size": -1}),
        (ConfigError, "num_partitions is 0; it must be at least 1", {"table": "orders", **BOUNDS, "num_partitions": 0}),
        (SourceError, "Check the names of the columns, partition_column", {"table": "orders", **BOUNDS, "partition_column": "nr"}),
        (SourceError, "Check the names of the columns, partition_column", {"table": "orders", **BOUNDS, "lower_bound": 999}),
        (SourceError, "cannot be read", {"table": "no_such_table"}),
        (SourceError, "its JDBC driver is not on the class path", {"table": "orders", "url": "jdbc:nobase://db/shop"}),
        (FeedError, "keys: the feed has no column nr", {"table": "orders", "keys": "nr"}),
    ]
    for error, message, given in cases:
        with pytest.raises(error, match=message) as refused:
            jdbc(**{"url": shop, "keys": "order_id", **credentials, **given})
        assert "hunter2" not in str(refused.value)


def test_secret_in_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against moto's Secrets Manager in this process."""
    boto3, moto = pytest.importorskip("boto3"), pytest.importorskip("moto")
    from lakekit.sources.secrets import secret

    for name, value in {"AWS_DEFAULT_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}.items():
        monkeypatch.setenv(name, value)
    with moto.mock_aws():
        client = boto3.client("secretsmanager")
        client.create_secret(Name="shop/db", SecretString='{"password": "s3"}')
        client.create_secret(Name="plain", SecretString=SECRET)
        assert secret("aws-secret:shop/db#password", "password") == "s3"
        assert secret("aws-secret:plain", "password") == SECRET
        with pytest.raises(ConfigError, match="is no JSON object with the field pw") as refused:
            secret("aws-secret:plain#pw", "password")
        assert SECRET not in "".join(traceback.format_exception(refused.value))
        with pytest.raises(ConfigError, match="does not give no/such"):
            secret("aws-secret:no/such", "password")
