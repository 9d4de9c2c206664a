"""Keys of a job file bound to a function's own signature, before anything runs.

A new parameter of a verb is a new key of its step, with nothing to register: names, defaults and types come from `inspect`.
"""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lakekit.errors import ConfigError
from lakekit.job.document import Node
from lakekit.job.fit import MisfitError, Opaque, fit
from lakekit.job.names import nearest


@dataclass(frozen=True)
class Call:
    """A function that a job file names, with the arguments that it gives; ``place`` is where it stands."""

    name: str
    function: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""

    def takes(self, parameter: str) -> bool:
        """Whether the function has this parameter."""
        return parameter in inspect.signature(self.function).parameters


def bind(function: Callable[..., Any], node: Node, what: str, supplied: Collection[str] = ()) -> dict[str, Any]:
    """The arguments that ``node`` gives to ``function``, each fitted to its annotation.

    ``node`` holds keys with values; nothing (no arguments); or one plain value, which goes to the first parameter.
    ``supplied`` are parameters that the caller fills: the file may not. ``what`` is how messages call the thing, such as
    ``step 2 (upsert)``. Raises `ConfigError` with the place for an unknown key, a missing one or a wrong type.

    >>> from lakekit.job.document import parse
    >>> def upsert(feed: object, *, dry_run: bool = False, ties: str = "fail") -> None: ...
    >>> bind(upsert, parse("ties: content", "job.yaml"), "step 1 (upsert)", supplied=["feed"])
    {'ties': 'content'}
    >>> bind(upsert, parse("tie: content", "job.yaml"), "step 1 (upsert)", supplied=["feed"])
    Traceback (most recent call last):
        ...
    lakekit.errors.ConfigError: job.yaml:1: step 1 (upsert): unknown key "tie"; nearest is "ties". Known: dry_run, ties.
    """
    parameters = {name: p for name, p in _parameters(function) if name not in supplied}
    given = _given(node, parameters, what)
    for name, child in given.items():
        if name not in parameters:
            known = f"Known: {', '.join(parameters)}." if parameters else "It takes no keys."
            raise ConfigError(f'{child.place}: {what}: unknown key "{name}"{nearest(name, parameters)}. {known}')
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in given:
            raise ConfigError(f'{node.place}: {what}: the key "{name}" is missing.')
    return {name: _fitted(child, parameters[name], what) for name, child in given.items()}


def _given(node: Node, parameters: Mapping[str, inspect.Parameter], what: str) -> Mapping[str, Node]:
    if node.value is None:
        return {}
    if isinstance(node.value, dict):
        return node.value
    if not parameters:
        raise ConfigError(f"{node.place}: {what}: got a value, but it takes none.")
    if isinstance(node.value, list):
        raise ConfigError(f"{node.place}: {what}: expected keys with values, got a list. Known: {', '.join(parameters)}.")
    return {next(iter(parameters)): node}


def _fitted(node: Node, parameter: inspect.Parameter, what: str) -> Any:
    try:
        return fit(node, Any if parameter.annotation is parameter.empty else parameter.annotation)
    except MisfitError as misfit:
        raise ConfigError(f"{misfit.node.place}: {what}: {parameter.name}: {misfit}.") from None


def _parameters(function: Callable[..., Any]) -> Iterator[tuple[str, inspect.Parameter]]:
    signature = inspect.signature(function, eval_str=True, locals=_Names(inspect.unwrap(function)))
    for name, parameter in signature.parameters.items():
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            yield name, parameter


class _Names(dict[str, Any]):
    """The names that a function's annotations may use; one that only type checkers import is `Opaque`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(vars(inspect.getmodule(function) or builtins))

    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, Opaque)
