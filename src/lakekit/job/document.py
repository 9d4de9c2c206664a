"""A job file as values that know where they stand: YAML or JSON, from disk or S3.

Every value is a `Node` with its place (``orders.yaml:12``), so that whoever finds a mistake later can point at the line.
Scalars follow YAML 1.2 (as JSON does): ``on``, ``yes``, ``012`` and ``2024-05-01`` stay text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from lakekit.errors import ConfigError


@dataclass(frozen=True)
class Node:
    """One value of a job file and its place.

    ``value`` is a scalar, a ``dict[str, Node]`` or a ``list[Node]``. ``expanded`` marks text that came out of a reference
    such as ``${arg:NAME}``: it may stand for a number or a truth value, and no message repeats it.
    """

    value: Any
    place: str
    expanded: bool = False

    def children(self) -> Iterator[Node]:
        """The nodes directly below this one."""
        if isinstance(self.value, dict):
            yield from self.value.values()
        elif isinstance(self.value, list):
            yield from self.value


def plain(node: Node) -> Any:
    """The bare value: dictionaries, lists and scalars without places.

    >>> plain(parse("a: [1, {b: on}]", "x.yaml"))
    {'a': [1, {'b': 'on'}]}
    """
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def read(location: str) -> Node:
    """Read a job file: a local path, ``file://`` or ``s3://`` (through boto3).

    Raises `ConfigError` when the file cannot be read or is neither YAML nor JSON.
    """
    return parse(_s3_text(location) if re.match(r"s3[an]?://", location) else _local_text(location), location)


def parse(text: str, name: str) -> Node:
    """Parse YAML or JSON; ``name`` is how messages call the file.

    >>> parse("job: orders\\ntable: {name: sales.orders}", "orders.yaml").value["table"].place
    'orders.yaml:2'
    """
    as_json = name.endswith(".json")
    try:
        loader = _Loader(text.replace("\t", " ") if as_json else text)  # JSON indents with tabs, which YAML forbids
        root = loader.get_single_node()
        return Node(None, f"{name}:1") if root is None else _Builder(name).build(root, _line(root))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{name}:{line}: not valid {'JSON' if as_json else 'YAML'}: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not valid YAML: unreadable characters. Save the file as UTF-8.") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: its values lie too deep within each other for a job file.") from error


def scalar(text: str) -> Any:
    """Read one scalar as YAML 1.2 would: ``5`` is a number, ``true`` a truth value, all else text.

    >>> [scalar(text) for text in ("5", "1e3", "true", "null", "yes", "sales.orders")]
    [5, 1000.0, True, None, 'yes', 'sales.orders']
    """
    for pattern, read_as in _SCALARS:
        if re.fullmatch(pattern, text):
            return read_as(text)
    return text


def override(root: Node, assignment: str) -> Node:
    """Set one value by its path, as ``--set`` does: ``table.format=delta`` or ``steps.0.upsert.ties=content``.

    The right side is YAML. Raises `ConfigError` when the path crosses a value that has no parts.

    >>> plain(override(parse("table: {name: a.b}", "x.yaml"), "table.format=delta"))
    {'table': {'name': 'a.b', 'format': 'delta'}}
    """
    path, equals, text = assignment.partition("=")
    if not equals or not all(path.split(".")):
        raise ConfigError("--set: expected a path and a value, such as --set table.format=delta.")
    place = f"--set {path}"
    return _set(root, path.split("."), replace(_relocated(parse(text, "value"), place), place=place), place)


def _set(node: Node, path: list[str], value: Node, place: str) -> Node:
    if not path:
        return value
    head, rest = path[0], path[1:]
    if isinstance(node.value, list) and head.isdigit() and int(head) < len(node.value):
        items = list(node.value)
        items[int(head)] = _set(items[int(head)], rest, value, place)
        return replace(node, value=items)
    if node.value == head:
        node = replace(node, value=None)  # a step that is its bare name is that name without keys
    if isinstance(node.value, dict) or node.value is None:
        known = node.value or {}
        return replace(node, value={**known, head: _set(known.get(head, Node(None, place)), rest, value, place)})
    kind = f"a list of {len(node.value)}" if isinstance(node.value, list) else "a single value"
    raise ConfigError(f'{place}: "{head}" does not exist, because {node.place} holds {kind}.')


def _relocated(node: Node, place: str) -> Node:
    if isinstance(node.value, dict):
        return Node({key: _relocated(child, place) for key, child in node.value.items()}, place)
    if isinstance(node.value, list):
        return Node([_relocated(child, place) for child in node.value], place)
    return Node(node.value, place)


def _local_text(location: str) -> str:
    try:
        return Path(location.removeprefix("file://")).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{location}: not a text file in UTF-8.") from error
    except OSError as error:
        raise ConfigError(f"{location}: cannot read the job file ({error.strerror}).") from error


def _s3_text(location: str) -> str:
    try:
        boto3, botocore = import_module("boto3"), import_module("botocore.exceptions")  # by name: lakekit imports no AWS library
    except ImportError as error:
        raise ConfigError(f"{location}: reading from S3 needs boto3. Install lakekit[aws] or pass a local path.") from error
    bucket, _, key = location.split("://", 1)[1].partition("/")
    try:
        content: bytes = boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return content.decode("utf-8")
    except (botocore.BotoCoreError, botocore.ClientError, UnicodeDecodeError) as error:
        raise ConfigError(f"{location}: cannot read the job file from S3 ({type(error).__name__}).") from error


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars: PyYAML's defaults are those of 1.1, where ``on`` is true and ``1:30`` is ninety."""


