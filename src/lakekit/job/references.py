"""References in a job file, ``${env:NAME}`` and ``${arg:NAME:-default}``, and the rule that no secret stands there in plain.

A key that sounds like a secret (``password``, ``api_key``, ``fs.s3a.secret.key`` …) takes a reference and nothing else: ``${env:NAME}``,
or ``file:…`` and ``aws-secret:…`` of `lakekit.sources.secrets`. It stays a reference in the bound job, so that nothing made from
the job can print it; whoever needs the secret looks it up at the last moment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from lakekit import secrecy
from lakekit.errors import ConfigError
from lakekit.job.document import Node
from lakekit.job.names import nearest

# A default may hold references itself, one level deep: ${arg:path:-${job:dir}/data}.
REFERENCE = re.compile(r"\$\$\{|\$\{(?P<kind>[^:{}]*):(?P<name>[^{}]*?)(?P<default>:-(?:[^{}]|\$\{[^{}]*\})*)?\}")
SECRET_KEY = re.compile(rf"(?i)(?=.*({secrecy.WORDS}|pwd$|token$))(?!.*(provider|class|impl|type|mode)$)")
SECRET_IN_BRACES = re.compile(r"\$\{(env:\w+)\}")
SECRET_IN_TEXT = re.compile(r"(?i)(?:password|passwd|pwd|secret|token)=(?!\$\{|env:)[^\s&;]|://[^/\s:@]+:(?!\$\{)[^@/\s]+@")
KINDS = ("env", "arg", "job")
KNOWN = "Known: ${env:NAME}, ${arg:NAME}, ${job:dir}; the first two may end in a default, ${arg:NAME:-value}."


@dataclass
class Scope:
    """What references may name: the environment, the arguments given to the run, and the job file's own folder.

    ``missing`` fills up while values are resolved, so that all that is missing can be named at once.
    """

    arguments: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    folder: str = "."
    missing: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.arguments = {normal(name): value for name, value in self.arguments.items()}


def resolve(root: Node, scope: Scope) -> Node:
    """Replace every reference below ``root`` and refuse literal secrets.

    A key whose whole value is a reference to nothing (``${arg:warehouse:-}``) is left out, as if it were not written.
    Raises `ConfigError`, which names every reference without a value together, and never a value.

    >>> from lakekit.job.document import parse, plain
    >>> job = parse("path: s3://${arg:bucket}/in\\nmode: ${arg:mode:-daily}\\npassword: ${env:HOME}", "job.yaml")
    >>> plain(resolve(job, Scope({"bucket": "landing"})))
    {'path': 's3://landing/in', 'mode': 'daily', 'password': 'env:HOME'}
    """
    resolved = _resolve(root, scope)
    if scope.missing:
        raise ConfigError("\n".join(scope.missing))
    return resolved


def argument_names(root: Node) -> frozenset[str]:
    """The names of all ``${arg:…}`` in the file, whether or not they have a default.

    >>> from lakekit.job.document import parse
    >>> sorted(argument_names(parse("a: ${arg:x}-${arg:y:-1}", "job.yaml")))
    ['x', 'y']
    """
    return frozenset(_argument_names(root))


def normal(name: str) -> str:
    """One spelling for ``my-arg`` and ``my_arg``, as Glue has it."""
    return name.replace("-", "_")


def _argument_names(node: Node) -> Iterator[str]:
    if isinstance(node.value, str):
        yield from _names_in(node.value)
    for child in node.children():
        yield from _argument_names(child)


def _names_in(text: str) -> Iterator[str]:
    for match in REFERENCE.finditer(text):
        if match["kind"] == "arg":
            yield normal(match["name"])
        yield from _names_in(match["default"] or "")


def _resolve(node: Node, scope: Scope) -> Node:
    if isinstance(node.value, dict):
        entries = {key: _resolve_entry(key, child, scope) for key, child in node.value.items()}
        return replace(node, value={key: child for key, child in entries.items() if not _absent(child)})
    if isinstance(node.value, list):
        items = [_resolve(child, scope) for child in node.value]
        return replace(node, value=[child for child in items if not _absent(child)])
    return _resolve_text(node, scope) if isinstance(node.value, str) else node


def _absent(node: Node) -> bool:
    return node.expanded and node.value == ""


def _resolve_entry(key: str, node: Node, scope: Scope) -> Node:
    if SECRET_KEY.match(key) and isinstance(node.value, str | int | float) and not isinstance(node.value, bool):
        return _secret_entry(key, node, scope)
    return _resolve(node, scope)


def _secret_entry(key: str, node: Node, scope: Scope) -> Node:
    from lakekit.sources.secrets import is_reference

    reference = SECRET_IN_BRACES.sub(r"\1", str(node.value))
    if not is_reference(reference):
        say = "looks like a secret and must not stand in a job file. Write ${env:NAME} and set NAME outside"
        raise ConfigError(f'{node.place}: "{key}" {say}.')
    kind, _, name = reference.partition(":")
    if kind == "env" and name not in scope.environment:
        scope.missing.append(f"{node.place}: {_how_to_give('env', name, scope)}")
    return replace(node, value=reference)


def _resolve_text(node: Node, scope: Scope) -> Node:
    if SECRET_IN_TEXT.search(node.value):
        raise ConfigError(f"{node.place}: this text holds a password or token. Write ${{env:NAME}} in its place and set NAME outside.")
    text = _expand(node.value, node.place, scope)
    return replace(node, value=text, expanded=text != node.value)


def _expand(text: str, place: str, scope: Scope) -> str:
    if "${" in REFERENCE.sub("", text):
        raise ConfigError(f"{place}: ${{ begins no reference here. {KNOWN} Write $${{ for the characters themselves.")
    return REFERENCE.sub(lambda match: _value_of(match, place, scope), text)


def _value_of(match: re.Match[str], place: str, scope: Scope) -> str:
    if match[0] == "$${":
        return "${"
    kind, name, default = match["kind"], match["name"], match["default"]
    found = _look_up(kind, name, place, scope)
    if found is not None:
        return found
    if default is not None:
        return _expand(default.removeprefix(":-"), place, scope)
    scope.missing.append(f"{place}: {_how_to_give(kind, name, scope)}")
    return ""


def _look_up(kind: str, name: str, place: str, scope: Scope) -> str | None:
    if kind == "env":
        return scope.environment.get(name)
    if kind == "arg":
        return scope.arguments.get(normal(name))
    if kind == "job" and name == "dir":
        return scope.folder
    raise ConfigError(f'{place}: "${{{kind}:{name}}}" is no reference{nearest(kind, KINDS)}. {KNOWN}')


def _how_to_give(kind: str, name: str, scope: Scope) -> str:
    if kind == "env":
        return f"the environment variable {name} is not set. Set it before the run."
    given = nearest(name, scope.arguments, "given is")
    return f"the argument {name} is missing{given}. Pass --arg {name}=value (on Glue and EMR: --{name} value)."
