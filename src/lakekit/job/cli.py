"""``lakekit run`` and ``lakekit plan``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction
from typing import TYPE_CHECKING

from lakekit.errors import ConfigError
from lakekit.runtimes import installed_spark, local_runtime

if TYPE_CHECKING:
    from lakekit.job.spec import Job

EXIT_CODES = "exit codes: 0 done, 1 failed, 2 job file, argument or feed is wrong, 3 a policy refused the data (nothing was written)"


def add_commands(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the two commands to ``lakekit``'s parser."""
    for name, handler, says in (
        ("run", run_command, "run a job file"),
        ("plan", plan_command, "say what a job file would do, and write nothing"),
    ):
        parser = subparsers.add_parser(name, help=says, description=says.capitalize() + ".", epilog=EXIT_CODES)
        parser.add_argument("job", help="the job file: YAML or JSON, a path or s3://…")
        parser.add_argument("--set", dest="settings", metavar="A.B=VALUE", action="append", default=[], help="set one value of the file")
        parser.add_argument("--arg", dest="arguments", metavar="NAME=VALUE", action="append", default=[], help="a value for ${arg:NAME}")
        parser.set_defaults(handler=handler)


def run_command(args: Namespace) -> int:
    """Run the job, with a live line for each step on a terminal; a lakekit error is left to the caller."""
    from lakekit.job import open_session, run
    from lakekit.job.log import summary, to_stderr
    from lakekit.job.progress import watch

    job = _load(args)
    to_stderr()
    spark = open_session(job)
    for step, outcome in zip(job.steps, run(job, spark, watch=watch(spark)), strict=True):
        print(summary(step.name, outcome))
    return 0


def plan_command(args: Namespace) -> int:
    """Print the job's plan; a lakekit error is left to the caller."""
    from lakekit.job import plan

    print(plan(_load(args)))
    return 0


def _load(args: Namespace) -> Job:
    from lakekit.job.names import nearest
    from lakekit.job.references import normal
    from lakekit.job.spec import load

    if installed_spark() is None:
        local_runtime()  # raises the message that says what to install
    given = dict(map(_pair, args.arguments))
    job = load(args.job, arguments=given, settings=args.settings)
    for name in given:
        if normal(name) not in job.arguments:
            raise ConfigError(f"--arg {name}: {job.file} has no ${{arg:{name}}}{nearest(name, job.arguments)}.")
    return job


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ConfigError("--arg: expected NAME=VALUE.")
    return name, value