_MERGE = "tag:yaml.org,2002:merge"
_Loader.yaml_implicit_resolvers = {"<": [(_MERGE, re.compile("^<<$"))]}


class _Builder:
    """Turns the loader's syntax nodes into `Node`s."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.open: list[yaml.Node] = []

    def build(self, node: yaml.Node, line: int) -> Node:
        if any(node is ancestor for ancestor in self.open):
            raise ConfigError(f"{self.name}:{line}: an alias refers to the value that it stands in.")
        if node.tag not in _TAGS:
            raise ConfigError(f'{self.name}:{line}: the tag "{node.tag}" has no meaning in a job file.')
        self.open.append(node)
        value = self._value(node)
        self.open.pop()
        return Node(value, f"{self.name}:{line}")

    def _value(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, _line(child)) for child in node.value]
        text = str(node.value)
        if getattr(node, "style", None) is None:
            return scalar(text)
        return text.encode("utf-16", "surrogatepass").decode("utf-16")  # JSON writes an emoji as two halves

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Node]:
        """The keys of a mapping; what stands there itself goes before what ``<<: *defaults`` brings."""
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"{self.name}:{_line(key)}: a key must be plain text.")
            if key.tag == _MERGE:
                merged = {**self._merged(value, _line(key)), **merged}
            elif key.value in own:
                raise ConfigError(f'{self.name}:{_line(key)}: the key "{key.value}" stands twice.')
            else:
                own[key.value] = self.build(value, _line(key))
        return {**merged, **own}

    def _merged(self, node: yaml.Node, line: int) -> dict[str, Node]:
        """What a merge key refers to: one mapping, or several of which the earlier goes first."""
        found = self.build(node, line)
        merged: dict[str, Node] = {}
        for mapping in found.value if isinstance(found.value, list) else [found]:
            if not isinstance(mapping.value, dict):
                raise ConfigError(f"{self.name}:{line}: << takes keys with values, or a list of such.")
            merged = {**mapping.value, **merged}
        return merged


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))
_SCALARS: tuple[tuple[str, Any], ...] = (
    (r"|~|null|Null|NULL", lambda text: None),
    (r"true|True|TRUE|false|False|FALSE", lambda text: text[0] in "tT"),
    (r"[-+]?(0|[1-9][0-9]*)", int),
    (r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?", float),
)
