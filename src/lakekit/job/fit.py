"""A value of a job file, fitted to a type annotation.

YAML knows text, numbers, truth values, lists and mappings; a function's annotation says which of them it takes. Nothing is
guessed: text is no list of one, and ``1`` is no truth value. Only text from a reference (``${arg:LIMIT}``) may turn into a number.
"""

from __future__ import annotations

import collections.abc as abc
import types
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from typing import Any, Literal, NewType, Union, get_args, get_origin

from lakekit.errors import ConfigError
from lakekit.job.document import Node, plain, scalar
from lakekit.job.names import nearest
from lakekit.partitioning import Transform
from lakekit.partitioning import parse as parse_partitioning


class MisfitError(Exception):
    """A value that its annotation does not take; ``node`` is the innermost one at fault."""

    def __init__(self, node: Node, expected: str, hint: str = "") -> None:
        super().__init__(f"expected {expected}, got {kind_of(node)}{hint}")
        self.node, self.hint = node, hint


class Opaque:
    """Stands for an annotation that cannot be looked up here, such as a class imported for type checkers only."""


def fit(node: Node, annotation: Any) -> Any:
    """The node's value as ``annotation`` wants it; raises `MisfitError`.

    >>> from lakekit.job.document import parse
    >>> fit(parse("[id, region]", "x.yaml"), tuple[str, ...])
    ('id', 'region')
    >>> fit(parse("days(ordered_at)", "x.yaml"), str | Transform)
    Days(column='ordered_at')
    """
    origin = get_origin(annotation)
    if annotation is Node:
        return node
    if isinstance(annotation, NewType):
        return fit(node, annotation.__supertype__)
    if annotation in _CONVERTERS and isinstance(node.value, str):
        return _converted(node, annotation)
    if origin in (Union, types.UnionType):
        return _fit_union(node, get_args(annotation))
    if origin is Literal:
        return _fit_literal(node, get_args(annotation))
    container = origin or annotation
    if isinstance(container, type) and container in _LISTS:
        return _fit_list(node, annotation, _LISTS[container])
    if isinstance(container, type) and container in _MAPPINGS:
        return _fit_mapping(node, annotation)
    return _fit_scalar(node, annotation)


def describe(annotation: Any) -> str:
    """The annotation in words.

    >>> describe(tuple[str, ...] | Literal["all"] | None)
    'a list of text or "all" or nothing'
    """
    origin, args = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, NewType):
        return describe(annotation.__supertype__)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(filter(None, map(describe, args))))
    if origin is Literal:
        return "one of " + ", ".join(map(_word, args)) if len(args) > 1 else _word(args[0])
    if (origin or annotation) in _LISTS:
        inner = describe(args[0]) if args else ""
        return f"a list of {inner}" if inner else "a list"
    if (origin or annotation) in _MAPPINGS:
        return "keys with values"
    return _WORDS.get(annotation, "")  # a class that no file can write, such as DataFrame, goes unsaid


def kind_of(node: Node) -> str:
    """What a value is, without saying the value: it may have come from the environment."""
    if isinstance(node.value, bool):
        return "true or false"
    words = {str: "text", int: "a whole number", float: "a number", dict: "keys with values", list: "a list", type(None): "nothing"}
    return words[type(node.value)]


def _fit_union(node: Node, alternatives: tuple[Any, ...]) -> Any:
    if Transform in alternatives and isinstance(node.value, str):
        return _converted(node, Transform)  # text is one way to write a transform, so that a wrong one is found here
    misfits: list[MisfitError] = []
    for alternative in sorted(alternatives, key=lambda part: part in _CONVERTERS):  # text stays text where it may
        try:
            return fit(node, alternative)
        except MisfitError as misfit:
            misfits.append(misfit)
    inner = next((misfit for misfit in misfits if misfit.node is not node), None)
    hint = next((misfit.hint for misfit in misfits if misfit.hint), "")
    raise inner or MisfitError(node, describe(Union[alternatives]), hint)  # noqa: UP007 - a union made at run time


def _fit_literal(node: Node, allowed: tuple[Any, ...]) -> Any:
    for value in allowed:
        if type(value) is type(node.value) and value == node.value:
            return value
    raise MisfitError(node, describe(Literal[allowed]), _literal_hint(node, allowed))


def _literal_hint(node: Node, allowed: tuple[Any, ...]) -> str:
    close = isinstance(node.value, str) and nearest(node.value, [value for value in allowed if isinstance(value, str)])
    return close or ""


def _fit_list(node: Node, annotation: Any, build: Callable[[Any], Any]) -> Any:
    if not isinstance(node.value, list):
        raise MisfitError(node, describe(annotation), ". Write [value]" if isinstance(node.value, str) else "")
    args = get_args(annotation)
    return build(fit(child, args[0] if args else Any) for child in node.value)


def _fit_mapping(node: Node, annotation: Any) -> Any:
    if not isinstance(node.value, dict):
        raise MisfitError(node, describe(annotation))
    args = get_args(annotation)
    return {key: fit(child, args[1] if args else Any) for key, child in node.value.items()}


def _fit_scalar(node: Node, annotation: Any) -> Any:
    if annotation in (Any, object, Opaque) or not isinstance(annotation, type | None):
        return plain(node)
    wanted = type(None) if annotation is None else annotation
    if type(node.value) is wanted:
        return node.value
    if wanted is float and type(node.value) is int:
        return float(node.value)
    if node.expanded and type(node.value) is str:
        return _fit_scalar(replace(node, value=scalar(node.value), expanded=False), annotation)
    raise MisfitError(node, describe(annotation), ". Quote it" if wanted is str and isinstance(node.value, int | float) else "")


def _converted(node: Node, annotation: Any) -> Any:
    try:
        return _CONVERTERS[annotation](node.value)
    except (ConfigError, ValueError) as error:
        reason = f": {error}".rstrip(".") if isinstance(error, ConfigError) else ""
        raise MisfitError(node, describe(annotation), reason) from error


def _word(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


_CONVERTERS: dict[Any, Callable[[str], Any]] = {
    Transform: lambda text: parse_partitioning(text)[0],
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
}
_LISTS: dict[Any, Callable[[Any], Any]] = {
    **dict.fromkeys((tuple, abc.Sequence, abc.Iterable, abc.Collection), tuple),
    list: list,
    **dict.fromkeys((set, frozenset, abc.Set), frozenset),
}
_MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)
_WORDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    None: "nothing",
    type(None): "nothing",
    Transform: "a partition transform such as days(ordered_at)",
    datetime: "a time such as 2024-05-01T00:00:00",
    date: "a date such as 2024-05-01",
}
