"""What the entry scripts of Glue and EMR share: from a command line to a bound job."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from lakekit.errors import ConfigError
from lakekit.job.arguments import Arguments, parse
from lakekit.job.log import line, logger, to_stderr
from lakekit.job.names import nearest
from lakekit.job.spec import Job, load


def prepare(argv: Sequence[str]) -> tuple[Job, Arguments]:
    """Bind the job that the command line names, before Spark starts.

    ``argv`` is the command line without the script: ``--job s3://…/orders.yaml`` (or the file alone) and the job's own
    arguments, among whatever else the platform puts there. An argument that nobody asks for is logged, not refused.
    Raises `ConfigError` when no job file is named, and all that `load` raises.
    """
    to_stderr()
    arguments = parse(argv)
    file = arguments.named.get("job") or next(iter(arguments.positional), None)
    if not file:
        raise ConfigError("no job file is named. Pass --job followed by its path or s3:// address.")
    job = load(file, arguments=arguments.named)
    for name in arguments.own.keys() - job.arguments:
        logger.warning(line("unused argument", job=job.name, argument=name, hint=nearest(name, job.arguments).removeprefix("; ")))
    return job, arguments


def glue_job(arguments: dict[str, str]) -> Any:
    """Glue's own job, initialised, where ``awsglue`` is; elsewhere None. Its ``commit`` is the caller's, after success."""
    if find_spec("awsglue") is None:
        return None
    from awsglue.context import GlueContext
    from awsglue.job import Job as GlueJob
    from pyspark import SparkContext

    job = GlueJob(GlueContext(SparkContext.getOrCreate()))
    job.init(arguments.get("JOB_NAME", ""), arguments)
    return job
