"""A job as values: what its file says, every name known and every argument fitted, before Spark starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lakekit.errors import ConfigError
from lakekit.job.bind import Call, bind
from lakekit.job.document import Node, override, read
from lakekit.job.names import nearest
from lakekit.job.references import Scope, argument_names, resolve
from lakekit.job.steps import CONTENT, CURRENT, ORDERED, SUPPLIED, readers, takes_data, verbs
from lakekit.runtimes import FORMATS


@dataclass(frozen=True)
class Job:
    """A bound job: the calls that it will make.

    ``create`` makes the table where it is missing (None: no step can tell its kind); ``source`` is None when the file has none.
    ``arguments`` are the names of all ``${arg:…}`` in the file.
    """

    name: str
    file: str
    table: str
    format: str | None
    create: Call | None
    source: Call | None
    steps: tuple[Call, ...]
    quarantine: str | None
    session: Call
    arguments: frozenset[str] = frozenset()


def load(
    location: str | Path,
    *,
    arguments: Mapping[str, str] | None = None,
    settings: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Job:
    """Read a job file, put references and ``settings`` (``a.b=c``) in, and bind it; starts no Spark.

    ``location`` is a path or an ``s3://`` address of YAML or JSON. ``arguments`` are what ``${arg:NAME}`` stands for;
    ``environment`` (default: the process's) is what ``${env:NAME}`` stands for.
    Raises `ConfigError`, which names file, line, step and the nearest valid name.

    Example::

        job = lakekit.job.load("configs/dms_customer.yaml", arguments={"format": "delta"})
        lakekit.job.run(job)
    """
    root = read(str(location))
    for assignment in settings:
        root = override(root, assignment)
    scope = Scope(arguments or {}, os.environ if environment is None else environment, _folder(str(location)))
    return _bind_job(resolve(root, scope), str(location), argument_names(root))


def _folder(location: str) -> str:
    head, slash, _ = location.rpartition("/")
    return head if "://" in location and slash else str(Path(location).resolve().parent)


def _job(
    job: str, table: Node, steps: list[Node], source: Node | None = None, quarantine: str | None = None, session: Node | None = None
) -> None:
    """The keys of a job file."""


def _table(name: str, format: str | None = None, create: Node | None = None) -> None:
    """The keys of ``table``."""


def _bind_job(root: Node, file: str, names: frozenset[str]) -> Job:
    if not isinstance(root.value, dict):
        raise ConfigError(f"{root.place}: a job file holds keys with values: job, table, source, steps.")
    keys = bind(_job, root, "job")
    table = bind(_table, keys["table"], "table")
    _check_format(table.get("format"), keys["table"])
    source = _bind_source(keys.get("source"))
    if not keys["steps"]:
        raise ConfigError(f"{root.value['steps'].place}: job: steps: there is none. Known names: {', '.join(verbs())}.")
    steps = tuple(_bind_step(node, number, source) for number, node in enumerate(keys["steps"], 1))
    return Job(
        name=keys["job"],
        file=file,
        table=table["name"],
        format=table.get("format"),
        create=_bind_create(table.get("create"), steps),
        source=source,
        steps=steps,
        quarantine=keys.get("quarantine"),
        session=_bind_session(keys.get("session"), keys["job"]),
        arguments=names,
    )


def _check_format(name: str | None, table: Node) -> None:
    if name is not None and name not in FORMATS:
        place = table.value["format"].place if isinstance(table.value, dict) else table.place
        raise ConfigError(f"{place}: table: format: no such table format{nearest(name, FORMATS)}. Known: {', '.join(FORMATS)}.")


def _bind_create(node: Node | None, steps: Iterable[Call]) -> Call | None:
    """How to make a missing table: as the file says, in the shape that the first step wants that has one."""
    from lakekit.dimension_tables import creation
    from lakekit.table import Table

    makers = [step for step in steps if any(map(step.takes, CONTENT))]
    if node is None and not makers:
        return None
    shape, place = next(((shape, step.place) for step in makers if (shape := creation(step.name, step.arguments))), ({}, ""))
    if node is None:
        return Call("create", Table.create, shape, place)
    said = _call("create", Table.create, node, "table.create")
    return replace(said, arguments={**shape, **said.arguments}, place=f"{place} and {said.place}" if shape else said.place)


def _bind_session(node: Node | None, job: str) -> Call:
    from lakekit.session import session

    node = node or Node(None, "")
    return Call("session", session, {"app_name": job, **bind(session, node, "session")}, node.place)


def _bind_source(node: Node | None) -> Call | None:
    return None if node is None else _bind_reader(node, "source", SUPPLIED)


def _bind_reader(node: Node, what: str, supplied: tuple[str, ...]) -> Call:
    """A reader's call; one that compares has another reader's call as its ``current``."""
    name, body = _single(node, what, readers())
    bare = Call(name, readers()[name], {}, body.place)
    if not bare.takes(CURRENT):
        return replace(bare, arguments=bind(bare.function, body, f"{what} {name}", supplied))
    given = body.value if isinstance(body.value, dict) else {}
    if CURRENT not in given:
        raise ConfigError(
            f'{body.place}: {what} {name}: the key "{CURRENT}" is missing. It holds the reader of the full load and its keys.'
        )
    current = _bind_reader(given[CURRENT], f"{what} {name}: {CURRENT}", (*SUPPLIED, *ORDERED))
    rest = replace(body, value={key: child for key, child in given.items() if key != CURRENT})
    return replace(bare, arguments={**bind(bare.function, rest, f"{what} {name}", (*supplied, CURRENT)), CURRENT: current})


def _bind_step(node: Node, number: int, source: Call | None) -> Call:
    name, body = _single(node, f"step {number}", verbs())
    if takes_data(verbs()[name]) and source is None:
        raise ConfigError(f'{node.place}: step {number} ({name}) needs incoming data, and the job has no "source".')
    return _call(name, verbs()[name], body, f"step {number} ({name})")


def _single(node: Node, what: str, known: Mapping[str, Callable[..., Any]]) -> tuple[str, Node]:
    """The one name that a source or step consists of, ``{upsert: {…}}`` or plain ``upsert``, and what it says."""
    given = {node.value: Node(None, node.place)} if isinstance(node.value, str) else node.value
    if not isinstance(given, dict) or len(given) != 1:
        raise ConfigError(f"{node.place}: {what}: expected one name and its keys{_beside(given, known)}. Known names: {', '.join(known)}.")
    ((name, body),) = given.items()
    if name not in known:
        raise ConfigError(f'{body.place}: {what}: unknown name "{name}"{nearest(name, known)}. Known: {", ".join(known)}.')
    return name, body


def _beside(given: Any, known: Mapping[str, Any]) -> str:
    """What is wrong with several names: keys that were not indented stand beside the name that they belong below."""
    strays = [name for name in given if name not in known] if isinstance(given, dict) else []
    return f'; indent "{strays[0]}" more than the name that it belongs to' if strays else ""


def _call(name: str, function: Callable[..., Any], body: Node, what: str) -> Call:
    return Call(name, function, bind(function, body, what, SUPPLIED), body.place)
