"""One tolerant reader of command lines for Glue and EMR.

Glue's own ``getResolvedOptions`` knows only required arguments, refuses reserved names and takes ``--metadata`` for an
abbreviation of ``--metadata_location``. Here nothing is required, nothing is refused, and a name means only itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from lakekit.job.references import normal

# `--` and what a name may be made of; any other token is a value, though it begin with `--`.
_FLAG = re.compile(r"--([A-Za-z_][\w.-]*)(=?)(.*)", re.DOTALL)
# What Glue puts on a script's command line by itself, or consumes before it; never worth a warning.
_PLATFORM = re.compile(
    "JOB_.+|SECURITY_CONFIGURATION|(Redshift)?TempDir|job|class|conf|mode|debug|endpoint|scriptLocation|job_language|encryption_type|"
    "(datalake|spark_event|user_jars|additional_python|python_modules|use_postgres|library_set|executor_cores|disable_proxy|"
    "continuation|continuous|customer|job_bookmark|enable|extra|write_shuffle|auto_scale)_?.*"
)


@dataclass(frozen=True)
class Arguments:
    """What stood on the command line: named values (``-`` in a name reads as ``_``) and the rest by position.

    >>> arguments = parse(["--JOB_NAME", "daily", "--enable-metrics", "--table=sales.orders", "jobs/orders.yaml"])
    >>> arguments.named
    {'JOB_NAME': 'daily', 'enable_metrics': 'true', 'table': 'sales.orders'}
    >>> arguments.positional
    ('jobs/orders.yaml',)
    """

    named: dict[str, str] = field(default_factory=dict)
    positional: tuple[str, ...] = ()

    @property
    def own(self) -> dict[str, str]:
        """The named values without those that belong to the platform."""
        return {name: value for name, value in self.named.items() if not _PLATFORM.fullmatch(name)}


def parse(argv: Sequence[str]) -> Arguments:
    """Read ``--name value``, ``--name=value`` and ``--name`` alone (which reads as ``true``); the last of a name wins.

    ``argv`` is the command line without the script. A value that itself reads like ``--name`` must be written ``--name=--value``.

    >>> parse(["--limit", "-5", "--JOB_ID", "", "--conf=a=1", "--note", "-- late"]).named
    {'limit': '-5', 'JOB_ID': '', 'conf': 'a=1', 'note': '-- late'}
    """
    named: dict[str, str] = {}
    positional: list[str] = []
    rest = list(argv)
    while rest:
        token = rest.pop(0)
        flag = _FLAG.fullmatch(token)
        if flag is None:
            positional.append(token)
            continue
        name, equals, value = flag.groups()
        if not equals:
            value = rest.pop(0) if rest and not _FLAG.fullmatch(rest[0]) else "true"
        named[normal(name)] = value
    return Arguments(named, tuple(positional))
