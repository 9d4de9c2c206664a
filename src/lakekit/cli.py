"""The command line: ``lakekit run | plan | doctor | jars``.

Exit codes: 0 done, 1 failed, 2 a wrong argument, job file or description of a feed, 3 data rejected by a declared policy.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING

from lakekit import jars, maven
from lakekit.errors import ConfigError, DataRejected, FeedError, LakekitError
from lakekit.job.cli import add_commands
from lakekit.runtimes import FORMATS, RUNTIMES, Runtime, installed_spark, local_runtime, wiring

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

DONE, FAILED, WRONG, REJECTED = 0, 1, 2, 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a lakekit error becomes one message on stderr, never a trace."""
    args = parser().parse_args(argv)
    try:
        return int(args.handler(args))
    except LakekitError as error:
        print(f"lakekit: {error}", file=sys.stderr)
        return code(error)
    except KeyboardInterrupt:
        print("lakekit: interrupted", file=sys.stderr)
        return FAILED


def code(error: LakekitError) -> int:
    """The exit code that stands for an error."""
    if isinstance(error, DataRejected):
        return REJECTED
    return WRONG if isinstance(error, ConfigError | FeedError) else FAILED


def parser() -> argparse.ArgumentParser:
    """The whole command line; building it needs no Spark."""
    top = argparse.ArgumentParser(prog="lakekit", description="CDC upserts on Apache Iceberg, Delta Lake and Apache Hudi.")
    top.add_argument("--version", action="version", version=f"lakekit {_version()}")
    commands = top.add_subparsers(metavar="command", required=True)
    add_commands(commands)
    _add_doctor(commands)
    _add_jars(commands)
    return top


def _version() -> str:
    try:
        return metadata.version("lakekit")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


# --- doctor -----------------------------------------------------------------------------------------------------------------


def _add_doctor(commands: Commands) -> None:
    says = "show versions, formats, catalogs and known-bad combinations; exit code 1 when a format that is asked for cannot work"
    command = commands.add_parser("doctor", help="show what is here and what cannot work", description=says)
    command.add_argument("--formats", type=_names, default=[], help="formats that must work, comma-separated (default: all tested here)")
    command.set_defaults(handler=_doctor)


def _doctor(args: argparse.Namespace) -> int:
    from lakekit.doctor import doctor

    for name in args.formats:
        wiring(name)
    report = doctor(args.formats)
    print(report)
    return DONE if report.healthy else FAILED


# --- jars -------------------------------------------------------------------------------------------------------------------


def _add_jars(commands: Commands) -> None:
    command = commands.add_parser("jars", help="list or download the table formats' jars")
    verbs = command.add_subparsers(metavar="verb", required=True)
    for name, handler, says in (
        ("list", _list, "print one line per jar: coordinate, size, and whether the folder holds it"),
        ("download", _download, "fetch what is missing, verify every SHA-256, and print the paths"),
    ):
        verb = verbs.add_parser(name, help=says, description=f"{says[0].upper()}{says[1:]}.")
        verb.add_argument("--formats", type=_names, default=None, help=f"comma-separated, of {', '.join(sorted(FORMATS))} (default: all)")
        verb.add_argument("--extras", type=_names, default=[], help="further jar groups, comma-separated: aws, jdbc")
        verb.add_argument("--spark", help=f"Spark line, of {', '.join(_lines())} (default: that of the installed pyspark)")
        verb.add_argument("--dest", metavar="DIR", help="folder (default: LAKEKIT_JARS_DIR, else ~/.cache/lakekit/jars)")
        verb.set_defaults(handler=handler)
    verb.add_argument("--repo", metavar="URL", help="Maven repository, https: or file: (default: LAKEKIT_MAVEN_REPO, else Maven Central)")


def _lines() -> list[str]:
    return [runtime.spark_line for runtime in RUNTIMES.values() if runtime.platform == "local"]


def _runtime(args: argparse.Namespace) -> Runtime:
    """The local runtime asked for; without pyspark and without ``--spark``, the first of the table."""
    return local_runtime(args.spark or installed_spark() or _lines()[0])


def _coordinates(args: argparse.Namespace) -> tuple[str, ...]:
    """The jars of the formats and groups. A group may also stand among the formats; groups alone bring no format with them."""
    runtime = _runtime(args)
    named = [name for name in args.formats or [] if name not in runtime.extras]
    extras = [*args.extras, *(name for name in args.formats or [] if name in runtime.extras)]
    return runtime.coordinates(named if args.formats is not None else runtime.tested, extras)


def _list(args: argparse.Namespace) -> int:
    target = jars.folder(args.dest)
    for coordinate in _coordinates(args):
        jar = maven.Jar.parse(coordinate)
        state = "present" if jars.present(jar, target) else "absent"
        print(f"{coordinate}  {jars.locks()[coordinate].size / 1e6:.1f} MB  {state}")
    print(f"folder: {target}", file=sys.stderr)
    return DONE


def _download(args: argparse.Namespace) -> int:
    for path in jars.ensure(_coordinates(args), dest=args.dest, repo=args.repo, verify=True):
        print(path)
    return DONE
