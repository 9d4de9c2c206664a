"""How each table format is wired into a Spark session: the classes, the extensions and the confs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lakekit.errors import ConfigError

CATALOG = "lake"  # the local Iceberg catalog
WAREHOUSE = "WAREHOUSE"  # stands for the warehouse folder in the values below


@dataclass(frozen=True)
class Wiring:
    """How a table format is wired into a Spark session, the same on every runtime.

    ``confs`` are what the format cannot work without; ``local`` and ``java_options`` go into sessions that lakekit builds itself.
    ``catalogs`` names the classes, any of which will do as the format's catalog; the first one is what lakekit sets at
    ``catalog_conf`` and proposes, with ``local_catalog`` on a laptop and ``cloud_catalog`` on AWS. WAREHOUSE in a value stands for
    the warehouse folder.
    """

    name: str
    probe: str
    extension: str
    catalog_conf: str
    catalogs: tuple[str, ...]
    confs: Mapping[str, str] = field(default_factory=dict)
    local_catalog: Mapping[str, str] = field(default_factory=dict)
    cloud_catalog: Mapping[str, str] = field(default_factory=dict)
    local: Mapping[str, str] = field(default_factory=dict)
    java_options: tuple[str, ...] = ()


# In the order in which Spark must meet the extensions: Hudi's parser first, Iceberg's last, or CALL goes astray.
WIRING = (
    Wiring(
        "hudi",
        probe="org.apache.hudi.DefaultSource",
        extension="org.apache.spark.sql.hudi.HoodieSparkSessionExtension",
        catalog_conf="spark.sql.catalog.spark_catalog",
        catalogs=("org.apache.spark.sql.hudi.catalog.HoodieCatalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog"),
        confs={"spark.serializer": "org.apache.spark.serializer.KryoSerializer"},
        local={"spark.kryo.registrator": "org.apache.spark.HoodieSparkKryoRegistrar"},
        # Its object-size estimator tries to attach to its own JVM, and prints that it could not.
        java_options=("-Djdk.attach.allowAttachSelf=true", "-Djol.skipHotspotSAAttach=true"),
    ),
    Wiring(
        "delta",
        probe="org.apache.spark.sql.delta.sources.DeltaDataSource",
        extension="io.delta.sql.DeltaSparkSessionExtension",
        catalog_conf="spark.sql.catalog.spark_catalog",
        catalogs=("org.apache.spark.sql.delta.catalog.DeltaCatalog",),
        # Delta rebuilds a table's state in 50 tasks by default; a laptop has no use for them.
        local={"spark.databricks.delta.snapshotPartitions": "1"},
    ),
    Wiring(
        "iceberg",
        probe="org.apache.iceberg.spark.source.IcebergSource",
        extension="org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        catalog_conf=f"spark.sql.catalog.{CATALOG}",
        catalogs=("org.apache.iceberg.spark.SparkCatalog", "org.apache.iceberg.spark.SparkSessionCatalog"),
        local_catalog={
            f"spark.sql.catalog.{CATALOG}.type": "hadoop",
            f"spark.sql.catalog.{CATALOG}.warehouse": WAREHOUSE,
        },
        cloud_catalog={
            f"spark.sql.catalog.{CATALOG}.type": "glue",
            f"spark.sql.catalog.{CATALOG}.warehouse": f"s3://{WAREHOUSE}",
        },
        # Tables change under other processes' hands; a cached table would hide their commits.
        local={f"spark.sql.catalog.{CATALOG}.cache-enabled": "false"},
    ),
)
FORMATS = tuple(wiring.name for wiring in WIRING)


def wiring(name: str) -> Wiring:
    """The wiring of one format; `ConfigError` when there is no such format.

    >>> wiring("delta").extension
    'io.delta.sql.DeltaSparkSessionExtension'
    """
    for candidate in WIRING:
        if candidate.name == name:
            return candidate
    raise ConfigError(f"unknown table format {name!r}. Formats: {', '.join(sorted(FORMATS))}.")
