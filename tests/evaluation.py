"""Spark has two ways to evaluate, compiled and interpreted; on tables of a few rows the second needs half the time."""

INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
