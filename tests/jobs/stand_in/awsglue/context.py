"""As ``awsglue.context``."""

from pyspark import SparkContext
from pyspark.sql import SparkSession

from awsglue import record


class GlueContext:
    """Glue's context around Spark's."""

    def __init__(self, spark_context: SparkContext) -> None:
        self.spark_session = SparkSession(spark_context)
        record("GlueContext", application=spark_context.applicationId)
